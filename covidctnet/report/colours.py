"""Colours of classes that stay apart for people who see no red or no green, and in grey print."""

from __future__ import annotations

__all__ = ["LIGHT"]

# The normal class, then the positive ones in their order; a test measures how far they are apart.
LIGHT = ("#0072b2", "#c85000", "#3b0f53", "#7a7a7a")
