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
        "healthy": "Non-Covid",
        "negative": "Non-Covid",
        "CAP": "Non-Covid",
        "covid": "Covid-19",
        "positive": "Covid-19",
    },
    note="Covid-19 stands for lesions over many slices, whatever their cause.",
)
