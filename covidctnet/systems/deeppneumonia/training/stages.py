"""The training run of the system, and what its weights hold."""

from __future__ import annotations

from dataclasses import asdict

from pytorch_lightning.cli import LightningArgumentParser

from covidctnet.systems.deeppneumonia.training.data import CropData
from covidctnet.systems.deeppneumonia.training.task import DetailTask
from covidctnet.training.command import TrainCLI
from covidctnet.training.images import describe_images
from covidctnet.training.recipe import Recipe, Trained
from covidctnet.training.work import describe_data, is_synthetic

__all__ = ["CLASSIFIER", "export_classifier"]


class DetailCLI(TrainCLI):
    """Of ``train deeppneumonia classifier``."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """See `TrainCLI.add_arguments_to_parser`."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.task", "model.task")

    def needed(self) -> dict[str, str]:
        """See `TrainCLI.needed`."""
        return {} if self.config.data.images else super().needed()


def export_classifier(task: DetailTask, data: CropData, attribution: str) -> Trained:
    """The classifier, with the settings of its crops and the classes of its task."""
    if data.images:
        data.setup("fit")
        taught, synthetic = describe_images(data.taught(), attribution), False
    else:
        studies = data.studies()
        taught = describe_data(data.work, studies, attribution)
        synthetic = all(map(is_synthetic, studies))
    card = {
        "system": "deeppneumonia",
        "classes": list(data.classes.titles),
        "normal": data.classes.normal,
        "architecture": {"classifier": task.architecture},
        "settings": asdict(data.settings),
        "synthetic_only": synthetic,
    }
    return Trained({"classifier": task.network}, card, taught)


CLASSIFIER = Recipe(DetailTask, CropData, export_classifier, DetailCLI)
