"""Whether slices were damaged: filled up with one value, or unlike all others of their scan.

Copies that break off are often as long as the whole: the rest of a slice, or of the file, is zeros.
A scan that was turned and resampled has wedges of one value outside it: those are no damage.
Compressed slices with a damaged part are decoded all the same, to an image that is partly wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.hu import AIR_HU

__all__ = ["Filler", "check_damage", "check_filled", "filler_of"]

# A slice of one value is padding of a resampled scan when that value is air.
AIR_BELOW_HU = -900
# So much tissue in the slices on both sides, where a slice has one value, is no air here.
TISSUE_ABOVE_HU = -200
MIN_TISSUE = 0.1
# A wedge has so much of the rows of the next slice.
MIN_WEDGE = 0.1
# Fewer rows tell nothing.
MIN_ROWS = 2
# A body that was cut out leaves so much of the rows at its rim outside.
OUTLINE_ROWS, OUTLINE_SHARE = 3, 0.4
# And it may lie so much of the rows elsewhere in one slice than in those around, as by a breath.
OUTLINE_PART = 0.08
# A straight wedge grows by so nearly the same number of rows from slice to slice.
EVEN_ROWS, EVEN_SHARE = 2, 0.25
# A run of one value within a row: so many voxels, so far from the tissue in the slices beside, HU.
MIN_RUN = 60
RUN_APART_HU = 200.0
# Rows of a slice that differ from those of the slices around by more than this, HU, and by so many
# times what these differ from each other, are strange where these are alike. In 24 real scans, of
# steps up to 15 mm, no slice has more than 0.03 of them; a slice with that share is damaged.
STRANGE_HU = 100.0
ALIKE_HU = 100.0
STRANGE_TIMES = 2.0
STRANGE_SHARE = 0.1
# So many damaged slices in a row are told from the scan around.
LONGEST_DAMAGE = 3
# So many rows and columns of a slice are compared, and what is thinner or denser counts no more.
COMPARED = (64, 128)
LIMITS_HU = (-1000.0, 300.0)


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
    if found_rows := _holes(hu, is_flat & ~is_empty[:, None], filler):
        raise _filled(code, found_rows, len(hu), "hold rows of one value")
    if found_runs := _short_holes(hu, filler):
        raise _filled(code, found_runs, len(hu), "hold one value in a part of a row")
    _check_end(hu, shown, code, filler)
    top, bottom = _run(is_flat), _run(is_flat[:, ::-1])
    for ends, opposite, flip in ((bottom, top, True), (top, bottom, False)):
        found_here = []
        for i in shown:
            neighbours = [k for k in (i - 1, i + 1) if 0 <= k < len(hu) and not is_empty[k]]
            usual = max((ends[k] for k in neighbours), default=hu.shape[1])
            if ends[i] - usual < MIN_ROWS:
                continue
            views = [hu[k, ::-1] if flip else hu[k] for k in (i, *neighbours)]
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
            is_thin = ends[i] - usual <= max(MIN_ROWS, OUTLINE_PART * hu.shape[1])
            if is_thin and _is_outline(views[0][ends[i] :], part[0, 0]):
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


def _is_outline(rest: np.ndarray, value: float) -> bool:
    """Whether the rows behind those of one value begin as a body does that was cut out of its air.

    Such a body begins narrow. A copy that broke off within it has whole rows up to the break.

    Args:
        rest: The other rows, the nearest first.
        value: Of the rows before.
    """
    nearest = rest[:OUTLINE_ROWS]
    return bool(len(nearest) and ((nearest == value).mean(axis=1) >= OUTLINE_SHARE).all())


def _reaches_edge(line: np.ndarray, run: slice) -> bool:
    """Whether a run of one value goes on to an end of its row, as air does that was masked."""
    value = line[run.start]
    return bool((line[: run.start] == value).all() or (line[run.stop :] == value).all())


def _is_shared(
    value: float, neighbours: Sequence[np.ndarray], further: Sequence[np.ndarray]
) -> bool:
    """Whether neighbours have the value in a part of the same rows, as an oblique wedge has.

    Air is there in every scan; what lies outside of a turned one becomes less from slice to slice.
    """

    def share(parts: Sequence[np.ndarray]) -> float:
        return max((float((part == value).mean()) for part in parts), default=0.0)

    usual = share(further) if value <= AIR_BELOW_HU else 0.0
    return share(neighbours) - usual >= MIN_WEDGE


def check_damage(hu: np.ndarray, *, code: str) -> None:
    """Refuse a scan with slices of which a part is unlike the slices on both sides.

    The first and the last slice have none on one side, and are not looked at.

    Args:
        hu: Canonical orientation, shape (slice, row, column).
        code: Of the refusal.

    Raises:
        StudyError: With that code.
    """
    down, right = (max(1, n // most) for n, most in zip(hu.shape[1:], COMPARED, strict=True))
    images = np.clip(hu[:, down // 2 :: down, right // 2 :: right], *LIMITS_HU).astype(np.float32)

    def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(one - other).mean(axis=2))

    steps = apart(images[1:], images[:-1])
    for run in range(1, LONGEST_DAMAGE + 1):
        if len(hu) < run + 2:
            return
        around = apart(images[: -run - 1], images[run + 1 :])
        inward = np.minimum(steps[: len(around)], steps[run:])
        is_strange = (around < ALIKE_HU) & (inward > STRANGE_HU + STRANGE_TIMES * around)
        strange = is_strange.mean(axis=1)
        if (found := np.flatnonzero(strange >= STRANGE_SHARE)).size:
            first = int(found[0]) + 2
            which = f"slice {first}" if run == 1 else f"slices {first} to {first + run - 1}"
            raise StudyError(
                code,
                f"expected slices that go on in each other, {which} of {len(hu)}, counted from the "
                f"feet, differ in {strange[found[0]]:.0%} of their rows from those on both sides, "
                "which are alike: a damaged part, or another scan. Copy or export the scan "
                "again.",
            )


def _holes(hu: np.ndarray, is_flat: np.ndarray, filler: Filler) -> int:
    """The number of slices with rows of one value where those beside them show tissue."""
    tissue = np.stack([(image > TISSUE_ABOVE_HU).mean(axis=1) for image in hu]) >= MIN_TISSUE
    # The first and the last slice may lie partly outside of what was scanned.
    is_doubtful = is_flat[1:-1] & tissue[:-2] & tissue[2:]
    rows: dict[int, int] = {}
    for before, row in np.argwhere(is_doubtful).tolist():
        i = before + 1
        value = hu[i, row, 0]
        neighbours = hu[[i - 1, i + 1], row]
        if filler.is_value(value) and not any(_has(line, value) for line in neighbours):
            rows[i] = rows.get(i, 0) + 1
    return sum(count >= MIN_ROWS for count in rows.values())


def _short_holes(hu: np.ndarray, filler: Filler) -> int:
    """The number of slices with a long run of one value within a row, far from both neighbours."""
    found = 0
    for k in range(1, len(hu) - 1):
        below, here, above = hu[k - 1], hu[k], hu[k + 1]
        is_same = here[:, 1:] == here[:, :-1]
        is_same &= (below[:, 1:] > TISSUE_ABOVE_HU) & (above[:, 1:] > TISSUE_ABOVE_HU)
        for row in np.flatnonzero(is_same.sum(axis=1) >= MIN_RUN).tolist():
            edges = np.flatnonzero(np.diff(is_same[row].astype(np.int8), prepend=0, append=0))
            lengths = edges[1::2] - edges[::2]
            start, length = int(edges[2 * lengths.argmax()]), int(lengths.max())
            run = slice(start, start + length + 1)
            apart = min(
                float(np.median(np.abs(here[row, run].astype(np.float32) - neighbour[row, run])))
                for neighbour in (below, above)
            )
            is_filler = filler.is_value(here[row, start])
            is_outside = _reaches_edge(here[row], run)
            if length >= MIN_RUN and apart > RUN_APART_HU and is_filler and not is_outside:
                found += 1
                break
    return found


def _has(part: np.ndarray, value: float) -> bool:
    """Whether a part holds the value too, as where a turned scan leaves a wedge outside it."""
    return float((part == value).mean()) >= MIN_WEDGE


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
