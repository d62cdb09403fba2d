"""The training run of the system, and what its weights hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import torch

from covidctnet.slicewise.operating import OperatingPoints
from covidctnet.systems.resnet50_slices.classes import CLASSES
from covidctnet.systems.resnet50_slices.training.data import SliceData
from covidctnet.systems.resnet50_slices.training.task import SliceTask
from covidctnet.training.operating import points_of_patients
from covidctnet.training.recipe import Recipe, Trained
from covidctnet.training.slices import SliceCLI

__all__ = ["CLASSIFIER", "export_classifier"]


@torch.inference_mode()
def _points(
    task: SliceTask, data: SliceData
) -> tuple[OperatingPoints | None, Mapping[str, dict[str, float]]]:
    """Operating points of the validation patients, and their figures at each."""
    slices = data.slices_of("val")
    network = task.network.eval()
    target = int(CLASSES.target)
    batches = [network(x.float() / 255).double().softmax(1) for x, _ in data.val_dataloader()]
    scores = torch.cat(batches)[:, target].numpy()
    return points_of_patients(slices.patients, slices.labels, scores, target)


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
