"""From a scan to masks of lesions, and from their longest run of slices to an answer."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from covidctnet.chest.gate import check_chest, look_for_chest
from covidctnet.cohort.store import StoredStudy
from covidctnet.contract import PredictorInfo, RunSettings
from covidctnet.devices import DTYPES, pick_device, pick_precision
from covidctnet.errors import UsageError
from covidctnet.evidence import Evidence, Keep, Mask, SliceScores
from covidctnet.results import Prediction
from covidctnet.slicewise.aggregate import ScanScores, longest_run
from covidctnet.slicewise.sampling import lung_range
from covidctnet.slicewise.window import hu_to_8_bit
from covidctnet.systems.deeptek_unet.networks import LesionUNet
from covidctnet.systems.deeptek_unet.settings import MaskSettings, run_score, square
from covidctnet.volume import Source, Volume
from covidctnet.weights import Weights

__all__ = ["MaskPredictor", "Prepared"]

_BATCH = 4
_PICTURE_SLICES = 3


class Prepared(NamedTuple):
    """A scan on its way to the network.

    Attributes:
        pictures: uint8, (slice, size, size), from the first slice with lung to the last.
        first: Place of the first of them in the scan.
        z_mm: Positions of all slices of the scan.
        shape: Of the scan.
        affine: Of the scan.
        source: Of the scan.
        flags: Of the reader and of the look for a chest.
        seconds: By stage.
    """

    pictures: np.ndarray
    first: int
    z_mm: tuple[float, ...]
    shape: tuple[int, int, int]
    affine: np.ndarray
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
        told = self.weights.provenance(self.device, self.precision)
        return PredictorInfo.of(self.weights, told)

    def prepare(self, scan: Volume | StoredStudy, /) -> Prepared:
        """All slices that show lung, as the network sees them.

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
        volume.expect("HU", by="deeptek_unet")
        chest, lungs = look_for_chest(volume)
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
            volume.affine,
            volume.source,
            (*volume.source.flags, *flags),
            seconds,
        )

    def __call__(self, prepared: Prepared, /, *, keep: Keep = "numbers") -> Prediction:
        """The longest run of positive slices, against the rule of the card.

        Args:
            prepared: From `prepare`.
            keep: Masks of the three slices with the largest lesions, or of the whole scan.

        Raises:
            StudyError: ``TOO_FEW_SLICES`` if the scan is shorter than the run.
        """
        start = time.perf_counter()
        rule = self.settings.rule
        probabilities = self.probabilities(prepared.pictures)
        areas = np.zeros(prepared.shape[0])
        inside = slice(prepared.first, prepared.first + len(probabilities))
        areas[inside] = rule.area(probabilities.max(axis=1))
        positive = np.zeros(prepared.shape[0])
        positive[inside] = rule.positive(probabilities.max(axis=1))
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
            evidence=self._evidence(prepared, probabilities, areas, keep),
        )

    def _evidence(
        self, prepared: Prepared, probabilities: np.ndarray, areas: np.ndarray, keep: Keep
    ) -> tuple[Evidence, ...]:
        """The lesion area of each slice, and masks where they are kept."""
        heights = prepared.affine[2, 3] + np.arange(len(areas)) * prepared.affine[2, 0]
        label = self.weights.classes.target.key
        told = SliceScores(
            tuple(areas.tolist()), tuple(heights.tolist()), label, self.settings.rule.pixels
        )
        if keep == "numbers":
            return (told,)
        first, end = prepared.first, prepared.first + len(probabilities)
        largest = np.sort(np.argsort(-areas, kind="stable")[:_PICTURE_SLICES])
        # The largest may lie outside the lungs only where nothing was found at all.
        chosen = tuple(dict.fromkeys(np.clip(largest, first, end - 1).tolist()))
        # An evaluation compares masks of all slices, so those without lung are there too.
        kept = tuple(range(prepared.shape[0])) if keep == "volumes" else chosen
        shape = (len(kept), *prepared.shape[1:])
        score, over = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        searched = np.zeros(shape, bool)
        for row, place in enumerate(kept):
            if first <= place < end:
                score[row] = self._on_scan(probabilities[place - first], prepared).max(axis=0)
                over[row] = _enlarged(prepared.pictures[place - first], prepared)
                searched[row] = True
        mask = Mask(
            found=searched & (score > self.settings.rule.probability),
            searched=searched,
            score=score,
            over=over,
            slices=kept,
            affine=prepared.affine,
            chosen=chosen if keep == "volumes" else (),
        )
        return (told, mask)

    def _on_scan(self, probabilities: np.ndarray, prepared: Prepared) -> np.ndarray:
        """Probabilities of one slice on the grid of the scan, (kind, row, column)."""
        scaled: np.ndarray = F.interpolate(
            torch.from_numpy(probabilities)[None],
            prepared.shape[1:],
            mode="bilinear",
            align_corners=False,
        )[0].numpy()
        return scaled

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
        out = np.zeros(prepared.shape, np.uint8)
        for place, found in enumerate(self.probabilities(prepared.pictures), prepared.first):
            full = self._on_scan(found, prepared)
            is_lesion = full.max(axis=0) > self.settings.rule.probability
            out[place] = np.where(is_lesion, full.argmax(axis=0) + 1, 0)
        return out


def _enlarged(picture: np.ndarray, prepared: Prepared) -> np.ndarray:
    """A slice as the network saw it, in [0, 1], on the grid of the scan."""
    grey = torch.from_numpy(picture)[None, None].float() / 255
    scaled: np.ndarray = F.interpolate(
        grey, prepared.shape[1:], mode="bilinear", align_corners=False
    )[0, 0].numpy()
    return scaled
