"""Two sets of answers to the same patients, and answers against human readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from covidctnet.classes import Label
from covidctnet.errors import CohortError
from covidctnet.evaluation.intervals import (
    Draws,
    Estimate,
    auc,
    auc_difference,
    bootstrap,
    interval_of_draws,
    redraw,
    wilson,
)
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
        n: Studies compared.
        patients: Whom they are of.
        left_out: Studies that only one of them answered.
        accuracy: Of the first and of the second, all classes.
        discordant: Studies that only the first, and only the second, got right.
        p_accuracy: Of McNemar's exact test, by patient; see `mcnemar`.
        auc: By label: the difference first minus second, and DeLong's p-value.
        macro_auc: Difference of the means over classes, paired bootstrap.
    """

    n: int
    patients: int
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
    owners = one.owners if any(one.patients) else two.owners
    draws = redraw(one.truth, rng, patients=owners)

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
        patients=len(np.unique(owners)),
        left_out=len(set(first.studies) ^ set(second.studies)),
        accuracy=(
            _share(right[0], np.ones(len(shared), bool), draws),
            _share(right[1], np.ones(len(shared), bool), draws),
        ),
        discordant=(only_one, only_two),
        p_accuracy=_mcnemar_by_patient(right[0], right[1], owners),
        auc={
            k: auc_difference(
                one.truth == k, one.probabilities[:, k], two.probabilities[:, k], patients=owners
            )
            for k in one.classes
        },
        macro_auc=bootstrap(macro, draws)["difference"],
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


def _mcnemar_by_patient(first: np.ndarray, second: np.ndarray, patients: np.ndarray) -> float:
    """McNemar's test where patients have several studies, which are right or wrong together.

    What each patient adds to the difference may have either sign, with its size kept: the exact
    distribution of all signs. With one study a patient this is `mcnemar`.
    """
    gains = np.bincount(patients, first.astype(float) - second.astype(float))
    sizes = np.abs(gains[gains != 0]).astype(int)
    if (sizes == 1).all():
        return mcnemar(int((gains > 0).sum()), int((gains < 0).sum()))
    chances = np.ones(1)
    for size in sizes:
        moved = np.zeros(len(chances) + 2 * size)
        moved[: len(chances)] += chances / 2
        moved[2 * size :] += chances / 2
        chances = moved
    sums = np.arange(len(chances)) - sizes.sum()
    return float(min(1.0, chances[np.abs(sums) >= abs(int(gains.sum()))].sum()))


def _share(hit: np.ndarray, among: np.ndarray, draws: Draws) -> Estimate:
    """A share with Wilson's interval; where patients have several studies, with that of draws."""
    share = wilson(int((hit & among).sum()), int(among.sum()))
    if not draws.is_clustered:
        return share
    counts = draws.counts
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = counts @ (hit & among) / (counts @ among)
    return interval_of_draws(share.value, drawn, share.n)


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
    everybody = predicted.owners
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
                "each, such as the one in do-not-share/ of the work folder."
            )
        truth, readings, answer, owners = (
            values[there]
            for values in (predicted.truth, labels[number], predicted.answer, everybody)
        )
        draws = redraw(truth, rng, patients=owners)
        scores.append(
            replace(
                _reader(name, truth, readings, target, draws),
                skipped=len(places) - len(there),
                unknown=len(cases.keys() - places.keys()),
                model=_reader("model", truth, answer, target, draws),
                p_accuracy=_mcnemar_by_patient(answer == truth, readings == truth, owners),
            )
        )
    draws = redraw(predicted.truth, rng, patients=everybody)
    means = _reader_means(predicted.truth, labels, target, draws)
    model = _reader("model", predicted.truth, predicted.answer, target, draws)
    return tuple(scores), means, model


def _reader(
    name: str, truth: np.ndarray, answer: np.ndarray, target: Label, draws: Draws
) -> ReaderScores:
    accuracy, covid, sensitivity, specificity = (
        _share(hit, among, draws) for hit, among in _parts(truth, answer, target).values()
    )
    return ReaderScores(name, accuracy, covid, sensitivity, specificity)


def _parts(
    truth: np.ndarray, answer: np.ndarray, target: Label
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which cases were right, and of which ones, by figure."""
    is_covid, answered_covid = truth == target, answer == target
    all_cases = np.ones(len(truth), dtype=bool)
    return {
        "accuracy": (truth == answer, all_cases),
        "covid_accuracy": (is_covid == answered_covid, all_cases),
        "sensitivity": (answered_covid, is_covid),
        "specificity": (~answered_covid, ~is_covid),
    }


def _counts(truth: np.ndarray, answer: np.ndarray, target: Label) -> dict[str, tuple[int, int]]:
    """How often right, and of how many, by figure."""
    parts = _parts(truth, answer, target)
    return {
        name: (int((hit & among).sum()), int(among.sum())) for name, (hit, among) in parts.items()
    }


def _reader_means(
    truth: np.ndarray, labels: np.ndarray, target: Label, draws: Draws
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

    drawn = bootstrap(means, draws)
    everyone = shares(np.arange(len(truth)))
    return {name: ReaderMean(drawn[name], len(everyone[name])) for name in FIGURES}
