"""A model and human readers on the same cases: figures, agreement, comparisons, points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from covidctnet.classes import Classes
from covidctnet.evaluation.agreement import Agreement, agree
from covidctnet.evaluation.compare import ReaderMean, ReaderScores, score_readers
from covidctnet.evaluation.curves import Curve, roc_curve
from covidctnet.evaluation.intervals import Estimate, auc, redraw
from covidctnet.evaluation.multireader import (
    Components,
    Conditions,
    components_of,
    jackknife,
    model_against_readers,
    obuchowski_rockette,
)
from covidctnet.evaluation.output import plain_estimate
from covidctnet.evaluation.predictions import Predicted
from covidctnet.evaluation.reader_table import Reading, Readings

__all__ = [
    "ConditionStudy",
    "ReaderStudy",
    "compare_conditions",
    "study_plain",
    "study_readers",
    "study_sheets",
]

Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class ConditionStudy:
    """Readers of one condition against the model.

    Attributes:
        condition: Its name; empty where there is one only.
        scores: Reader by reader.
        means: Over readers.
        agreement: Of the readers.
        differences: Model minus readers, with a p-value; see `model_against_readers`.
    """

    condition: str
    scores: tuple[ReaderScores, ...]
    means: Mapping[str, ReaderMean]
    agreement: Agreement
    differences: Mapping[str, tuple[Estimate, float]]


@dataclass(frozen=True, eq=False)
class ReaderStudy:
    """Everything of a model and its readers.

    Attributes:
        classes: Of the answers.
        model: The model on all of its cases.
        roc: Of the model, for the target class; None without cases of both kinds.
        conditions: One at least.
        compared: Every two conditions that two readers or more read, by their names.
        why_not: Why two conditions are not compared, by their names.
        n: Cases.
        patients: Whom they are of.
    """

    classes: Classes
    model: ReaderScores
    roc: Curve | None
    conditions: tuple[ConditionStudy, ...]
    compared: Mapping[tuple[str, str], Conditions]
    why_not: Mapping[tuple[str, str], str]
    n: int
    patients: int


def study_readers(
    predicted: Predicted, readings: Readings, *, rng: np.random.Generator
) -> ReaderStudy:
    """Compare a model with readers, and readers with one another.

    Args:
        predicted: The model's answers, with the truth.
        readings: Of `covidctnet.evaluation.reader_table.read_readings`.
        rng: Of the bootstraps.

    Raises:
        CohortError: If a reader shares no case with the model.
    """
    target, owners = predicted.classes.target, predicted.owners
    studies, model = [], None
    for condition in readings.conditions:
        by_reader = readings.labels(condition)
        scores, means, model = score_readers(predicted, by_reader, rng=rng)
        labels = _labels(predicted, by_reader)
        studies.append(
            ConditionStudy(
                condition,
                scores,
                means,
                agree(sorted(by_reader), labels, len(predicted.classes), rng=rng, patients=owners),
                model_against_readers(
                    predicted.truth,
                    predicted.answer,
                    labels,
                    int(target),
                    rng=rng,
                    patients=owners,
                ),
            )
        )
    assert model is not None
    positive, told = predicted.truth == target, predicted.probabilities[:, target]
    compared: dict[tuple[str, str], Conditions] = {}
    why_not: dict[tuple[str, str], str] = {}
    for pair in combinations(readings.conditions, 2):
        found = compare_conditions(predicted, *(readings.by_condition[name] for name in pair))
        if isinstance(found, str):
            why_not[pair] = found
        else:
            compared[pair] = found
    return ReaderStudy(
        predicted.classes,
        model,
        roc_curve(positive, told, redraw(predicted.truth, rng, patients=owners)),
        tuple(studies),
        compared,
        why_not,
        len(predicted.studies),
        len(np.unique(owners)),
    )


def _labels(predicted: Predicted, readers: Mapping[str, Mapping[str, Any]]) -> np.ndarray:
    """Shape (reader, case) by name of the reader; -1 where a case was not read."""
    rows = [
        [int(readers[name].get(study, -1)) for study in predicted.studies]
        for name in sorted(readers)
    ]
    return np.array(rows, dtype=int)


def compare_conditions(
    predicted: Predicted,
    first: Mapping[str, Mapping[str, Reading]],
    second: Mapping[str, Mapping[str, Reading]],
) -> Conditions | str:
    """Area under the ROC curve of readers in two conditions; see `obuchowski_rockette`.

    Args:
        predicted: Cases with their truth.
        first: Readings of the first condition, by reader and study.
        second: Of the second.

    Returns:
        Why it cannot be told, in words, or the comparison: by the readers' scores where every
        reading has one, else by whether the target class was told, whose area is the mean of
        sensitivity and specificity. Readers of both conditions and cases that all of them read
        count.
    """
    readers = sorted(first.keys() & second.keys())
    if len(readers) < 2:
        return f"not estimable: {len(readers)} of the readers read in both, two are needed"
    target = predicted.classes.target
    cases = [
        place
        for place, study in enumerate(predicted.studies)
        if all(study in part[name] for part in (first, second) for name in readers)
    ]
    positive, owners = predicted.truth[cases] == target, predicted.owners[cases]
    # Without any one patient both kinds must be left.
    if min(len(np.unique(owners[kind])) for kind in (positive, ~positive)) < 2:
        return (
            f"not estimable: of {len(cases)} cases that all of them read in both conditions, "
            f"{int(positive.sum())} are {target}; two patients of each kind are needed"
        )
    found = [
        [[part[name][predicted.studies[place]] for place in cases] for name in readers]
        for part in (first, second)
    ]
    has_scores = all(r.score is not None for part in found for own in part for r in own)
    scores = np.array(
        [
            [[r.score if has_scores else float(r.label == target) for r in own] for own in part]
            for part in found
        ],
        dtype=float,
    )
    n = len(cases)
    figures = np.array([[auc(positive, own) for own in part] for part in scores])
    left_out = jackknife(positive, scores.reshape(-1, n), owners).reshape(2, len(readers), -1)
    components: Components = components_of(left_out)
    within = [components_of(left_out[k : k + 1]).cov2 for k in range(2)]
    return obuchowski_rockette(figures, components, within, n)


def study_plain(study: ReaderStudy) -> dict[str, Any]:
    """What figures are drawn from, for JSON."""
    points = [
        {
            "name": one.name + (f", {part.condition}" if part.condition else ""),
            "n": one.accuracy.n,
            "sensitivity": plain_estimate(one.sensitivity),
            "specificity": plain_estimate(one.specificity),
        }
        for part in study.conditions
        for one in part.scores
    ]
    roc = None
    if study.roc is not None:
        columns = {"x": study.roc.x, "y": study.roc.y, "low": study.roc.low, "high": study.roc.high}
        roc = {
            name: [None if math.isnan(v) else v for v in column.tolist()]
            for name, column in columns.items()
        } | {"positive": study.roc.positive, "n": study.roc.n}
    return {"of": study.classes.target.title, "roc": roc, "points": points}


def study_sheets(study: ReaderStudy) -> dict[str, Rows]:
    """The same as tables, by the name of their file."""
    ends = ("value", "low", "high", "n")
    readers: Rows = [("condition", "reader", "figure", *ends, "skipped", "not_evaluated")]
    agreement: Rows = [("condition", "readers", "kappa", *ends, "same_label")]
    compared: Rows = [("comparison", "figure", *ends, "p", "method")]
    figures = ("accuracy", "covid_accuracy", "sensitivity", "specificity")
    names = (*figures[:1], f"{study.classes.target.key}_accuracy", *figures[2:])
    for part in study.conditions:
        for one in (study.model, *part.scores):
            for name, figure in zip(names, figures, strict=True):
                readers.append(
                    (part.condition, one.name, name, *_cells(getattr(one, figure)), one.skipped,
                     one.unknown)
                )  # fmt: skip
        for pair in part.agreement.pairs:
            both = f"{pair.first} and {pair.second}"
            same = "" if math.isnan(pair.same) else f"{pair.same:.6g}"
            agreement.append((part.condition, both, "Cohen", *_cells(pair.kappa), same))
        if part.agreement.readers > 1:
            everybody = f"all {part.agreement.readers}"
            cells = _cells(part.agreement.all_readers)
            agreement.append((part.condition, everybody, "Fleiss", *cells, ""))
        for name, (gap, p) in part.differences.items():
            title = f"model - readers{f', {part.condition}' if part.condition else ''}"
            compared.append(
                (title, name, *_cells(gap), _number(p), "bootstrap over readers and cases")
            )
    for (first, second), found in study.compared.items():
        for condition, mean in ((first, found.first), (second, found.second)):
            compared.append((condition, "AUC", *_cells(mean), "", "Obuchowski-Rockette"))
        title = f"{first} - {second}"
        cells = (*_cells(found.difference), _number(found.p))
        compared.append((title, "AUC", *cells, "Obuchowski-Rockette"))
    return {"readers.csv": readers, "agreement.csv": agreement, "comparisons.csv": compared}


def _cells(figure: Estimate) -> tuple[object, ...]:
    return (*map(_number, (figure.value, figure.low, figure.high)), figure.n)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
