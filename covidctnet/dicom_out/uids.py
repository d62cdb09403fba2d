"""UIDs that a second run finds again."""

from __future__ import annotations

import re
import uuid

__all__ = ["is_uid", "uid_of"]

_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_OURS = uuid.uuid5(uuid.NAMESPACE_DNS, "covidctnet")


def is_uid(text: str) -> bool:
    """Whether a text is a UID as the standard has it (PS3.5, 9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def uid_of(*parts: str) -> str:
    """A UID that the same parts always give, and others never (PS3.5, B.2).

    Args:
        parts: What it names.
    """
    return f"2.25.{uuid.uuid5(_OURS, chr(0).join(parts)).int}"
