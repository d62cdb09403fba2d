"""What an answer is worth in use: net benefit over thresholds, and figures at fixed ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from covidctnet.evaluation.curves import Curve
from covidctnet.evaluation.intervals import (
    CONFIDENCE,
    Draws,
    Estimate,
    interval_of_draws,
    wilson,
)

__all__ = ["DecisionCurve", "OperatingFigures", "decision_curve", "figures_at"]

_THRESHOLDS = np.arange(1, 100) / 100


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """Net benefit of acting on everybody whose probability reaches a threshold.

    Attributes:
        model: Net benefit over the threshold, from 0.01 to 0.99.
        everybody: Of acting on all patients, at the same thresholds; acting on nobody has 0.
    """

    model: Curve
    everybody: np.ndarray

    @property
    def useful(self) -> tuple[float, float] | None:
        """Lowest and highest threshold where the model does better than all and than none."""
        better = self.model.y > np.maximum(self.everybody, 0) + 1e-12
        found = self.model.x[better]
        return (float(found[0]), float(found[-1])) if len(found) else None


@dataclass(frozen=True)
class OperatingFigures:
    """What a threshold gives that was fixed beforehand.

    Attributes:
        name: Of the operating point, such as ``rule-in``.
        threshold: A probability above it counts as positive.
        sensitivity: Of those with the class, told positive.
        specificity: Of the others, told negative.
        ppv: Of those told positive, with the class.
        npv: Of the others, without.
    """

    name: str
    threshold: float
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate

    @property
    def figures(self) -> Mapping[str, Estimate]:
        """By name."""
        return {
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
            "ppv": self.ppv,
            "npv": self.npv,
        }


def decision_curve(positive: np.ndarray, told: np.ndarray, draws: Draws) -> DecisionCurve:
    """Net benefit: true positives less false ones at the odds of the threshold, by patient.

    Args:
        positive: One bool a case, shape (n,).
        told: Probability of each case.
        draws: Of these patients, not within their labels.

    Source: Vickers and Elkin, Medical Decision Making 26:565 (2006).
    """
    n, odds = len(told), _THRESHOLDS / (1 - _THRESHOLDS)
    acted = (told[:, None] >= _THRESHOLDS - 1e-12).astype(float)
    # What every case adds at every threshold: 1 for a true positive, the odds off for a false one.
    gain = np.where(positive[:, None], acted, -acted * odds)
    y = gain.mean(axis=0)
    low = high = np.full(len(y), np.nan)
    if len(draws.indices):
        drawn = np.array([gain[index].mean(axis=0) for index in draws.indices])
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    share = float(positive.mean())
    model = Curve(_THRESHOLDS, y, low, high, int(positive.sum()), n)
    return DecisionCurve(model, share - (1 - share) * odds)


def figures_at(
    thresholds: Mapping[str, float], positive: np.ndarray, told: np.ndarray, draws: Draws
) -> tuple[OperatingFigures, ...]:
    """Figures at thresholds that other patients chose.

    Args:
        thresholds: By name of the point; above one counts as positive.
        positive: One bool a case, shape (n,).
        told: Probability of each case.
        draws: Of these cases. Wilson's intervals, or those of the draws where patients have several
            cases.
    """
    counts = draws.counts if draws.is_clustered else None
    return tuple(
        OperatingFigures(name, threshold, **_shares(positive, told > threshold, counts))
        for name, threshold in thresholds.items()
    )


def _shares(
    positive: np.ndarray, acted: np.ndarray, counts: np.ndarray | None
) -> dict[str, Estimate]:
    parts = {
        "sensitivity": (positive & acted, positive),
        "specificity": (~positive & ~acted, ~positive),
        "ppv": (positive & acted, acted),
        "npv": (~positive & ~acted, ~acted),
    }
    out = {}
    for name, (part, whole) in parts.items():
        share = wilson(int(part.sum()), int(whole.sum()))
        if counts is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                drawn = counts @ part / (counts @ whole)
            share = interval_of_draws(share.value, drawn, share.n)
        out[name] = share
    return out
