"""The training run of the system, and what its weights hold."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch

from covidctnet.errors import UsageError
from covidctnet.systems.deeptek_unet.rule import SliceRule, dice, fit_area
from covidctnet.systems.deeptek_unet.training.data import MaskData
from covidctnet.systems.deeptek_unet.training.task import MaskTask
from covidctnet.systems.deeptek_unet.transfer import read_plan
from covidctnet.training.command import TrainCLI, start_from
from covidctnet.training.images import describe_images
from covidctnet.training.recipe import Recipe, Trained
from covidctnet.weights import load_weights

__all__ = ["SEGMENTER", "SegmenterCLI", "export_segmenter"]

_LOG = logging.getLogger(__name__)


class SegmenterCLI(TrainCLI):
    """Of ``train deeptek_unet segmenter``."""

    monitor: ClassVar[tuple[str, str]] = ("val_dice", "max")

    def add_arguments_to_parser(self, parser: Any) -> None:
        """The options beyond those of task, data and trainer."""
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.kinds", "model.kinds")
        parser.add_argument(
            "--init",
            type=str | None,
            default=None,
            help="weights to start from; those of the stage before where there is a plan",
        )

    def needed(self) -> dict[str, str]:
        """Nothing: the work folder is made."""
        return {}

    def weights_folder(self) -> Path:
        """``weights`` in the work folder, or in that of the stage of a plan."""
        return _folder(Path(self.config.data.work), self.config.data.stage)

    def before_instantiate_classes(self) -> None:
        """Take the epochs and the learning rate of the plan's stage."""
        data = self.config.data
        if data.plan and data.stage:
            stages = {stage.name: stage for stage in read_plan(Path(data.plan)).stages}
            if data.stage not in stages:
                raise UsageError(
                    f"expected a stage out of {', '.join(stages)}, got {data.stage!r:.80}"
                )
            chosen = stages[data.stage]
            self.config.trainer.max_epochs = chosen.epochs
            self.config.model.learning_rate = chosen.learning_rate
            names = list(stages)
            before = names[: names.index(data.stage)]
            if before and not self.config.init:
                self.config.init = str(_folder(Path(data.work), before[-1]))
        super().before_instantiate_classes()

    def instantiate_classes(self) -> None:
        """Task and data; the network starts from ``--init`` where that is given."""
        super().instantiate_classes()
        if not self.config.init:
            return
        weights = load_weights(self.config.init)
        self.model.start = MappingProxyType(dict(weights.card))
        # A resumed run has its weights from the checkpoint.
        if not self.config.ckpt_path:
            start_from(self.model.network, weights.network("segmenter"))


def _folder(work: Path, stage: str) -> Path:
    return work / stage / "weights" if stage else work / "weights"


@torch.inference_mode()
def _fitted(task: MaskTask, data: MaskData) -> tuple[SliceRule, dict[str, float]]:
    """The slice rule with its area fitted on validation slices, and figures on these."""
    rule = data.settings.rule
    found, drawn = [], []
    network = task.network.eval()
    for pictures, labels in data.val_dataloader():
        scores = network(pictures.float() / 255).float().sigmoid()
        found.append(scores.amax(1).numpy())
        drawn.append((labels > 0).numpy())
    probabilities, truth = np.concatenate(found), np.concatenate(drawn)
    agreement = dice(probabilities > rule.probability, truth)
    figures = {"val_dice_mean": agreement.mean, "val_dice_pooled": agreement.pooled}
    has = [bool(one.any()) for one in truth]
    if all(has):
        _LOG.warning(
            "every validation slice has a lesion: the area of the slice rule is not fitted"
        )
        return rule, figures
    return fit_area(rule, rule.area(probabilities).tolist(), has), figures


def export_segmenter(task: MaskTask, data: MaskData, attribution: str) -> Trained:
    """The network, with the slice rule fitted on validation slices."""
    data.setup("fit")
    rule, figures = _fitted(task, data)
    before = task.start.get("training", {})
    taught = describe_images(data.taught(), attribution, synthetic=data.synthetic)
    card = {
        "system": "deeptek_unet",
        "architecture": {"segmenter": task.architecture},
        "settings": replace(data.settings, rule=rule).to_card(),
        "synthetic_only": data.synthetic and task.start.get("synthetic_only", True),
        "training": {f"start: {stage}": entry for stage, entry in before.items()},
        "metrics": {"slice rule": figures},
    }
    return Trained({"segmenter": task.network}, card, taught)


SEGMENTER = Recipe(MaskTask, MaskData, export_segmenter, SegmenterCLI)
