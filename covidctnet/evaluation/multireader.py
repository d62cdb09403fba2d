"""Several readers and several cases: whether a difference would hold for other readers and cases.

Two questions: do readers do better in one condition than in another (Obuchowski and Rockette), and
does the model do better than the readers (a bootstrap over readers and cases)?
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from covidctnet.evaluation.intervals import (
    CONFIDENCE,
    Estimate,
    auc,
    interval_of_draws,
    redraw,
)

__all__ = [
    "Components",
    "Conditions",
    "components_of",
    "jackknife",
    "model_against_readers",
    "obuchowski_rockette",
]


@dataclass(frozen=True)
class Components:
    """Variance of a figure over cases, and covariances of two of them.

    Attributes:
        variance: Of the figure of one reader in one condition.
        cov1: Same reader, different conditions.
        cov2: Different readers, same condition.
        cov3: Different readers, different conditions.
    """

    variance: float
    cov1: float
    cov2: float
    cov3: float


@dataclass(frozen=True)
class Conditions:
    """Two conditions of reading, compared for readers and cases like these.

    Attributes:
        first: Mean figure over readers in the first condition.
        second: In the second.
        difference: First minus second.
        f: Statistic of no difference.
        df: Degrees of freedom of its denominator.
        p: Two-sided p-value.
        readers: How many read in both.
        n: Cases that all of them read in both.
    """

    first: Estimate
    second: Estimate
    difference: Estimate
    f: float
    df: float
    p: float
    readers: int
    n: int


def jackknife(
    positive: np.ndarray, scores: np.ndarray, patients: np.ndarray | None = None
) -> np.ndarray:
    """AUC of every reading without each patient in turn.

    Args:
        positive: One bool a case, shape (n,).
        scores: Shape (reading, n).
        patients: One number a case; every case is a patient by default.

    Returns:
        Shape (reading, patient).
    """
    owners = np.arange(len(positive)) if patients is None else patients
    keep = np.unique(owners)[:, None] != owners
    return np.array([[auc(positive[k], one[k]) for k in keep] for one in scores])


def components_of(left_out: np.ndarray) -> Components:
    """Variance and covariances of figures over cases by the jackknife.

    Args:
        left_out: Figures without each patient, shape (condition, reader, patient).
    """
    conditions, readers, n = left_out.shape
    flat = left_out.reshape(-1, n)
    gaps = flat - flat.mean(axis=1, keepdims=True)
    covariance = (n - 1) / n * gaps @ gaps.T
    condition, reader = np.divmod(np.arange(conditions * readers), readers)
    same_condition = condition[:, None] == condition
    same_reader = reader[:, None] == reader

    def mean(which: np.ndarray) -> float:
        return float(covariance[which].mean()) if which.any() else 0.0

    return Components(
        mean(same_condition & same_reader),
        mean(~same_condition & same_reader),
        mean(same_condition & ~same_reader),
        mean(~same_condition & ~same_reader),
    )


def obuchowski_rockette(
    figures: np.ndarray, components: Components, within: Sequence[float], n: int
) -> Conditions:
    """Compare two conditions with random readers and random cases.

    Args:
        figures: Shape (2, reader): a figure of each reader in each condition.
        components: Of these figures.
        within: Covariance of different readers in the first and in the second condition alone.
        n: Cases.

    Returns:
        NaN where nothing varies, or for a single reader.

    Source: Obuchowski and Rockette, Communications in Statistics 24:285 (1995), with the degrees of
    freedom of Hillis, Statistics in Medicine 26:596 (2007).
    """
    conditions, readers = figures.shape
    means, by_reader = figures.mean(axis=1), figures.mean(axis=0)
    gap = float(means[0] - means[1])
    nothing = (math.nan, math.nan)
    if readers < 2:
        one, two, difference = (Estimate(float(v), *nothing, n) for v in (*means, gap))
        return Conditions(one, two, difference, math.nan, math.nan, math.nan, readers, n)
    rest = figures - means[:, None] - by_reader + figures.mean()
    free = (conditions - 1) * (readers - 1)
    ms_condition = readers * float(((means - figures.mean()) ** 2).sum()) / (conditions - 1)
    ms_both = float((rest**2).sum()) / free
    below = ms_both + readers * max(components.cov2 - components.cov3, 0.0)
    f = ms_condition / below if below > 0 else math.nan
    df = _df(below, ms_both, free)
    p = _beyond(f, conditions - 1, df) if below > 0 else math.nan
    difference = _interval(gap, math.sqrt(2 * below / readers), df, n, limit=1)
    singles = []
    for mean, own, cov2 in zip(means, figures, within, strict=True):
        ms_reader = float(((own - mean) ** 2).sum()) / (readers - 1)
        spread = ms_reader + readers * max(cov2, 0.0)
        df_one = _df(spread, ms_reader, readers - 1)
        singles.append(_interval(float(mean), math.sqrt(spread / readers), df_one, n, limit=None))
    return Conditions(singles[0], singles[1], difference, f, df, p, readers, n)


def _df(below: float, mean_square: float, free: int) -> float:
    return below**2 / (mean_square**2 / free) if mean_square > 0 else math.inf


def _beyond(f: float, free: int, df: float) -> float:
    """Probability of a larger F; scipy has none for a denominator that does not vary."""
    if math.isinf(df):
        return float(stats.chi2.sf(free * f, free))
    return float(stats.f.sf(f, free, df))


def _interval(value: float, error: float, df: float, n: int, *, limit: int | None) -> Estimate:
    if error == 0:
        return Estimate(value, math.nan, math.nan, n)
    tail = (1 + CONFIDENCE) / 2
    reach = error * float(stats.norm.ppf(tail) if math.isinf(df) else stats.t.ppf(tail, df))
    lowest, highest = (-1.0, 1.0) if limit else (0.0, 1.0)
    return Estimate(value, max(lowest, value - reach), min(highest, value + reach), n)


def model_against_readers(
    truth: np.ndarray,
    answer: np.ndarray,
    labels: np.ndarray,
    target: int,
    *,
    rng: np.random.Generator,
    patients: np.ndarray | None = None,
) -> Mapping[str, tuple[Estimate, float]]:
    """The model minus the mean of the readers, for other readers and other cases like these.

    Args:
        truth: `Label` values, shape (n,).
        answer: Labels that the model gave.
        labels: Of the readers, shape (reader, n); -1 where a case was not read. Where a reader
            skipped a case, the model is compared with this reader without it.
        target: Class that sensitivity and specificity are of.
        rng: Of the bootstrap over readers and over patients within their true class.
        patients: One number a case; every case is a patient by default.

    Returns:
        ``accuracy``, ``sensitivity`` and ``specificity``: the difference with its interval, and the
        share of draws on the other side of no difference, twice. No interval where a class has
        fewer than three patients.
    """
    is_target = truth == target
    right = {
        "accuracy": (labels == truth, answer == truth, np.ones(len(truth), bool)),
        "sensitivity": (labels == target, answer == target, is_target),
        "specificity": (labels != target, answer != target, ~is_target),
    }
    cases = redraw(truth, rng, patients=patients).indices
    readers = [rng.integers(len(labels), size=len(labels)) for _ in cases]
    out = {}
    for name, (own, model, counted) in right.items():
        there = (labels >= 0) & counted
        # What each case adds to the difference with each reader.
        gain = np.where(there, model.astype(float) - own, 0.0)

        def mean(
            index: np.ndarray, who: np.ndarray, gain: np.ndarray = gain, there: np.ndarray = there
        ) -> float:
            counts = there[who][:, index].sum(axis=1)
            known = counts > 0
            if not known.any():
                return math.nan
            return float((gain[who][:, index].sum(axis=1)[known] / counts[known]).mean())

        everybody = np.arange(len(truth)), np.arange(len(labels))
        drawn = np.array([mean(*draw) for draw in zip(cases, readers, strict=True)])
        value = mean(*everybody)
        estimate = interval_of_draws(value, drawn, len(truth), share_defined=0.95)
        known = drawn[~np.isnan(drawn)]
        p = math.nan
        if len(labels) > 1 and not math.isnan(estimate.low):
            beyond = min((known <= 0).mean(), (known >= 0).mean())
            p = float(min(1.0, 2 * max(beyond, 1 / (len(known) + 1))))
        if len(labels) < 2:
            estimate = Estimate(value, math.nan, math.nan, len(truth))
        out[name] = (estimate, p)
    return out
