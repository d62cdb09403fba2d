"""How sure answers were against how often they were right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidctnet.evaluation.intervals import Estimate, bootstrap

__all__ = ["BINS", "Bin", "calibration_error", "reliability", "risk_coverage"]

BINS = 10


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


def reliability(truth: np.ndarray, probabilities: np.ndarray, *, bins: int = BINS) -> list[Bin]:
    """How often answers were right, by how sure they were; empty bins are left out.

    Args:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).
        bins: Of equal width from 0 to 1.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        Bin(float(confidence[number == b].mean()), float(right[number == b].mean()), int(count))
        for b in range(bins)
        if (count := (number == b).sum())
    ]


def calibration_error(
    truth: np.ndarray, probabilities: np.ndarray, *, rng: np.random.Generator, bins: int = BINS
) -> Estimate:
    """Expected calibration error: mean gap between how sure and how often right, by bins.

    Args:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).
        rng: Of the bootstrap over patients.
        bins: See `reliability`.

    Source: Naeini et al. 2015. It is above 0 in small cohorts even of a model that is calibrated.
    """

    def figures(index: np.ndarray) -> dict[str, float]:
        found = reliability(truth[index], probabilities[index], bins=bins)
        return {"ece": sum(b.n * abs(b.confidence - b.accuracy) for b in found) / len(index)}

    return bootstrap(figures, truth, rng)["ece"]


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
