"""From a scan to an answer: fifteen crops, their mean, and the details that speak for Covid-19."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from covidctnet.contract import RunSettings
from covidctnet.evidence import Box, Evidence, Keep, Regions, SliceScores
from covidctnet.slice_systems.predictor import (
    Chosen,
    PreparedSlices,
    SliceAnswer,
    SlicePicture,
    SlicesPredictor,
    best_slices,
)
from covidctnet.systems.deeppneumonia.settings import CropSettings
from covidctnet.weights import Weights

__all__ = ["DetailPredictor", "Scored"]

# A slice counts as positive above this probability.
_THRESHOLD = 0.5
# Details above this probability are shown, on the slices that speak most for Covid-19 (the paper's
# choice). None above it is an answer too: the threshold is not lowered until one is.
DETAIL_ABOVE = 0.8


class Scored(NamedTuple):
    """What the network says of slices.

    Attributes:
        probabilities: float64, (slice, class); each slice sums to 1.
        details: Probability of the target class by each detail, float64 (slice, part).
        boxes: See `covidctnet.systems.deeppneumonia.networks.Details`, (slice, part, 4).
    """

    probabilities: np.ndarray
    details: np.ndarray
    boxes: np.ndarray


class DetailPredictor(SlicesPredictor):
    """DRE-Net, or a plain network on the same crops; a scan has the mean of its slices.

    Args:
        weights: With a network ``classifier``.
        how: Device and precision.
    """

    kind = "classifier"
    stage = "classify"
    batch_size = 5

    def __init__(self, weights: Weights, how: RunSettings) -> None:
        super().__init__(weights, how)
        self.settings = CropSettings.from_card(weights.card["settings"])

    def choose(self, lungs: np.ndarray) -> Chosen:
        """Evenly spaced slices that show whole lungs."""
        return self.settings.choose(lungs)

    def picture(self, hu: np.ndarray, lungs: np.ndarray) -> SlicePicture:
        """The slice in the lung window, cropped to the lungs."""
        return self.settings.slice(hu, lungs)

    def answer(self, prepared: PreparedSlices, keep: Keep) -> SliceAnswer:
        """The mean over the slices, and the details of those that speak most for Covid-19."""
        scored = self.scores(prepared.pictures)
        classes = self.weights.classes
        means = scored.probabilities.mean(axis=0).tolist()
        return SliceAnswer(
            dict(zip(classes, means, strict=True)), self._evidence(prepared, scored, keep)
        )

    def _evidence(
        self, prepared: PreparedSlices, scored: Scored, keep: Keep
    ) -> tuple[Evidence, ...]:
        label = self.weights.classes.target
        scores = scored.probabilities[:, int(label)]
        heights = prepared.affine[2, 3] + np.array(prepared.places) * prepared.affine[2, 0]
        slice_scores = SliceScores(
            tuple(scores.tolist()), tuple(heights.tolist()), label.key, _THRESHOLD
        )
        best = best_slices(scores)
        boxes = [box for row in best for box in _boxes(prepared, scored, int(row))]
        kept = {"numbers": [], "slices": best.tolist(), "volumes": list(range(len(scores)))}[keep]
        wholes = [prepared.wholes[row].astype(np.float32) / 255 for row in kept]
        regions = Regions(
            label=label.key,
            boxes=tuple(sorted(boxes, key=lambda box: -box.score)),
            over=np.stack(wholes) if wholes else None,
            slices=tuple(prepared.places[row] for row in kept),
            affine=prepared.affine,
            chosen=tuple(best.tolist()) if keep == "volumes" else (),
        )
        return (slice_scores, regions)

    def scores(self, pictures: np.ndarray) -> Scored:
        """What the network says of slices.

        Args:
            pictures: uint8, (slice, size, size).
        """
        target = int(self.weights.classes.target)
        parts = [
            (
                torch.softmax(output.logits.double(), 1),
                torch.softmax(output.parts.double(), 2)[..., target],
                output.boxes,
            )
            for output in self.outputs(pictures)
        ]
        return Scored(*(torch.cat(each).cpu().numpy() for each in zip(*parts, strict=True)))


def _boxes(prepared: PreparedSlices, scored: Scored, row: int) -> list[Box]:
    """The details of one slice that are shown, on the grid of the scan."""
    _, rows, columns = prepared.shape
    size = prepared.pictures.shape[1]
    made = []
    for score, shares in zip(scored.details[row], scored.boxes[row], strict=True):
        if score <= DETAIL_ABOVE:
            continue
        # Edges of pixels, not middles; a box may reach beyond the crop.
        corners = np.clip(shares, 0, 1).reshape(2, 2) * size - 0.5
        on_slice = [prepared.grids[row] @ [0, *corner, 1] for corner in corners]
        (top, left), (bottom, right) = (corner[1:3] + 0.5 for corner in on_slice)
        top, bottom = np.clip([top, bottom], 0, rows)
        left, right = np.clip([left, right], 0, columns)
        if top < bottom and left < right:
            place = prepared.places[row]
            made.append(
                Box(place, float(top), float(left), float(bottom), float(right), float(score))
            )
    return made
