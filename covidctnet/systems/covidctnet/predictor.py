"""The whole chain on one scan: Hounsfield units in, three probabilities out."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from covidctnet.chest.gate import ChestScan, check_chest, known_chest, prepare_chest
from covidctnet.classes import CHEST_CT, Label
from covidctnet.cohort.store import StoredStudy
from covidctnet.contract import PredictorInfo
from covidctnet.devices import DTYPES, pick_device, pick_precision
from covidctnet.errors import StudyError, UsageError
from covidctnet.evidence import Evidence, Heatmap, Keep, LesionVolume, Mask, Panels
from covidctnet.preprocess import PreprocessSettings
from covidctnet.results import Prediction
from covidctnet.systems.covidctnet.denoise import Residual, ct_volume, place, residual_volume
from covidctnet.systems.covidctnet.gradcam import grad_cam
from covidctnet.systems.covidctnet.lesion_volume import inner_lungs, lesion_mask, lesion_volume
from covidctnet.systems.covidctnet.networks.fused import fused_cnn3d
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.systems.covidctnet.segment import add_consolidation, complete_lungs
from covidctnet.systems.covidctnet.weights import CovidWeights, load_weights
from covidctnet.trust.appearance import FEATURES, describe_appearance
from covidctnet.trust.calibration import soften
from covidctnet.volume import Volume
from covidctnet.weights.state import state_digest, state_stamp

__all__ = ["CovidCTNet", "OutOfDistributionScore", "Prepared"]

PICTURE_SLICES = 3
# What decides an answer, by attribute of the model.
_NETWORKS = ("denoiser", "classifier", "segmenter", "ood_detector")
_SETTINGS = ("settings", "residual", "calibration")


class OutOfDistributionScore(NamedTuple):
    """How unlike the scans of the training one is.

    Attributes:
        ood_score: Over the limit that one valid scan in a hundred exceeds.
        most: What lies the most standard deviations off, of `covidctnet.trust.appearance.FEATURES`.
    """

    score: float
    feature: str


class Prepared(NamedTuple):
    """A scan on its way to the networks.

    Attributes:
        unit: Preprocessed.
        lungs: Mask of its shape, bool.
        flags: Of the reader, of the look for a chest and of the detector.
        seconds: By stage.
        ood: To the scans of the training; None where the weights cannot tell.
    """

    unit: Volume
    lungs: np.ndarray
    flags: tuple[str, ...]
    seconds: Mapping[str, float]
    ood: OutOfDistributionScore | None = None


class CovidCTNet:
    """Preprocessing, denoiser, residual and classifier with one set of weights.

    Args:
        weights: Loaded weights; their card brings the preprocessing they were trained with.
        device: See `covidctnet.devices.pick_device`.
        precision: See `covidctnet.devices.pick_precision`.
        compiled: See `covidctnet.systems.covidctnet.denoise.place`.
    """

    def __init__(
        self,
        weights: CovidWeights,
        *,
        device: str = "auto",
        precision: str = "auto",
        compiled: bool = False,
    ) -> None:
        self.weights = weights
        self.device = pick_device(device)
        self.precision = pick_precision(precision, self.device)
        self.settings = PreprocessSettings(**weights.card["preprocessing"])
        self.residual = ResidualSettings.of_card(weights.card)
        self.denoiser = place(weights.denoiser(), self.device, self.precision, compiled=compiled)
        classifier = fused_cnn3d(weights.classifier(), DTYPES[self.precision])
        self.classifier = classifier.to(self.device)
        segmenter = weights.segmenter()
        self.segmenter = (
            None if segmenter is None else place(segmenter, self.device, self.precision)
        )
        self.calibration = weights.calibration
        self.ood_detector = weights.ood_detector()
        networks = {name: getattr(self, name) for name in _NETWORKS}
        self._loaded = {
            name: (network, state_stamp(network), state_digest(network))
            for name, network in networks.items()
        }
        self._settings_loaded = {name: repr(getattr(self, name)) for name in _SETTINGS}

    @classmethod
    def load(
        cls,
        name: str | Path = "compact",
        *,
        device: str = "auto",
        precision: str = "auto",
        compiled: bool = False,
    ) -> CovidCTNet:
        """Load shipped weights by name, or one's own from a folder.

        Args:
            name: ``compact``, or a folder with a ``card.json``.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
            precision: ``auto``, ``32`` or ``bf16``; probabilities differ by less than 0.01.
            compiled: Let `torch.compile` write kernels, which takes a minute or so at the first
                scan.

        Raises:
            WeightsError: If they are missing, incomplete or not what their card says.
            UsageError: If there is no such device or precision.
        """
        return cls(load_weights(name), device=device, precision=precision, compiled=compiled)

    @property
    def info(self) -> PredictorInfo:
        """What this predictor is."""
        return PredictorInfo.of(
            self.weights,
            self.provenance,
            digest=self.weights_digest,
            preprocessing=self.settings.digest,
        )

    @property
    def weights_digest(self) -> str:
        """Twelve hexadecimal digits that name the weights and their settings.

        They are those of the card; others as soon as a network or a setting of this model was
        replaced or written to after it was loaded.
        """
        changed = self._changed()
        if not changed:
            return self.weights.digest
        return hashlib.sha256(f"{self.weights.digest} {changed}".encode()).hexdigest()[:12]

    def _changed(self) -> dict[str, str]:
        """What is not as it was loaded, with what it is now; empty for a model left alone."""
        changed = {name: repr(getattr(self, name)) for name in _SETTINGS}
        changed = {name: now for name, now in changed.items() if now != self._settings_loaded[name]}
        for name, (loaded, stamp, digest) in self._loaded.items():
            network = getattr(self, name)
            if network is loaded and state_stamp(network) == stamp:
                continue
            now = state_digest(network)
            if now != digest:
                changed[name] = now
        return changed

    @property
    def caveat(self) -> str:
        """See `covidctnet.weights.CovidWeights.caveat`."""
        return self.weights.caveat

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What a result must carry to be repeated."""
        changed = sorted(self._changed())
        return {
            **self.weights.provenance(self.device, self.precision),
            "weights_digest": self.weights_digest,
            # The card does not describe these.
            **({"changed_after_loading": changed} if changed else {}),
        }

    def prepare(self, scan: Volume | StoredStudy, *, lungs: np.ndarray | None = None) -> Prepared:
        """What can be done of a scan while the networks work on another; safe in any thread.

        Args:
            scan: In HU, canonical orientation; or in ``unit``, preprocessed with the same
                settings as these weights; or a study in a work folder with these settings.
            lungs: Mask of a volume in ``unit``, bool, from the same preprocessing; needed
                where the settings crop to the lungs, as they cannot be found again in the crop.

        Raises:
            StudyError: ``NOT_CHEST``, ``WRONG_UNITS``, ``ABSURD_EXTENT``, ``WRONG_SIZE``.
            UsageError: If it is no volume.
        """
        if isinstance(scan, StoredStudy):
            return self.prepare(scan.volume(), lungs=self.lungs_of(scan))
        if not isinstance(scan, Volume):
            raise UsageError(
                f"expected a Volume, got {type(scan).__name__}. Read a file or a folder with "
                "covidctnet.read_volume(path), or wrap an array in HU with "
                "covidctnet.Volume.from_array(array, spacing)."
            )
        seconds: dict[str, float] = {}
        with _timed(seconds, "preprocess"):
            unit, mask, chest, _ = self.preprocess(scan, lungs=lungs)
        with _timed(seconds, "gate"):
            flags = (*scan.source.flags, *check_chest(chest, study=scan.source.study))
            ood = self.score_appearance(unit, mask)
            unknown = ("out_of_distribution",) if ood and ood.score > 1 else ()
        return Prepared(unit, mask, (*flags, *unknown), MappingProxyType(seconds), ood)

    def lungs_of(self, study: StoredStudy) -> np.ndarray | None:
        """The lungs of a study in a work folder, as these weights find them.

        Args:
            study: Preprocessed with the settings of these weights.

        Returns:
            A mask for `prepare`; None where `prepare` finds them again.
        """
        if self.settings.field == "scan":
            return None
        if self.segmenter is None:
            return study.lungs
        return complete_lungs(study, self.segmenter)

    @torch.inference_mode()
    def score_appearance(self, unit: Volume, lungs: np.ndarray) -> OutOfDistributionScore | None:
        """How unlike the scans that these weights have learned from a preprocessed one is.

        Args:
            unit: In ``unit``, preprocessed with the settings of these weights.
            lungs: Mask of its shape; it may be empty.

        Returns:
            None where the weights cannot tell.
        """
        if self.ood_detector is None:
            return None
        described = describe_appearance(unit, lungs)
        features = torch.from_numpy(described)[None].float()
        score = float(self.ood_detector(features)) / self.weights.ood_limit
        feature = FEATURES[int(self.ood_detector.most_deviating(features))]
        return OutOfDistributionScore(score, feature)

    def __call__(
        self,
        volume: Volume | Prepared | str | os.PathLike[str],
        *,
        lungs: np.ndarray | None = None,
        keep: Keep = "numbers",
    ) -> Prediction:
        """Classify one scan.

        Args:
            volume: As for `prepare`, or what it gave; or a path for `covidctnet.read_volume`.
            lungs: As for `prepare`.
            keep: ``slices`` keeps those with the largest residual for a picture, as `Panels` and
                `Heatmap`; ``volumes`` keeps all slices that the classifier reads, and a `Mask` of
                what counts as lesion. The denoiser then runs even for a classifier that sees the
                CT alone, whose answer stays the same.

        Raises:
            StudyError: See `prepare` and `covidctnet.read_volume`.
            UsageError: If it is none of these, or the path holds several studies.
        """
        if isinstance(volume, (str, os.PathLike)):
            from covidctnet.io import read_volume

            volume = read_volume(os.fspath(volume))
        prepared = volume if isinstance(volume, Prepared) else self.prepare(volume, lungs=lungs)
        unit, lungs, ood = prepared.unit, prepared.lungs, prepared.ood
        seconds = dict(prepared.seconds)
        with _timed(seconds, "denoise"):
            view = self._look(unit, lungs, denoised=keep != "numbers")
        with _timed(seconds, "classify"), torch.inference_mode():
            tensor = torch.from_numpy(view.composed)[None].to(self.device)
            # On the CPU: not every device has float64.
            probabilities = torch.softmax(self.classifier(tensor).cpu().double(), dim=1).numpy()
            left: tuple[Label, ...] = ()
            if self.calibration is not None:
                probabilities = soften(probabilities, self.calibration.temperature)
                is_left = self.calibration.sets.sets(probabilities)[0]
                left = tuple(label for label in CHEST_CT if is_left[label])
        evidence: tuple[Evidence, ...] = () if view.lesions is None else (view.lesions,)
        if keep != "numbers" and view.residual is not None:
            with _timed(seconds, "picture"):
                label = CHEST_CT[int(probabilities[0].argmax())]
                attention = grad_cam(self.classifier, tensor, label)
                for axis in (1, 2):
                    attention = attention.repeat(self.residual.shrink, axis)
                threshold = self.weights.lesion_threshold
                volumes = _voxels(view.residual, attention, label.key, threshold)
                evidence += volumes if keep == "volumes" else _for_a_picture(volumes)
        return Prediction(
            study=unit.source.study,
            probabilities={label: float(probabilities[0, label]) for label in CHEST_CT},
            flags=tuple(dict.fromkeys(prepared.flags)),
            seconds=seconds,
            prediction_set=left,
            ood_score=None if ood is None else ood.score,
            evidence=evidence,
            acquisition=unit.source.acquisition,
            weights=self.weights_digest,
            notes=(*unit.source.notes, *_in_words(ood), *view.steps),
        )

    def preprocess(self, volume: Volume, *, lungs: np.ndarray | None = None) -> ChestScan:
        """A scan as the networks read it, with its lungs; also one that is no whole chest.

        Args:
            volume: As for `prepare`.
            lungs: As for `prepare`.

        Raises:
            StudyError: ``WRONG_UNITS``, ``ABSURD_EXTENT``, ``WRONG_SIZE``; ``NOT_CHEST`` where the
                settings crop to the lungs and there are none.
        """
        if volume.units == "unit":
            scan = known_chest(volume, lungs, self.settings)
        else:
            # On the CPU sparse products are faster than torch.
            device = None if self.device.type == "cpu" else self.device
            complete = None
            if self.segmenter is not None:
                complete = partial(add_consolidation, network=self.segmenter)
            scan = prepare_chest(volume, self.settings, device=device, complete=complete)
        if scan.unit.shape[1:] != (self.settings.size, self.settings.size):
            raise StudyError(
                "WRONG_SIZE",
                f"expected slices of {self.settings.size} x {self.settings.size} for these "
                f"weights, got {scan.unit.shape[1]} x {scan.unit.shape[2]}. Preprocess with "
                "their settings.",
                study=volume.source.study,
            )
        return scan

    def _look(self, unit: Volume, lungs: np.ndarray, *, denoised: bool) -> _View:
        """What the classifier reads of a scan, and what is reported and shown with it."""
        how, steps = self.residual, list(unit.steps)
        ct = residual = lesions = None
        if how.has_residual or denoised:
            residual = residual_volume(unit, self.denoiser, how, lungs=lungs)
            # The notes tell what the classifier saw, not what a picture shows.
            steps += residual.volume.steps[len(unit.steps) :] if how.has_residual else ()
            if self.weights.lesion_threshold is not None:
                assert residual.lungs is not None
                lesions = lesion_volume(
                    residual.volume, residual.lungs, threshold=self.weights.lesion_threshold
                )
        if how.has_ct:
            ct = ct_volume(unit, how, lungs=lungs)
            steps += ct.steps[len(unit.steps) :]
        composed = how.compose(
            residual=None if residual is None else residual.volume.array,
            ct=None if ct is None else ct.array,
        )
        return _View(composed, residual, lesions, tuple(steps))


class _View(NamedTuple):
    """What the classifier reads of a scan, and what it was made of.

    Attributes:
        composed: What it reads, float32 (channel, depth, row, column).
        residual: None when nothing was denoised.
        lesions: Where the card has a threshold, too.
        steps: What was done, a sentence each.
    """

    composed: np.ndarray
    residual: Residual | None
    lesions: LesionVolume | None
    steps: tuple[str, ...]


def _in_words(ood: OutOfDistributionScore | None) -> tuple[str, ...]:
    """What is strange about a scan, where it is too strange."""
    if ood is None or ood.score <= 1:
        return ()
    return (f"out of distribution, most of all by: {ood.feature}",)


def _voxels(
    residual: Residual, attention: np.ndarray, label: str, threshold: float | None
) -> tuple[Panels | Heatmap | Mask, ...]:
    """The evidence with voxels, all of one grid; a mask where there is a threshold."""
    array, lungs = residual.volume.array, residual.lungs
    assert lungs is not None and residual.volume.window_hu is not None
    slices = tuple(range(len(array)))
    chosen = _chosen((np.abs(array) * lungs).sum(axis=(1, 2)))
    where: dict[str, Any] = {"slices": slices, "affine": residual.volume.affine, "chosen": chosen}
    mask = None
    if threshold is not None:
        inner = inner_lungs(lungs, residual.volume.spacing)
        lesions = lesion_mask(residual.volume, inner, threshold=threshold)
        mask = Mask(found=lesions, searched=inner, score=array, over=residual.given, **where)
    panels = Panels(
        names=("input", "denoised", "residual"),
        units=("unit", "unit", "residual"),
        images=(residual.given, residual.denoised, array),
        window_hu=residual.volume.window_hu,
        lungs=lungs,
        outline=None if mask is None else mask.found,
        **where,
    )
    heatmap = Heatmap(label=label, values=attention, over=residual.given, **where)
    return (panels, heatmap) if mask is None else (panels, heatmap, mask)


def _for_a_picture(
    volumes: Sequence[Panels | Heatmap | Mask],
) -> tuple[Panels | Heatmap | Mask, ...]:
    # The panels outline the mask.
    return tuple(one.at(one.chosen) for one in volumes if not isinstance(one, Mask))


def _chosen(score: np.ndarray) -> tuple[int, ...]:
    """The slices with the highest score, feet to head."""
    chosen: list[int] = []
    # Neighbours show the same lesion: keep the chosen ones apart.
    apart = max(1, len(score) // 12)
    for index in np.argsort(-score, kind="stable").tolist():
        if all(abs(index - other) >= apart for other in chosen):
            chosen.append(index)
        if len(chosen) == PICTURE_SLICES:
            break
    return tuple(sorted(chosen))


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
