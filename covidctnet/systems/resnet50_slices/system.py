"""The ResNet-50 of Vienna as one system among others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covidctnet.contract import Predictor, RunSettings, Stage, System
from covidctnet.errors import UsageError, WeightsError
from covidctnet.systems.resnet50_slices.classes import CLASSES

if TYPE_CHECKING:
    from torch import nn

    from covidctnet.training.recipe import Recipe
    from covidctnet.weights import Weights

__all__ = ["SYSTEM"]


def _check(name: str, card: Mapping[str, Any]) -> None:
    """Refuse a card that this network cannot be run by."""
    from covidctnet.systems.resnet50_slices.settings import SliceSettings

    if card["classes"] != list(CLASSES.titles):
        raise WeightsError(
            f"expected weights that tell {list(CLASSES.titles)} apart in this order, {name!r} "
            f"tell {card['classes']!r:.200}. Train them again."
        )
    try:
        SliceSettings.from_card(card.get("settings", {"missing": True}))
    except UsageError as error:
        raise WeightsError(
            f"the card of weights {name!r} has impossible settings ({error}). Copy the folder "
            "again."
        ) from None


def _deciding(card: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"settings": dict(card["settings"])}


def _build(kind: str, architecture: Mapping[str, Any]) -> nn.Module:
    from covidctnet.systems.resnet50_slices.networks import SliceClassifier

    return SliceClassifier(architecture["backbone"], len(CLASSES))


def _weights() -> type[Weights]:
    from covidctnet.weights import Weights

    return Weights


def _load(weights: Weights, how: RunSettings) -> Predictor:
    from covidctnet.systems.resnet50_slices.predictor import SlicePredictor

    return SlicePredictor(weights, how)


def _classifier() -> Recipe:
    from covidctnet.systems.resnet50_slices.training import stages

    return stages.CLASSIFIER


SYSTEM = System(
    name="resnet50_slices",
    title="ResNet-50 on slices",
    modality="ct",
    classes=CLASSES,
    networks=frozenset({"classifier"}),
    check=_check,
    deciding=_deciding,
    build=_build,
    weights=_weights,
    load=_load,
    stages=(Stage("classifier", "a ResNet-50 that reads slices one by one", _classifier),),
)
