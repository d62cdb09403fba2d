"""The training run of the system, and what its weights hold."""

from __future__ import annotations

from dataclasses import asdict, replace

import torch
from pytorch_lightning.cli import LightningArgumentParser

from covidctnet.systems.xray_vgg16.training.data import RadiographData
from covidctnet.systems.xray_vgg16.training.task import RadiographTask
from covidctnet.training.command import TrainCLI
from covidctnet.training.operating import points_of_patients
from covidctnet.training.recipe import Recipe, Trained

__all__ = ["CLASSIFIER", "export_classifier"]


class RadiographCLI(TrainCLI):
    """Of ``train xray_vgg16 classifier``."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """See `TrainCLI.add_arguments_to_parser`."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.size", "model.size")

    def needed(self) -> dict[str, str]:
        """Nothing: the work folder is made."""
        return {}


@torch.inference_mode()
def export_classifier(task: RadiographTask, data: RadiographData, attribution: str) -> Trained:
    """The classifier, with the settings of its pictures and the operating points of patients."""
    taught, synthetic = data.describe(attribution)
    network = task.voting().eval()
    batches = [torch.sigmoid(network(x.float() / 255)).mean(1) for x, _ in data.val_dataloader()]
    shown = data.slices_of("val")
    points, figures = points_of_patients(
        shown.patients, shown.labels, torch.cat(batches).double().numpy(), int(data.classes.target)
    )
    card = {
        "system": "xray_vgg16",
        "classes": list(data.classes.titles),
        "normal": data.classes.normal,
        "architecture": {"classifier": task.voting_architecture},
        "settings": asdict(replace(data.settings, points=points)),
        "synthetic_only": synthetic,
        "metrics": figures,
    }
    return Trained({"classifier": network}, card, taught)


CLASSIFIER = Recipe(RadiographTask, RadiographData, export_classifier, RadiographCLI)
