"""How far readers agree beyond chance: Cohen's and Fleiss' kappa."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.evaluation.intervals import Estimate, bootstrap, redraw

__all__ = ["Agreement", "Pair", "agree", "cohen", "fleiss"]


@dataclass(frozen=True)
class Pair:
    """Agreement of two readers.

    Attributes:
        first: Name.
        second: Name.
        kappa: Cohen's, on the cases that both read.
        same: Share of these cases with the same label.
    """

    first: str
    second: str
    kappa: Estimate
    same: float


@dataclass(frozen=True)
class Agreement:
    """Agreement of all readers.

    Attributes:
        pairs: Every two of them.
        all_readers: Fleiss' kappa, on the cases that all of them read.
        readers: How many.
    """

    pairs: tuple[Pair, ...]
    all_readers: Estimate
    readers: int


def cohen(first: np.ndarray, second: np.ndarray, classes: int) -> float:
    """Cohen's kappa; NaN without cases, and where both use one and the same label only.

    Args:
        first: Labels, shape (n,).
        second: Of the other reader.
        classes: How many labels there are.

    Source: Cohen, Educational and Psychological Measurement 20:37 (1960).
    """
    if not len(first):
        return math.nan
    observed = float((first == second).mean())
    shares = [np.bincount(one, minlength=classes) / len(one) for one in (first, second)]
    expected = float(shares[0] @ shares[1])
    return (observed - expected) / (1 - expected) if expected < 1 else math.nan


def fleiss(counts: np.ndarray) -> float:
    """Fleiss' kappa; NaN for fewer than two readers, no cases, or one label only.

    Args:
        counts: How many readers gave each label to each case, shape (case, label).

    Source: Fleiss, Psychological Bulletin 76:378 (1971).
    """
    if not len(counts) or (readers := int(counts[0].sum())) < 2:
        return math.nan
    same = ((counts**2).sum(axis=1) - readers) / (readers * (readers - 1))
    expected = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return (float(same.mean()) - expected) / (1 - expected) if expected < 1 else math.nan


def agree(
    names: Sequence[str],
    labels: np.ndarray,
    classes: int,
    *,
    rng: np.random.Generator,
    patients: np.ndarray | None = None,
) -> Agreement:
    """Kappa of every two readers and of all, with intervals over resampled patients.

    Args:
        names: Of the readers.
        labels: Shape (reader, case); -1 where a case was not read.
        classes: How many labels there are.
        rng: Of the bootstrap.
        patients: One number a case; every case is a patient by default.
    """
    owners = np.arange(labels.shape[1]) if patients is None else patients
    pairs = []
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            both = (labels[i] >= 0) & (labels[j] >= 0)
            one, two = labels[i][both], labels[j][both]
            kappa = _bootstrapped(_of_two(one, two, classes), owners[both], rng)
            same = float((one == two).mean()) if len(one) else math.nan
            pairs.append(Pair(names[i], names[j], kappa, same))
    by_all = (labels >= 0).all(axis=0)
    complete = labels[:, by_all]
    counts = np.stack([(complete == k).sum(axis=0) for k in range(classes)], axis=1)
    all_readers = _bootstrapped(lambda k: fleiss(counts[k]), owners[by_all], rng)
    return Agreement(tuple(pairs), all_readers, len(names))


def _of_two(one: np.ndarray, two: np.ndarray, classes: int) -> Callable[[np.ndarray], float]:
    return lambda index: cohen(one[index], two[index], classes)


def _bootstrapped(
    kappa: Callable[[np.ndarray], float], patients: np.ndarray, rng: np.random.Generator
) -> Estimate:
    if not len(patients):
        return Estimate(math.nan, math.nan, math.nan, 0)
    draws = redraw(np.zeros(len(patients), dtype=int), rng, patients=patients)
    return bootstrap(lambda index: {"kappa": kappa(index)}, draws)["kappa"]
