"""Resampling along one axis, written as a small matrix.

A separable resampling of a volume is one matrix product an axis. The matrices here have a handful
of non-zeros a row, but the axes are short (some 500 voxels), so that dense products on a slice at a
time beat every general interpolator.
"""

from __future__ import annotations

import numpy as np

# A grid point may fall this far beyond the last voxel centre (in voxels) before it is dropped:
# 299 slices of 0.7 mm must not lose a slice to the last bit of a header's decimal string.
_OVERHANG = 1e-6


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
        target: Voxels wanted.

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
        target: Voxels wanted.

    Returns:
        float32, shape (target, count); each row sums to 1.
    """
    # Imported here: it takes a tenth of a second, and the paper's settings never need it.
    from skimage.transform import resize

    matrix: np.ndarray = resize(np.eye(count), (target, count), anti_aliasing=True)
    return matrix.astype(np.float32)
