"""Whether slices were damaged: filled up with one value, or unlike all others of their scan.

Copies that break off are often as long as the whole: the rest of a slice, or of the file, is zeros.
Compressed slices with a damaged part are decoded all the same, to an image that is partly wrong.
"""

from __future__ import annotations

import numpy as np

from covidctnet.errors import StudyError

__all__ = ["check_damage", "check_filled"]

# A slice of one value is padding of a resampled scan when that value is air.
AIR_BELOW_HU = -900
# So much tissue in the slices on both sides, where a slice has one value, is no air here.
TISSUE_ABOVE_HU = -200
MIN_TISSUE = 0.1
# A wedge outside of a turned scan grows from slice to slice: the next one has so much of it.
MIN_WEDGE = 0.1
# Fewer rows tell nothing.
MIN_ROWS = 2
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
    if found := _holes(hu, is_flat & ~is_empty[:, None], filler):
        raise _filled(code, found, len(hu), "rows of one value")
    if found := _short_holes(hu, filler):
        raise _filled(code, found, len(hu), "one value in a part of a row")
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


def _holes(hu: np.ndarray, is_flat: np.ndarray, filler: float | None) -> int:
    """The number of slices with rows of one value where those beside them show tissue."""
    tissue = np.stack([(image > TISSUE_ABOVE_HU).mean(axis=1) for image in hu]) >= MIN_TISSUE
    # The first and the last slice may lie partly outside of what was scanned.
    is_doubtful = is_flat[1:-1] & tissue[:-2] & tissue[2:]
    rows: dict[int, int] = {}
    for before, row in np.argwhere(is_doubtful).tolist():
        i = before + 1
        value = hu[i, row, 0]
        beside = hu[[i - 1, i + 1], row]
        if filler in (None, value) and not any(_has(line, value) for line in beside):
            rows[i] = rows.get(i, 0) + 1
    return sum(count >= MIN_ROWS for count in rows.values())


def _short_holes(hu: np.ndarray, filler: float | None) -> int:
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
                float(np.median(np.abs(here[row, run].astype(np.float32) - beside[row, run])))
                for beside in (below, above)
            )
            is_filler = filler in (None, here[row, start])
            if length >= MIN_RUN and apart > RUN_APART_HU and is_filler:
                found += 1
                break
    return found


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
