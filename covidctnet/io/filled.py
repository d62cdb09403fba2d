"""Whether a scan was cut short somewhere and filled up with one value.

Copies that break off are often as long as the whole: the rest of a slice, or of the file, is zeros.
A scan that was turned and resampled has wedges of one value outside it: those are no damage.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.hu import AIR_HU

__all__ = ["Filler", "check_filled", "filler_of"]

# A slice of one value is padding of a resampled scan when that value is air.
AIR_BELOW_HU = -900
# So much tissue in the slices on both sides, where a slice has one value, is no air here.
TISSUE_ABOVE_HU = -200
MIN_TISSUE = 0.1
# A wedge has so much of the rows of the next slice.
MIN_WEDGE = 0.1
# Fewer rows tell nothing.
MIN_ROWS = 2
# A straight wedge grows by so nearly the same number of rows from slice to slice.
EVEN_ROWS, EVEN_SHARE = 2, 0.25


@dataclass(frozen=True)
class Filler:
    """What a broken copy of a scan is filled up with.

    Attributes:
        values: HU of stored zeros; None where they are not known, as with compressed pixels: then
            any value counts.
        is_one_file: Whether the scan is one file, so that whole slices at one end may be missing.
    """

    values: frozenset[float] | None = None
    is_one_file: bool = False

    def is_value(self, value: float) -> bool:
        """Whether a voxel of this HU may be a stored zero."""
        return self.values is None or float(value) in self.values


def filler_of(intercepts: Collection[float], *, is_one_file: bool) -> Filler:
    """The filler of a scan whose stored zeros become these HU.

    Args:
        intercepts: Of the rescaling, HU.
        is_one_file: Whether the scan is one file.
    """
    # As readers do with voxels, what is below air is set to air.
    return Filler(frozenset(max(float(i), float(AIR_HU)) for i in intercepts), is_one_file)


def check_filled(hu: np.ndarray, *, code: str, filler: Filler) -> None:
    """Refuse a scan with slices, or ends of slices, of one value where its neighbours show tissue.

    Args:
        hu: Canonical orientation, shape (slice, row, column).
        code: Of the refusal.
        filler: What a broken copy is filled up with. In the end of a slice any other value is what
            a program leaves outside of a turned scan.

    Raises:
        StudyError: With that code.
    """
    is_flat = hu.max(axis=2) == hu.min(axis=2)
    is_empty = is_flat.all(axis=1) & (hu.max(axis=(1, 2)) == hu.min(axis=(1, 2)))
    if len(found := np.flatnonzero(is_empty & (hu[:, 0, 0] > AIR_BELOW_HU))):
        raise _filled(code, len(found), len(hu), f"hold nothing but {hu[found[0], 0, 0]:g} HU")
    shown = np.flatnonzero(~is_empty)
    if not len(shown):
        return
    # Between slices that show something none is empty; beyond them a resampled scan may have some.
    inside = int(is_empty[shown[0] : shown[-1]].sum())
    if inside and _tissue(hu[shown]):
        raise _filled(code, inside, len(hu), "hold one value amid the others")
    _check_end(hu, shown, code, filler)
    top, bottom = _run(is_flat), _run(is_flat[:, ::-1])
    for ends, opposite, flip in ((bottom, top, True), (top, bottom, False)):
        found_here = []
        for i in shown:
            beside = [k for k in (i - 1, i + 1) if 0 <= k < len(hu) and not is_empty[k]]
            usual = max((ends[k] for k in beside), default=hu.shape[1])
            if ends[i] - usual < MIN_ROWS:
                continue
            views = [hu[k, ::-1] if flip else hu[k] for k in (i, *beside)]
            part = views[0][: ends[i]]
            if part.min() != part.max() or not filler.is_value(part[0, 0]):
                continue
            if not all(_tissue(view[usual : ends[i]]) for view in views[1:]):
                continue
            further = [hu[k, ::-1] if flip else hu[k] for k in (i - 2, i + 2) if 0 <= k < len(hu)]
            rows = slice(usual, ends[i])
            if _is_shared(
                float(part[0, 0]), [v[rows] for v in views[1:]], [v[rows] for v in further]
            ):
                continue
            if part[0, 0] <= AIR_BELOW_HU and _is_wedge(int(i), shown, ends, opposite):
                continue
            found_here.append(i)
        if found_here:
            first = found_here[0]
            value = hu[first, -1 if flip else 0, 0]
            raise _filled(
                code,
                len(found_here),
                len(hu),
                f"hold one value in a part of them, the first {value:g} HU in {ends[first]} of "
                f"{hu.shape[1]} rows",
            )


def _check_end(hu: np.ndarray, shown: np.ndarray, code: str, filler: Filler) -> None:
    """Refuse a file whose last slices are stored zeros; one padded by a program has some on top."""
    first, last = int(shown[0]), len(hu) - 1 - int(shown[-1])
    if not filler.is_one_file or filler.values is None or bool(first) == bool(last):
        return
    value = hu[0 if first else -1, 0, 0]
    if filler.is_value(value) and _tissue(hu[shown[0] if first else shown[-1]]):
        raise _filled(
            code, first + last, len(hu), f"at one end hold nothing but {value:g} HU, stored as 0"
        )


def _is_wedge(i: int, shown: np.ndarray, ends: np.ndarray, opposite: np.ndarray) -> bool:
    """Whether rows of one value in a slice at an end of a scan are what lies outside a turned one.

    Its border is a plane: the wedge grows evenly over three slices, which two broken slices do not,
    or the other end of the scan has one on the other side. A copy that broke off ends all its
    slices on the same side.

    Args:
        i: Index of the slice.
        shown: Those of all slices that show something.
        ends: How many rows each slice begins with that have one value, seen from this side.
        opposite: The same, seen from the other side.
    """
    if i not in (shown[0], shown[-1]) or len(shown) < 4:
        return False
    inward = 1 if i == shown[0] else -1
    outer, middle, inner = (
        float(ends[i + k * inward] - ends[i + (k + 1) * inward]) for k in range(3)
    )
    limit = max(EVEN_ROWS, EVEN_SHARE * max(outer, middle))
    is_even = min(outer, middle) >= MIN_ROWS and abs(outer - middle) <= limit
    # The innermost slice may have no more than the tip of the wedge.
    if is_even and 0 < inner <= middle + limit:
        return True
    other = shown[-1] if inward == 1 else shown[0]
    return bool(opposite[other] - opposite[other - inward] >= MIN_ROWS)


def _is_shared(value: float, beside: Sequence[np.ndarray], further: Sequence[np.ndarray]) -> bool:
    """Whether neighbours have the value in a part of the same rows, as an oblique wedge has.

    Air is there in every scan; what lies outside of a turned one becomes less from slice to slice.
    """

    def share(parts: Sequence[np.ndarray]) -> float:
        return max((float((part == value).mean()) for part in parts), default=0.0)

    usual = share(further) if value <= AIR_BELOW_HU else 0.0
    return share(beside) - usual >= MIN_WEDGE


def _run(is_flat: np.ndarray) -> np.ndarray:
    """How many rows of one value each slice begins with."""
    return np.where(is_flat.all(axis=1), is_flat.shape[1], np.argmin(is_flat, axis=1))


def _tissue(part: np.ndarray) -> bool:
    return float((part > TISSUE_ABOVE_HU).mean()) >= MIN_TISSUE


def _filled(code: str, found: int, count: int, what: str) -> StudyError:
    return StudyError(
        code,
        f"expected whole slices, {found} of {count} {what}, where those beside them show tissue: a "
        "copy that broke off and was filled up looks like this. Copy or export the scan again.",
    )
