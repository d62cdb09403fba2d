"""Two sets of answers to the same patients, and answers beside human readers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from covidctnet.errors import CohortError
from covidctnet.evaluation.intervals import Estimate, auc, auc_difference, bootstrap, wilson
from covidctnet.evaluation.predictions import Predicted
from covidctnet.evaluation.published import FIGURES
from covidctnet.results import Label

__all__ = ["Comparison", "ReaderScores", "compare", "mcnemar", "score_readers"]


@dataclass(frozen=True)
class Comparison:
    """The first set of answers against the second, on the patients that both answered.

    Attributes:
        n: Patients compared.
        left_out: Studies that only one of them answered.
        accuracy: Of the first and of the second, three classes.
        discordant: Patients that only the first, and only the second, got right.
        p_accuracy: Of McNemar's exact test.
        auc: By label: the difference first minus second, and DeLong's p-value.
        macro_auc: Difference of the means over classes, paired bootstrap.
    """

    n: int
    left_out: int
    accuracy: tuple[Estimate, Estimate]
    discordant: tuple[int, int]
    p_accuracy: float
    auc: Mapping[Label, tuple[Estimate, float]]
    macro_auc: Estimate


def compare(first: Predicted, second: Predicted, *, rng: np.random.Generator) -> Comparison:
    """Compare answers on the same patients.

    Args:
        first: One set.
        second: The other.
        rng: Of the bootstrap.

    Raises:
        CohortError: If they share no study, or disagree on a true label.
    """
    shared = sorted(set(first.studies) & set(second.studies))
    if not shared:
        raise CohortError("the two sets of answers share no study; give answers to one cohort")
    one, two = first.only(shared), second.only(shared)
    unlike = np.flatnonzero(one.truth != two.truth)
    if len(unlike):
        raise CohortError(
            f"study {shared[unlike[0]]} has one true label here and another there; correct it"
        )
    right = [part.answer == part.truth for part in (one, two)]
    only_one, only_two = (int((a & ~b).sum()) for a, b in (right, right[::-1]))

    def macro(index: np.ndarray) -> dict[str, float]:
        means = [
            np.mean([auc(part.truth[index] == k, part.probabilities[index, k]) for k in Label])
            for part in (one, two)
        ]
        return {"difference": float(means[0] - means[1])}

    return Comparison(
        n=len(shared),
        left_out=len(set(first.studies) ^ set(second.studies)),
        accuracy=(
            wilson(int(right[0].sum()), len(shared)),
            wilson(int(right[1].sum()), len(shared)),
        ),
        discordant=(only_one, only_two),
        p_accuracy=mcnemar(only_one, only_two),
        auc={
            k: auc_difference(one.truth == k, one.probabilities[:, k], two.probabilities[:, k])
            for k in Label
        },
        macro_auc=bootstrap(macro, one.truth, rng)["difference"],
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value that neither is right more often than the other.

    Args:
        only_first: Patients that only the first got right.
        only_second: Patients that only the second got right.

    Source: McNemar 1947, the exact binomial form.
    """
    n = only_first + only_second
    return float(stats.binomtest(only_first, n, 0.5).pvalue) if n else 1.0


@dataclass(frozen=True)
class ReaderScores:
    """What one reader, or the model on the same cases, got right.

    Attributes:
        name: Of the reader.
        accuracy: Three classes.
        covid_accuracy: Covid-19 against the rest.
        sensitivity: For Covid-19.
        specificity: For Covid-19.
        skipped: Cases without a label.
    """

    name: str
    accuracy: Estimate
    covid_accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    skipped: int


def score_readers(
    predicted: Predicted, readers: Mapping[str, Mapping[str, Label]]
) -> tuple[tuple[ReaderScores, ...], Mapping[str, float], ReaderScores]:
    """Readers one by one, their mean, and the model, on the cases of the model.

    Args:
        predicted: The model's answers, with the truth.
        readers: Of `covidctnet.evaluation.predictions.read_readers`.

    Returns:
        The readers; the mean of their figures by name, as the paper averages them (its Fig. 5);
        the model. A case that a reader skipped counts for that reader in nothing.

    Raises:
        CohortError: If a reader shares no case with the model.
    """
    truth = dict(zip(predicted.studies, predicted.truth.tolist(), strict=True))
    scores = []
    for number, (_, cases) in enumerate(sorted(readers.items()), start=1):
        shared = sorted(truth.keys() & cases.keys())
        if not shared:
            raise CohortError(f"reader {number} labels none of the studies that were evaluated")
        scores.append(
            _reader(
                f"reader {number}",
                np.array([truth[s] for s in shared]),
                np.array([int(cases[s]) for s in shared]),
                skipped=len(truth) - len(shared),
            )
        )
    means = {
        name: float(np.mean([v for s in scores if not math.isnan(v := getattr(s, name).value)]))
        for name in FIGURES
        if any(not math.isnan(getattr(s, name).value) for s in scores)
    }
    return tuple(scores), means, _reader("model", predicted.truth, predicted.answer, skipped=0)


def _reader(name: str, truth: np.ndarray, answer: np.ndarray, *, skipped: int) -> ReaderScores:
    is_covid, said_covid = truth == Label.COVID19, answer == Label.COVID19
    return ReaderScores(
        name,
        accuracy=wilson(int((truth == answer).sum()), len(truth)),
        covid_accuracy=wilson(int((is_covid == said_covid).sum()), len(truth)),
        sensitivity=wilson(int((is_covid & said_covid).sum()), int(is_covid.sum())),
        specificity=wilson(int((~is_covid & ~said_covid).sum()), int((~is_covid).sum())),
        skipped=skipped,
    )
