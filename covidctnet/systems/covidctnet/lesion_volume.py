"""How much of the lungs differs from what the denoiser expects of healthy ones, and where."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from covidctnet.chest.lungs import lungs_apart
from covidctnet.errors import CohortError, UsageError
from covidctnet.evidence import LesionVolume, Region
from covidctnet.volume import Volume

__all__ = ["inner_lungs", "lesion_mask", "lesion_threshold", "lesion_volume", "top_slices"]

# The lung mask is made on a grid of 3 mm: that near its border, what is called lung may be wall.
RIM_MM = 3.0
# Left and right lung are separated on a grid of about this size.
GRID_MM = 4.0
# Slices nearer to each other show the same lesion.
APART_MM = 20.0
TOP_SLICES = 3
# Share of a Control's lungs that may count as lesion, and thresholds tried, 0.14 HU apart.
CONTROL_SHARE = 0.01
_THRESHOLDS = np.arange(10001) / 10000
_LUNGS, _THIRDS = ("right", "left"), ("upper", "middle", "lower")


def inner_lungs(lungs: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """The lungs without their rim, where residuals tell of lung and not of the chest wall.

    The rim is taken off within each slice: at the classifier's depth slices lie some 6 mm apart,
    and each is the image of a thin one.

    Args:
        lungs: bool, shape (slice, row, column).
        spacing: Millimetres along each axis.

    Returns:
        bool, the same shape: voxels whose centre lies more than `RIM_MM` from the nearest one in
        the slice that is no lung. Beyond the image is no lung.
    """
    # One shift for every voxel within the rim's width: at millimetres a voxel, a thirtieth of the
    # time of distances.
    lungs = np.asarray(lungs, dtype=bool)
    rows_mm, columns_mm = spacing[1:]
    far_rows, far_columns = int(RIM_MM / rows_mm), int(RIM_MM / columns_mm)
    beyond = np.pad(lungs, ((0, 0), (far_rows, far_rows), (far_columns, far_columns)))
    height, width = lungs.shape[1:]
    inner = lungs.copy()
    for row, column in np.ndindex(2 * far_rows + 1, 2 * far_columns + 1):
        if math.hypot((row - far_rows) * rows_mm, (column - far_columns) * columns_mm) <= RIM_MM:
            inner &= beyond[:, row : row + height, column : column + width]
    return inner


def lesion_mask(residual: Volume, inner: np.ndarray, *, threshold: float) -> np.ndarray:
    """The voxels that count as lesion: denser than the denoiser expects by more than a threshold.

    Args:
        residual: Units ``residual``.
        inner: From `inner_lungs`, bool, the residual's shape.
        threshold: In units of the HU window's width; see `lesion_threshold`.

    Returns:
        bool, the same shape.

    Raises:
        StudyError: ``WRONG_UNITS``.
        UsageError: If the threshold is negative or no number.
        ValueError: If the shapes differ.
    """
    residual.expect("residual", by="lesion_mask")
    if inner.shape != residual.shape:
        raise ValueError(f"lungs have shape {inner.shape}, the residual {residual.shape}")
    if not 0 <= threshold < math.inf:
        raise UsageError(
            f"the lesion threshold must be a number from 0, got {threshold}. "
            "Take it from `lesion_threshold` over Control patients."
        )
    return np.asarray(residual.array > threshold) & inner


def lesion_volume(residual: Volume, lungs: np.ndarray, *, threshold: float) -> LesionVolume:
    """The volume of what counts as lesion, by lung and third.

    Args:
        residual: Units ``residual``, canonical orientation, at the depth of the classifier.
        lungs: bool, the residual's shape; their rim is left out here.
        threshold: See `lesion_mask`.

    Returns:
        Six regions, the right lung first, from above. Thirds are of each lung's own height. Top
        slices lie at least `APART_MM` apart, at most `TOP_SLICES`, at the height of their first
        voxel; none without lesions.

    Raises:
        StudyError: ``WRONG_UNITS``.
        UsageError: If the threshold is negative or no number.
        ValueError: If the shapes differ.

    Differs from a count of lesions in: consolidation that `covidctnet.chest.lungs.lung_mask` leaves
    out of the lungs is in neither volume, and what hugs the pleura lies in the rim.
    """
    lungs = np.asarray(lungs, dtype=bool)
    inner = inner_lungs(lungs, residual.spacing)
    lesions = lesion_mask(residual, inner, threshold=threshold)
    regions = []
    for name, lung in zip(_LUNGS, _right_and_left(lungs, residual.spacing), strict=True):
        thirds = _third_of_slices(lung)
        lung_voxels = (inner & lung).sum(axis=(1, 2))
        lesion_voxels = (lesions & lung).sum(axis=(1, 2))
        for number, third in enumerate(_THIRDS):
            slices = thirds == number
            lung_ml = float(lung_voxels[slices].sum()) * residual.voxel_ml
            lesion_ml = float(lesion_voxels[slices].sum()) * residual.voxel_ml
            regions.append(Region(name, third, lung_ml, lesion_ml))
    heights = [float((residual.affine @ [i, 0, 0, 1])[2]) for i in top_slices(lesions, residual)]
    return LesionVolume(float(threshold), tuple(regions), tuple(heights))


def top_slices(lesions: np.ndarray, residual: Volume) -> list[int]:
    """The slices with the largest area of lesion, largest first.

    Args:
        lesions: From `lesion_mask`, bool, the residual's shape.
        residual: For its spacing.

    Returns:
        At most `TOP_SLICES` indices, at least `APART_MM` apart; none without lesions.
    """
    area = lesions.sum(axis=(1, 2))
    chosen: list[int] = []
    for index in np.argsort(-area, kind="stable").tolist():
        if len(chosen) == TOP_SLICES or area[index] == 0:
            break
        if all(abs(index - other) * residual.spacing[0] >= APART_MM for other in chosen):
            chosen.append(index)
    return chosen


def lesion_threshold(residuals: Iterable[np.ndarray], *, share: float = CONTROL_SHARE) -> float:
    """The threshold that only `share` of the lungs of Control patients exceeds.

    Every patient counts the same, however large the lungs. Patients are asked for one at a time,
    and no more than a curve of each is kept.

    Args:
        residuals: One array a Control patient, any shape: the residual's voxels within
            `inner_lungs`.
        share: Intended mean over the patients, between 0 and 1.

    Returns:
        In units of the HU window's width, a multiple of 0.0001: the smallest that fits.

    Raises:
        CohortError: Without a Control; if one has no voxel or one that is no number; if the lungs
            exceed the whole window.
        UsageError: If `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UsageError(f"share must be between 0 and 1, got {share}")
    total, patients = np.zeros(len(_THRESHOLDS)), 0
    for values in residuals:
        ordered = np.sort(values, axis=None)
        # NaN sorts last, infinity to the ends.
        if not len(ordered) or not np.isfinite(ordered[[0, -1]]).all():
            raise CohortError(
                f"expected finite residuals within the lungs, Control {patients + 1} has "
                f"{'others' if len(ordered) else 'none'}. Leave that patient out."
            )
        total += 1 - np.searchsorted(ordered, _THRESHOLDS, side="right") / len(ordered)
        patients += 1
    if not patients:
        raise CohortError(
            "the lesion threshold is fixed on Control patients, got none. "
            "Add Controls to the split it is fixed on."
        )
    fits = total / patients <= share
    if not fits.any():
        raise CohortError(
            f"more than {share:.0%} of the Controls' lungs exceeds the whole HU window. "
            "Check that these are residuals."
        )
    return float(_THRESHOLDS[np.argmax(fits)])


def _right_and_left(
    lungs: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """The patient's right and left lung; the mask's halves when there are no two parts."""
    steps = [max(1, round(GRID_MM / mm)) for mm in spacing]
    every = tuple(
        slice(min(step // 2, n - 1), None, step) for step, n in zip(steps, lungs.shape, strict=True)
    )
    grid_mm = np.array(spacing) * steps
    parts = lungs_apart(lungs[every], grid_mm)
    if len(parts) < 2:
        there = np.flatnonzero(lungs.any(axis=(0, 1)))
        middle = (there[0] + there[-1]) / 2 if len(there) else 0
        is_right = np.broadcast_to(np.arange(lungs.shape[2]) < middle, lungs.shape)
    else:
        # Columns run from the patient's right to left.
        right = min(parts, key=lambda part: float(np.nonzero(part)[2].mean()))
        nearest = ndimage.distance_transform_edt(
            ~(parts[0] | parts[1]), sampling=grid_mm, return_distances=False, return_indices=True
        )
        is_right = right[tuple(nearest)]
        for axis, (step, n) in enumerate(zip(steps, lungs.shape, strict=True)):
            index = np.minimum(np.arange(n) // step, is_right.shape[axis] - 1)
            is_right = is_right.take(index, axis=axis)
    return lungs & is_right, lungs & ~is_right


def _third_of_slices(lung: np.ndarray) -> np.ndarray:
    """For every slice, the index in `_THIRDS` of the third it is in; -1 outside the lung."""
    thirds = np.full(len(lung), -1)
    there = np.flatnonzero(lung.any(axis=(1, 2)))
    if len(there):
        first, count = there[0], there[-1] + 1 - there[0]
        # Slices run from feet to head; one that a border cuts goes where its middle lies.
        thirds[first : first + count] = 2 - (2 * np.arange(count) + 1) * 3 // (2 * count)
    return thirds
