"""What the denoiser took away, brought to the depth that the classifier reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidctnet.preprocess.grid import linear_taps

__all__ = ["DepthPlan"]


@dataclass(frozen=True, eq=False)
class DepthPlan:
    """Which slices a resizing along z reads, and how it mixes them.

    The residual goes to `depth` slices by linear interpolation, so each of them reads two source
    slices at most: only those need to be denoised. The shortcut is exact, because interpolating and
    subtracting commute.

    Attributes:
        needed: Source slices that are read, ascending, shape (k,) with k <= 2 * depth.
        matrix: float32 (depth, k): output = matrix @ residual[needed].
        centres: Position of every output slice in source slices, shape (depth,).
    """

    needed: np.ndarray
    matrix: np.ndarray
    centres: np.ndarray

    @classmethod
    def linear(cls, count: int, depth: int) -> DepthPlan:
        """The plan from `count` slices to `depth`, half-pixel centres, ends clamped.

        Args:
            count: Slices of the volume.
            depth: Slices that the classifier reads.
        """
        centres = np.clip((np.arange(depth) + 0.5) * count / depth - 0.5, 0, count - 1)
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

    def apply(self, slices: np.ndarray) -> np.ndarray:
        """Mix the needed slices to the output depth.

        Args:
            slices: The slices at `needed`, float32 (k, row, column).

        Returns:
            float32 (depth, row, column).
        """
        if len(slices) != len(self.needed):
            raise ValueError(f"wanted {len(self.needed)} slices, got {len(slices)}")
        return np.tensordot(self.matrix, slices, axes=1)
