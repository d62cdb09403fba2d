"""Weights of CovidCTNet: the networks of a card by their types, and what was fitted to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from covidctnet.errors import WeightsError
from covidctnet.systems.covidctnet.card import SEGMENTATION
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.trust.calibration import Calibration
from covidctnet.trust.out_of_distribution import OutOfDistributionDetector
from covidctnet.weights import bundle

__all__ = ["CovidWeights", "build", "load_weights", "save_weights"]

_NETWORKS: Mapping[str, type[nn.Module]] = {
    "denoiser": BCDUNet,
    "classifier": CNN3D,
    "lungs": BCDUNet,
    "out_of_distribution": OutOfDistributionDetector,
}


def build(kind: str, architecture: Mapping[str, Any]) -> nn.Module:
    """A network of CovidCTNet that a card describes, with starting weights."""
    return _NETWORKS[kind](**architecture)


def load_weights(name: str | Path) -> CovidWeights:
    """Read weights of CovidCTNet; see `covidctnet.weights.load_weights`.

    Raises:
        WeightsError: See there; or if they are those of another system.
    """
    return _ours(bundle.load_weights(name))


def save_weights(
    folder: Path, networks: Mapping[str, nn.Module], *, card: Mapping[str, Any]
) -> CovidWeights:
    """Write weights of CovidCTNet; see `covidctnet.weights.save_weights`."""
    return _ours(bundle.save_weights(folder, networks, card=card))


def _ours(weights: bundle.Weights) -> CovidWeights:
    if not isinstance(weights, CovidWeights):
        raise WeightsError(
            f"expected weights of the system covidctnet, got {weights.name!r} of "
            f"{weights.card['system']}. covidctnet.load takes weights of any system."
        )
    return weights


class CovidWeights(bundle.Weights):
    """A card of CovidCTNet and the bytes it vouches for."""

    def denoiser(self) -> BCDUNet:
        """The denoiser, in evaluation mode, on the CPU.

        Raises:
            WeightsError: If the weights do not fit the card's architecture.
        """
        network = self.network("denoiser")
        assert isinstance(network, BCDUNet)
        return network

    def classifier(self) -> CNN3D:
        """The classifier, in evaluation mode, on the CPU.

        Raises:
            WeightsError: If there is none yet, or it does not fit the card's architecture.
        """
        network = self.network("classifier")
        assert isinstance(network, CNN3D)
        return network

    def ood_detector(self) -> OutOfDistributionDetector | None:
        """The distance from the training data, if it was fitted; `ood_limit` belongs to it.

        Raises:
            WeightsError: If it does not fit the card.
        """
        if "out_of_distribution" not in self.card["architecture"]:
            return None
        network = self.network("out_of_distribution")
        assert isinstance(network, OutOfDistributionDetector)
        return network

    def segmenter(self) -> BCDUNet | None:
        """The network that adds consolidation to the lungs.

        None where the card does not ask for it in inference.

        Raises:
            WeightsError: If the card asks for it and it is missing, or does not fit the card.
        """
        return self.lungs() if self.card.get(SEGMENTATION) else None

    @property
    def calibration(self) -> Calibration | None:
        """Temperature and prediction sets, if they were fitted."""
        entry = self.card.get("calibration")
        return Calibration.from_card(entry) if entry else None

    @property
    def ood_limit(self) -> float:
        """The distance that one in a hundred valid scans exceeds; infinite if none was fitted."""
        return float(self.card.get("out_of_distribution", {}).get("limit", math.inf))

    @property
    def lesion_threshold(self) -> float | None:
        """The residual from which a voxel counts as unusual, if it was fitted."""
        entry = self.card.get("lesion_volume")
        return float(entry["threshold"]) if entry else None

    def lungs(self) -> BCDUNet:
        """The segmentation of the lungs that a denoiser may start from, likewise.

        Raises:
            WeightsError: If there is none, or it does not fit the card's architecture.
        """
        network = self.network("lungs")
        assert isinstance(network, BCDUNet)
        return network
