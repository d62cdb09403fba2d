"""The training run of the system, and the weights that come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from covidctnet.systems.resnet50_slices.training.data import SliceData
from covidctnet.systems.resnet50_slices.training.task import SliceTask
from covidctnet.training.command import TrainCLI
from covidctnet.training.images import describe_images
from covidctnet.training.recipe import Recipe
from covidctnet.training.work import describe_data, is_synthetic, origin
from covidctnet.weights import save_weights

__all__ = ["CLASSIFIER", "export_classifier"]


class SliceCLI(TrainCLI):
    """Of ``train resnet50_slices classifier``."""

    def needed(self) -> dict[str, str]:
        """See `TrainCLI.needed`."""
        return {} if self.config.data.images else super().needed()


def export_classifier(
    task: SliceTask,
    data: SliceData,
    folder: Path,
    metrics: Mapping[str, Any],
    *,
    command: str,
    config: Mapping[str, Any],
    attribution: str = "",
) -> None:
    """Write ``classifier.safetensors`` and a card into a folder."""
    if data.images:
        data.setup("fit")
        taught, synthetic = describe_images(data.taught(), attribution), False
    else:
        studies = data.studies()
        taught = describe_data(data.work, studies, attribution)
        synthetic = all(map(is_synthetic, studies))
    card = {
        **origin(),
        "system": "resnet50_slices",
        "architecture": {"classifier": task.architecture},
        "settings": asdict(data.settings),
        "synthetic_only": synthetic,
        "training": {"classifier": {"command": command, "data": taught, "config": config}},
        "metrics": {"classifier": dict(metrics)},
    }
    save_weights(folder, {"classifier": task.network}, card=card)


CLASSIFIER = Recipe(SliceTask, SliceData, export_classifier, SliceCLI)
