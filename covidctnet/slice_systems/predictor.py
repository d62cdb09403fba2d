"""From a scan to an answer, slice by slice: what such predictors have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import nn

from covidctnet.chest.gate import check_chest, look_for_chest
from covidctnet.classes import Label
from covidctnet.cohort.store import StoredStudy
from covidctnet.contract import PredictorInfo, RunSettings
from covidctnet.devices import DTYPES, pick_device, pick_precision
from covidctnet.errors import UsageError
from covidctnet.evidence import Evidence, Keep
from covidctnet.registry import find_system
from covidctnet.results import Prediction
from covidctnet.volume import Source, Volume
from covidctnet.weights import Weights

__all__ = [
    "Chosen",
    "NetworkPredictor",
    "PreparedSlices",
    "SliceAnswer",
    "SlicePicture",
    "SlicesPredictor",
    "best_slices",
]

_PICTURE_SLICES = 3


class Chosen(NamedTuple):
    """Slices that are read.

    Attributes:
        places: In the scan, rising.
        notes: In words, such as what was left out.
    """

    places: Sequence[int]
    notes: tuple[str, ...] = ()


class SlicePicture(NamedTuple):
    """One slice as the network sees it.

    Attributes:
        pixels: uint8, (size, size).
        grid: 4 x 4, from (slice, row, column, 1) of the picture to that of the slice.
        whole: The whole slice in 8 bits, uint8 (row, column), for evidence that is drawn on it;
            None where none is.
    """

    pixels: np.ndarray
    grid: np.ndarray
    whole: np.ndarray | None = None


class PreparedSlices(NamedTuple):
    """A scan on its way to the network.

    Attributes:
        pictures: uint8, (slice, size, size).
        grids: See `SlicePicture`, (slice, 4, 4).
        wholes: See `SlicePicture`, by slice; empty where nothing is drawn on them.
        places: Of these slices in the scan, rising.
        shape: Of the scan.
        affine: Of the scan, to LPS mm.
        source: Of the scan.
        flags: Of the reader and of the look for a chest.
        notes: Of the choice of slices.
        seconds: By stage.
    """

    pictures: np.ndarray
    grids: np.ndarray
    wholes: tuple[np.ndarray, ...]
    places: tuple[int, ...]
    shape: tuple[int, int, int]
    affine: np.ndarray
    source: Source
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def first(self) -> int:
        """Place of the first of them in the scan."""
        return self.places[0]

    @property
    def step_mm(self) -> float:
        """Between the slices of the scan."""
        return float(np.linalg.norm(self.affine[:3, :3], axis=0)[0])


class SliceAnswer(NamedTuple):
    """What a network says of a scan.

    Attributes:
        probabilities: By class.
        evidence: That they rest on.
        notes: In words.
    """

    probabilities: Mapping[Label, float]
    evidence: tuple[Evidence, ...]
    notes: tuple[str, ...] = ()


class FastNetwork(Protocol):
    """A network that can be rewritten for inference."""

    def fast(self, dtype: torch.dtype = ...) -> nn.Module:
        """A copy with folded batch norms, channels last."""


class NetworkPredictor:
    """A trained network that looks at single pictures, on its device.

    Args:
        weights: With the network.
        how: Device and precision.

    Attributes:
        kind: Of the network in the card.
        batch_size: Pictures that the network reads at once.
    """

    kind: ClassVar[str]
    batch_size: ClassVar[int]

    def __init__(self, weights: Weights, how: RunSettings) -> None:
        self.weights = weights
        self.device = pick_device(how.device)
        self.precision = pick_precision(how.precision, self.device)
        network = cast(FastNetwork, weights.network(self.kind))
        self.network = network.fast(DTYPES[self.precision]).to(self.device)

    @property
    def info(self) -> PredictorInfo:
        """What this predictor is."""
        provenance = self.weights.provenance(self.device, self.precision)
        system = find_system(self.weights.card["system"])
        return PredictorInfo.of(
            self.weights, provenance, published=system.published, modality=system.modality
        )

    @torch.inference_mode()
    def outputs(self, pictures: np.ndarray) -> Iterator[Any]:
        """Outputs of the network, a batch at a time.

        Args:
            pictures: uint8, (picture, size, size).
        """
        for first in range(0, len(pictures), self.batch_size):
            batch = torch.from_numpy(pictures[first : first + self.batch_size]).to(self.device)
            yield self.network(batch[:, None].float() / 255)


class SlicesPredictor(NetworkPredictor, ABC):
    """A trained network that answers scans by their slices.

    A system says which network it has, which slices are read, what the network sees of one, and
    what its output means.

    Attributes:
        stage: What the network does; its time is listed by this name.
    """

    stage: ClassVar[str]

    @abstractmethod
    def choose(self, lungs: np.ndarray) -> Chosen:
        """The slices that are read.

        Args:
            lungs: Mask, bool, (slice, row, column).

        Raises:
            StudyError: If there are none.
        """

    @abstractmethod
    def picture(self, hu: np.ndarray, lungs: np.ndarray) -> SlicePicture:
        """One slice as the network sees it.

        Args:
            hu: Shape (row, column).
            lungs: Their mask, bool, the same shape.
        """

    @abstractmethod
    def answer(self, prepared: PreparedSlices, keep: Keep) -> SliceAnswer:
        """What the network says of a scan."""

    def prepare(self, scan: Volume | StoredStudy, /) -> PreparedSlices:
        """Slices of the lungs, as the network sees them.

        Raises:
            StudyError: ``WRONG_UNITS``, ``NOT_CHEST``.
            UsageError: For a study in a work folder: the network needs all pixels of a slice.
        """
        start = time.perf_counter()
        if not isinstance(scan, Volume):
            raise UsageError(
                "expected a scan as it was read, got a preprocessed one. Give the scan."
            )
        scan.expect("HU", by=str(self.weights.card["system"]))
        chest, lungs = look_for_chest(scan)
        flags = check_chest(chest, study=scan.source.study)
        chosen = self.choose(lungs)
        places = tuple(chosen.places)
        made = [self.picture(scan.array[place], lungs[place]) for place in places]
        slices, rows, columns = scan.shape
        return PreparedSlices(
            np.stack([one.pixels for one in made]),
            np.stack([one.grid for one in made]),
            tuple(one.whole for one in made if one.whole is not None),
            places,
            (slices, rows, columns),
            scan.affine,
            scan.source,
            (*scan.source.flags, *flags),
            chosen.notes,
            {"preprocess": time.perf_counter() - start},
        )

    def __call__(self, prepared: PreparedSlices, /, *, keep: Keep = "numbers") -> Prediction:
        """The answer for a scan.

        Args:
            prepared: From `prepare`.
            keep: Evidence of no slice, of the few that speak most for the answer, or of all.

        Raises:
            StudyError: If the scan has too few slices for the rule of the system.
        """
        start = time.perf_counter()
        found = self.answer(prepared, keep)
        source = prepared.source
        return Prediction(
            source.study,
            found.probabilities,
            flags=prepared.flags,
            seconds={**prepared.seconds, self.stage: time.perf_counter() - start},
            acquisition=source.acquisition,
            weights=self.weights.digest,
            notes=(*source.notes, *prepared.notes, *found.notes),
            classes=self.weights.classes,
            evidence=found.evidence,
        )


def best_slices(scores: np.ndarray) -> np.ndarray:
    """Places of the few highest scores, rising; the first ones of equal scores."""
    return np.sort(np.argsort(-scores, kind="stable")[:_PICTURE_SLICES])
