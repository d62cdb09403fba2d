"""Who the patients are: the first table of a paper, by split and by class."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Characteristics", "Line", "Patient", "Summary", "characteristics", "difference"]

# In this order in front; the rest follows by name.
_FIRST = ("age", "sex", "site", "scanner", "label")
# More values than these make a table that nobody reads; the rarest are put together.
_MOST_VALUES = 12
_OTHERS, _MISSING = "all others", "missing"
# A standard deviation of fewer patients says nothing.
_LEAST = 2


@dataclass(frozen=True)
class Patient:
    """One patient, with what is known of them.

    Attributes:
        id: Pseudonym.
        group: Of the table's column, such as ``train``.
        traits: Text or numbers by name.
    """

    id: str
    group: str
    traits: Mapping[str, str | float]


@dataclass(frozen=True)
class Summary:
    """One cell.

    Attributes:
        n: Patients with the value; of a number, patients who have one.
        of: Patients of the group for whom the trait is known; all of them on a line of missing.
        mean: Of a number; NaN else.
        deviation: Standard deviation of a number; NaN else.
        quartiles: Lower, median, upper of a number; NaN else.
    """

    n: int
    of: int
    mean: float = math.nan
    deviation: float = math.nan
    quartiles: tuple[float, float, float] = (math.nan, math.nan, math.nan)

    def __str__(self) -> str:
        if not math.isnan(self.mean):
            spread = "not estimable" if math.isnan(self.deviation) else f"{self.deviation:.1f}"
            low, middle, high = self.quartiles
            return f"{self.mean:.1f} ({spread}); {middle:.1f} [{low:.1f}, {high:.1f}]"
        return f"{self.n} ({100 * self.n / self.of:.0f} %)" if self.of else f"{self.n}"


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        trait: Its name.
        value: Of text; empty for a number, ``missing`` for those without.
        cells: One a group.
        differences: Standardised mean difference of each group to the first, on the first line of
            a trait; NaN where it is not estimable, empty on further lines.
    """

    trait: str
    value: str
    cells: tuple[Summary, ...]
    differences: tuple[float, ...] = ()


@dataclass(frozen=True)
class Characteristics:
    """The table.

    Attributes:
        by: What the groups are, such as ``split``.
        groups: In the order of the columns; differences are to the first.
        patients: Of each group.
        lines: By trait.
    """

    by: str
    groups: tuple[str, ...]
    patients: tuple[int, ...]
    lines: tuple[Line, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """Text for a page or Markdown, the heads first."""
        head = [f"{group} (n = {n})" for group, n in zip(self.groups, self.patients, strict=True)]
        out = [("", "", *head, *(f"SMD, {group}" for group in self.groups[1:]))]
        for line in self.lines:
            gaps = [shown(gap) for gap in line.differences[1:]] or [""] * (len(self.groups) - 1)
            out.append((line.trait, line.value, *map(str, line.cells), *gaps))
        return out

    def as_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "by": self.by,
            "groups": list(self.groups),
            "patients": list(self.patients),
            "lines": [
                {
                    "trait": line.trait,
                    "value": line.value,
                    "cells": [_plain(cell) for cell in line.cells],
                    "standardised_differences": [
                        None if math.isnan(gap) else gap for gap in line.differences
                    ],
                }
                for line in self.lines
            ],
        }


def shown(gap: float) -> str:
    """A standardised difference in words."""
    return "not estimable" if math.isnan(gap) else f"{gap:.2f}"


def characteristics(
    patients: Iterable[Patient], *, by: str, groups: Sequence[str]
) -> Characteristics:
    """Describe patients by group.

    Args:
        patients: A patient with several studies counts once in a group, by the first.
        by: What the groups are.
        groups: In the order of the columns; those without patients are left out.
    """
    once: dict[tuple[str, str], Patient] = {}
    for patient in patients:
        once.setdefault((patient.group, patient.id), patient)
    there = [g for g in groups if any(group == g for group, _ in once)]
    columns = [[p for (group, _), p in once.items() if group == g] for g in there]
    names = {name for patient in once.values() for name in patient.traits}
    ordered = [name for name in _FIRST if name in names] + sorted(names - set(_FIRST))
    lines = [line for name in ordered for line in _lines(name, columns)]
    return Characteristics(by, tuple(there), tuple(map(len, columns)), tuple(lines))


def _lines(name: str, columns: Sequence[Sequence[Patient]]) -> list[Line]:
    values = [[_clean(p.traits.get(name)) for p in column] for column in columns]
    known = [[v for v in column if v is not None] for column in values]
    flat = [v for column in known for v in column]
    if not flat:
        return []
    if any(isinstance(value, str) for value in flat):
        lines = _of_text(name, [[_text(v) for v in column] for column in known])
    else:
        lines = [_of_numbers(name, [[float(v) for v in column] for column in known])]
    missing = [len(a) - len(b) for a, b in zip(values, known, strict=True)]
    if any(missing):
        cells = tuple(Summary(n, len(a)) for n, a in zip(missing, values, strict=True))
        lines.append(Line(name, _MISSING, cells))
    return lines


def _of_numbers(name: str, columns: Sequence[Sequence[float]]) -> Line:
    cells = []
    for column in columns:
        if not column:
            cells.append(Summary(0, 0))
            continue
        deviation = float(np.std(column, ddof=1)) if len(column) >= _LEAST else math.nan
        low, middle, high = (float(q) for q in np.quantile(column, [0.25, 0.5, 0.75]))
        n = len(column)
        cells.append(Summary(n, n, float(np.mean(column)), deviation, (low, middle, high)))
    return Line(name, "", tuple(cells), tuple(difference(columns[0], c) for c in columns))


def _of_text(name: str, columns: Sequence[Sequence[str]]) -> list[Line]:
    often = [value for value, _ in Counter(v for c in columns for v in c).most_common()]
    values = sorted(often)
    if len(often) > _MOST_VALUES:
        values = [*sorted(often[: _MOST_VALUES - 1]), _OTHERS]
        columns = [[v if v in values else _OTHERS for v in column] for column in columns]
    gaps = tuple(difference(columns[0], column) for column in columns)
    return [
        Line(
            name,
            value,
            tuple(Summary(list(c).count(value), len(c)) for c in columns),
            gaps if number == 0 else (),
        )
        for number, value in enumerate(values)
    ]


def difference(first: Sequence[str] | Sequence[float], second: Sequence[Any]) -> float:
    """The standardised mean difference of a trait between two groups.

    Args:
        first: Values of the group that is compared with; numbers, or text.
        second: Of the other group.

    Returns:
        Second minus first over the pooled standard deviation for numbers; for text the distance of
        the shares, never negative. NaN where a group has fewer than two patients, or nothing varies
        and the groups differ.

    Source: Austin, Statistics in Medicine 28:3083 (2009); several values, Yang and Dalton, SAS
    Global Forum 2012, 335.
    """
    if min(len(first), len(second)) < _LEAST:
        return math.nan
    if not isinstance(first[0], str):
        gap = float(np.mean(second)) - float(np.mean(first))  # type: ignore[arg-type]
        spread = math.sqrt((float(np.var(first, ddof=1)) + float(np.var(second, ddof=1))) / 2)  # type: ignore[arg-type]
        if spread == 0:
            return 0.0 if gap == 0 else math.nan
        return gap / spread
    levels = sorted({*map(str, first), *map(str, second)})
    shares = [
        np.array([list(group).count(level) / len(group) for level in levels[1:]])
        for group in (first, second)
    ]
    if not len(shares[0]):
        return 0.0
    covariance = sum(np.diag(p) - np.outer(p, p) for p in shares) / 2
    gap_of = shares[1] - shares[0]
    # Where a group holds one value alone, nothing varies in some direction.
    if np.linalg.matrix_rank(covariance) < len(gap_of):
        return 0.0 if not gap_of.any() else math.nan
    return float(math.sqrt(max(0.0, gap_of @ np.linalg.solve(covariance, gap_of))))


def _clean(value: str | float | None) -> str | float | None:
    if isinstance(value, str):
        return value.strip() or None
    return None if value is None or not math.isfinite(value) else float(value)


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _plain(cell: Summary) -> dict[str, Any]:
    out: dict[str, Any] = {"n": cell.n, "of": cell.of}
    if not math.isnan(cell.mean):
        out |= {
            "mean": cell.mean,
            "standard_deviation": None if math.isnan(cell.deviation) else cell.deviation,
            "quartiles": list(cell.quartiles),
        }
    return out
