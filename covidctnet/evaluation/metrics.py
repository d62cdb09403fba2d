"""How often the answers were right, with the intervals that small cohorts deserve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from covidctnet.results import Label

__all__ = ["Estimate", "Scores", "auc", "score", "wilson"]

CONFIDENCE = 0.95
BOOTSTRAP_DRAWS = 2000
# The cohort is drawn anew label by label, so fewer patients than this give no interval.
MIN_PATIENTS_FOR_BOOTSTRAP = 3


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: The figure, NaN when it cannot be estimated.
        low: Lower end of the interval, NaN when it cannot be estimated.
        high: Upper end.
        n: Patients it rests on.
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
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f}, n={self.n})"


@dataclass(frozen=True)
class Scores:
    """The figures of one evaluation.

    Attributes:
        accuracy: Three classes, Wilson interval.
        covid_accuracy: Covid-19 against the rest, Wilson interval.
        macro_auc: Mean of the three one-against-rest AUCs, bootstrap interval.
        auc: One against the rest, by label.
        sensitivity: By label, Wilson interval.
        specificity: By label, Wilson interval.
        confusion: Rows the truth, columns the answer, shape (label, label).
    """

    accuracy: Estimate
    covid_accuracy: Estimate
    macro_auc: Estimate
    auc: dict[Label, Estimate]
    sensitivity: dict[Label, Estimate]
    specificity: dict[Label, Estimate]
    confusion: np.ndarray


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
        positive: One bool a patient, shape (n,).
        scores: One score a patient, shape (n,).

    Returns:
        NaN when one of the two groups is empty.
    """
    ranks = stats.rankdata(scores)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return math.nan
    return float(
        (ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
    )


def score(truth: np.ndarray, probabilities: np.ndarray, *, rng: np.random.Generator) -> Scores:
    """Every figure of an evaluation.

    Args:
        truth: `Label` values, one a patient, shape (n,).
        probabilities: Shape (n, label), rows sum to 1.
        rng: For the bootstrap over patients.

    Raises:
        ValueError: If shapes disagree or rows do not sum to 1.
    """
    truth = np.asarray(truth, dtype=int)
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.shape != (len(truth), len(Label)) or not len(truth):
        raise ValueError(
            f"wanted probabilities of shape ({len(truth)}, {len(Label)}) for at least one patient, "
            f"got {probabilities.shape}"
        )
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities of a patient must sum to 1")
    answer = probabilities.argmax(axis=1)
    confusion = np.zeros((len(Label), len(Label)), dtype=int)
    np.add.at(confusion, (truth, answer), 1)
    is_covid = truth == Label.COVID19
    said_covid = answer == Label.COVID19

    def label_auc(label: Label) -> Callable[[np.ndarray], float]:
        return lambda index: auc(truth[index] == label, probabilities[index, label])

    def macro(index: np.ndarray) -> float:
        return float(np.mean([label_auc(label)(index) for label in Label]))

    return Scores(
        accuracy=wilson(int(np.trace(confusion)), len(truth)),
        covid_accuracy=wilson(int((is_covid == said_covid).sum()), len(truth)),
        macro_auc=_bootstrap(macro, truth, rng),
        auc={label: _bootstrap(label_auc(label), truth, rng) for label in Label},
        sensitivity={
            label: wilson(int(confusion[label, label]), int(confusion[label].sum()))
            for label in Label
        },
        specificity={
            label: wilson(
                int(((truth != label) & (answer != label)).sum()), int((truth != label).sum())
            )
            for label in Label
        },
        confusion=confusion,
    )


def _bootstrap(
    figure: Callable[[np.ndarray], float], truth: np.ndarray, rng: np.random.Generator
) -> Estimate:
    """Percentile interval over patients drawn anew within each label."""
    n = len(truth)
    value = figure(np.arange(n))
    groups = [np.flatnonzero(truth == label) for label in Label]
    groups = [group for group in groups if len(group)]
    if math.isnan(value) or min(len(g) for g in groups) < MIN_PATIENTS_FOR_BOOTSTRAP:
        return Estimate(value, math.nan, math.nan, n)
    draws = [
        figure(np.concatenate([rng.choice(group, len(group)) for group in groups]))
        for _ in range(BOOTSTRAP_DRAWS)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), n)
