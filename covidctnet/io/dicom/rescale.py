"""Whether slices that were rescaled each in its own way belong to one scan.

What is usual is never asked of the slices themselves: where a quarter of them was changed, they
would make their own error usual. The limits are of real scans. Slices that share a rescaling
are compared with wider limits, see `covidctnet.io.levels`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.hu import AIR_HU
from covidctnet.io.levels import CLASSES_HU, MIN_SHARE, MIN_VOXELS, shifts_between

__all__ = ["check_rescale"]

# In 23 real scans with slices 2 to 5 mm apart, the median over gas or soft tissue differs from one
# slice to the next by 17 HU at most; over gas and soft tissue both, in one direction, by 4 HU, and
# by 25 HU over 40 mm. See `make rewritten`.
ONE_CLASS_HU, ONE_CLASS_HU_PER_MM = 30.0, 2.0
BOTH_CLASSES_HU, BOTH_CLASSES_HU_PER_MM = 10.0, 1.0
# Slices so many places apart are compared: an error that grows slowly is small between neighbours.
REACHES = (1, 2, 4, 8, 16)
# Where slices of one rescaling lie between others again and again, what differs in anatomy cancels.
MIN_BORDERS = 3
ALL_BORDERS_HU = 6.0
# A scan has one rescaling when so many of its slices share it.
ODD_ONE_SHARE = 0.75
# The only slice with a rescaling of its own must fit better with it by this than with the others'.
MIN_BETTER_HU = 5.0
MIN_BETTER = 2.0
# So many pixels a side are enough for a median.
SIDE = 128


def check_rescale(frames: Sequence[Frame], hu: np.ndarray, heights: np.ndarray) -> None:
    """Slices may have a rescaling each; one that was changed makes its slice unlike the next.

    The median over many voxels tells a slice that was shifted or stretched from anatomy, which
    moves few of them. Where nearly all slices agree, one that does not must also fit clearly better
    than it would with the rescaling of the others.

    Args:
        frames: In order.
        hu: Their values, shape (frame, row, column).
        heights: Where they lie along the normal, mm.

    Raises:
        StudyError: ``NO_RESCALE``.
    """
    scales = [(float(f.slope or 0), float(f.intercept or 0)) for f in frames]
    if len(set(scales)) == 1:
        return
    side = max(1, min(hu.shape[1:]) // SIDE)
    small = hu[:, ::side, ::side].astype(np.float32)
    borders: dict[tuple[float, float], list[tuple[bool, np.ndarray]]] = {}
    for i, k in _pairs(scales):
        here, there = small[i], small[i + k]
        if k == 1 and _has_lost(here, there):
            raise _contradiction(i + 1, len(frames))
        shifts = shifts_between(here, there, is_near=k == 1)
        mm = abs(float(heights[i + k] - heights[i]))
        if _is_beyond(shifts, mm, is_near=k == 1):
            raise _contradiction(i + 1, len(frames))
        if k == 1:
            borders.setdefault(scales[i + 1], []).append((True, shifts))
            borders.setdefault(scales[i], []).append((False, -shifts))
    for scale, found in borders.items():
        ups = sum(is_up for is_up, _ in found)
        all_shifts = np.array([shifts for _, shifts in found])
        known = all_shifts[~np.isnan(all_shifts).any(axis=1)]
        if min(ups, len(found) - ups) < MIN_BORDERS or len(known) < 2 * MIN_BORDERS:
            continue
        if np.abs(np.median(known, axis=0)).max() > ALL_BORDERS_HU:
            raise _contradiction(scales.index(scale) + 1, len(frames))
    _check_odd_ones(scales, small)


def _pairs(scales: Sequence[tuple[float, float]]) -> Iterator[tuple[int, int]]:
    """Places of slices of different rescaling, and how many places further the second lies."""
    for k in REACHES:
        for i in range(len(scales) - k):
            if scales[i] != scales[i + k]:
                yield i, k


def _check_odd_ones(scales: Sequence[tuple[float, float]], hu: np.ndarray) -> None:
    """Refuse a slice that fits as well with the rescaling of nearly all others."""
    common = max(set(scales), key=scales.count)
    odd = [i for i, scale in enumerate(scales) if scale != common]
    if len(odd) > (1 - ODD_ONE_SHARE) * len(scales):
        return
    usual = float(np.median([_apart(hu, i, hu[i]) for i in range(len(hu)) if i not in odd]))
    for i in odd:
        slope, intercept = scales[i]
        swapped = (hu[i] - intercept) / slope * common[0] + common[1]
        gain = _apart(hu, i, swapped) - _apart(hu, i, hu[i])
        if gain < max(MIN_BETTER_HU, MIN_BETTER * usual):
            raise _contradiction(i + 1, len(scales))


def _has_lost(here: np.ndarray, there: np.ndarray) -> bool:
    """Whether one of two neighbours lacks what the other measures: pushed below all HU."""
    one, other = here > AIR_HU, there > AIR_HU
    return bool(2 * (one & other).sum() < max(one.sum(), other.sum()))


def _is_beyond(shifts: np.ndarray, mm: float, *, is_near: bool) -> bool:
    """Whether two slices differ by more than anatomy does over so many mm."""
    known = np.abs(shifts[~np.isnan(shifts)])
    if is_near and (known > ONE_CLASS_HU + ONE_CLASS_HU_PER_MM * mm).any():
        return True
    is_one_way = len(known) == len(shifts) and len(set(np.sign(shifts))) == 1
    return is_one_way and bool(known.min() > BOTH_CLASSES_HU + BOTH_CLASSES_HU_PER_MM * mm)


def _apart(hu: np.ndarray, index: int, here: np.ndarray) -> float:
    """How far a slice is from the mean of its neighbours, HU: the larger of two medians."""
    beside = [hu[i] for i in (index - 1, index + 1) if 0 <= i < len(hu)]
    measured = here > AIR_HU
    shared = measured & np.logical_and.reduce([other > AIR_HU for other in beside])
    # What a wrong scale pushes below all HU counts as padding.
    least = min(max(measured.sum(), (other > AIR_HU).sum()) for other in beside)
    if 2 * shared.sum() < least:
        return float("inf")
    mean = np.mean(beside, axis=0)
    found = []
    for low, high in CLASSES_HU:
        chosen = shared & (mean > low) & (mean < high)
        if chosen.sum() >= max(MIN_VOXELS, MIN_SHARE * here.size):
            found.append(abs(float(np.median((here - mean)[chosen]))))
    if not found and shared.any():
        found.append(abs(float(np.median((here - mean)[shared]))))
    return max(found, default=0.0)


def _contradiction(number: int, count: int) -> StudyError:
    return StudyError(
        "NO_RESCALE",
        f"expected rescale slopes and intercepts that fit the pixels, those of slice {number} of "
        f"{count}, or of one beside it, make it unlike its neighbours. Export the original series.",
    )
