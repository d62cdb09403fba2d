"""The training run of the system, and what its weights hold."""

from __future__ import annotations

from dataclasses import asdict

from covidctnet.systems.resnet50_slices.training.data import SliceData
from covidctnet.systems.resnet50_slices.training.task import SliceTask
from covidctnet.training.command import TrainCLI
from covidctnet.training.images import describe_images
from covidctnet.training.recipe import Recipe, Trained
from covidctnet.training.work import describe_data, is_synthetic

__all__ = ["CLASSIFIER", "export_classifier"]


class SliceCLI(TrainCLI):
    """Of ``train resnet50_slices classifier``."""

    def needed(self) -> dict[str, str]:
        """See `TrainCLI.needed`."""
        return {} if self.config.data.images else super().needed()


def export_classifier(task: SliceTask, data: SliceData, attribution: str) -> Trained:
    """The classifier, with the settings of its slices."""
    if data.images:
        data.setup("fit")
        taught, synthetic = describe_images(data.taught(), attribution), False
    else:
        studies = data.studies()
        taught = describe_data(data.work, studies, attribution)
        synthetic = all(map(is_synthetic, studies))
    card = {
        "system": "resnet50_slices",
        "architecture": {"classifier": task.architecture},
        "settings": asdict(data.settings),
        "synthetic_only": synthetic,
    }
    return Trained({"classifier": task.network}, card, taught)


CLASSIFIER = Recipe(SliceTask, SliceData, export_classifier, SliceCLI)
