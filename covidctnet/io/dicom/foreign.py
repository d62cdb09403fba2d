"""Slices of another body among those of a scan, by their pixels.

Nothing in a header says that slices of two patients were exchanged under their UIDs. But a way
through another body is no short cut: a foreign slice is less like both of its neighbours than these
are like each other, and it correlates with them as two patients do.

In 23 real scans of 2 to 5 mm, as they are and thinned to 10 to 25 mm, cropped, coarser, with noise
or interpolated, nothing is found. What lies between two axial slices differs from one of them by
0.9 of what they differ by, or less, and from one slice to the next the correlation is .948 or more
up to 5 mm, .757 or more up to 20 mm. Of 1 to 20 slices, or a half, of another patient, fitted to
the same grid and height, 93 % and more are found at the scans' own steps, and 85 % and more at
twice these. Lungs may end between two slices, and a breath moves organs; neither changes the
outline of the body: of slices in which the organs alone lie 10 mm lower none is found, of 20 mm 1
%.
"""

from __future__ import annotations

import numpy as np

__all__ = ["foreign_slices"]

# So many slices of another body are looked for.
LONGEST = 12
# A way through another body is longer than the direct one by this factor.
MIN_DETOUR = 1.2
# And both of its ends correlate by less.
MAX_LIKENESS = 0.82
# One end alone, as of a scan whose rest is another's, must be clearer than chance at every place:
# so much less alike, so many times the usual step, and with another outline: two bodies have less
# than this part of both in common, in 98 % of pairs at one height. A turned scan begins in air, and
# its first slices grow fast.
CLEARLY_UNLIKE = 0.75
MIN_SEAM = 4.0
MAX_OVERLAP = 0.9
MIN_SLICES = 4
# Slices further apart change as much by themselves.
MAX_STEP_MM = 6.0
# Slices on each side that say what is usual.
WINDOW = 8
# A share of the pixels that is no air: where there is less, nothing can be compared.
BODY_HU = -500.0
MIN_BODY = 0.02


def foreign_slices(images: np.ndarray, away: np.ndarray) -> tuple[int, int] | None:
    """Where slices lie that are not of the body around them.

    Args:
        images: Axial slices in order, averaged over blocks, HU, shape (slice, row, column).
        away: Distance from each slice to the next, mm.

    Returns:
        The first and the last of them; the last slice of the scan where nothing returns to the
        first body. None without any.
    """
    has_body = (images > BODY_HU).mean(axis=(1, 2)) >= MIN_BODY
    likeness = _likeness(images)
    # A gap that the caller allows says nothing.
    is_step = (away <= 1.5 * np.median(away)) & has_body[:-1] & has_body[1:]
    unlike = np.flatnonzero(is_step & (likeness < MAX_LIKENESS))
    if not len(unlike):
        return None
    steps = np.abs(np.diff(images, axis=0)).mean(axis=(1, 2), dtype=np.float64)
    for start in unlike.tolist():
        for end in unlike[(unlike > start) & (unlike <= start + LONGEST)].tolist():
            direct = float(np.abs(images[end + 1] - images[start]).mean(dtype=np.float64))
            if min(steps[start], steps[end]) > MIN_DETOUR * direct:
                return start + 1, end
    inner = (unlike >= MIN_SLICES - 1) & (unlike < len(steps) - MIN_SLICES + 1)
    for k in unlike[inner & (likeness[unlike] < CLEARLY_UNLIKE)].tolist():
        around = np.delete(steps[max(0, k - WINDOW) : k + WINDOW + 1], min(k, WINDOW))
        is_jump = len(around) > 2 and steps[k] > MIN_SEAM * float(np.median(around))
        if is_jump and away[k] <= MAX_STEP_MM and _are_two_bodies(*images[k : k + 2]):
            return k + 1, len(images) - 1
    return None


def _likeness(images: np.ndarray) -> np.ndarray:
    """The correlation of each slice with the next; 1 where one of them shows nothing."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    flat = flat - flat.mean(axis=1, keepdims=True)
    deviation = np.sqrt((flat**2).mean(axis=1))
    product = (flat[1:] * flat[:-1]).mean(axis=1)
    scale = deviation[1:] * deviation[:-1]
    return np.asarray(np.where(scale > 0, product / np.maximum(scale, 1e-9), 1.0))


def _are_two_bodies(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two bodies have other outlines, and differ where both are too.

    A scan that was turned begins and ends in air: there one body covers ever more of the other.
    """
    here, there = _inside(one), _inside(other)
    both = here & there
    if both.sum() >= MAX_OVERLAP * (here | there).sum() or not both.any():
        return False
    inner = np.stack([one[both], other[both]])[:, None]
    return bool(_likeness(inner)[0] < CLEARLY_UNLIKE)


def _inside(image: np.ndarray) -> np.ndarray:
    """What lies between tissue on both sides, and above and below."""
    tissue = image > BODY_HU
    inside = np.ones_like(tissue)
    for axis in (0, 1):
        before = np.logical_or.accumulate(tissue, axis)
        behind = np.flip(np.logical_or.accumulate(np.flip(tissue, axis), axis), axis)
        inside &= before & behind
    return inside
