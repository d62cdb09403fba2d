"""Systems: from a volume to an answer, one folder each."""
