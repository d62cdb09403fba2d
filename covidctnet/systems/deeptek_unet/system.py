"""The U-Net of DeepTek as one system among others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covidctnet.contract import Predictor, RunSettings, Stage, System
from covidctnet.errors import UsageError, WeightsError
from covidctnet.systems.deeptek_unet.classes import CLASSES

if TYPE_CHECKING:
    from torch import nn

    from covidctnet.training.recipe import Recipe
    from covidctnet.weights import Weights

__all__ = ["SYSTEM"]


def _check(name: str, card: Mapping[str, Any]) -> None:
    """Refuse a card that this network cannot be run by."""
    from covidctnet.systems.deeptek_unet.settings import MaskSettings

    if card["classes"] != list(CLASSES.titles):
        raise WeightsError(
            f"expected weights that tell {list(CLASSES.titles)} apart in this order, {name!r} "
            f"tell {card['classes']!r:.200}. Train them again."
        )
    try:
        MaskSettings.from_card(card.get("settings", {}))
    except UsageError as error:
        raise WeightsError(
            f"the card of weights {name!r} has impossible settings ({error}). Copy the folder "
            "again."
        ) from None


def _deciding(card: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"settings": dict(card["settings"])}


def _build(kind: str, architecture: Mapping[str, Any]) -> nn.Module:
    from covidctnet.systems.deeptek_unet.networks import LesionUNet

    return LesionUNet(**architecture)


def _weights() -> type[Weights]:
    from covidctnet.weights import Weights

    return Weights


def _load(weights: Weights, how: RunSettings) -> Predictor:
    from covidctnet.systems.deeptek_unet.predictor import MaskPredictor

    return MaskPredictor(weights, how)


def _segmenter() -> Recipe:
    from covidctnet.systems.deeptek_unet.training import stages

    return stages.SEGMENTER


SYSTEM = System(
    name="deeptek_unet",
    title="U-Net with Xception encoder",
    modality="ct",
    classes=CLASSES,
    networks=frozenset({"segmenter"}),
    check=_check,
    deciding=_deciding,
    build=_build,
    weights=_weights,
    load=_load,
    stages=(Stage("segmenter", "a U-Net that draws lesions in slices", _segmenter),),
)
