"""CovidCTNet as one system among others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from covidctnet.classes import CHEST_CT
from covidctnet.contract import Predictor, RunSettings, Stage, System

if TYPE_CHECKING:
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


def _check(name: str, card: Mapping[str, Any]) -> None:
    from covidctnet.systems.covidctnet.card import check_card

    check_card(name, card)


def _load(weights: Weights, how: RunSettings) -> Predictor:
    from covidctnet.systems.covidctnet.predictor import CovidCTNet

    return CovidCTNet(weights, device=how.device, precision=how.precision, compiled=how.compiled)


SYSTEM = System(
    name="covidctnet",
    title="CovidCTNet",
    modality="ct",
    classes=CHEST_CT,
    networks=frozenset({"denoiser", "classifier", "lungs", "likeness"}),
    check=_check,
    load=_load,
    stages=(
        Stage("lungs", "the BCDU-Net on lungs, to start a denoiser from", _lungs),
        Stage("denoiser", "the BCDU-Net on the Controls set aside for it", _denoiser),
        Stage("classifier", "the 3D CNN on the denoiser's residuals", _classifier),
    ),
)
