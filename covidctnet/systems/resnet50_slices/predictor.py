"""From a scan to the probability of Covid-19: slices of the lungs, one by one, then their mean."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch

from covidctnet.chest.gate import check_chest, look_for_chest
from covidctnet.cohort.store import StoredStudy
from covidctnet.contract import PredictorInfo, RunSettings
from covidctnet.devices import DTYPES, pick_device, pick_precision
from covidctnet.errors import UsageError
from covidctnet.evidence import Evidence, Heatmap, Keep, SliceScores
from covidctnet.results import Prediction
from covidctnet.systems.resnet50_slices.gradcam import grad_cam
from covidctnet.systems.resnet50_slices.networks import SliceClassifier
from covidctnet.systems.resnet50_slices.resize import grid_of
from covidctnet.systems.resnet50_slices.settings import SliceSettings, lung_slices
from covidctnet.volume import Source, Volume
from covidctnet.weights import Weights

__all__ = ["Prepared", "SlicePredictor"]

_BATCH = 8
# A slice counts as positive above this probability.
_THRESHOLD = 0.5
_PICTURE_SLICES = 3


class Prepared(NamedTuple):
    """A scan on its way to the network.

    Attributes:
        pictures: uint8, (slice, size, size).
        places: Of these slices in the scan.
        affine: From places, rows and columns of the pictures to LPS mm.
        source: Of the scan.
        flags: Of the reader and of the look for a chest.
        seconds: By stage.
    """

    pictures: np.ndarray
    places: tuple[int, ...]
    affine: np.ndarray
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
        told = self.weights.provenance(self.device, self.precision)
        return PredictorInfo.of(self.weights, told)

    def prepare(self, scan: Volume | StoredStudy, /) -> Prepared:
        """Slices of the lungs, as the network sees them.

        Raises:
            StudyError: ``WRONG_UNITS``, ``NOT_CHEST``.
            UsageError: For a study in a work folder: the network wants all pixels of a slice.
        """
        start = time.perf_counter()
        if not isinstance(scan, Volume):
            raise UsageError(
                "expected a scan as it was read, got a preprocessed one. Give the scan."
            )
        volume = scan
        volume.expect("HU", by="resnet50_slices")
        chest, lungs = look_for_chest(volume)
        flags = check_chest(chest, study=volume.source.study)
        places = lung_slices(lungs.sum(axis=(1, 2)), self.settings.slices)
        pictures = np.stack([self.settings.slice(volume.array[place]) for place in places])
        seconds = {"preprocess": time.perf_counter() - start}
        _, height, width = volume.shape
        settings = self.settings
        grid = grid_of(width, height, settings.size, fit=settings.fit)
        return Prepared(
            pictures,
            places,
            volume.affine @ grid,
            volume.source,
            (*volume.source.flags, *flags),
            seconds,
        )

    def __call__(self, prepared: Prepared, /, *, keep: Keep = "numbers") -> Prediction:
        """The mean over the slices.

        Args:
            prepared: From `prepare`.
            keep: A heat map of the three slices that speak most for Covid-19, or of all.
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
            evidence=self._evidence(prepared, scores[:, int(classes.target)], keep),
        )

    def _evidence(self, prepared: Prepared, scores: np.ndarray, keep: Keep) -> tuple[Evidence, ...]:
        """The score of each slice, and what speaks for it where pictures are kept."""
        label = self.weights.classes.target
        best = np.sort(np.argsort(-scores, kind="stable")[:_PICTURE_SLICES])
        pictures = prepared.pictures
        if keep == "numbers":
            pictures = np.zeros((len(scores), 1, 1), np.uint8)
            heat = np.zeros(pictures.shape, np.float32)
        else:
            heat = grad_cam(self.network, pictures, int(label)) * scores[:, None, None]
            heat = (heat / max(float(heat.max()), 1e-9)).astype(np.float32)
        over = pictures.astype(np.float32) / 255
        shown = Heatmap(
            label=label.key,
            values=heat,
            over=over,
            slices=prepared.places,
            affine=prepared.affine,
            chosen=tuple(best.tolist()),
        )
        told = SliceScores(tuple(scores.tolist()), shown.heights_mm, label.key, _THRESHOLD)
        if keep == "numbers":
            return (told,)
        return (told, shown.at(shown.chosen) if keep == "slices" else shown)

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
