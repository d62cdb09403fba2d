"""Whether slices that were rescaled each in its own way belong to one scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.hu import AIR_HU

__all__ = ["check_rescale"]

# A scan has one rescaling when so many of its slices share it.
ODD_ONE_SHARE = 0.75
# A slice differs from the mean of its neighbours, in the median over its gas or its soft tissue, by
# 11 HU at most in 23 real scans and by 4 HU as a rule. See `make rewritten`.
MAX_APART_HU = 20.0
MAX_APART = 6.0
# The only slice with a rescaling of its own must fit better with it by this than with the others'.
MIN_BETTER_HU = 5.0
MIN_BETTER = 2.0
# Gas in and around the body, and soft tissue; asked of so many voxels or more.
CLASSES_HU = ((-1000.5, -500.0), (-200.0, 200.0))
MIN_VOXELS = 30
MIN_SHARE = 0.005


def check_rescale(frames: Sequence[Frame], hu: np.ndarray) -> None:
    """Slices may have a rescaling each; one that was changed makes its slice unlike the next.

    The median over many voxels tells a slice that was shifted or stretched from anatomy, which
    moves few of them. Where nearly all slices agree, one that does not must also fit clearly better
    than it would with the rescaling of the others.

    Args:
        frames: In order.
        hu: Their values, shape (frame, row, column).

    Raises:
        StudyError: ``NO_RESCALE``.
    """
    scales = [(float(f.slope or 0), float(f.intercept or 0)) for f in frames]
    if len(set(scales)) == 1 or len(frames) < 2:
        return
    step = 2 if min(hu.shape[1:]) >= 128 else 1
    small = hu[:, ::step, ::step]
    apart = np.array([_apart(small, i, small[i].astype(np.float32)) for i in range(len(frames))])
    usual = float(np.median(apart))
    for i, value in enumerate(apart):
        if value > max(MAX_APART_HU, MAX_APART * usual):
            raise _contradiction(i + 1, len(frames))
    common = max(set(scales), key=scales.count)
    if scales.count(common) < ODD_ONE_SHARE * len(scales):
        return
    for i, (slope, intercept) in enumerate(scales):
        if (slope, intercept) == common:
            continue
        swapped = (small[i].astype(np.float32) - intercept) / slope * common[0] + common[1]
        gain = _apart(small, i, swapped) - apart[i]
        if gain < max(MIN_BETTER_HU, MIN_BETTER * usual):
            raise _contradiction(i + 1, len(frames))


def _apart(hu: np.ndarray, index: int, here: np.ndarray) -> float:
    """How far a slice is from the mean of its neighbours, HU: the larger of two medians."""
    beside = [hu[i] for i in (index - 1, index + 1) if 0 <= i < len(hu)]
    measured = here > AIR_HU
    shared = measured & np.logical_and.reduce([other > AIR_HU for other in beside])
    # What a wrong scale pushes below all HU counts as padding.
    least = min(max(measured.sum(), (other > AIR_HU).sum()) for other in beside)
    if 2 * shared.sum() < least:
        return float("inf")
    mean = sum(other.astype(np.float32) for other in beside) / len(beside)
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
