"""The training run of the system, and what its weights hold."""

from __future__ import annotations

from dataclasses import asdict

from pytorch_lightning.cli import LightningArgumentParser

from covidctnet.systems.deeppneumonia.training.data import CropData
from covidctnet.systems.deeppneumonia.training.task import DetailTask
from covidctnet.training.recipe import Recipe, Trained
from covidctnet.training.slices import SliceCLI

__all__ = ["CLASSIFIER", "export_classifier"]


class DetailCLI(SliceCLI):
    """Of ``train deeppneumonia classifier``."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """See `TrainCLI.add_arguments_to_parser`."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.task", "model.task")


def export_classifier(task: DetailTask, data: CropData, attribution: str) -> Trained:
    """The classifier, with the settings of its crops and the classes of its task."""
    taught, synthetic = data.describe(attribution)
    card = {
        "system": "deeppneumonia",
        "classes": list(data.task_classes.titles),
        "normal": data.task_classes.normal,
        "architecture": {"classifier": task.architecture},
        "settings": asdict(data.settings),
        "synthetic_only": synthetic,
    }
    return Trained({"classifier": task.network}, card, taught)


CLASSIFIER = Recipe(DetailTask, CropData, export_classifier, DetailCLI)
