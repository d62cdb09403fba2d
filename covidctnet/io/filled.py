"""Whether a scan was cut short somewhere and filled up with one value.

Copies that break off are often as long as the whole: the rest of a slice, or of the file, is zeros.
"""

from __future__ import annotations

import numpy as np

from covidctnet.errors import StudyError

__all__ = ["check_filled"]

# A slice of one value is padding of a resampled scan when that value is air.
AIR_BELOW_HU = -900
# So much tissue in the slices on both sides, where a slice has one value, is no air here.
TISSUE_ABOVE_HU = -200
MIN_TISSUE = 0.1
# A wedge outside of a turned scan grows from slice to slice: the next one has so much of it.
MIN_WEDGE = 0.1
# Fewer rows tell nothing.
MIN_ROWS = 2


def check_filled(hu: np.ndarray, *, code: str, filler: float | None = None) -> None:
    """Refuse a scan with slices, or ends of slices, of one value where its neighbours show tissue.

    Args:
        hu: Canonical orientation, shape (slice, row, column).
        code: Of the refusal.
        filler: The HU that a broken copy is filled up with in the end of a slice, where that is
            known: other values there are what a program leaves outside of a turned scan.

    Raises:
        StudyError: With that code.
    """
    is_flat = hu.max(axis=2) == hu.min(axis=2)
    is_empty = is_flat.all(axis=1) & (hu.max(axis=(1, 2)) == hu.min(axis=(1, 2)))
    if len(filled := np.flatnonzero(is_empty & (hu[:, 0, 0] > AIR_BELOW_HU))):
        raise _filled(code, len(filled), len(hu), f"{hu[filled[0], 0, 0]:g} HU")
    shown = np.flatnonzero(~is_empty)
    if not len(shown):
        return
    # Between slices that show something none is empty; beyond them a resampled scan may have some.
    inside = int(is_empty[shown[0] : shown[-1]].sum())
    if inside and _tissue(hu[shown]):
        raise _filled(code, inside, len(hu), "one value amid the others")
    for ends, flip in ((_run(is_flat[:, ::-1]), True), (_run(is_flat), False)):
        found = 0
        for i in shown:
            beside = [k for k in (i - 1, i + 1) if 0 <= k < len(hu) and not is_empty[k]]
            usual = max((ends[k] for k in beside), default=hu.shape[1])
            if ends[i] - usual < MIN_ROWS:
                continue
            rows = slice(usual, ends[i])
            views = [hu[k, ::-1] if flip else hu[k] for k in (i, *beside)]
            is_one = views[0][: ends[i]].min() == views[0][: ends[i]].max()
            value = views[0][0, 0]
            if filler is not None and value != filler:
                continue
            found += is_one and all(
                _tissue(v[rows]) and not _has(v[rows], value) for v in views[1:]
            )
        if found:
            raise _filled(code, found, len(hu), "one value in a part of them")


def _run(is_flat: np.ndarray) -> np.ndarray:
    """How many rows of one value each slice begins with."""
    return np.where(is_flat.all(axis=1), is_flat.shape[1], np.argmin(is_flat, axis=1))


def _has(part: np.ndarray, value: float) -> bool:
    """Whether a part holds the value too, as where a turned scan leaves a wedge outside it."""
    return float((part == value).mean()) >= MIN_WEDGE


def _tissue(part: np.ndarray) -> bool:
    return float((part > TISSUE_ABOVE_HU).mean()) >= MIN_TISSUE


def _filled(code: str, found: int, count: int, what: str) -> StudyError:
    return StudyError(
        code,
        f"expected whole slices, {found} of {count} have {what}, where those beside them show "
        "tissue: a copy that broke off was filled up. Copy or export the scan again.",
    )
