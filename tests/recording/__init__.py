"""What the package says today, recorded, so that a change of its structure can be proven to change
no answer. ``python -m tests.recording`` compares, and records again when it is given a reason.
"""
