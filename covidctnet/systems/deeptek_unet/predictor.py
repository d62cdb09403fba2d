"""From a scan to masks of lesions, and from their longest run of slices to an answer."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from covidctnet._version import __version__
from covidctnet.chest.gate import check_chest, look_for_chest
from covidctnet.contract import PredictorInfo, RunSettings
from covidctnet.devices import DTYPES, pick_device, pick_precision
from covidctnet.results import Prediction
from covidctnet.slicewise.aggregate import ScanScores, longest_run
from covidctnet.slicewise.sampling import lung_range
from covidctnet.slicewise.window import hu_to_8_bit
from covidctnet.systems.deeptek_unet.networks import LesionUNet
from covidctnet.systems.deeptek_unet.settings import MaskSettings, run_score, square
from covidctnet.volume import Source, Volume
from covidctnet.weights import Weights

__all__ = ["MaskPredictor", "Prepared"]

# The lungs are looked for in Hounsfield units; the window does not matter.
_ANY_WINDOW = (-1000.0, 400.0)
_BATCH = 4


class Prepared(NamedTuple):
    """A scan on its way to the network.

    Attributes:
        pictures: uint8, (slice, size, size), from the first slice with lung to the last.
        first: Place of the first of them in the scan.
        z_mm: Positions of all slices of the scan.
        shape: Of the scan.
        source: Of the scan.
        flags: Of the reader and of the look for a chest.
        seconds: By stage.
    """

    pictures: np.ndarray
    first: int
    z_mm: tuple[float, ...]
    shape: tuple[int, int, int]
    source: Source
    flags: tuple[str, ...]
    seconds: dict[str, float]


class MaskPredictor:
    """A trained network that answers scans.

    Args:
        weights: With a network ``segmenter``.
        how: Device and precision.
    """

    def __init__(self, weights: Weights, how: RunSettings) -> None:
        self.weights = weights
        self.device = pick_device(how.device)
        self.precision = pick_precision(how.precision, self.device)
        self.settings = MaskSettings.from_card(weights.card["settings"])
        network = weights.network("segmenter")
        assert isinstance(network, LesionUNet)
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
        """All slices that show lung, as the network sees them.

        Raises:
            StudyError: ``WRONG_UNITS``, ``NOT_CHEST``.
        """
        start = time.perf_counter()
        volume.expect("HU", by="deeptek_unet")
        chest, lungs = look_for_chest(volume, window_hu=_ANY_WINDOW)
        flags = check_chest(chest, study=volume.source.study)
        first, last = lung_range(lungs.sum(axis=(1, 2)))
        pictures = np.stack(
            [
                square(hu_to_8_bit(hu, self.settings.window), self.settings.size)
                for hu in volume.array[first : last + 1]
            ]
        )
        count, rows, columns = volume.shape
        z_mm = tuple((np.arange(count) * volume.spacing[0]).tolist())
        seconds = {"preprocess": time.perf_counter() - start}
        return Prepared(
            pictures,
            first,
            z_mm,
            (count, rows, columns),
            volume.source,
            (*volume.source.flags, *flags),
            seconds,
        )

    def __call__(self, prepared: Prepared, /, *, images: bool = False) -> Prediction:
        """The longest run of positive slices, against the rule of the card.

        Args:
            prepared: From `prepare`.
            images: Not used: an answer of this system has no pictures yet.

        Raises:
            StudyError: ``TOO_FEW_SLICES`` if the scan is shorter than the run.
        """
        start = time.perf_counter()
        positive = np.zeros(prepared.shape[0])
        found = self.settings.rule.positive(self.probabilities(prepared.pictures).max(axis=1))
        positive[prepared.first : prepared.first + len(found)] = found
        scan = ScanScores(prepared.z_mm, tuple(positive.tolist()))
        self.settings.run(scan, 0.5)  # refuses a scan that is too short
        run = longest_run(scan, 0.5, gap=self.settings.run.gap)
        score = run_score(run, self.settings.run)
        classes = self.weights.classes
        told = "no slice" if run is None else f"{run.slices} slices ({run.mm:.0f} mm)"
        return Prediction(
            prepared.source.study,
            {classes.normal_label: 1 - score, classes.target: score},
            flags=prepared.flags,
            seconds={**prepared.seconds, "segment": time.perf_counter() - start},
            acquisition=prepared.source.acquisition,
            weights=self.weights.digest,
            notes=(*prepared.source.notes, f"longest run of positive slices: {told}"),
            classes=classes,
        )

    @torch.inference_mode()
    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Probability of each kind of lesion at every pixel.

        Args:
            pictures: uint8, (slice, size, size).

        Returns:
            float32, (slice, kind, size, size).
        """
        out = []
        for first in range(0, len(pictures), _BATCH):
            batch = torch.from_numpy(pictures[first : first + _BATCH]).to(self.device)
            scores = self.network(batch[:, None].float() / 255)
            out.append(scores.sigmoid().cpu().numpy())
        return np.concatenate(out)

    def masks(self, prepared: Prepared) -> np.ndarray:
        """Lesions on the grid of the scan.

        Returns:
            uint8, the shape of the scan: 0 for none, else the number of the likeliest kind from 1.
        """
        shape = prepared.shape
        out = np.zeros(shape, np.uint8)
        for place, slice_ in enumerate(self.probabilities(prepared.pictures), prepared.first):
            full = F.interpolate(
                torch.from_numpy(slice_)[None], shape[1:], mode="bilinear", align_corners=False
            )[0].numpy()
            is_lesion = full.max(axis=0) > self.settings.rule.probability
            out[place] = np.where(is_lesion, full.argmax(axis=0) + 1, 0)
        return out
