"""What the system tells apart: pneumonia or not, or Covid-19 or not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from covidctnet.classes import Classes

__all__ = ["CLASSES", "TASKS", "Task"]

Task = Literal["pneumonia", "covid"]

CLASSES = Classes(
    ("Normal", "Pneumonia"),
    normal="Normal",
    aliases={
        "control": "Normal",
        "controls": "Normal",
        "healthy": "Normal",
        "no finding": "Normal",
        "bacterial pneumonia": "Pneumonia",
        "viral pneumonia": "Pneumonia",
        "other pneumonia": "Pneumonia",
        "CAP": "Pneumonia",
        "covid": "Pneumonia",
        "Covid-19": "Pneumonia",
    },
    note="Pneumonia of any cause. The paper's data are of children, whatever it calls the classes.",
)

TASKS: Mapping[str, Classes] = MappingProxyType(
    {
        "pneumonia": CLASSES,
        "covid": Classes(
            ("Non-Covid", "Covid-19"),
            normal="Non-Covid",
            aliases={
                "normal": "Non-Covid",
                "control": "Non-Covid",
                "no finding": "Non-Covid",
                "pneumonia": "Non-Covid",
                "bacterial pneumonia": "Non-Covid",
                "viral pneumonia": "Non-Covid",
                "other pneumonia": "Non-Covid",
                "CAP": "Non-Covid",
                "covid": "Covid-19",
            },
            note="Non-Covid is any other radiograph, healthy or not.",
        ),
    }
)
