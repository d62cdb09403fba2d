"""How often the answers were right: every figure with its interval and its n."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.evaluation.curves import average_precision
from covidctnet.evaluation.intervals import Draws, Estimate, auc, auc_interval, bootstrap, wilson

__all__ = ["Scores", "score"]

Figures = Mapping[str, Estimate]


@dataclass(frozen=True)
class Scores:
    """The figures of one evaluation.

    Attributes:
        classes: Of the answers.
        overall: ``accuracy`` (all classes), ``balanced_accuracy``, ``macro_f1``, ``macro_auc``.
        target: The two-class operation of the papers, `Classes.target` (Covid-19) against the
            rest by the label that was given: ``accuracy``, ``sensitivity``, ``specificity``.
        by_label: One against the rest, by label: ``sensitivity``, ``specificity``, ``ppv``,
            ``npv``, ``f1``, ``auc``, ``average_precision``.
        confusion: Rows the truth, columns the answer, shape (label, label).

    Proportions have Wilson intervals, AUC of one label Newcombe's, the others a bootstrap over
    patients within their labels; and all do where patients have several studies. What asks for a
    label that nobody has is NaN, and so is every mean over labels then.
    """

    classes: Classes
    overall: Figures
    target: Figures
    by_label: Mapping[Label, Figures]
    confusion: np.ndarray


def score(
    truth: np.ndarray,
    probabilities: np.ndarray,
    draws: Draws,
    classes: Classes = CHEST_CT,
) -> Scores:
    """Every figure of an evaluation.

    Args:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label), rows sum to 1.
        draws: Of these patients, within their labels. Where a patient has several studies, all
            intervals are the bootstrap's, for the others count every study as a patient.
        classes: Of the answers.

    Raises:
        ValueError: If shapes disagree or rows do not sum to 1.
    """
    truth = np.asarray(truth, dtype=int)
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.shape != (len(truth), len(classes)) or not len(truth):
        raise ValueError(
            f"expected probabilities of shape ({len(truth)}, {len(classes)}) for at least one "
            f"patient, got {probabilities.shape}"
        )
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities of a patient must sum to 1")
    answer = probabilities.argmax(axis=1)

    def figures(index: np.ndarray) -> dict[str, float]:
        return _values(truth[index], probabilities[index], classes)

    drawn = bootstrap(figures, draws)
    closed = _closed(truth, probabilities, classes)
    if draws.is_clustered:
        closed = {name: replace(drawn[name], n=figure.n) for name, figure in closed.items()}
    estimates = {**drawn, **closed}

    def named(of: str, names: tuple[str, ...]) -> dict[str, Estimate]:
        return {name: estimates[f"{of} {name}"] for name in names}

    return Scores(
        classes=classes,
        overall=named("all", ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")),
        target={
            "accuracy": estimates["target accuracy"],
            **named(classes.target.key, ("sensitivity", "specificity")),
        },
        by_label={label: named(label.key, (*_SHARES, *_RANKED)) for label in classes},
        confusion=_confusion(truth, answer, len(classes)),
    )


_SHARES = ("sensitivity", "specificity", "ppv", "npv")
_RANKED = ("f1", "auc", "average_precision")


def _counts(truth: np.ndarray, answer: np.ndarray, classes: Classes) -> dict[str, tuple[int, int]]:
    """What is a share: how many, out of how many, by figure."""
    is_target, answered_target = truth == classes.target, answer == classes.target
    counts = {
        "all accuracy": (int((truth == answer).sum()), len(truth)),
        "target accuracy": (int((is_target == answered_target).sum()), len(truth)),
    }
    for label in classes:
        has, answered = truth == label, answer == label
        hit, spared = int((has & answered).sum()), int((~has & ~answered).sum())
        wholes = (has.sum(), (~has).sum(), answered.sum(), (~answered).sum())
        for name, part, whole in zip(_SHARES, (hit, spared, hit, spared), wholes, strict=True):
            counts[f"{label.key} {name}"] = (part, int(whole))
    return counts


def _values(truth: np.ndarray, probabilities: np.ndarray, classes: Classes) -> dict[str, float]:
    """Every figure, without an interval."""
    answer = probabilities.argmax(axis=1)
    shares = _counts(truth, answer, classes).items()
    out = {name: part / whole if whole else math.nan for name, (part, whole) in shares}
    confusion = _confusion(truth, answer, len(classes))
    for label in classes:
        out[f"{label.key} f1"] = _f1(confusion, label)
        out[f"{label.key} auc"] = auc(truth == label, probabilities[:, label])
        out[f"{label.key} average_precision"] = average_precision(
            truth == label, probabilities[:, label]
        )
    means = {"balanced_accuracy": "sensitivity", "macro_f1": "f1", "macro_auc": "auc"}
    for mean, of in means.items():
        out[f"all {mean}"] = float(np.mean([out[f"{label.key} {of}"] for label in classes]))
    return out


def _closed(truth: np.ndarray, probabilities: np.ndarray, classes: Classes) -> dict[str, Estimate]:
    """The figures whose intervals have a formula."""
    shares = _counts(truth, probabilities.argmax(axis=1), classes).items()
    return {name: wilson(part, whole) for name, (part, whole) in shares} | {
        f"{label.key} auc": auc_interval(truth == label, probabilities[:, label])
        for label in classes
    }


def _confusion(truth: np.ndarray, answer: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(truth * count + answer, minlength=count**2).reshape(count, count)


def _f1(confusion: np.ndarray, label: Label) -> float:
    """2 TP / (2 TP + FP + FN); not defined for a class that nobody has."""
    ill, answered = int(confusion[label].sum()), int(confusion[:, label].sum())
    return 2 * int(confusion[label, label]) / (ill + answered) if ill else math.nan
