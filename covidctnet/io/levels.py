"""By how much one slice is denser than the next, all over: its scale, and not the anatomy."""

from __future__ import annotations

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.hu import AIR_HU

__all__ = ["CLASSES_HU", "MIN_SHARE", "MIN_VOXELS", "check_levels", "shifts_between"]

# Gas in and around the body, and soft tissue; asked of so many voxels or more.
CLASSES_HU = ((-1000.5, -500.0), (-200.0, 200.0))
MIN_VOXELS = 30
MIN_SHARE = 0.005
# A class that so few voxels of two slices share has moved from one to the other.
MIN_SHARED = 0.5
# A slice that differs by so much from the next has other pixels: in 23 real scans neighbours differ
# by 20 HU at most, and slices 8 to 20 mm apart by 41 HU.
LIMIT_HU, LIMIT_HU_PER_MM = 45.0, 3.0
# What shows more gas than this shows no body.
MAX_AIR = 0.98
# So many pixels a side are enough for a median that only a large error moves.
SIDE = 64


def check_levels(hu: np.ndarray, slice_mm: float, *, code: str) -> None:
    """Refuse a scan with a slice that is denser or thinner all over than the next.

    Args:
        hu: Canonical orientation, shape (slice, row, column).
        slice_mm: Distance of slices.
        code: Of the refusal.

    Raises:
        StudyError: With that code.
    """
    side = max(1, min(hu.shape[1:]) // SIDE)
    small = hu[:, ::side, ::side].astype(np.float32)
    limit = LIMIT_HU + LIMIT_HU_PER_MM * slice_mm
    # Resampled scans may begin and end in air.
    is_air = (small < CLASSES_HU[0][1]).mean(axis=(1, 2)) > MAX_AIR
    for i in np.flatnonzero(~is_air[:-1] & ~is_air[1:]).tolist():
        # Lung that a breath made soft tissue is in no class of both, and does not count.
        shifts = shifts_between(small[i], small[i + 1], is_near=False)
        if np.isnan(shifts).all():
            shifts = shifts_between(small[i], small[i + 1], is_near=True)
        if (np.abs(shifts[~np.isnan(shifts)]) > limit).any():
            raise StudyError(
                code,
                f"expected slices on one scale, slices {i + 1} and {i + 2} of {len(hu)}, counted "
                f"from the feet, differ by {np.nanmax(np.abs(shifts)):.0f} HU all over: the pixels "
                "of one were changed or damaged. Export the original scan.",
            )


def shifts_between(here: np.ndarray, there: np.ndarray, *, is_near: bool) -> np.ndarray:
    """By how much the second slice is denser, HU: over gas and over soft tissue, NaN without."""
    shared = (here > AIR_HU) & (there > AIR_HU)
    differ, mean = there - here, (here + there) / 2
    least = max(MIN_VOXELS, MIN_SHARE * here.size)
    found = np.full(len(CLASSES_HU), np.nan)
    for n, (low, high) in enumerate(CLASSES_HU):
        chosen = shared & (mean > low) & (mean < high)
        if is_near:
            either = (here > low) & (here < high) | (there > low) & (there < high)
            either &= shared
            if chosen.sum() < MIN_SHARED * either.sum():
                chosen = either
        if chosen.sum() >= least:
            found[n] = np.median(differ[chosen])
    if is_near and np.isnan(found).all() and shared.any():
        found[:] = np.median(differ[shared])
    return found
