"""Probabilities that mean what they say, and sets of labels that keep a promise.

Both are fitted on validation patients when the weights are made, and travel in their card.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import optimize

from covidctnet.errors import CohortError

__all__ = ["Calibration", "PredictionSets", "fit_temperature", "soften"]

# Log-probabilities of less than this are as good as minus infinity.
_TINY = 1e-12
_TEMPERATURES = (0.05, 20.0)
# A dozen patients, all answered rightly, would ask for certainty. Before they speak, a temperature
# is held to lie within a factor of two of 1; some hundred patients outweigh that.
_LOG_SPREAD = math.log(2)


@dataclass(frozen=True)
class Calibration:
    """What is done to the classifier's probabilities. Travels in the card of the weights.

    Attributes:
        temperature: See `soften`.
        sets: Which labels an answer leaves open, by the softened probabilities.

    Both rest on the patients that also chose the checkpoint, so they are a little too hopeful; the
    coverage on patients held back is what counts.
    """

    temperature: float
    sets: PredictionSets

    @classmethod
    def fit(
        cls,
        truth: np.ndarray,
        probabilities: np.ndarray,
        *,
        coverage: float = 0.9,
        scans: np.ndarray | None = None,
    ) -> Calibration:
        """Fit the temperature, then the sets at that temperature.

        Args:
            truth: `Label` values of validation patients, shape (n,).
            probabilities: Of the classifier as it is, shape (n, label).
            coverage: Intended, of the sets.
            scans: Which scan each case was drawn from, shape (n,), where several come from one:
                cases of one scan count together as one patient.

        Raises:
            CohortError: If there are no patients of at least two labels.
        """
        weights = _weights(len(truth), scans)
        temperature = fit_temperature(truth, probabilities, weights=weights)
        softened = soften(probabilities, temperature)
        sets = PredictionSets.fit(truth, softened, coverage=coverage, weights=weights)
        return cls(temperature, sets)

    @classmethod
    def from_card(cls, entry: Mapping[str, Any]) -> Calibration:
        """What `to_card` made `entry` of.

        Raises:
            KeyError, TypeError, ValueError: If it made it not.
        """
        temperature, sets = float(entry["temperature"]), PredictionSets(**entry["sets"])
        low, high = _TEMPERATURES
        if not (low <= temperature <= high and 0 <= sets.threshold <= 1):
            raise ValueError(f"temperature {temperature}, threshold {sets.threshold}")
        return cls(temperature, sets)

    def to_card(self) -> dict[str, Any]:
        """A value for JSON."""
        return asdict(self)


def _weights(count: int, scans: np.ndarray | None) -> np.ndarray:
    """Weight of each case, one in all for every scan."""
    if scans is None:
        return np.ones(count)
    _, place, times = np.unique(scans, return_inverse=True, return_counts=True)
    return np.asarray(1 / times[place])


def fit_temperature(
    truth: np.ndarray, probabilities: np.ndarray, *, weights: np.ndarray | None = None
) -> float:
    """The temperature at which the probabilities tell the truth best.

    Args:
        truth: `Label` values of validation patients, shape (n,).
        probabilities: Of the same, shape (n, label).
        weights: Of the cases, shape (n,); their sum is the number of patients. 1 each by default.

    Returns:
        Above 1 when the model was too sure of itself, between 0.05 and 20.

    Raises:
        CohortError: If there are no patients of at least two labels.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    Differs in: a log-normal prior around 1, which matters to small cohorts only.
    """
    if len(np.unique(truth)) < 2:
        raise CohortError("a temperature is fitted on validation patients of two labels or more")

    def surprise(log_temperature: float) -> float:
        softened = soften(probabilities, math.exp(log_temperature))
        logs = np.log(np.clip(softened[np.arange(len(truth)), truth], _TINY, 1))
        likelihood = float(logs.sum() if weights is None else (weights * logs).sum())
        return (log_temperature / _LOG_SPREAD) ** 2 / 2 - likelihood

    bounds = tuple(math.log(t) for t in _TEMPERATURES)
    optimum = optimize.minimize_scalar(surprise, bounds=bounds, method="bounded")
    return float(math.exp(optimum.x))


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
class PredictionSets:
    """Sets of labels that hold the true one with a probability set beforehand.

    Attributes:
        coverage: Intended, such as 0.9.
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
        cls,
        truth: np.ndarray,
        probabilities: np.ndarray,
        *,
        coverage: float = 0.9,
        weights: np.ndarray | None = None,
    ) -> PredictionSets:
        """Choose the threshold on validation patients.

        Args:
            truth: Their `Label` values, shape (n,).
            probabilities: Shape (n, label).
            coverage: Intended, between 0 and 1.
            weights: Of the cases, shape (n,); they sum to the number of patients. 1 by default.

        Raises:
            ValueError: If `coverage` is out of range.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage must lie between 0 and 1, got {coverage}")
        weights = np.ones(len(truth)) if weights is None else weights
        n = round(float(weights.sum()))
        rank = math.ceil((n + 1) * coverage)
        if rank > n:  # too few patients to promise anything short of all labels
            return cls(coverage, 0.0, n)
        own = probabilities[np.arange(len(truth)), truth]
        order = np.argsort(-own, kind="stable")
        # The patients with the surest true labels, as many as the rank asks for.
        enough = int(np.searchsorted(np.cumsum(weights[order]), rank - 1e-9))
        return cls(coverage, float(own[order][min(enough, len(own) - 1)]), n)

    def sets(self, probabilities: np.ndarray) -> np.ndarray:
        """Which labels are in each set, bool (n, label)."""
        top = probabilities == probabilities.max(axis=1, keepdims=True)
        return np.asarray((probabilities >= self.threshold) | top)
