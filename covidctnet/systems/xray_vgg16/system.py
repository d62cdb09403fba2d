"""The cut VGG-16 for radiographs as one system among others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covidctnet.contract import Stage
from covidctnet.slice_systems.system import slice_system
from covidctnet.systems.xray_vgg16.classes import CLASSES, TASKS
from covidctnet.systems.xray_vgg16.published import PUBLISHED
from covidctnet.systems.xray_vgg16.settings import RadiographSettings

if TYPE_CHECKING:
    from torch import nn

    from covidctnet.systems.xray_vgg16.predictor import RadiographPredictor
    from covidctnet.training.recipe import Recipe

__all__ = ["SYSTEM"]


def _build(architecture: Mapping[str, Any]) -> nn.Module:
    from covidctnet.systems.xray_vgg16.networks import RadiographNet

    return RadiographNet(**architecture)


def _predictor() -> type[RadiographPredictor]:
    from covidctnet.systems.xray_vgg16.predictor import RadiographPredictor

    return RadiographPredictor


def _classifier() -> Recipe:
    from covidctnet.systems.xray_vgg16.training import stages

    return stages.CLASSIFIER


SYSTEM = slice_system(
    "xray_vgg16",
    "Cut VGG-16 on radiographs (Xividocx)",
    modality="radiograph",
    classes=CLASSES,
    variants=tuple(TASKS.values()),
    published=PUBLISHED,
    kind="classifier",
    settings=RadiographSettings.from_card,
    build=_build,
    predictor=_predictor,
    stage=Stage("classifier", "a cut VGG-16 that reads chest radiographs", _classifier),
    reads="a radiograph",
    gives="a logit of disease of every vote; a sigmoid gives the probability, votes are averaged",
)
