"""Figures of systems that read slices, with intervals over patients, never over slices.

Slices of one patient are alike, so intervals over slices are far too narrow. Where patients are
unknown, whole sources are drawn instead, and there are no figures by patient. Where sources are
unknown too, there are no intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import UsageError
from covidctnet.evaluation.intervals import (
    Draws,
    Estimate,
    auc,
    auc_interval,
    bootstrap,
    redraw,
    wilson,
)
from covidctnet.slicewise.aggregate import patient_scores
from covidctnet.slicewise.table import Images, PatientImages

__all__ = ["SliceFigures", "patient_figures", "slice_figures"]

_COUNTED = ("sensitivity", "specificity", "ppv", "npv", "accuracy")


@dataclass(frozen=True)
class SliceFigures:
    """Figures by slice.

    Attributes:
        figures: By name: ``auc``, ``sensitivity``, ``specificity``, ``ppv``, ``npv``, ``accuracy``.
            The number of each estimate is that of the slices.
        slices: How many.
        groups: How many patients or sources were drawn for the intervals; None where neither is
            known of all slices, and then there are no intervals.
    """

    figures: Mapping[str, Estimate]
    slices: int
    groups: int | None


def slice_figures(
    images: Images, scores: np.ndarray, threshold: float, rng: np.random.Generator
) -> SliceFigures:
    """Figures by slice, with percentile intervals over whole patients or sources.

    Args:
        images: That were scored.
        scores: Of each picture: higher is more likely positive.
        threshold: A picture is called positive when its score exceeds it.
        rng: Source of the draws.
    """
    _check(images, scores)
    positive = images.positive

    def figures(index: np.ndarray) -> dict[str, float]:
        return _figures(positive[index], scores[index], threshold)

    if any(image.patient is None and image.source is None for image in images):
        nothing = Draws(len(images), (), is_clustered=True)
        return SliceFigures(bootstrap(figures, nothing), len(images), None)
    # Patients of one source are drawn one by one; the source stands for patients who are unknown.
    groups = images.groups(by_source=not isinstance(images, PatientImages))
    draws = redraw(positive.astype(int), rng, patients=groups)
    return SliceFigures(bootstrap(figures, draws), len(images), len(np.unique(groups)))


def patient_figures(
    images: PatientImages,
    scores: np.ndarray,
    threshold: float,
    *,
    rule: Callable[[np.ndarray], float] = np.mean,
) -> dict[str, Estimate]:
    """Figures by patient: each has one score, made of those of the slices.

    Args:
        images: That were scored, of known patients.
        scores: Of each picture.
        threshold: A patient is called positive when the score exceeds it.
        rule: From the scores of a patient's slices to one.

    Returns:
        By name, as `SliceFigures.figures`: the AUC with Newcombe's interval, shares with Wilson's;
        the number of each is that of the patients.

    Raises:
        UsageError: If patients are unknown.
    """
    if not isinstance(images, PatientImages):
        raise UsageError(
            "expected pictures of known patients for figures by patient, got pictures whose "
            "patients are unknown. Name the patients, or make figures by slice."
        )
    _check(images, scores)
    truth = dict(zip(images.patients, images.positive.tolist(), strict=True))
    by_patient = patient_scores(images.patients, scores.tolist(), rule)
    positive = np.array([truth[patient] for patient in by_patient])
    values = np.array(list(by_patient.values()))
    counts = _counts(positive, values > threshold)
    shares = {name: wilson(*counts[name]) for name in _COUNTED}
    return {"auc": auc_interval(positive, values), **shares}


def _check(images: Images, scores: np.ndarray) -> None:
    if scores.shape != (len(images),) or not np.isfinite(scores).all():
        raise UsageError(
            f"expected a finite score for each of {len(images)} pictures, got shape {scores.shape} "
            f"with {np.count_nonzero(~np.isfinite(scores))} that are not finite. Score every "
            "picture once."
        )


def _figures(positive: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
    counts = _counts(positive, scores > threshold)
    shares = {name: hits / n if n else math.nan for name, (hits, n) in counts.items()}
    return {"auc": auc(positive, scores), **shares}


def _counts(positive: np.ndarray, called: np.ndarray) -> dict[str, tuple[int, int]]:
    """Of each share, how often it happened and out of how many."""
    true_positive = int((positive & called).sum())
    true_negative = int((~positive & ~called).sum())
    return {
        "sensitivity": (true_positive, int(positive.sum())),
        "specificity": (true_negative, int((~positive).sum())),
        "ppv": (true_positive, int(called.sum())),
        "npv": (true_negative, int((~called).sum())),
        "accuracy": (true_positive + true_negative, len(positive)),
    }
