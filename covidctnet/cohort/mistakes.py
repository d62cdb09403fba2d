"""All that is wrong with a table, in one list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Mistake", "listed"]

Kind = Literal["mistake", "gap", "doubt"]
_WORDS = {
    "mistake": "to correct",
    "gap": "missing on one side",
    "doubt": "accepted, to be checked",
}


@dataclass(frozen=True, order=True)
class Mistake:
    """One thing that is wrong, or may be.

    Attributes:
        line: Of the table, to sort by; 0 where it is of none.
        where: File, sheet, line and column, or the path of a study.
        text: What was expected, what came, what to do. No patient's name, id or accession.
        kind: ``mistake`` must be corrected; a ``gap`` is a label without its study, or a study
            without a label; a ``doubt`` was decided, and the decision is told.
    """

    line: int
    where: str
    text: str
    kind: Kind = "mistake"

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def listed(mistakes: Iterable[Mistake]) -> str:
    """A line a mistake, under a line for each kind; empty without any."""
    mistakes = sorted(mistakes)
    lines: list[str] = []
    for kind, words in _WORDS.items():
        own = [one for one in mistakes if one.kind == kind]
        if own:
            lines += [f"{len(own)} {words}:", *(f"  {one}" for one in own)]
    return "\n".join(lines)
