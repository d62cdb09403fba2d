"""Thresholds of patients' scores that a card states, from the validation patients of a training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from covidctnet.errors import UsageError
from covidctnet.slicewise.aggregate import patient_scores
from covidctnet.slicewise.operating import OperatingPoints, fit_operating_points

__all__ = ["points_of_patients"]

_LOG = logging.getLogger(__name__)


def points_of_patients(
    patients: Sequence[str | None], labels: Sequence[int], scores: np.ndarray, target: int
) -> tuple[OperatingPoints | None, Mapping[str, dict[str, float]]]:
    """Operating points of validation patients, each with the mean of its pictures.

    Args:
        patients: Whose each picture is; None where that is unknown.
        labels: Class of each picture.
        scores: Probability of the target class of each picture.
        target: The class that is looked for.

    Returns:
        The points, and the figures of the patients at each, for the card; None and nothing where a
        patient is unknown or all are of one kind.
    """
    known = [patient for patient in patients if patient is not None]
    if len(known) < len(patients):
        return None, {}
    by_patient = patient_scores(known, np.asarray(scores).tolist())
    ill = {patient: label == target for patient, label in zip(known, labels, strict=True)}
    values = np.array(list(by_patient.values()))
    positive = np.array([ill[patient] for patient in by_patient])
    try:
        points = fit_operating_points(values, positive)
    except UsageError as error:
        _LOG.warning("patients are decided at one half: %s", error)
        return None, {}
    figures: dict[str, float] = {"patients": len(values)}
    for name, threshold in points.thresholds.items():
        called = values > threshold
        figures[f"{name} sensitivity"] = float(called[positive].mean())
        figures[f"{name} specificity"] = float((~called)[~positive].mean())
    return points, {"operating points": figures}
