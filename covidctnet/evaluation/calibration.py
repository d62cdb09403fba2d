"""How sure answers were against how often they were right."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from covidctnet.evaluation.intervals import CONFIDENCE, Draws, Estimate, bootstrap

__all__ = [
    "BINS",
    "Bin",
    "calibration_error",
    "error_by_chance",
    "reliability",
    "risk_coverage",
]

BINS = 10  # of equal width from 0 to 1
CHANCE_DRAWS = 1000


@dataclass(frozen=True)
class Bin:
    """Answers that were about as sure.

    Attributes:
        confidence: Mean probability of the label given.
        accuracy: Share of them that was right.
        n: How many.
    """

    confidence: float
    accuracy: float
    n: int


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> list[Bin]:
    """How often answers were right, by how sure they were; empty bins are left out.

    Args:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).
    """
    confidence, number = _confidence(probabilities)
    right = probabilities.argmax(axis=1) == truth
    return [
        Bin(float(confidence[number == b].mean()), float(right[number == b].mean()), int(count))
        for b in range(BINS)
        if (count := (number == b).sum())
    ]


def calibration_error(truth: np.ndarray, probabilities: np.ndarray, draws: Draws) -> Estimate:
    """Expected calibration error: mean gap between how sure and how often right, by bins.

    In small cohorts it is above 0 even of a model that is calibrated (see `error_by_chance`), and
    resampling patients adds as much again. So the interval is the basic one of the bootstrap,
    which takes that off: twice the figure less the percentiles, cut at 0 and 1.

    Args:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).
        draws: Of these patients.

    Source: Naeini et al. 2015; Davison and Hinkley 1997, section 5.2.
    """
    confidence, number = _confidence(probabilities)
    gap = confidence - (probabilities.argmax(axis=1) == truth)

    def figures(index: np.ndarray) -> dict[str, float]:
        return {"ece": _error(gap[index], number[index])}

    drawn = bootstrap(figures, draws)["ece"]
    ends = (min(1.0, max(0.0, 2 * drawn.value - end)) for end in (drawn.high, drawn.low))
    low, high = (math.nan, math.nan) if math.isnan(drawn.low) else ends
    return Estimate(drawn.value, low, high, drawn.n)


def error_by_chance(
    probabilities: np.ndarray,
    *,
    rng: np.random.Generator,
    draws: int = CHANCE_DRAWS,
) -> Estimate:
    """What chance alone makes of the calibration error: that of a model which is calibrated.

    Args:
        probabilities: Shape (n, label); the truth is drawn from them.
        rng: Of the draws.
        draws: How many.

    Returns:
        The mean over the draws, and the range that holds 95 % of them.
    """
    edges = probabilities.cumsum(axis=1)[:, :-1]
    confidence, number = _confidence(probabilities)
    answer = probabilities.argmax(axis=1)
    drawn = [
        _error(confidence - ((rng.random((len(edges), 1)) > edges).sum(axis=1) == answer), number)
        for _ in range(draws)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Estimate(float(np.mean(drawn)), float(low), float(high), len(probabilities))


def _confidence(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How sure every answer is, and the bin that it is in."""
    confidence = probabilities.max(axis=1)
    return confidence, np.minimum((confidence * BINS).astype(int), BINS - 1)


def _error(gap: np.ndarray, number: np.ndarray) -> float:
    # A bin's count times the gap of its means is the sum of its gaps.
    return float(np.abs(np.bincount(number, weights=gap)).sum()) / len(gap)


def risk_coverage(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of wrong answers among the surest ones, for every share that is answered.

    Args:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).

    Returns:
        Coverage, ascending to 1, and risk at it, each of shape (n,).
    """
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = probabilities.argmax(axis=1)[order] != truth[order]
    answered = np.arange(1, len(truth) + 1)
    return answered / len(truth), np.cumsum(wrong) / answered
