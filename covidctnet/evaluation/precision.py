"""What so many patients can show: how wide intervals are, and how many patients it would take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scipy import stats

from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.intervals import CONFIDENCE, Estimate, area_interval

__all__ = ["WIDTHS", "Precision", "needed_for_auc", "needed_for_share", "precision"]

# Of whole intervals: from one end to the other.
WIDTHS = (0.2, 0.1, 0.05)
# Beyond this nobody plans a study by intervals.
_MOST = 1_000_000
_Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Precision:
    """How sure one figure is.

    Attributes:
        figure: Its name.
        counted: Whom its n counts.
        estimate: The figure.
        needed: Patients for an interval of this width, if the figure is what it is here; None
            where it is not estimable.
    """

    figure: str
    counted: str
    estimate: Estimate
    needed: Mapping[float, int | None]

    @property
    def width(self) -> float:
        """Of the interval; NaN where it is not estimable."""
        return self.estimate.high - self.estimate.low


def precision(assessment: Assessment) -> tuple[Precision, ...]:
    """How sure the main figures are, and how many patients would make them surer.

    Args:
        assessment: Of the patients at hand.

    Returns:
        Accuracy, sensitivity and specificity of the target by Wilson's interval, and its AUC by
        Newcombe's with as many ill among the patients as here. One study a patient is assumed.
    """
    target = assessment.classes.target
    scores = assessment.scores
    ill, n = assessment.answered[target], assessment.n
    who = "patients" if assessment.patients == n else "studies"
    shares = (
        ("accuracy, all classes", who, scores.overall["accuracy"]),
        (f"{target} sensitivity", f"{who} with {target}", scores.target["sensitivity"]),
        (f"{target} specificity", f"{who} without it", scores.target["specificity"]),
    )
    out = [
        Precision(name, counted, e, {w: needed_for_share(e.value, w) for w in WIDTHS})
        for name, counted, e in shares
    ]
    area = scores.by_label[target]["auc"]
    needed = {w: needed_for_auc(area.value, ill / n if n else math.nan, w) for w in WIDTHS}
    out.append(Precision(f"{target} AUC", who, area, needed))
    return tuple(out)


def needed_for_share(share: float, width: float) -> int | None:
    """Patients for a Wilson interval of a share that is no wider.

    Args:
        share: What is expected.
        width: From the lower to the upper end.
    """
    if math.isnan(share):
        return None

    def width_at(n: int) -> float:
        # Of the share itself, not of a count near to it: it falls with every patient.
        spread = share * (1 - share) / n + (_Z / (2 * n)) ** 2
        return 2 * _Z * math.sqrt(spread) / (1 + _Z**2 / n)

    return _smallest(width_at, width)


def needed_for_auc(area: float, share: float, width: float) -> int | None:
    """Patients for an interval of an AUC that is no wider.

    Args:
        area: What is expected.
        share: Of the patients who have the disease.
        width: From the lower to the upper end.
    """
    if math.isnan(area) or not 0 < share < 1:
        return None

    def width_at(n: int) -> float:
        low, high = area_interval(area, share * n, (1 - share) * n)
        return high - low

    return _smallest(width_at, width, start=2)


def _smallest(width_at: Callable[[int], float], width: float, *, start: int = 1) -> int | None:
    """The smallest n with an interval no wider; widths fall with n."""
    high = start
    while width_at(high) > width:
        high *= 2
        if high > _MOST:
            return None
    low = max(start, high // 2)
    while low < high:
        middle = (low + high) // 2
        if width_at(middle) > width:
            low = middle + 1
        else:
            high = middle
    return high
