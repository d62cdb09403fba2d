"""From a radiograph to the probability of pneumonia, with what speaks for it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import torch

from covidctnet.contract import RunSettings
from covidctnet.errors import StudyError, UsageError
from covidctnet.evidence import Evidence, Finding, Heatmap, Keep, QualityFindings
from covidctnet.networks.gradcam import grad_cam
from covidctnet.radiograph.chest import check_frontal
from covidctnet.radiograph.read import Radiograph
from covidctnet.results import Prediction
from covidctnet.slice_systems.predictor import NetworkPredictor
from covidctnet.systems.xray_vgg16.networks import RadiographNet
from covidctnet.systems.xray_vgg16.settings import RadiographSettings
from covidctnet.volume import Source, Volume
from covidctnet.weights import Weights

__all__ = ["PreparedRadiograph", "RadiographPredictor"]


class PreparedRadiograph(NamedTuple):
    """A radiograph on its way to the network.

    Attributes:
        picture: uint8, (size, size).
        source: Of the radiograph.
        findings: Of the quality checks.
        flags: Of the reader and of the look for a chest.
        seconds: By stage.
    """

    picture: np.ndarray
    source: Source
    findings: tuple[Finding, ...]
    flags: tuple[str, ...]
    seconds: dict[str, float]


class RadiographPredictor(NetworkPredictor):
    """The classifier of radiographs; each has an answer of its own.

    Args:
        weights: With a network ``classifier``.
        how: Device and precision.
    """

    kind = "classifier"
    batch_size = 8
    network: RadiographNet

    def __init__(self, weights: Weights, how: RunSettings) -> None:
        super().__init__(weights, how)
        self.settings = RadiographSettings.from_card(weights.card["settings"])

    def prepare(self, scan: Any, /) -> PreparedRadiograph:
        """The radiograph as the network sees it.

        Raises:
            StudyError: ``NOT_RADIOGRAPH`` for a CT; what `check_frontal` raises.
            UsageError: For anything else, such as a study in a work folder.
        """
        start = time.perf_counter()
        if isinstance(scan, Volume):
            raise StudyError(
                "NOT_RADIOGRAPH",
                "expected a radiograph, got a CT scan. Give CT to a system that reads it.",
                study=scan.source.study,
            )
        if not isinstance(scan, Radiograph):
            raise UsageError(
                f"expected a radiograph as it was read, got {type(scan).__name__}. Read it with "
                "covidctnet.radiograph.read.read_radiograph."
            )
        study = scan.source.study
        flags = check_frontal(scan.pixels, scan.findings, study=study)
        picture = self.settings.picture(scan.pixels)
        return PreparedRadiograph(
            picture,
            scan.source,
            scan.findings,
            (*scan.source.flags, *flags),
            {"preprocess": time.perf_counter() - start},
        )

    def __call__(self, prepared: PreparedRadiograph, /, *, keep: Keep = "numbers") -> Prediction:
        """The answer for a radiograph, against the balanced threshold of the card.

        Args:
            prepared: From `prepare`.
            keep: Whether the heat map is kept: not for ``numbers``.
        """
        start = time.perf_counter()
        classes = self.weights.classes
        normal, target = classes.normal_label, classes.target
        votes = self.votes(prepared.picture[None])[0]
        score = float(votes.mean())
        notes = prepared.source.notes
        if len(votes) > 1:
            listed = ", ".join(f"{vote:.2f}" for vote in votes)
            notes = (*notes, f"votes of {len(votes)} checkpoints for {target.title}: {listed}")
        shown = score
        if (points := self.settings.points) is not None:
            shown = points.decided(score)
            read = points.in_words(score, target.title, normal.title)
            notes = (*notes, f"probability {score:.3g}; {read}")
        evidence: tuple[Evidence, ...] = (QualityFindings(prepared.findings),)
        if keep != "numbers":
            evidence = (*evidence, self._heat(prepared.picture))
        return Prediction(
            prepared.source.study,
            {normal: 1 - shown, target: shown},
            flags=prepared.flags,
            seconds={**prepared.seconds, "classify": time.perf_counter() - start},
            acquisition=prepared.source.acquisition,
            weights=self.weights.digest,
            notes=notes,
            classes=classes,
            evidence=evidence,
        )

    def _heat(self, picture: np.ndarray) -> Heatmap:
        """Which places of the square picture raise the logit."""
        return Heatmap(
            label=self.weights.classes.target.key,
            values=grad_cam(self.network, picture[None], 0),
            over=picture[None].astype(np.float32) / 255,
            slices=(0,),
            chosen=(0,),
        )

    def votes(self, pictures: np.ndarray) -> np.ndarray:
        """Probability of the target class by each vote.

        Args:
            pictures: uint8, (picture, size, size).

        Returns:
            float64, (picture, vote).
        """
        logits = self.outputs(pictures)
        return np.concatenate([torch.sigmoid(x.double()).cpu().numpy() for x in logits])

    def scores(self, pictures: np.ndarray) -> np.ndarray:
        """Probabilities of the classes, the mean of the votes.

        Args:
            pictures: uint8, (picture, size, size).

        Returns:
            float64, (picture, class); each picture sums to 1.
        """
        positive = self.votes(pictures).mean(axis=1)
        out = np.empty((len(positive), 2))
        classes = self.weights.classes
        out[:, int(classes.target)], out[:, int(classes.normal_label)] = positive, 1 - positive
        return out
