"""The training run of the system, and what its weights hold."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import torch

from covidctnet.errors import UsageError
from covidctnet.slicewise.aggregate import patient_scores
from covidctnet.slicewise.operating import OperatingPoints, fit_operating_points
from covidctnet.systems.resnet50_slices.classes import CLASSES
from covidctnet.systems.resnet50_slices.training.data import SliceData
from covidctnet.systems.resnet50_slices.training.task import SliceTask
from covidctnet.training.recipe import Recipe, Trained
from covidctnet.training.slices import SliceCLI

__all__ = ["CLASSIFIER", "export_classifier"]


_LOG = logging.getLogger(__name__)


@torch.inference_mode()
def _points(
    task: SliceTask, data: SliceData
) -> tuple[OperatingPoints | None, Mapping[str, dict[str, float]]]:
    """Operating points of the validation patients, and their figures at each."""
    slices = data.slices_of("val")
    patients = [patient for patient in slices.patients if patient is not None]
    if len(patients) < len(slices):
        return None, {}
    network = task.network.eval()
    target = int(CLASSES.target)
    batches = [network(x.float() / 255).double().softmax(1) for x, _ in data.val_dataloader()]
    of_slices = torch.cat(batches)[:, target].numpy()
    by_patient = patient_scores(patients, of_slices.tolist())
    ill = {patient: label == target for patient, label in zip(patients, slices.labels, strict=True)}
    scores = np.array(list(by_patient.values()))
    positive = np.array([ill[patient] for patient in by_patient])
    try:
        points = fit_operating_points(scores, positive)
    except UsageError as error:
        _LOG.warning("patients are decided at one half: %s", error)
        return None, {}
    figures: dict[str, float] = {"patients": len(scores)}
    for name, threshold in points.thresholds.items():
        called = scores > threshold
        figures[f"{name} sensitivity"] = float(called[positive].mean())
        figures[f"{name} specificity"] = float((~called)[~positive].mean())
    return points, {"operating points": figures}


def export_classifier(task: SliceTask, data: SliceData, attribution: str) -> Trained:
    """The classifier, with the settings of its slices and the operating points of patients."""
    taught, synthetic = data.describe(attribution)
    points, figures = _points(task, data)
    card = {
        "system": "resnet50_slices",
        "architecture": {"classifier": task.architecture},
        "settings": asdict(replace(data.settings, points=points)),
        "synthetic_only": synthetic,
        "metrics": figures,
    }
    return Trained({"classifier": task.network}, card, taught)


CLASSIFIER = Recipe(SliceTask, SliceData, export_classifier, SliceCLI)
