"""DeepTek's U-Net as one system among others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covidctnet.contract import Stage
from covidctnet.slice_systems.system import slice_system
from covidctnet.systems.deeptek_unet.classes import CLASSES
from covidctnet.systems.deeptek_unet.published import PUBLISHED
from covidctnet.systems.deeptek_unet.settings import MaskSettings

if TYPE_CHECKING:
    from torch import nn

    from covidctnet.slice_systems.predictor import SlicesPredictor
    from covidctnet.training.recipe import Recipe

__all__ = ["SYSTEM"]


def _build(architecture: Mapping[str, Any]) -> nn.Module:
    from covidctnet.systems.deeptek_unet.networks import LesionUNet

    return LesionUNet(**architecture)


def _predictor() -> type[SlicesPredictor]:
    from covidctnet.systems.deeptek_unet.predictor import MaskPredictor

    return MaskPredictor


def _segmenter() -> Recipe:
    from covidctnet.systems.deeptek_unet.training import stages

    return stages.SEGMENTER


SYSTEM = slice_system(
    "deeptek_unet",
    "U-Net with Xception encoder",
    classes=CLASSES,
    kind="segmenter",
    settings=MaskSettings.from_card,
    build=_build,
    predictor=_predictor,
    stage=Stage("segmenter", "a U-Net that draws lesions in slices", _segmenter),
    reads="a whole slice",
    gives="logits of a lesion in every pixel; a sigmoid gives the probabilities",
    published=PUBLISHED,
)
