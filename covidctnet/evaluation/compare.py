"""Two sets of answers to the same patients, and answers against human readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from covidctnet.classes import Label
from covidctnet.errors import CohortError
from covidctnet.evaluation.intervals import Estimate, auc, auc_difference, bootstrap, redraw, wilson
from covidctnet.evaluation.predictions import Predicted
from covidctnet.evaluation.published import FIGURES

__all__ = [
    "Comparison",
    "ReaderMean",
    "ReaderScores",
    "compare",
    "holm",
    "mcnemar",
    "score_readers",
]


@dataclass(frozen=True)
class Comparison:
    """The first set of answers against the second, on the patients that both answered.

    Attributes:
        n: Patients compared.
        left_out: Studies that only one of them answered.
        accuracy: Of the first and of the second, all classes.
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
        raise CohortError(
            "the two sets of answers share no study. Give answers to one cohort, under ids of one "
            "key: evaluate --data takes that of another evaluation with --key FOLDER."
        )
    one, two = first.only(shared), second.only(shared)
    unlike = np.flatnonzero(one.truth != two.truth)
    if len(unlike):
        raise CohortError(
            f"study {shared[unlike[0]]} has one true label here and another there; correct it"
        )
    if one.classes != two.classes:
        raise CohortError(
            f"expected answers of the same classes, got {', '.join(one.classes.titles)} and "
            f"{', '.join(two.classes.titles)}"
        )
    right = [part.answer == part.truth for part in (one, two)]
    only_one, only_two = (int((a & ~b).sum()) for a, b in (right, right[::-1]))

    def macro(index: np.ndarray) -> dict[str, float]:
        means = [
            np.mean(
                [auc(part.truth[index] == k, part.probabilities[index, k]) for k in one.classes]
            )
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
            for k in one.classes
        },
        macro_auc=bootstrap(macro, redraw(one.truth, rng))["difference"],
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


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected for their number.

    Args:
        p_values: One a test; NaN where a test says nothing, which counts for none.

    Returns:
        In the same order, none above 1: whoever rejects those below 0.05 rejects a true hypothesis
        in 5 % of all such families of tests at most.

    Source: Holm, Scandinavian Journal of Statistics 6:65 (1979).
    """
    out = [math.nan] * len(p_values)
    told = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    least = 0.0
    for rank, (p, place) in enumerate(told):
        least = max(least, min(1.0, (len(told) - rank) * p))
        out[place] = least
    return out


@dataclass(frozen=True)
class ReaderScores:
    """What one reader, or the model, got right.

    Attributes:
        name: Of the reader.
        accuracy: All classes.
        covid_accuracy: Covid-19 against the rest; in other classes, their first positive one.
        sensitivity: For that class.
        specificity: For that class.
        skipped: Cases without a label.
        unknown: Labels of studies that were not evaluated: of others, or misspelt.
        model: The model on the cases of this reader; None for the model itself.
        p_accuracy: Of McNemar's exact test that the two are right as often, all classes; NaN for
            the model itself.
    """

    name: str
    accuracy: Estimate
    covid_accuracy: Estimate
    sensitivity: Estimate
    specificity: Estimate
    skipped: int = 0
    unknown: int = 0
    model: ReaderScores | None = None
    p_accuracy: float = math.nan


@dataclass(frozen=True)
class ReaderMean:
    """A figure averaged over readers.

    Attributes:
        figure: The mean, with an interval over resampled cases; the readers stay the same.
        readers: Readers who have the figure.
    """

    figure: Estimate
    readers: int


def score_readers(
    predicted: Predicted,
    readers: Mapping[str, Mapping[str, Label]],
    *,
    rng: np.random.Generator,
) -> tuple[tuple[ReaderScores, ...], Mapping[str, ReaderMean], ReaderScores]:
    """Readers one by one, their mean, and the model, on the cases of the model.

    Args:
        predicted: The model's answers, with the truth.
        readers: Of `covidctnet.evaluation.reader_table.Readings.labels`.
        rng: Of the bootstrap over cases.

    Returns:
        The readers; the means of their figures by name, as the paper averages them (its Fig. 5);
        the model on all of its cases. A case that a reader skipped counts for that reader in
        nothing; with each reader, the model on the same cases.

    Raises:
        CohortError: If a reader shares no case with the model.
    """
    places = {study: place for place, study in enumerate(predicted.studies)}
    labels = np.full((len(readers), len(places)), -1)
    target = predicted.classes.target
    scores = []
    for number, (name, cases) in enumerate(sorted(readers.items())):
        for study, label in cases.items():
            if study in places:
                labels[number, places[study]] = int(label)
        there = np.flatnonzero(labels[number] >= 0)
        if not len(there):
            raise CohortError(
                f"reader {name!r} labels none of the studies that were evaluated. Expected ids as "
                "predictions.csv has them, or own ids with --keys TABLE that names the study of "
                "each."
            )
        truth, readings, answer = (
            values[there] for values in (predicted.truth, labels[number], predicted.answer)
        )
        right, model_right = readings == truth, answer == truth
        scores.append(
            replace(
                _reader(name, truth, readings, target),
                skipped=len(places) - len(there),
                unknown=len(cases.keys() - places.keys()),
                model=_reader("model", truth, answer, target),
                p_accuracy=mcnemar(
                    int((model_right & ~right).sum()), int((right & ~model_right).sum())
                ),
            )
        )
    means = _reader_means(predicted.truth, labels, target, rng)
    return tuple(scores), means, _reader("model", predicted.truth, predicted.answer, target)


def _reader(name: str, truth: np.ndarray, answer: np.ndarray, target: Label) -> ReaderScores:
    accuracy, covid, sensitivity, specificity = (
        wilson(*count) for count in _counts(truth, answer, target).values()
    )
    return ReaderScores(name, accuracy, covid, sensitivity, specificity)


def _counts(truth: np.ndarray, answer: np.ndarray, target: Label) -> dict[str, tuple[int, int]]:
    """How often right, and of how many, by figure."""
    is_covid, answered_covid = truth == target, answer == target
    return {
        "accuracy": (int((truth == answer).sum()), len(truth)),
        "covid_accuracy": (int((is_covid == answered_covid).sum()), len(truth)),
        "sensitivity": (int((is_covid & answered_covid).sum()), int(is_covid.sum())),
        "specificity": (int((~is_covid & ~answered_covid).sum()), int((~is_covid).sum())),
    }


def _reader_means(
    truth: np.ndarray, labels: np.ndarray, target: Label, rng: np.random.Generator
) -> dict[str, ReaderMean]:
    """Means over readers; `labels` is (reader, case), -1 where one was skipped."""

    def shares(index: np.ndarray) -> dict[str, list[float]]:
        values: dict[str, list[float]] = {name: [] for name in FIGURES}
        for reading in labels[:, index]:
            there = reading >= 0
            for name, (right, n) in _counts(truth[index][there], reading[there], target).items():
                if n:
                    values[name].append(right / n)
        return values

    def means(index: np.ndarray) -> dict[str, float]:
        return {name: float(np.mean(v)) if v else math.nan for name, v in shares(index).items()}

    drawn = bootstrap(means, redraw(truth, rng))
    everyone = shares(np.arange(len(truth)))
    return {name: ReaderMean(drawn[name], len(everyone[name])) for name in FIGURES}
