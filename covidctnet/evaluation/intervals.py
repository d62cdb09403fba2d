"""Figures with the intervals that small cohorts deserve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

__all__ = [
    "BOOTSTRAP_DRAWS",
    "CONFIDENCE",
    "Draws",
    "Estimate",
    "area_interval",
    "auc",
    "auc_difference",
    "auc_interval",
    "bootstrap",
    "interval_of_draws",
    "redraw",
    "wilson",
]

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 2000
# A resampled group of fewer patients says nothing of how it might have been.
MIN_PATIENTS_FOR_BOOTSTRAP = 3
# Sums of the same terms in another order differ by this and mean nothing.
_ROUNDING = 1e-12
_Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: The figure, NaN when it cannot be estimated.
        low: Lower end of the interval, NaN when it cannot be estimated.
        high: Upper end.
        n: Cases it rests on: patients, unless something else is said.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"not estimable (n={self.n})"
        if math.isnan(self.low):
            return f"{self.value:.3f} (interval not estimable, n={self.n})"
        # A hyphen before a minus is hard to read.
        between = " to " if self.low < 0 else "-"
        return f"{self.value:.3f} ({self.low:.3f}{between}{self.high:.3f}, n={self.n})"


def wilson(successes: int, n: int) -> Estimate:
    """A proportion with its Wilson score interval.

    Args:
        successes: How often it happened.
        n: Out of how many.

    Source: Wilson 1927, as scipy computes it.
    """
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    interval = stats.binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a positive case scores higher than a negative one, ties counting half.

    Args:
        positive: One bool a case, shape (n,).
        scores: One score a case, shape (n,).

    Returns:
        NaN when one of the two groups is empty.
    """
    higher, lower = scores[positive], np.sort(scores[~positive])
    if not len(higher) or not len(lower):
        return math.nan
    # A tie is below on one side only.
    below = np.searchsorted(lower, higher, "left") + np.searchsorted(lower, higher, "right")
    return float(below.sum() / 2 / (len(higher) * len(lower)))


def auc_interval(positive: np.ndarray, scores: np.ndarray) -> Estimate:
    """AUC with a score interval that holds in small groups and does not shrink to a point at 1.

    Args:
        positive: One bool a case, shape (n,).
        scores: One score a case, shape (n,).

    Source: Newcombe, Statistics in Medicine 25:559 (2006), method 5: all areas that the one found
    does not contradict, with the variance of Hanley and McNeil for groups of their mean size.
    """
    n = len(positive)
    value = auc(positive, scores)
    if math.isnan(value):
        return Estimate(math.nan, math.nan, math.nan, n)
    m = int(positive.sum())
    return Estimate(value, *area_interval(value, m, n - m), n)


def area_interval(value: float, m: float, rest: float) -> tuple[float, float]:
    """The ends of the interval of `auc_interval`.

    Args:
        value: The area found.
        m: Positive cases; more than 0, and any number where a study is planned.
        rest: Negative cases, likewise.
    """

    def beyond(area: float) -> float:
        middle = (m + rest) / 2 - 1
        spread = area * (1 - area) / (m * rest)
        spread *= 1 + middle * (1 - area) / (2 - area) + middle * area / (1 + area)
        return abs(value - area) - _Z * math.sqrt(spread)

    # Negative at the area found and next to it, not at the far ends; the ends have no spread.
    inner = min(max(value, 1e-9), 1 - 1e-9)
    low = 0.0 if value == 0 else float(optimize.brentq(beyond, 0, inner))
    high = 1.0 if value == 1 else float(optimize.brentq(beyond, inner, 1))
    return low, high


def auc_difference(
    positive: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    patients: np.ndarray | None = None,
) -> tuple[Estimate, float]:
    """AUC of one score minus that of another on the same cases, and the p-value of no difference.

    Args:
        positive: One bool a case, shape (n,).
        first: One score a case.
        second: The other score of the same cases.
        patients: One number a case, where patients have several; every case is a patient by
            default.

    Returns:
        The difference with its interval, and the two-sided p-value: 1 when the scores rank the
        cases alike; NaN when a group has fewer than two patients. Where nothing varies within the
        groups, as between perfect scores and their opposite, there is no interval either.

    Source: DeLong et al., Biometrics 44:837 (1988), by ranks as Sun and Xu (2014); for several
    cases of a patient, Obuchowski, Biometrics 53:567 (1997).
    """
    n = len(positive)
    owners = np.arange(n) if patients is None else np.asarray(patients)
    difference = auc(positive, first) - auc(positive, second)
    if min(len(np.unique(owners[kind])) for kind in (positive, ~positive)) < 2:
        return Estimate(difference, math.nan, math.nan, n), math.nan
    variance, is_alike = 0.0, True
    by_patient = []
    for own, other in ((positive, ~positive), (~positive, positive)):
        gaps = np.subtract(*(_placements(score[own], score[other]) for score in (first, second)))
        count = len(np.unique(owners[own]))
        # What each patient adds to the difference of the two areas, about its mean.
        sums = np.bincount(owners[own], gaps - gaps.mean(), owners.max() + 1) / int(own.sum())
        variance += count / (count - 1) * float((sums**2).sum())
        by_patient.append(sums)
        is_alike &= not gaps.any()
    everybody = len(np.unique(owners))
    variance += 2 * everybody / (everybody - 1) * float((by_patient[0] * by_patient[1]).sum())
    if variance <= 0:
        return Estimate(difference, math.nan, math.nan, n), 1.0 if is_alike else math.nan
    spread = math.sqrt(variance)
    p_value = float(2 * stats.norm.sf(abs(difference) / spread))
    low, high = difference - _Z * spread, difference + _Z * spread
    return Estimate(difference, max(-1.0, low), min(1.0, high), n), p_value


@dataclass(frozen=True, eq=False)
class Draws:
    """Resampled patients within each group, as often as a bootstrap asks; see `redraw`.

    All figures of an evaluation take the same draws.

    Attributes:
        n: Cases.
        indices: Of the cases of one draw each, ascending by group; none where a group has too few
            patients.
        is_clustered: Whether a patient has several cases.
    """

    n: int
    indices: tuple[np.ndarray, ...]
    is_clustered: bool

    @property
    def counts(self) -> np.ndarray:
        """How often each case is in each draw, shape (draw, case)."""
        rows = [np.bincount(index, minlength=self.n) for index in self.indices]
        return np.array(rows, dtype=float).reshape(len(rows), self.n)


def redraw(
    groups: np.ndarray,
    rng: np.random.Generator,
    *,
    patients: np.ndarray | None = None,
    count: int | None = None,
) -> Draws:
    """Resample patients within each group, with replacement.

    Args:
        groups: One number a case, shape (n,): the strata, usually the true labels.
        rng: Source of the draws.
        patients: One number a case: cases of one patient are drawn together. Every case is a
            patient by default.
        count: How many draws; `BOOTSTRAP_DRAWS` by default.
    """
    owners = np.arange(len(groups)) if patients is None else np.asarray(patients)
    is_clustered = len(np.unique(owners)) < len(owners)
    members = []
    for group in np.unique(groups):  # who has cases in several groups is drawn within each
        cases = np.flatnonzero(groups == group)
        cases = cases[np.argsort(owners[cases], kind="stable")]
        _, starts, counts = np.unique(owners[cases], return_index=True, return_counts=True)
        members.append((cases, starts, counts))
    if min((len(starts) for _, starts, _ in members), default=0) < MIN_PATIENTS_FOR_BOOTSTRAP:
        return Draws(len(groups), (), is_clustered)
    indices = []
    for _ in range(BOOTSTRAP_DRAWS if count is None else count):
        parts = []
        for cases, starts, counts in members:
            drawn = rng.integers(len(starts), size=len(starts))
            if not is_clustered:
                parts.append(cases[drawn])
                continue
            lengths = counts[drawn]
            # 0, 1, ... within each patient drawn, behind where this patient's cases begin.
            within = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
            parts.append(cases[np.repeat(starts[drawn], lengths) + within])
        indices.append(np.concatenate(parts))
    return Draws(len(groups), tuple(indices), is_clustered)


def bootstrap(
    figures: Callable[[np.ndarray], Mapping[str, float]], draws: Draws
) -> dict[str, Estimate]:
    """Figures with percentile intervals over patients resampled within each group.

    Args:
        figures: Of the cases with these indices; the same names every time.
        draws: Of these cases.

    Returns:
        By name. A group of fewer than three patients gives no intervals, nor does a figure that is
        the same in every draw: where no draw differs, the draws say nothing. A draw in which a
        figure is not defined does not count for it.
    """
    n = draws.n
    whole = figures(np.arange(n))
    drawn = [figures(index) for index in draws.indices]
    return {
        name: interval_of_draws(value, np.array([draw[name] for draw in drawn]), n)
        for name, value in whole.items()
    }


def interval_of_draws(
    value: float, drawn: np.ndarray, n: int, *, share_defined: float = 0.0
) -> Estimate:
    """A figure with the percentiles of what the draws of a bootstrap gave.

    Args:
        value: The figure of all cases.
        drawn: The figure in each draw, NaN where it is not defined.
        n: Cases.
        share_defined: Share of the draws that must have the figure; with fewer, those that have
            it are no sample of what it might have been, and there is no interval.
    """
    known = drawn[~np.isnan(drawn)]
    nothing = Estimate(value, math.nan, math.nan, n)
    if math.isnan(value) or not len(known) or len(known) < share_defined * len(drawn):
        return nothing
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), n) if high - low > _ROUNDING else nothing


def _placements(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """For each case, the share of the other group that scores lower, ties counting half."""
    together = stats.rankdata(np.concatenate([own, other]))[: len(own)]
    share: np.ndarray = (together - stats.rankdata(own)) / len(other)
    return share
