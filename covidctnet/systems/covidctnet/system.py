"""CovidCTNet as one system among others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covidctnet.classes import CHEST_CT
from covidctnet.contract import NetworkSignature, Predictor, RunSettings, Stage, System
from covidctnet.systems.covidctnet.card import check_card, deciding

if TYPE_CHECKING:
    from torch import nn

    from covidctnet.training.recipe import Recipe
    from covidctnet.weights import Weights

__all__ = ["SYSTEM"]


def _lungs() -> Recipe:
    from covidctnet.systems.covidctnet.training import stages

    return stages.LUNGS


def _denoiser() -> Recipe:
    from covidctnet.systems.covidctnet.training import stages

    return stages.DENOISER


def _classifier() -> Recipe:
    from covidctnet.systems.covidctnet.training import stages

    return stages.CLASSIFIER


def _build(kind: str, architecture: Mapping[str, Any]) -> nn.Module:
    from covidctnet.systems.covidctnet.weights import build

    return build(kind, architecture)


def _weights() -> type[Weights]:
    from covidctnet.systems.covidctnet.weights import CovidWeights

    return CovidWeights


def _load(weights: Weights, how: RunSettings) -> Predictor:
    from covidctnet.systems.covidctnet.predictor import CovidCTNet
    from covidctnet.systems.covidctnet.weights import CovidWeights

    assert isinstance(weights, CovidWeights)
    return CovidCTNet(weights, device=how.device, precision=how.precision, compiled=how.compiled)


def _signature(kind: str, card: Mapping[str, Any]) -> NetworkSignature:
    architecture, size = card["architecture"][kind], card["preprocessing"]["size"]
    slices = "slices in [0, 1], 0 the low and 1 the high end of the window of the card"
    if kind == "denoiser":
        return NetworkSignature((1, size, size), slices, "the slices as healthy lungs would look")
    if kind == "lungs":
        return NetworkSignature((1, size, size), slices, "the probability of lung in every pixel")
    if kind == "classifier":
        channels, depth, side = (architecture.get(k, 1) for k in ("channels", "depth", "size"))
        return NetworkSignature(
            (channels, depth, side, side),
            "residuals, slices minus denoised slices, as the card describes them",
            "logits of the classes; a softmax of logits / temperature gives the probabilities",
        )
    return NetworkSignature(
        (architecture["features"],),
        "numbers that describe a scan, see covidctnet.trust.appearance",
        "the distance from the scans of the training; above the limit of the card a scan is unlike "
        "them",
    )


SYSTEM = System(
    name="covidctnet",
    title="CovidCTNet",
    modality="ct",
    classes=CHEST_CT,
    networks=frozenset({"denoiser", "classifier", "lungs", "out_of_distribution"}),
    check=check_card,
    deciding=deciding,
    build=_build,
    weights=_weights,
    load=_load,
    stages=(
        Stage("lungs", "the BCDU-Net on lungs, to start a denoiser from", _lungs),
        Stage("denoiser", "the BCDU-Net on the Controls set aside for it", _denoiser),
        Stage("classifier", "the 3D CNN on the denoiser's residuals", _classifier),
    ),
    has_denoiser=True,
    signature=_signature,
    former_names={"out_of_distribution": "likeness", "lesion_volume": "burden"},
)
