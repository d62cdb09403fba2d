"""What the system tells apart."""

from __future__ import annotations

from covidctnet.classes import Classes

__all__ = ["CLASSES"]

CLASSES = Classes(
    ("Non-Covid", "Covid-19"),
    normal="Non-Covid",
    aliases={
        "control": "Non-Covid",
        "controls": "Non-Covid",
        "normal": "Non-Covid",
        "CAP": "Non-Covid",
        "covid": "Covid-19",
    },
    note="Non-Covid is any other slice, healthy or not.",
)
