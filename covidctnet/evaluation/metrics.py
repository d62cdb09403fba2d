"""How often the answers were right: every figure with its interval and its n."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from covidctnet.evaluation.intervals import Estimate, auc, auc_interval, bootstrap, wilson
from covidctnet.results import Label

__all__ = ["Scores", "score"]

Figures = Mapping[str, Estimate]


@dataclass(frozen=True)
class Scores:
    """The figures of one evaluation.

    Attributes:
        overall: ``accuracy`` (three classes), ``balanced_accuracy``, ``macro_f1``, ``macro_auc``.
        covid: The paper's two-class operation, Covid-19 against the rest by the label that was
            given: ``accuracy``, ``sensitivity``, ``specificity``.
        by_label: One against the rest, by label: ``sensitivity``, ``specificity``, ``ppv``,
            ``npv``, ``f1``, ``auc``, ``average_precision``.
        confusion: Rows the truth, columns the answer, shape (label, label).

    Proportions have Wilson intervals, AUC of one label Newcombe's, the others a bootstrap over
    patients within their labels. What asks for a label that nobody has is NaN, and so is every
    mean over labels then.
    """

    overall: Figures
    covid: Figures
    by_label: Mapping[Label, Figures]
    confusion: np.ndarray


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
    confusion = _confusion(truth, answer)

    def figures(index: np.ndarray) -> dict[str, float]:
        there, said = truth[index], probabilities[index]
        drawn = _confusion(there, answer[index])
        out = {
            "balanced_accuracy": float(np.mean(_shares(drawn.diagonal(), drawn.sum(axis=1)))),
            "macro_f1": float(np.mean([_f1(drawn, label) for label in Label])),
            "macro_auc": float(np.mean([auc(there == k, said[:, k]) for k in Label])),
        }
        for label in Label:
            out[f"f1 {label.key}"] = _f1(drawn, label)
            out[f"ap {label.key}"] = _average_precision(there == label, said[:, label])
        return out

    drawn = bootstrap(figures, truth, rng)
    names = ("balanced_accuracy", "macro_f1", "macro_auc")
    of_covid = _one_against_rest(confusion, Label.COVID19)
    right = len(truth) - int(confusion[Label.COVID19].sum() + confusion[:, Label.COVID19].sum())
    right += 2 * int(confusion[Label.COVID19, Label.COVID19])
    return Scores(
        overall={"accuracy": wilson(int(np.trace(confusion)), len(truth))}
        | {name: drawn[name] for name in names},
        covid={"accuracy": wilson(right, len(truth))}
        | {name: of_covid[name] for name in ("sensitivity", "specificity")},
        by_label={
            label: {
                **_one_against_rest(confusion, label),
                "f1": drawn[f"f1 {label.key}"],
                "auc": auc_interval(truth == label, probabilities[:, label]),
                "average_precision": drawn[f"ap {label.key}"],
            }
            for label in Label
        },
        confusion=confusion,
    )


def _confusion(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    count = len(Label)
    return np.bincount(truth * count + answer, minlength=count**2).reshape(count, count)


def _one_against_rest(confusion: np.ndarray, label: Label) -> dict[str, Estimate]:
    hit = int(confusion[label, label])
    ill, said, n = int(confusion[label].sum()), int(confusion[:, label].sum()), int(confusion.sum())
    spared = n - ill - said + hit
    return {
        "sensitivity": wilson(hit, ill),
        "specificity": wilson(spared, n - ill),
        "ppv": wilson(hit, said),
        "npv": wilson(spared, n - said),
    }


def _f1(confusion: np.ndarray, label: Label) -> float:
    """2 TP / (2 TP + FP + FN); not defined for a class that nobody has."""
    ill, said = int(confusion[label].sum()), int(confusion[:, label].sum())
    return 2 * int(confusion[label, label]) / (ill + said) if ill else math.nan


def _average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    if not positive.any() or positive.all():
        return math.nan
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(positive, scores))


def _shares(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(part / whole)
