"""Answers for other programs: a PACS, a browser."""
