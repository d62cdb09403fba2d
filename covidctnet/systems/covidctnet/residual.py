"""What the classifier reads: what the denoiser took away, the CT, or both, at its depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from covidctnet.errors import UsageError
from covidctnet.preprocess.grid import gaussian_matrix, linear_taps
from covidctnet.preprocess.settings import MOST_SIZE

__all__ = ["ClassifierInput", "DepthPlan", "DepthResize", "ResidualSettings", "Within"]

DepthResize = Literal["linear", "antialiased", "nearest"]
Within = Literal["scan", "lungs"]
ClassifierInput = Literal["residual", "ct", "both"]


@dataclass(frozen=True)
class ResidualSettings:
    """What reaches the classifier, and how. Travels in the card of the weights.

    Attributes:
        depth_resize: Along z: ``linear`` reads two slices for each output slice; ``nearest`` reads
            one, so half as many are denoised; ``antialiased`` blurs first, as the published code
            does, and reads all of them.
        signed: Whether the classifier sees the sign; else the absolute value, taken before the
            resizing, so that opposite signs do not cancel.
        classifier_input: ``residual`` is the paper's; ``ct`` is the preprocessed scan itself;
            ``both`` has the residual as the first channel and the CT as the second.
        within: Where the classifier looks: ``scan``, or ``lungs``: residual and CT are 0 outside
            the lung mask, and the denoiser runs on the box around it alone.
        shrink: The classifier reads means over blocks of so many rows and columns.
        depth: Slices that the classifier reads. A card says it with the classifier's architecture.
    """

    depth_resize: DepthResize = "linear"
    signed: bool = True
    classifier_input: ClassifierInput = "residual"
    within: Within = "scan"
    shrink: int = 1
    depth: int = 50

    def __post_init__(self) -> None:
        if self.depth_resize not in get_args(DepthResize):
            raise UsageError(
                f"depth_resize must be linear, nearest or antialiased, got {self.depth_resize!r}"
            )
        if self.within not in get_args(Within):
            raise UsageError(f"within must be scan or lungs, got {self.within!r}")
        if not isinstance(self.shrink, int) or not 1 <= self.shrink <= 8:
            raise UsageError(f"shrink must be a whole number in 1..8, got {self.shrink!r}")
        if not isinstance(self.depth, int) or not 1 <= self.depth <= MOST_SIZE:
            raise UsageError(
                f"depth must be a whole number from 1 to {MOST_SIZE}, got {self.depth!r}"
            )
        if not isinstance(self.signed, bool):
            raise UsageError(f"signed must be true or false, got {self.signed!r}")
        if self.classifier_input not in get_args(ClassifierInput):
            raise UsageError(
                f"classifier_input must be residual, ct or both, got {self.classifier_input!r}"
            )

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> ResidualSettings:
        """The settings that a card of weights names; the paper's depth without a classifier.

        Raises:
            UsageError, TypeError: If they are impossible.
        """
        classifier = card["architecture"].get("classifier", {})
        depth = {"depth": classifier["depth"]} if "depth" in classifier else {}
        return cls(**{**card.get("residual", {}), **depth})

    @property
    def has_residual(self) -> bool:
        """Whether the classifier sees the residual; else nothing needs to be denoised."""
        return self.classifier_input != "ct"

    @property
    def has_ct(self) -> bool:
        """Whether the classifier sees the CT."""
        return self.classifier_input != "residual"

    @property
    def channels(self) -> int:
        """Channels of what the classifier reads."""
        return self.has_residual + self.has_ct

    def deciding(self) -> dict[str, Any]:
        """The settings by name; those that came later only where they differ from the default.

        Cards older than a setting do not name it: named or left out, the default must count as the
        same. The depth stands with the classifier's architecture.
        """
        later = {"classifier_input": "residual", "within": "scan", "shrink": 1, "depth": self.depth}
        return {name: value for name, value in asdict(self).items() if later.get(name) != value}

    def compose(self, *, residual: np.ndarray | None, ct: np.ndarray | None) -> np.ndarray:
        """What the classifier reads, in training and at work.

        Args:
            residual: Shape (depth, row, column), signed or not; may be missing if it is not seen.
            ct: In [0, 1], the same shape; likewise.

        Returns:
            float32 (channel, depth, row, column), an array of its own; rows and columns are those
            of the input over `shrink`.

        Raises:
            ValueError: If what the classifier sees is missing, or does not divide into the blocks.
        """
        arrays = {"residual": residual} if self.has_residual else {}
        arrays |= {"ct": ct} if self.has_ct else {}
        missing = [name for name, array in arrays.items() if array is None]
        if missing:
            raise ValueError(
                f"a classifier of {self.classifier_input} expects {' and '.join(missing)}, got none"
            )
        stacked = np.stack([np.asarray(array, np.float32) for array in arrays.values()])
        if self.shrink == 1:
            return stacked
        channels, depth, rows, columns = stacked.shape
        if rows % self.shrink or columns % self.shrink:
            raise ValueError(f"{rows} x {columns} does not divide into blocks of {self.shrink}")
        blocks = stacked.reshape(
            channels, depth, rows // self.shrink, self.shrink, columns // self.shrink, self.shrink
        )
        return np.asarray(blocks.mean(axis=(3, 5)))

    def plan(self, count: int) -> DepthPlan:
        """The plan from `count` slices to `depth`."""
        make = {
            "linear": DepthPlan.linear,
            "nearest": DepthPlan.nearest,
            "antialiased": DepthPlan.antialiased,
        }
        return make[self.depth_resize](count, self.depth)


@dataclass(frozen=True, eq=False)
class DepthPlan:
    """Which slices a resizing along z reads, and how it mixes them.

    Only the slices that are read need to be denoised. The shortcut is exact, because mixing slices
    and subtracting them commute.

    Attributes:
        needed: Source slices that are read, ascending, shape (k,).
        matrix: float32 (depth, k): output = matrix @ residual[needed].
        centres: Position of every output slice in source slices, shape (depth,).
    """

    needed: np.ndarray
    matrix: np.ndarray
    centres: np.ndarray

    @classmethod
    def linear(cls, count: int, depth: int) -> DepthPlan:
        """The plan from `count` slices to `depth`, half-pixel centres, ends clamped.

        Each output slice reads two source slices at most.

        Args:
            count: Slices of the volume.
            depth: Slices that the classifier reads.
        """
        centres = _centres(count, depth)
        lower, weight = linear_taps(count, centres)
        upper = np.minimum(lower + 1, count - 1)
        used = np.concatenate([lower[weight < 1], upper[weight > 0]])
        needed = np.unique(used)
        matrix = np.zeros((depth, len(needed)), dtype=np.float32)
        for row, (low, up, w) in enumerate(zip(lower, upper, weight, strict=True)):
            if w < 1:
                matrix[row, np.searchsorted(needed, low)] += 1 - w
            if w > 0:
                matrix[row, np.searchsorted(needed, up)] += w
        return cls(needed, matrix, centres)

    @classmethod
    def nearest(cls, count: int, depth: int) -> DepthPlan:
        """The plan that takes the slice nearest to each centre.

        Args:
            count: Slices of the volume.
            depth: Slices that the classifier reads; a thin volume gives some of its slices twice.
        """
        centres = _centres(count, depth)
        chosen = _nearest(centres)
        needed, place = np.unique(chosen, return_inverse=True)
        matrix = np.zeros((depth, len(needed)), dtype=np.float32)
        matrix[np.arange(depth), place] = 1
        return cls(needed, matrix, chosen.astype(np.float64))

    @classmethod
    def antialiased(cls, count: int, depth: int) -> DepthPlan:
        """The plan that equals `skimage.transform.resize` along z, anti-aliasing on.

        When the volume shrinks, a Gaussian goes over it first (300 slices to 50: standard
        deviation 2.5 slices), so every source slice is read.

        Args:
            count: Slices of the volume.
            depth: Slices that the classifier reads.
        """
        return cls(np.arange(count), gaussian_matrix(count, depth), _centres(count, depth))

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask at the output depth: each slice the nearest one of the source.

        Args:
            mask: bool, shape (source slice, row, column).

        Returns:
            bool, shape (depth, row, column).
        """
        return mask[_nearest(self.centres)]

    def apply(self, slices: np.ndarray) -> np.ndarray:
        """Mix the needed slices to the output depth.

        Args:
            slices: The slices at `needed`, float32 (k, row, column).

        Returns:
            float32 (depth, row, column).
        """
        if len(slices) != len(self.needed):
            raise ValueError(f"expected {len(self.needed)} slices, got {len(slices)}")
        return np.tensordot(self.matrix, slices, axes=1)


def _nearest(centres: np.ndarray) -> np.ndarray:
    return np.asarray(np.round(centres).astype(np.int64))


def _centres(count: int, depth: int) -> np.ndarray:
    """Half-pixel centres of `depth` slices over `count`, in source slices, ends clamped."""
    return np.clip((np.arange(depth) + 0.5) * count / depth - 0.5, 0, count - 1)
