"""Lungs, and whether a volume is a whole chest: what systems for CT share."""
