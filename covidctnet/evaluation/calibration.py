"""Probabilities that mean what they say, and sets of labels that hold the truth as often as told.

Everything here is fitted on validation patients and told of test patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from covidctnet.errors import CohortError
from covidctnet.evaluation.intervals import Estimate, bootstrap

__all__ = [
    "Bin",
    "PredictionSets",
    "calibration_error",
    "fit_temperature",
    "reliability",
    "risk_coverage",
    "soften",
]

BINS = 10
# Log-probabilities of less than this are as good as minus infinity.
_TINY = 1e-12
_TEMPERATURES = (0.05, 20.0)


def fit_temperature(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature at which the probabilities tell the truth best.

    Args:
        truth: `Label` values of validation patients, shape (n,).
        probabilities: Of the same, shape (n, label).

    Returns:
        Above 1 when the model was too sure of itself; the one of least negative log-likelihood,
        between 0.05 and 20.

    Raises:
        CohortError: If there are no patients of at least two labels.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """
    if len(np.unique(truth)) < 2:
        raise CohortError("a temperature is fitted on validation patients of two labels or more")

    def surprise(log_temperature: float) -> float:
        said = soften(probabilities, math.exp(log_temperature))
        return -float(np.log(np.clip(said[np.arange(len(truth)), truth], _TINY, 1)).mean())

    bounds = tuple(math.log(t) for t in _TEMPERATURES)
    found = optimize.minimize_scalar(surprise, bounds=bounds, method="bounded")
    return float(math.exp(found.x))


def soften(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at another temperature; the most likely label stays the most likely.

    Args:
        probabilities: Shape (n, label), rows sum to 1.
        temperature: Above 1 makes them less sure, below 1 more.
    """
    logits = np.log(np.clip(probabilities, _TINY, 1)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


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


@dataclass(frozen=True)
class PredictionSets:
    """Sets of labels that hold the true one with a probability set beforehand.

    Attributes:
        coverage: Wanted, such as 0.9.
        threshold: A label is in the set when its probability is at least this.
        n: Validation patients it rests on.

    The promise holds for patients who are drawn as the validation patients were, over both draws;
    it holds for no class and no hospital by itself.

    Source: split conformal prediction with the score 1 - p of the true label (Sadinle et al. 2019).
    Differs in: a set is never empty, it holds the most likely label at least, which only adds
    coverage.
    """

    coverage: float
    threshold: float
    n: int

    @classmethod
    def fit(
        cls, truth: np.ndarray, probabilities: np.ndarray, *, coverage: float = 0.9
    ) -> PredictionSets:
        """Choose the threshold on validation patients.

        Args:
            truth: Their `Label` values, shape (n,).
            probabilities: Shape (n, label).
            coverage: Wanted, between 0 and 1.

        Raises:
            ValueError: If `coverage` is out of range.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must lie between 0 and 1, got {coverage}")
        n = len(truth)
        rank = math.ceil((n + 1) * coverage)
        if rank > n:  # too few patients to promise anything short of all labels
            return cls(coverage, 0.0, n)
        own = np.sort(probabilities[np.arange(n), truth])
        return cls(coverage, float(own[n - rank]), n)

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Which labels are in each set, bool (n, label)."""
        top = probabilities == probabilities.max(axis=1, keepdims=True)
        return np.asarray((probabilities >= self.threshold) | top)


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
