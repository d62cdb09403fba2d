"""Resampling along one axis, written as a small matrix.

A separable resampling of a volume is one matrix product an axis. The matrices here have two to four
non-zeros a row, so sparse products, which run along the rows in memory, are many times as fast as
dense ones; between the two axes of a slice it is turned.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

# A grid point may fall this far beyond the last voxel centre (in voxels) before it is dropped:
# 299 slices of 0.7 mm must not lose a slice to the last bit of a header's decimal string.
_OVERHANG = 1e-6
# Columns turned at a time: their rows of 64 bytes are a line of the cache.
_TURNED = 16


class PlaneResampling:
    """Both axes of a slice, one after the other.

    Args:
        rows: Matrix (output rows, input rows).
        columns: Matrix (output columns, input columns).
    """

    def __init__(self, rows: np.ndarray, columns: np.ndarray) -> None:
        self._rows, self._columns = sparse.csr_array(rows), sparse.csr_array(columns)

    def turned(self, plane: np.ndarray) -> np.ndarray:
        """A resampled slice, turned.

        Args:
            plane: Shape (row, column).

        Returns:
            float32, shape (output column, output row), an array of its own.
        """
        plane = self._rows @ plane.astype(np.float32, copy=False)
        turned = np.empty(plane.shape[::-1], dtype=np.float32)
        for start in range(0, len(plane), _TURNED):
            part = slice(start, start + _TURNED)
            turned[:, part] = plane[part].T
        return self._columns @ turned


def grid_size(count: int, spacing_mm: float, target_mm: float) -> int:
    """How many points `target_mm` apart fit between the first and the last voxel centre."""
    return int(np.floor((count - 1) * spacing_mm / target_mm + _OVERHANG)) + 1


def linear_taps(count: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower neighbour and weight of the upper one, for linear interpolation at `positions`.

    Args:
        count: Voxels along the axis.
        positions: Where to interpolate, in voxels, shape (n,); clamped to the axis.

    Returns:
        Index of the lower neighbour, int64 (n,), at most ``count - 2`` (0 for a single voxel), and
        the weight in [0, 1] of the neighbour above it, float32 (n,).
    """
    clamped = np.clip(positions, 0, count - 1)
    lower = np.minimum(np.floor(clamped).astype(np.int64), max(count - 2, 0))
    return lower, (clamped - lower).astype(np.float32)


def linear_matrix(count: int, positions: np.ndarray) -> np.ndarray:
    """Linear interpolation at `positions` as a matrix.

    Args:
        count: Voxels along the axis.
        positions: Where to interpolate, in voxels, shape (n,); clamped to the axis.

    Returns:
        float32, shape (n, count); each row sums to 1.
    """
    lower, weight = linear_taps(count, positions)
    matrix = np.zeros((len(positions), count), dtype=np.float32)
    rows = np.arange(len(positions))
    matrix[rows, lower] = 1 - weight
    matrix[rows, np.minimum(lower + 1, count - 1)] += weight
    return matrix


def antialias_matrix(count: int, target: int) -> np.ndarray:
    """Resizing of an axis with a linear filter that widens when it shrinks.

    The triangle filter of Pillow's and torch's antialiased bilinear resizing: half-pixel centres,
    support of one output voxel at least one input voxel wide, renormalised at the borders.

    Args:
        count: Voxels along the axis.
        target: Target voxels.

    Returns:
        float32, shape (target, count); each row sums to 1.
    """
    scale = count / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(count)[None, :] + 0.5 - centres[:, None]) / support
    weights = np.clip(1 - distance, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def gaussian_matrix(count: int, target: int) -> np.ndarray:
    """Resizing of an axis as scikit-image does it with ``anti_aliasing=True``.

    A Gaussian of standard deviation ``(count / target - 1) / 2`` when it shrinks, then linear
    interpolation at half-pixel centres, mirrored at the ends. scikit-image itself is asked, with an
    identity for an image: its resizing is linear and goes axis by axis, so this matrix is all of
    it, at the cost of one small image and not of every slice.

    Args:
        count: Voxels along the axis.
        target: Target voxels.

    Returns:
        float32, shape (target, count); each row sums to 1.
    """
    # Imported here: it takes a tenth of a second, and the paper's settings never need it.
    from skimage.transform import resize

    matrix: np.ndarray = resize(np.eye(count), (target, count), anti_aliasing=True)
    return matrix.astype(np.float32)
