"""The training runs of CovidCTNet: their command lines, and what each is made of."""

from __future__ import annotations

import operator
from pathlib import Path

from pytorch_lightning.cli import LightningArgumentParser

from covidctnet.systems.covidctnet.training.data import ResidualData, SliceData
from covidctnet.systems.covidctnet.training.export import (
    export_classifier,
    export_denoiser,
    export_lungs,
)
from covidctnet.systems.covidctnet.training.lungs import LungData, LungTask
from covidctnet.systems.covidctnet.training.tasks import ClassifierTask, DenoiserTask
from covidctnet.systems.covidctnet.weights import load_weights
from covidctnet.training.command import TrainCLI, start_from
from covidctnet.training.recipe import Recipe

__all__ = ["CLASSIFIER", "DENOISER", "LUNGS"]


class DenoiserCLI(TrainCLI):
    """Of ``train-denoiser``."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The options beyond those of task, data and trainer."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--init",
            type=str | None,
            default=None,
            help="weights to start from, as of train-lungs: what fits is taken, the rest is told",
        )

    def instantiate_classes(self) -> None:
        """Task and data; the network starts from ``--init`` where that is given."""
        super().instantiate_classes()
        if not self.config.init:
            return
        weights = load_weights(self.config.init)
        self.model.start = weights.card
        # A resumed run has its weights from the checkpoint.
        if not self.config.ckpt_path:
            is_lungs = "lungs" in weights.card["architecture"]
            start_from(self.model.network, weights.lungs() if is_lungs else weights.denoiser())


class ClassifierCLI(TrainCLI):
    """Of ``train-classifier``."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The options beyond those of task, data and trainer."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--init",
            type=str | None,
            default=None,
            help="weights whose classifier this one starts from, such as compact; what fits is "
            "taken, the rest is told",
        )
        parser.link_arguments("data.depth", "model.depth")
        for name in ("size", "channels"):
            parser.link_arguments(
                "data", f"model.{name}", operator.attrgetter(name), apply_on="instantiate"
            )

    def needed(self) -> dict[str, str]:
        """See `TrainCLI.needed`."""
        own = {} if self.config.data.denoiser else {"weights/card.json": "train-denoiser"}
        return {**super().needed(), **own}

    def before_instantiate_classes(self) -> None:
        """Check what the run starts from before anything is written."""
        super().before_instantiate_classes()
        if self.config.device:
            self.config.data.device = self.config.device

    def instantiate_classes(self) -> None:
        """Task and data; the network starts from ``--init`` where that is given."""
        super().instantiate_classes()
        if not self.config.init:
            return
        weights = load_weights(self.config.init)
        self.model.start = weights.card
        # A resumed run has its weights from the checkpoint.
        if not self.config.ckpt_path:
            start_from(self.model.network, weights.classifier())


class LungsCLI(TrainCLI):
    """Of ``train-lungs``."""

    def needed(self) -> dict[str, str]:
        """See `TrainCLI.needed`."""
        return {} if self.config.data.pairs else super().needed()

    def weights_folder(self) -> Path:
        """Where the trained weights go."""
        default = Path(self.config.data.work) / "lungs" / "weights"
        return Path(self.config.output) if self.config.output else default

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The options beyond those of task, data and trainer."""
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--output",
            type=str | None,
            default=None,
            help="folder for the weights; lungs/weights in the work folder by default",
        )


LUNGS = Recipe(LungTask, LungData, export_lungs, LungsCLI)
DENOISER = Recipe(DenoiserTask, SliceData, export_denoiser, DenoiserCLI)
CLASSIFIER = Recipe(ClassifierTask, ResidualData, export_classifier, ClassifierCLI)
