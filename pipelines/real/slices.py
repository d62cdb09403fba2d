"""How ill each slice looks, and whether radiologists agree: figures slice by slice of one scan.

Slices of one patient are no independent cases: intervals come from a bootstrap over blocks of
neighbouring slices, and tell of this patient only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from covidctnet.evaluation.intervals import BOOTSTRAP_DRAWS, CONFIDENCE, Estimate, auc
from covidctnet.volume import Volume

__all__ = ["SliceScores", "blocked_auc", "score_slices"]

# A voxel counts as ill from a residual of this much of the window (112 HU).
ILL_FROM = 0.08
# The lungs' rim is half chest wall; so many voxels of it are left out.
RIM_VOXELS = 3
# The baseline that learns nothing: lung as dense as ground glass or consolidation, HU.
DENSE_HU = (-650.0, 50.0)


@dataclass(frozen=True, eq=False)
class SliceScores:
    """What each slice of a scan scores within the lungs, rim left out; arrays of shape (slice,).

    Attributes:
        residual_mm2: Area whose residual exceeds `ILL_FROM`.
        residual_share: The same as a share of the voxels: favours slices with little lung.
        residual_mean: Mean positive residual.
        density_mm2: Area between `DENSE_HU`: what needs no network.
        density_share: The same as a share of the voxels.
        voxels: Voxels looked at; slices without lungs score 0.
    """

    residual_mm2: np.ndarray
    residual_share: np.ndarray
    residual_mean: np.ndarray
    density_mm2: np.ndarray
    density_share: np.ndarray
    voxels: np.ndarray

    def whole(self, name: str) -> float:
        """A share or a mean over all slices at once: of the patient."""
        weights = self.voxels.astype(float)
        return float((getattr(self, name) * weights).sum() / max(weights.sum(), 1.0))


def score_slices(
    volume: Volume,
    denoised: np.ndarray,
    lungs: np.ndarray,
    *,
    voxel_mm2: float = 1.0,
) -> SliceScores:
    """Score slices by what the denoiser took away, and by density alone.

    Args:
        volume: What the denoiser saw, in ``unit``.
        denoised: What it gave back, the same shape.
        lungs: bool, the same shape.
        voxel_mm2: Area of a voxel in its slice.
    """
    disk = ndimage.generate_binary_structure(2, 1)
    inside = np.stack(
        [ndimage.binary_erosion(plane, disk, iterations=RIM_VOXELS) for plane in lungs]
    )
    voxels = inside.sum(axis=(1, 2))
    black, white = volume.scale_hu
    low, high = ((hu - black) / (white - black) for hu in DENSE_HU)
    residual = volume.array - denoised

    def share(values: np.ndarray) -> np.ndarray:
        mean: np.ndarray = (values * inside).sum(axis=(1, 2)) / np.maximum(voxels, 1)
        return mean

    ill, dense = share(residual > ILL_FROM), share((volume.array > low) & (volume.array < high))
    return SliceScores(
        residual_mm2=ill * voxels * voxel_mm2,
        residual_share=ill,
        residual_mean=share(np.clip(residual, 0, None)),
        density_mm2=dense * voxels * voxel_mm2,
        density_share=dense,
        voxels=voxels,
    )


def blocked_auc(
    positive: np.ndarray, scores: np.ndarray, *, block: int, rng: np.random.Generator
) -> Estimate:
    """AUC over the slices of a scan, with an interval that knows neighbours are alike.

    Args:
        positive: One bool a slice, in their order, shape (n,).
        scores: One score a slice.
        block: Slices drawn together, some 20 mm of them.
        rng: Of the bootstrap.

    Returns:
        n counts slices. Without both kinds of slices there is no figure, with fewer than three of
        either no interval.

    Source: moving-block bootstrap, Künsch 1989; the blocks wrap round, so that the first and the
    last slices are drawn as often as the others.
    """
    positive, scores = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=float)
    if positive.shape != scores.shape or positive.ndim != 1 or block < 1:
        raise ValueError(
            f"expected two arrays of one shape (slice,) and a block of 1 or more, got "
            f"{positive.shape}, {scores.shape} and {block}"
        )
    n = len(positive)
    value = auc(positive, scores)
    if math.isnan(value) or min(positive.sum(), n - positive.sum()) < 3:
        return Estimate(value, math.nan, math.nan, n)
    starts = rng.integers(n, size=(BOOTSTRAP_DRAWS, -(-n // block)))
    index = ((starts[:, :, None] + np.arange(block)) % n).reshape(BOOTSTRAP_DRAWS, -1)[:, :n]
    draws = np.array([auc(positive[i], scores[i]) for i in index])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return Estimate(value, float(low), float(high), n)
