"""How far the figures of groups lie apart: by sex, age, site and any other trait that is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.strata import Stratum, newcombe

__all__ = ["Disparity", "disparities"]

FIGURES = ("accuracy", "sensitivity", "specificity")


@dataclass(frozen=True)
class Disparity:
    """The groups of a trait that fare worst and best by one figure.

    Attributes:
        trait: Its name.
        figure: ``accuracy``, or ``sensitivity`` or ``specificity`` for the target.
        lowest: The group with the lowest figure.
        highest: The group with the highest.
        gap: Highest minus lowest. The two were chosen for lying apart, so it is above 0 by chance
            too: the more groups, the more.
        groups: How many groups have the figure.
        not_estimable: How many groups are too small for it.
    """

    trait: str
    figure: str
    lowest: str
    highest: str
    gap: Estimate
    groups: int
    not_estimable: int


def disparities(strata: Iterable[Stratum]) -> tuple[Disparity, ...]:
    """The largest gap between groups, by trait and figure.

    Args:
        strata: Of an assessment. Groups that do not tell the trait count as no group.

    Returns:
        Of every trait with two groups or more that have the figure. The interval of a gap is
        recovered from those of the two groups, which are of different patients.
    """
    out = []
    for trait, group in groupby(strata, key=lambda s: s.trait):
        rows = [s for s in group if s.value != "not told"]
        for figure in FIGURES:
            if found := _disparity(trait, figure, rows):
                out.append(found)
    return tuple(out)


def _disparity(trait: str, figure: str, rows: Sequence[Stratum]) -> Disparity | None:
    known = [s for s in rows if not math.isnan(getattr(s, figure).value)]
    if len(known) < 2:
        return None
    lowest, *_, highest = sorted(known, key=lambda s: getattr(s, figure).value)
    return Disparity(
        trait,
        figure,
        lowest.value,
        highest.value,
        newcombe(getattr(highest, figure), getattr(lowest, figure)),
        len(known),
        len(rows) - len(known),
    )
