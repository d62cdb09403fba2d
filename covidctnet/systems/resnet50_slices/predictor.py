"""From a scan to the probability of Covid-19: slices of the lungs, one by one, then their mean."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch

from covidctnet._version import __version__
from covidctnet.chest.gate import check_chest, look_for_chest
from covidctnet.contract import PredictorInfo, RunSettings
from covidctnet.devices import DTYPES, pick_device, pick_precision
from covidctnet.results import Prediction
from covidctnet.systems.resnet50_slices.networks import SliceClassifier
from covidctnet.systems.resnet50_slices.settings import SliceSettings, lung_slices
from covidctnet.volume import Source, Volume
from covidctnet.weights import Weights

__all__ = ["Prepared", "SlicePredictor"]

# The lungs are looked for in Hounsfield units; the window does not matter.
_ANY_WINDOW = (-1000.0, 400.0)
_BATCH = 8


class Prepared(NamedTuple):
    """A scan on its way to the network.

    Attributes:
        pictures: uint8, (slice, size, size).
        places: Of these slices in the scan.
        source: Of the scan.
        flags: Of the reader and of the look for a chest.
        seconds: By stage.
    """

    pictures: np.ndarray
    places: tuple[int, ...]
    source: Source
    flags: tuple[str, ...]
    seconds: dict[str, float]


class SlicePredictor:
    """A trained network that answers scans.

    Args:
        weights: With a network ``classifier``.
        how: Device and precision.
    """

    def __init__(self, weights: Weights, how: RunSettings) -> None:
        self.weights = weights
        self.device = pick_device(how.device)
        self.precision = pick_precision(how.precision, self.device)
        self.settings = SliceSettings.from_card(weights.card["settings"])
        network = weights.network("classifier")
        assert isinstance(network, SliceClassifier)
        self.network = network.fast(DTYPES[self.precision]).to(self.device)

    @property
    def info(self) -> PredictorInfo:
        """What this predictor is."""
        told = {
            "covidctnet": __version__,
            "torch": torch.__version__,
            "device": str(self.device),
            "precision": self.precision,
            "weights": self.weights.name,
            "weights_digest": self.weights.digest,
            "card": dict(self.weights.card),
        }
        return PredictorInfo.of(self.weights, told)

    def prepare(self, volume: Volume, /) -> Prepared:
        """Slices of the lungs, as the network sees them.

        Raises:
            StudyError: ``WRONG_UNITS``, ``NOT_CHEST``.
        """
        start = time.perf_counter()
        volume.expect("HU", by="resnet50_slices")
        chest, lungs = look_for_chest(volume, window_hu=_ANY_WINDOW)
        flags = check_chest(chest, study=volume.source.study)
        places = lung_slices(lungs.sum(axis=(1, 2)), self.settings.slices)
        pictures = np.stack([self.settings.slice(volume.array[place]) for place in places])
        seconds = {"preprocess": time.perf_counter() - start}
        return Prepared(pictures, places, volume.source, (*volume.source.flags, *flags), seconds)

    def __call__(self, prepared: Prepared, /, *, images: bool = False) -> Prediction:
        """The mean over the slices.

        Args:
            prepared: From `prepare`.
            images: Not used: an answer of this system has no pictures yet.
        """
        start = time.perf_counter()
        scores = self.scores(prepared.pictures)  # (slice, class)
        means = scores.mean(axis=0)
        classes = self.weights.classes
        probabilities = dict(zip(classes, means.tolist(), strict=True))
        return Prediction(
            prepared.source.study,
            probabilities,
            flags=prepared.flags,
            seconds={**prepared.seconds, "classify": time.perf_counter() - start},
            acquisition=prepared.source.acquisition,
            weights=self.weights.digest,
            notes=prepared.source.notes,
            classes=classes,
        )

    @torch.inference_mode()
    def scores(self, pictures: np.ndarray) -> np.ndarray:
        """Probabilities of the classes for slices.

        Args:
            pictures: uint8, (slice, size, size).

        Returns:
            float64, (slice, class); each slice sums to 1.
        """
        out = []
        for first in range(0, len(pictures), _BATCH):
            batch = torch.from_numpy(pictures[first : first + _BATCH]).to(self.device)
            logits = self.network(batch[:, None].float() / 255)
            out.append(torch.softmax(logits.double(), 1).cpu().numpy())
        return np.concatenate(out)
