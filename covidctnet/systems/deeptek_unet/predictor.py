"""From a scan to masks of lesions, and from their longest run of slices to an answer."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from covidctnet.contract import RunSettings
from covidctnet.evidence import Evidence, Keep, Mask, SliceScores
from covidctnet.slice_systems.predictor import (
    Chosen,
    PreparedSlices,
    SliceAnswer,
    SlicePicture,
    SlicesPredictor,
    best_slices,
)
from covidctnet.slicewise.aggregate import ScanScores, longest_run
from covidctnet.slicewise.sampling import lung_range
from covidctnet.slicewise.window import hu_to_8_bit
from covidctnet.systems.deeptek_unet.settings import MaskSettings, run_score, square
from covidctnet.weights import Weights

__all__ = ["MaskPredictor"]


class MaskPredictor(SlicesPredictor):
    """The network that draws lesions; a scan has the answer of its longest run of positive slices.

    Args:
        weights: With a network ``segmenter``.
        how: Device and precision.
    """

    kind = "segmenter"
    stage = "segment"
    batch_size = 4

    def __init__(self, weights: Weights, how: RunSettings) -> None:
        super().__init__(weights, how)
        self.settings = MaskSettings.from_card(weights.card["settings"])

    def choose(self, lungs: np.ndarray) -> Chosen:
        """All slices from the first with lung to the last."""
        first, last = lung_range(lungs.sum(axis=(1, 2)))
        return Chosen(range(first, last + 1))

    def picture(self, hu: np.ndarray, lungs: np.ndarray) -> SlicePicture:
        """The slice in the lung window, as a square."""
        size = self.settings.size
        scale = np.array(hu.shape) / size
        grid = np.diag([1.0, *scale, 1.0])
        # Middles of pixels lie over middles.
        grid[1:3, 3] = (scale - 1) / 2
        return SlicePicture(square(hu_to_8_bit(hu, self.settings.window), size), grid)

    def answer(self, prepared: PreparedSlices, keep: Keep) -> SliceAnswer:
        """The longest run of positive slices, against the rule of the card.

        Masks are of the slices with the largest lesions, or of the whole scan.

        Raises:
            StudyError: ``TOO_FEW_SLICES`` if the scan is shorter than the run.
        """
        rule = self.settings.rule
        probabilities = self.probabilities(prepared.pictures)
        count = prepared.shape[0]
        areas, positive = np.zeros(count), np.zeros(count)
        inside = slice(prepared.first, prepared.first + len(probabilities))
        areas[inside] = rule.area(probabilities.max(axis=1))
        positive[inside] = rule.positive(probabilities.max(axis=1))
        z_mm = np.arange(count) * prepared.step_mm
        scan = ScanScores(tuple(z_mm.tolist()), tuple(positive.tolist()))
        self.settings.run(scan, 0.5)  # refuses a scan that is too short
        run = longest_run(scan, 0.5, gap=self.settings.run.gap)
        score = run_score(run, self.settings.run)
        classes = self.weights.classes
        longest = "no slice" if run is None else f"{run.slices} slices ({run.mm:.0f} mm)"
        return SliceAnswer(
            {classes.normal_label: 1 - score, classes.target: score},
            self._evidence(prepared, probabilities, areas, keep),
            (f"longest run of positive slices: {longest}",),
        )

    def _evidence(
        self, prepared: PreparedSlices, probabilities: np.ndarray, areas: np.ndarray, keep: Keep
    ) -> tuple[Evidence, ...]:
        """The lesion area of each slice, and masks where they are kept."""
        heights = prepared.affine[2, 3] + np.arange(len(areas)) * prepared.affine[2, 0]
        label = self.weights.classes.target.key
        slice_scores = SliceScores(
            tuple(areas.tolist()), tuple(heights.tolist()), label, self.settings.rule.pixels
        )
        if keep == "numbers":
            return (slice_scores,)
        first, end = prepared.first, prepared.first + len(probabilities)
        # The largest may lie outside the lungs only where nothing was found at all.
        chosen = tuple(dict.fromkeys(np.clip(best_slices(areas), first, end - 1).tolist()))
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
        return (slice_scores, mask)

    def _on_scan(self, probabilities: np.ndarray, prepared: PreparedSlices) -> np.ndarray:
        """Probabilities of one slice on the grid of the scan, (kind, row, column)."""
        scaled: np.ndarray = F.interpolate(
            torch.from_numpy(probabilities)[None],
            prepared.shape[1:],
            mode="bilinear",
            align_corners=False,
        )[0].numpy()
        return scaled

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Probability of each kind of lesion at every pixel.

        Args:
            pictures: uint8, (slice, size, size).

        Returns:
            float32, (slice, kind, size, size).
        """
        return np.concatenate([x.sigmoid().cpu().numpy() for x in self.outputs(pictures)])

    def masks(self, prepared: PreparedSlices) -> np.ndarray:
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


def _enlarged(picture: np.ndarray, prepared: PreparedSlices) -> np.ndarray:
    """A slice as the network saw it, in [0, 1], on the grid of the scan."""
    grey = torch.from_numpy(picture)[None, None].float() / 255
    scaled: np.ndarray = F.interpolate(
        grey, prepared.shape[1:], mode="bilinear", align_corners=False
    )[0, 0].numpy()
    return scaled
