"""What a run is called, whose it is and when it was: for pages, figures and checklists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from covidctnet._version import __version__
from covidctnet.errors import UsageError

__all__ = ["RunFacts"]

_LONGEST = 200


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@dataclass(frozen=True)
class RunFacts:
    """What a run is called, whose it is and when it was.

    Attributes:
        name: Of the run, as its author calls it; may be empty.
        contact: Whom to ask; may be empty.
        date: Day on which it was made, in UTC, as 2026-11-30.
        version: Of this package.
    """

    name: str = ""
    contact: str = ""
    date: str = field(default_factory=_today)
    version: str = __version__

    def __post_init__(self) -> None:
        for option, text in (("--name", self.name), ("--contact", self.contact)):
            if len(text) > _LONGEST or not text.isprintable():
                raise UsageError(
                    f"expected {option} of one line and at most {_LONGEST} letters, got "
                    f"{len(text)} letters{'' if text.isprintable() else ' with a line break'}. "
                    "Shorten it."
                )

    @classmethod
    def of_plain(cls, value: Mapping[str, Any]) -> RunFacts:
        """What `to_plain` wrote; of evaluations of before, the day of today."""
        known = ("name", "contact", "date", "version")
        return cls(**{key: str(value[key]) for key in known if value.get(key)})

    def to_plain(self) -> dict[str, str]:
        """For JSON."""
        return {
            "name": self.name,
            "contact": self.contact,
            "date": self.date,
            "version": self.version,
        }

    @property
    def in_words(self) -> str:
        """One line for the top of a page."""
        parts = [self.name, self.date, f"covidctnet {self.version}"]
        if self.contact:
            parts.append(f"contact: {self.contact}")
        return " · ".join(part for part in parts if part)
