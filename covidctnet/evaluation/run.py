"""Weights against labelled patients: predictions, figures, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from covidctnet.batch import DEFAULT_LIMITS, answers
from covidctnet.errors import CohortError, StudyError, UsageError
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.metrics import Scores, score
from covidctnet.evaluation.splits import studies_of_split
from covidctnet.files import make_folder, table_text, write_whole
from covidctnet.io.cohort import read_cohort
from covidctnet.io.store import StoredStudy
from covidctnet.isolate import Limits
from covidctnet.results import Failure, Label, Prediction

if TYPE_CHECKING:
    from covidctnet.classify import CovidCTNet

__all__ = ["Evaluation", "evaluate_data", "evaluate_work"]

Progress = Callable[[int, int], None]
_OVERALL = {
    "accuracy": "accuracy, three classes",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "F1, mean over classes",
    "macro_auc": "AUC, mean over classes",
}
_BY_LABEL = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "auc": "AUC",
    "average_precision": "average precision",
}
Outcome = tuple[Label, Prediction | Failure]


class Evaluation(NamedTuple):
    """What came of an evaluation.

    Attributes:
        table: Figures in Markdown.
        answered: Studies with an answer.
        failed: Studies without.
    """

    table: str
    answered: int
    failed: int


def evaluate_work(
    work: Path,
    model: CovidCTNet,
    output: Path,
    *,
    split: str = "test",
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate on the held-back patients of a work folder.

    Args:
        work: Folder that `covidctnet preprocess` filled.
        model: What is evaluated; its preprocessing must be the folder's.
        output: Receives ``predictions.csv``, ``evaluation.json`` and ``evaluation.md``.
        split: Which patients.
        seed: Of the bootstrap.
        progress: Called with (done, total).

    Raises:
        UsageError: If the split is empty, studies of it are missing, or the folder was
            preprocessed otherwise than the weights want.
        CohortError: If no study got an answer.
    """
    stored = studies_of_split(work, split)
    if not stored:
        raise UsageError(
            f"split {split} of the work folder is empty; preprocess with a larger --split.{split}"
        )
    if {s.settings_digest for s in stored} != {model.settings.digest}:
        raise UsageError(
            "the work folder was preprocessed otherwise than these weights want. Give the weights "
            "that were trained in it, or use --data with the original scans."
        )
    return _evaluate(_of_stored(stored, model), len(stored), model, output, seed, progress)


def evaluate_data(
    data: Path,
    model: CovidCTNet,
    output: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    limits: Limits | None = DEFAULT_LIMITS,
) -> Evaluation:
    """Evaluate on a labelled folder, from the original files on.

    Args:
        data: See `covidctnet.io.cohort.read_cohort`.
        model: What is evaluated.
        output: Receives ``predictions.csv``, ``evaluation.json`` and ``evaluation.md``.
        seed: Of the bootstrap.
        progress: Called with (done, total).
        limits: See `covidctnet.classify_studies`.
    """
    cohort = read_cohort(data)
    given = answers([entry.study for entry in cohort], model, limits=limits)
    outcomes = ((entry.label, out) for entry, (_, out, _) in zip(cohort, given, strict=True))
    return _evaluate(outcomes, len(cohort), model, output, seed, progress)


def _evaluate(
    outcomes: Iterable[Outcome],
    total: int,
    model: CovidCTNet,
    output: Path,
    seed: int,
    progress: Progress | None,
) -> Evaluation:
    make_folder(output)
    answered: list[tuple[Label, Prediction]] = []
    failed: list[tuple[Label, Failure]] = []
    for done, (label, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, Prediction):
            answered.append((label, outcome))
        else:
            failed.append((label, outcome))
        if progress:
            progress(done, total)
    if not answered:
        raise CohortError(f"none of {total} studies got an answer (first: {failed[0][1].message})")
    truth = np.array([label for label, _ in answered])
    probabilities = np.array([[p.probabilities[k] for k in Label] for _, p in answered])
    scores = score(truth, probabilities, rng=np.random.default_rng(seed))
    table = _table(scores, model, failed)
    write_whole(output / "predictions.csv", table_text(_predictions(answered, failed)))
    plain = _plain(scores, model, failed)
    write_whole(output / "evaluation.json", json.dumps(plain, indent=1) + "\n")
    write_whole(output / "evaluation.md", table + "\n")
    return Evaluation(table, len(answered), len(failed))


def _of_stored(studies: Iterable[StoredStudy], model: CovidCTNet) -> Iterator[Outcome]:
    for study in studies:
        assert study.label is not None
        try:
            yield study.label, model(study.volume())
        except StudyError as error:
            yield study.label, Failure(study.id, error.code, error.message)


def _table(scores: Scores, model: CovidCTNet, failed: list[tuple[Label, Failure]]) -> str:
    lines = [
        f"Weights `{model.weights.name}` ({model.weights_digest}), which have seen "
        f"{model.weights.seen}. 95 % intervals: Wilson for proportions, Newcombe for the AUC of a "
        "class, else a bootstrap over patients.",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {_OVERALL[name]} | {value} |" for name, value in scores.overall.items()),
        *(f"| Covid-19 against the rest: {name} | {v} |" for name, v in scores.covid.items()),
        "",
        "| class | " + " | ".join(_BY_LABEL.values()) + " |",
        "|---" * (1 + len(_BY_LABEL)) + "|",
    ]
    for label, figures in scores.by_label.items():
        lines.append(f"| {label} | " + " | ".join(str(figures[name]) for name in _BY_LABEL) + " |")
    lines += [
        "",
        "| truth \\ answer | " + " | ".join(k.title for k in Label) + " |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {label} | " + " | ".join(str(n) for n in scores.confusion[label]) + " |"
        for label in Label
    ]
    if failed:
        lines += ["", f"Without an answer: {len(failed)} (counted in none of the figures)."]
    return "\n".join(lines)


def _plain(
    scores: Scores, model: CovidCTNet, failed: list[tuple[Label, Failure]]
) -> dict[str, Any]:
    def plain(estimate: Estimate) -> dict[str, Any]:
        figures = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
        # JSON has no NaN.
        return {k: v if v == v else None for k, v in figures.items()} | {"n": estimate.n}

    return {
        "weights": model.weights.name,
        "weights_digest": model.weights_digest,
        "caveat": model.caveat,
        "overall": {name: plain(value) for name, value in scores.overall.items()},
        "covid_against_rest": {name: plain(value) for name, value in scores.covid.items()},
        "by_label": {
            label.title: {name: plain(value) for name, value in figures.items()}
            for label, figures in scores.by_label.items()
        },
        "confusion": {"labels": [k.title for k in Label], "rows": scores.confusion.tolist()},
        "failures": [{"study": f.study, "code": f.code, "label": k.title} for k, f in failed],
    }


def _predictions(
    answered: list[tuple[Label, Prediction]], failed: list[tuple[Label, Failure]]
) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = [
        ("study", "truth", "label", *(f"p_{k.key}" for k in Label), "flags", "code")
    ]
    for truth, p in answered:
        values = (f"{p.probabilities[k]:.6f}" for k in Label)
        rows.append((p.study, truth.title, p.label.title, *values, " ".join(p.flags), ""))
    for truth, failure in failed:
        rows.append((failure.study, truth.title, "", *[""] * len(Label), "", failure.code))
    return rows
