"""How far probabilities of one class are from what happened: Brier score, slope, intercept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from covidctnet.classes import Classes, Label
from covidctnet.evaluation.intervals import (
    Draws,
    Estimate,
    interval_of_draws,
    wilson,
)

__all__ = [
    "Brier",
    "ClassCalibration",
    "Group",
    "calibrate_by_class",
    "decompose",
    "fit_logistic",
    "groups_of",
]

# Probabilities of 0 and 1 have no logit; six digits are written of each.
_EDGE = 1e-6
_STEPS = 60
_PRECISION = 1e-9
# Beyond these a fit runs away: the cases are separated, or nearly so.
_LARGEST = 60.0
# Draws without a slope are those where the cases are separated, so the others are no sample.
_SHARE_DEFINED = 0.95
# As many patients as this in a group of the curve, and no more groups than that.
_PATIENTS_A_GROUP = 10
_MOST_GROUPS = 10
# So many numbers of a bootstrap at once, 32 MB.
_AT_ONCE = 2**22


@dataclass(frozen=True)
class Brier:
    """What the Brier score of one class consists of.

    The score is miscalibration less discrimination plus uncertainty, exactly.

    Attributes:
        miscalibration: What the best monotone recalibration would take off; 0 is best.
        discrimination: What the recalibrated probabilities gain over the share of the class.
        uncertainty: Score of the share of the class, told to everybody.

    Source: Dimitriadis, Gneiting and Jordan, PNAS 118:e2016191118 (2021), with isotonic regression.
    """

    miscalibration: float
    discrimination: float
    uncertainty: float


@dataclass(frozen=True)
class Group:
    """Patients who were told about the same probability of a class.

    Attributes:
        told: Mean probability.
        observed: Share of them that has the class.
    """

    told: float
    observed: Estimate


@dataclass(frozen=True)
class ClassCalibration:
    """Calibration of one class against the rest.

    Attributes:
        brier: Mean squared difference of the probability and 1 or 0; 0 is best.
        scaled_brier: 1 minus the Brier score over that of telling everybody the share of the class
            among these patients; 1 is best, 0 is no better than that.
        slope: Of the logistic regression of the class on the logit of its probability: 1 is best,
            below 1 the probabilities are too extreme.
        intercept: Of the same regression; 0 is best.
        in_the_large: Intercept with the slope kept at 1: above 0 the class is told too rarely.
        parts: Of the Brier score; None without patients of both kinds.
        groups: The calibration curve, by ascending probability.
        positive: Patients with the class.
        n: Patients.
    """

    brier: Estimate
    scaled_brier: Estimate
    slope: Estimate
    intercept: Estimate
    in_the_large: Estimate
    parts: Brier | None
    groups: tuple[Group, ...]
    positive: int
    n: int

    @property
    def figures(self) -> Mapping[str, Estimate]:
        """What has an interval, by name."""
        return {
            "brier": self.brier,
            "scaled_brier": self.scaled_brier,
            "slope": self.slope,
            "intercept": self.intercept,
            "in_the_large": self.in_the_large,
        }


def calibrate_by_class(
    truth: np.ndarray, probabilities: np.ndarray, classes: Classes, draws: Draws
) -> dict[Label, ClassCalibration]:
    """Calibration of every class against the rest.

    Args:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).
        classes: Of the answers.
        draws: Of these patients, not within their labels: how common a class is decides
            calibration, and chance moves it.
    """
    counts = draws.counts
    return {
        label: _of_class(truth == label, probabilities[:, label], draws, counts)
        for label in classes
    }


def _of_class(
    positive: np.ndarray, told: np.ndarray, draws: Draws, counts: np.ndarray
) -> ClassCalibration:
    n, y = len(positive), positive.astype(float)
    everybody = np.ones((1, n))

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=1)
        share = weights @ y / total
        brier = weights @ (told - y) ** 2 / total
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = share * (1 - share)
            scaled = np.where(spread > 0, 1 - brier / spread, np.nan)
        intercept, slope = fit_logistic(told, positive, weights)
        large, _ = fit_logistic(told, positive, weights, slope=1.0)
        return {
            "brier": brier,
            "scaled_brier": scaled,
            "slope": slope,
            "intercept": intercept,
            "in_the_large": large,
        }

    whole = figures(everybody)
    at_once = max(1, _AT_ONCE // n)
    parts = [figures(counts[k : k + at_once]) for k in range(0, len(counts), at_once)]
    estimates = {
        name: interval_of_draws(
            float(value[0]),
            np.concatenate([part[name] for part in parts]) if parts else np.empty(0),
            n,
            share_defined=_SHARE_DEFINED,
        )
        for name, value in whole.items()
    }
    is_mixed = bool(positive.any() and not positive.all())
    return ClassCalibration(
        **estimates,
        parts=decompose(positive, told) if is_mixed else None,
        groups=groups_of(positive, told, draws, counts),
        positive=int(positive.sum()),
        n=n,
    )


def decompose(positive: np.ndarray, told: np.ndarray) -> Brier:
    """The parts of a Brier score; see `Brier`.

    Args:
        positive: One bool a case, shape (n,).
        told: Probability of each case.
    """
    y = positive.astype(float)
    order = np.lexsort((y, told))
    sorted_told, sorted_y = told[order], y[order]
    # Cases that were told the same get the same: their mean, weighted by how many they are.
    _, starts, sizes = np.unique(sorted_told, return_index=True, return_counts=True)
    means = np.add.reduceat(sorted_y, starts) / sizes
    best = np.repeat(isotonic_regression(means, weights=sizes.astype(float)).x, sizes)
    score = float(((sorted_told - sorted_y) ** 2).mean())
    recalibrated = float(((best - sorted_y) ** 2).mean())
    uncertainty = float(y.mean() * (1 - y.mean()))
    return Brier(score - recalibrated, uncertainty - recalibrated, uncertainty)


def fit_logistic(
    told: np.ndarray, positive: np.ndarray, weights: np.ndarray, *, slope: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression of what happened on the logit of what was told, by Newton's method.

    Args:
        told: Probabilities, shape (n,); 0 and 1 count as one millionth from there.
        positive: What happened, bool (n,).
        weights: Of each case in each regression, shape (regression, n).
        slope: Kept at this value; fitted by default.

    Returns:
        Intercepts and slopes, shape (regression,). NaN where they do not exist: cases of one kind
        only, all told the same, or separated by what they were told.

    Source: Cox, Biometrika 45:562 (1958); Van Calster et al., BMC Medicine 17:230 (2019).
    """
    p = np.clip(told, _EDGE, 1 - _EDGE)
    x, y = np.log(p / (1 - p)), positive.astype(float)
    count = len(weights)
    a = np.zeros(count)
    b = np.full(count, 1.0 if slope is None else slope)
    exists = _exists(x, positive, weights, is_sloped=slope is None)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for _ in range(_STEPS):
            mean = 1 / (1 + np.exp(-(a[:, None] + b[:, None] * x)))
            gap = weights * (y - mean)
            curve = weights * mean * (1 - mean)
            g0, h00 = gap.sum(axis=1), curve.sum(axis=1)
            if slope is None:
                g1, h01, h11 = gap @ x, curve @ x, curve @ x**2
                determinant = h00 * h11 - h01**2
                step_a = (h11 * g0 - h01 * g1) / determinant
                step_b = (h00 * g1 - h01 * g0) / determinant
            else:
                step_a, step_b = g0 / h00, np.zeros(count)
            # Halved where a full step would run beyond the hill; the likelihood is concave.
            longest = np.maximum(np.abs(step_a), np.abs(step_b))
            damp = np.where(longest > 2, 2 / longest, 1.0)
            a, b = a + damp * step_a, b + damp * step_b
            exists &= np.isfinite(a) & np.isfinite(b)
            exists &= (np.abs(a) < _LARGEST) & (np.abs(b) < _LARGEST)
            a, b = np.where(exists, a, 0.0), np.where(exists, b, 1.0)
            if not (exists & (longest > _PRECISION)).any():
                break
        else:
            exists &= longest <= _PRECISION
    return np.where(exists, a, np.nan), np.where(exists, b, np.nan)


def _exists(
    x: np.ndarray, positive: np.ndarray, weights: np.ndarray, *, is_sloped: bool
) -> np.ndarray:
    """Whether each regression has a finite solution."""
    is_there = weights > 0
    both = (is_there & positive).any(axis=1) & (is_there & ~positive).any(axis=1)
    if not is_sloped:
        return np.asarray(both)

    def ends(kind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        here = is_there & kind
        low = np.where(here, x, np.inf).min(axis=1)
        return low, np.where(here, x, -np.inf).max(axis=1)

    (low_ill, high_ill), (low_well, high_well) = ends(positive), ends(~positive)
    overlap = (high_well > low_ill) & (high_ill > low_well)
    return np.asarray(both & overlap)


def groups_of(
    positive: np.ndarray, told: np.ndarray, draws: Draws, counts: np.ndarray | None = None
) -> tuple[Group, ...]:
    """The calibration curve: patients in groups of about one size, by what they were told.

    Args:
        positive: One bool a case, shape (n,).
        told: Probability of each case.
        draws: Of these cases; where a patient has several, the intervals are theirs, else Wilson's.
        counts: `Draws.counts`, where they are known.
    """
    n = len(told)
    count = min(_MOST_GROUPS, max(1, n // _PATIENTS_A_GROUP))
    order = np.argsort(told, kind="stable")
    # Cases told the same stay together.
    ranks = np.searchsorted(np.sort(told), told, side="left")
    number = np.minimum(ranks * count // n, count - 1)
    counts = draws.counts if counts is None and draws.is_clustered else counts
    groups = []
    for group in range(count):
        own = number[order] == group
        here = order[own]
        if not len(here):
            continue
        observed = wilson(int(positive[here].sum()), len(here))
        if draws.is_clustered and counts is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = counts[:, here] @ positive[here] / counts[:, here].sum(axis=1)
            observed = interval_of_draws(observed.value, shares, len(here))
        groups.append(Group(float(told[here].mean()), observed))
    return tuple(g for g in groups if not math.isnan(g.told))
