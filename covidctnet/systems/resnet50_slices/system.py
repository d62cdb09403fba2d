"""The ResNet-50 of Vienna as one system among others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covidctnet.contract import Stage
from covidctnet.slice_systems.system import slice_system
from covidctnet.systems.resnet50_slices.classes import CLASSES
from covidctnet.systems.resnet50_slices.published import PUBLISHED
from covidctnet.systems.resnet50_slices.settings import SliceSettings

if TYPE_CHECKING:
    from torch import nn

    from covidctnet.slice_systems.predictor import SlicesPredictor
    from covidctnet.training.recipe import Recipe

__all__ = ["SYSTEM"]


def _build(architecture: Mapping[str, Any]) -> nn.Module:
    from covidctnet.systems.resnet50_slices.networks import SliceClassifier

    return SliceClassifier(architecture["backbone"], len(CLASSES))


def _predictor() -> type[SlicesPredictor]:
    from covidctnet.systems.resnet50_slices.predictor import SlicePredictor

    return SlicePredictor


def _classifier() -> Recipe:
    from covidctnet.systems.resnet50_slices.training import stages

    return stages.CLASSIFIER


SYSTEM = slice_system(
    "resnet50_slices",
    "ResNet-50 on slices",
    classes=CLASSES,
    kind="classifier",
    settings=SliceSettings.from_card,
    build=_build,
    predictor=_predictor,
    stage=Stage("classifier", "a ResNet-50 that reads slices one by one", _classifier),
    reads="a slice",
    gives="logits of the classes; a softmax gives the probabilities",
    published=PUBLISHED,
)
