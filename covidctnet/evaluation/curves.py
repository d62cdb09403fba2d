"""Curves over all thresholds, with bands over resampled patients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from covidctnet.evaluation.calibration import risk_coverage
from covidctnet.evaluation.intervals import CONFIDENCE, Draws

__all__ = [
    "Curve",
    "average_precision",
    "precision_recall_curve",
    "risk_coverage_curve",
    "roc_curve",
]

_GRID = np.linspace(0, 1, 101)
# Answering nobody has no risk.
_COVERAGES = _GRID[2::2]
# Shares such as 3/10 and points of the grid such as 0.3 differ in their last bit.
_SAME = 1e-9

At = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve at fixed points.

    Attributes:
        x: Ascending, shape (point,).
        y: At each of them.
        low: Lower end of the 95 % interval at each point by itself; NaN where there is none.
        high: Upper end.
        positive: Patients of the class.
        n: Patients.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    positive: int
    n: int

    @property
    def has_band(self) -> bool:
        """Whether an interval could be estimated."""
        return not np.isnan(self.low).any()


def roc_curve(positive: np.ndarray, scores: np.ndarray, draws: Draws) -> Curve | None:
    """Sensitivity that is reached without more than a given share of false alarms.

    Args:
        positive: One bool a patient, shape (n,).
        scores: One score a patient, shape (n,).
        draws: Of these patients, for the band.

    Returns:
        Sensitivity over 1 - specificity; None without patients of both kinds.
    """
    if not positive.any() or positive.all():
        return None

    def at(index: np.ndarray) -> np.ndarray:
        hits, alarms = _counts(positive[index], scores[index])
        rate = np.concatenate([[0.0], alarms / alarms[-1]])
        sensitivity = np.concatenate([[0.0], hits / hits[-1]])
        values: np.ndarray = sensitivity[np.searchsorted(rate, _GRID + _SAME, side="right") - 1]
        return values

    return _banded(at, _GRID, positive, draws)


def precision_recall_curve(positive: np.ndarray, scores: np.ndarray, draws: Draws) -> Curve | None:
    """Precision at the highest threshold that reaches a given sensitivity.

    Args:
        positive: One bool a patient, shape (n,).
        scores: One score a patient, shape (n,).
        draws: See `roc_curve`.

    Returns:
        Precision over recall; None without patients of both kinds.
    """
    if not positive.any() or positive.all():
        return None

    def at(index: np.ndarray) -> np.ndarray:
        hits, alarms = _counts(positive[index], scores[index])
        first = np.searchsorted(hits / hits[-1], _GRID - _SAME, side="left")
        values: np.ndarray = (hits / (hits + alarms))[first]
        return values

    return _banded(at, _GRID, positive, draws)


def risk_coverage_curve(truth: np.ndarray, probabilities: np.ndarray, draws: Draws) -> Curve:
    """Share of wrong answers when only the surest are given.

    Args:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).
        draws: See `roc_curve`.

    Returns:
        Risk over coverage; `positive` counts the wrong answers.
    """

    def at(index: np.ndarray) -> np.ndarray:
        # A draw of patients with several studies may have fewer studies than there are.
        rank = np.ceil(_COVERAGES * len(index) - _SAME).astype(int) - 1
        return risk_coverage(truth[index], probabilities[index])[1][rank]

    wrong = probabilities.argmax(axis=1) != truth
    return _banded(at, _COVERAGES, wrong, draws)


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Mean precision over the cases of the class, each at the threshold that finds it.

    Args:
        positive: One bool a case, shape (n,).
        scores: One score a case, shape (n,).

    Returns:
        The area under the precision-recall curve as a step function, which is what scikit-learn's
        `average_precision_score` gives; NaN without cases of both kinds.
    """
    if not positive.any() or positive.all():
        return math.nan
    hits, alarms = _counts(positive, scores)
    gained = np.diff(hits, prepend=0) / hits[-1]
    return float((gained * (hits / (hits + alarms))).sum())


def _counts(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positive and other patients at or above every distinct score, highest score first."""
    order = np.argsort(-scores, kind="stable")
    steps = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[steps]
    return hits, 1 + steps - hits


def _banded(at: At, x: np.ndarray, positive: np.ndarray, draws: Draws) -> Curve:
    """The curve with percentiles of those of patients resampled within their groups."""
    n = len(positive)
    y = at(np.arange(n))
    low = high = np.full(len(x), np.nan)
    if drawn := [at(index) for index in draws.indices]:
        tail = (1 - CONFIDENCE) / 2
        ends = np.quantile(drawn, [tail, 1 - tail], axis=0)
        # Where no draw differs anywhere, the draws say nothing.
        low, high = ends if np.ptp(ends, axis=0).any() else (low, high)
    return Curve(x, y, low, high, int(positive.sum()), n)
