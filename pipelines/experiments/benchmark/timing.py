"""How work is timed: warm, by turns, all of it kept."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

__all__ = ["MISSING", "Row", "by_turns", "ratio"]

Work = Callable[[], object]
# Threads of the one before may spin on for a while; they must not take time from the next.
SETTLE_S = 0.1
MISSING = "not installed; `pip install 'covidctnet[bench]'` brings it"


@dataclass(frozen=True)
class Row:
    """One way of doing one piece of work.

    Attributes:
        group: The work; the first row of a group is ours; the others are compared with it.
        by: Who or what does it.
        seconds: Of every run, in their order; empty when it could not run.
        note: What else is worth saying.
        compared: What its time over that of the first row of its group is called; empty where that
            says nothing.
    """

    group: str
    by: str
    seconds: tuple[float, ...] = ()
    note: str = ""
    compared: str = "times ours"

    @property
    def median(self) -> float | None:
        """Of the runs."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """Shortest and longest run."""
        return (min(self.seconds), max(self.seconds)) if self.seconds else None


def by_turns(
    group: str, works: Mapping[str, Work], repeats: int, *, notes: Mapping[str, str] | None = None
) -> list[Row]:
    """Time several ways of doing one piece of work, one after the other, again and again.

    Taking turns lets a noisy machine be noisy to all of them, and a tenth of a second between them
    lets threads of the one before come to rest. Every way runs once before, so that files are in
    the cache and kernels chosen. A way that needs a package that is not there gives a
    row without runs.

    Args:
        group: Name of the work.
        works: By who does it, ours first.
        repeats: Runs of each.
        notes: By who does it.
    """
    notes = dict(notes or {})
    taken: dict[str, list[float]] = {}
    for name, work in works.items():
        try:
            _waited_for(work)
        except ImportError:
            notes[name] = MISSING
        else:
            taken[name] = []
    for _ in range(max(1, repeats)):
        for name, runs in taken.items():
            time.sleep(SETTLE_S)
            start = time.perf_counter()
            _waited_for(works[name])
            runs.append(time.perf_counter() - start)
    return [Row(group, name, tuple(taken.get(name, ())), notes.get(name, "")) for name in works]


def _waited_for(work: Work) -> None:
    """Do it, and what a GPU was asked for along with it."""
    work()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def ratio(row: Row, ours: Row) -> float | None:
    """How many times as long it takes as ours."""
    if row.median is None or not ours.median:
        return None
    return row.median / ours.median
