"""DeepPneumonia as one system among others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covidctnet.contract import Stage
from covidctnet.slice_systems.system import slice_system
from covidctnet.systems.deeppneumonia.classes import CLASSES, TASKS
from covidctnet.systems.deeppneumonia.published import PUBLISHED
from covidctnet.systems.deeppneumonia.settings import CropSettings

if TYPE_CHECKING:
    from torch import nn

    from covidctnet.slice_systems.predictor import SlicesPredictor
    from covidctnet.training.recipe import Recipe

__all__ = ["SYSTEM"]


def _build(architecture: Mapping[str, Any]) -> nn.Module:
    from covidctnet.systems.deeppneumonia.networks import DRENet, PlainNet

    what = {name: value for name, value in architecture.items() if name != "network"}
    return DRENet(**what) if architecture["network"] == "drenet" else PlainNet(**what)


def _predictor() -> type[SlicesPredictor]:
    from covidctnet.systems.deeppneumonia.predictor import DetailPredictor

    return DetailPredictor


def _classifier() -> Recipe:
    from covidctnet.systems.deeppneumonia.training import stages

    return stages.CLASSIFIER


SYSTEM = slice_system(
    "deeppneumonia",
    "DeepPneumonia (DRE-Net)",
    classes=CLASSES,
    variants=tuple(TASKS.values()),
    published=PUBLISHED,
    kind="classifier",
    settings=CropSettings.from_card,
    build=_build,
    predictor=_predictor,
    stage=Stage("classifier", "a DRE-Net that reads slices and their details", _classifier),
    reads="a slice cropped to its lungs",
    gives="logits of the classes; a softmax gives the probabilities. DRE-Net gives those of the "
    "slice alone and of each detail too, with the boxes of the details as shares of the slice",
)
