"""What the system tells apart: three classes, or one of the two pairs that the paper has."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from covidctnet.classes import Classes

__all__ = ["CLASSES", "TASKS", "Task"]

Task = Literal["three", "bacterial", "healthy"]

_NAMES = {
    "healthy": "Control",
    "controls": "Control",
    "normal": "Control",
    "bacterial": "CAP",
    "bacterial pneumonia": "CAP",
    "covid": "Covid-19",
}

CLASSES = Classes(
    ("Control", "Covid-19", "CAP"),
    normal="Control",
    aliases=_NAMES,
    note="CAP is bacterial pneumonia in the paper.",
)


def _pair(other: str, note: str) -> Classes:
    kept = (other, "Covid-19")
    aliases = {name: title for name, title in _NAMES.items() if title in kept}
    return Classes(kept, normal=other, aliases=aliases, note=note)


TASKS: Mapping[str, Classes] = MappingProxyType(
    {
        "three": CLASSES,
        "bacterial": _pair("CAP", "Every patient is taken to be ill: CAP is the other illness."),
        "healthy": _pair("Control", "Every patient is taken to have Covid-19 or no pneumonia."),
    }
)
