"""What the project has promised itself, and whether a run kept it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines.experiments.benchmark.timing import Row, ratio

__all__ = ["OFF", "RESIDENT", "Goal", "goals"]

# How the note of a row ends that tells its memory.
RESIDENT = "GiB resident at most"
# And that of a row that tells how far its result is from ours; from here on it is another one.
OFF = "of the window from ours"
_SAME = 1e-3
_MOST_GIB = 2.0


@dataclass(frozen=True)
class Goal:
    """A promise.

    Attributes:
        what: In words.
        expected: In figures.
        measured: In figures.
        is_reached: Whether.
        is_same: Whether the peer's result is ours; false if the peer computes another.
    """

    what: str
    expected: str
    measured: str
    is_reached: bool
    is_same: bool = True

    @property
    def verdict(self) -> str:
        """In words."""
        verdict = "yes" if self.is_reached else "no"
        return verdict if self.is_same else f"{verdict}, by another result"


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Every promise that these rows can speak to."""
    return [*_times(rows), *_readers(rows), *_seconds(rows), *_memory(rows)]


# Work (the beginning of a group), peer (the beginning of its name), at least so many times ours.
_TIMES = (
    ("1 mm, window", "MONAI", 8.0),
    ("1 mm, window", "TorchIO", 8.0),
    ("1 mm, window", "scipy, cubic", 50.0),
    ("a Perlin field", "noise", 30.0),
)
# Work, part of the group's name, ours, at most so many seconds.
_SECONDS = (
    ("folder to answer", "base 16", "covidctnet", 3.0),
    ("folder to answer", "base 64", "covidctnet", 20.0),
    ("start", "", "covidctnet --help", 1.0),
    ("start", "", "import covidctnet", 0.3),
)


def _times(rows: Sequence[Row]) -> Iterator[Goal]:
    for work, peer, goal in _TIMES:
        group = [row for row in rows if row.group.startswith(work)]
        for row in group:
            times = ratio(row, group[0])
            if row.by.startswith(peer) and times is not None:
                what = f"{work}: faster than {row.by}"
                measured = f"{times:.3g} times" + (f", {row.note}" if row.note else "")
                is_same = OFF not in row.note or float(row.note.split()[0]) < _SAME
                yield Goal(what, f"{goal:g} times", measured, times >= goal, is_same)


def _readers(rows: Sequence[Row]) -> Iterator[Goal]:
    group = [row for row in rows if row.group.startswith("read ") and row.median is not None]
    if len(group) > 1:
        fastest = min(group[1:], key=lambda row: row.median or 0.0)
        times = ratio(fastest, group[0]) or 0.0
        what = f"read: no slower than the fastest other, {fastest.by}"
        yield Goal(what, "1 times", f"{times:.3g} times", times >= 1)


def _memory(rows: Sequence[Row]) -> Iterator[Goal]:
    for row in rows:
        if row.note.endswith(RESIDENT):
            held = float(row.note.split()[0])
            what = f"{row.group}: memory of all its processes"
            yield Goal(what, f"{_MOST_GIB:g} GiB", f"{held:.3g} GiB", held < _MOST_GIB)


def _seconds(rows: Sequence[Row]) -> Iterator[Goal]:
    for work, part, by, most in _SECONDS:
        for row in rows:
            is_it = row.group.startswith(work) and part in row.group and row.by == by
            if is_it and row.median is not None:
                what = f"{row.group}: {row.by}"
                yield Goal(what, f"{most:g} s", f"{row.median:.3g} s", row.median <= most)
