"""From a scan to the probability of Covid-19: slices of the lungs, one by one, then their mean."""

from __future__ import annotations

import numpy as np
import torch

from covidctnet.contract import RunSettings
from covidctnet.evidence import Evidence, Heatmap, Keep, SliceScores
from covidctnet.networks.gradcam import grad_cam
from covidctnet.slice_systems.predictor import (
    Chosen,
    PreparedSlices,
    SliceAnswer,
    SlicePicture,
    SlicesPredictor,
    best_slices,
)
from covidctnet.slicewise.resize import grid_of
from covidctnet.slicewise.sampling import lung_slices
from covidctnet.systems.resnet50_slices.networks import SliceClassifier
from covidctnet.systems.resnet50_slices.settings import SliceSettings
from covidctnet.weights import Weights

__all__ = ["SlicePredictor"]

# A slice counts as positive above this probability.
_THRESHOLD = 0.5


class SlicePredictor(SlicesPredictor):
    """The classifier of slices; a scan has the mean of its slices.

    Args:
        weights: With a network ``classifier``.
        how: Device and precision.
    """

    kind = "classifier"
    stage = "classify"
    batch_size = 8
    network: SliceClassifier

    def __init__(self, weights: Weights, how: RunSettings) -> None:
        super().__init__(weights, how)
        self.settings = SliceSettings.from_card(weights.card["settings"])

    def choose(self, lungs: np.ndarray) -> Chosen:
        """Slices evenly spaced over the lungs."""
        return Chosen(lung_slices(lungs.sum(axis=(1, 2)), self.settings.slices))

    def picture(self, hu: np.ndarray, lungs: np.ndarray) -> SlicePicture:
        """The slice in the lung window, as a square."""
        rows, columns = hu.shape
        grid = grid_of(columns, rows, self.settings.size, fit=self.settings.fit)
        return SlicePicture(self.settings.slice(hu), grid)

    def answer(self, prepared: PreparedSlices, keep: Keep) -> SliceAnswer:
        """The mean over the slices, against the balanced threshold of the card.

        Heat maps are of the slices that speak most for Covid-19, or of all.
        """
        scores = self.scores(prepared.pictures)  # (slice, class)
        classes = self.weights.classes
        evidence = self._evidence(prepared, scores[:, int(classes.target)], keep)
        means = dict(zip(classes, scores.mean(axis=0).tolist(), strict=True))
        if (points := self.settings.points) is None:
            return SliceAnswer(means, evidence)
        mean, normal = means[classes.target], classes.normal_label
        shown = points.decided(mean)
        note = f"mean over {len(scores)} slices {mean:.3g}; "
        note += points.in_words(mean, classes.target.title, normal.title)
        return SliceAnswer({normal: 1 - shown, classes.target: shown}, evidence, (note,))

    def _evidence(
        self, prepared: PreparedSlices, scores: np.ndarray, keep: Keep
    ) -> tuple[Evidence, ...]:
        """The score of each slice, and what speaks for it where pictures are kept."""
        label = self.weights.classes.target
        pictures = prepared.pictures
        if keep == "numbers":
            pictures = np.zeros((len(scores), 1, 1), np.uint8)
            heat = np.zeros(pictures.shape, np.float32)
        else:
            heat = grad_cam(self.network, pictures, int(label)) * scores[:, None, None]
            heat = (heat / max(float(heat.max()), 1e-9)).astype(np.float32)
        shown = Heatmap(
            label=label.key,
            values=heat,
            over=pictures.astype(np.float32) / 255,
            slices=prepared.places,
            affine=prepared.affine @ prepared.grids[0],
            chosen=tuple(best_slices(scores).tolist()),
        )
        slice_scores = SliceScores(tuple(scores.tolist()), shown.heights_mm, label.key, _THRESHOLD)
        if keep == "numbers":
            return (slice_scores,)
        return (slice_scores, shown.at(shown.chosen) if keep == "slices" else shown)

    def scores(self, pictures: np.ndarray) -> np.ndarray:
        """Probabilities of the classes for slices.

        Args:
            pictures: uint8, (slice, size, size).

        Returns:
            float64, (slice, class); each slice sums to 1.
        """
        logits = self.outputs(pictures)
        return np.concatenate([torch.softmax(x.double(), 1).cpu().numpy() for x in logits])
