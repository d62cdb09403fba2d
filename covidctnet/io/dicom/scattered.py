"""UIDs that are drawn at random, a few for many files: they divide one scan in no order.

A program that draws a few UIDs of series, studies or frames of reference and gives each file one of
them leaves series with holes that fill each other. The second witness is what a scan has in common
all the same: folder, number of the series, visit, and one even grid on which each place is taken
once. The slices of two scans hardly share such a grid, and their pixels must not speak of two;
where those of each UID are even by themselves, as in two woven scans, they must speak clearly of
one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from covidctnet.io.dicom.frame import Entry
from covidctnet.io.dicom.geometry import MIN_SLICES, STEP_TOLERANCE, STEP_TOLERANCE_MM

__all__ = ["Slice", "is_even", "scattered", "scattered_entries"]

COSINE_TOLERANCE = 1e-3
# UIDs follow each other along the scan this often, for each of them.
MIN_RUNS = 2
# So many UIDs, whose slices lie at steps of which this part is not the usual one, are no scans.
MIN_UNEVEN = 3
MIN_RAGGED = 0.25


@dataclass(frozen=True)
class Slice:
    """What tells whether a UID of a slice means anything.

    Attributes:
        home: What it has in common with the other slices of its scan; None for what is no slice.
        uid: Of its series, study or frame of reference.
        position: Of the first voxel, LPS mm, or None.
        orientation: Direction cosines, or None.
    """

    home: Hashable
    uid: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None


def scattered_entries(
    entries: Sequence[Entry], uids: Sequence[str], frames: Sequence[str] | None = None
) -> set[int]:
    """Files whose UIDs are drawn at random, as far as their first bytes tell.

    Args:
        entries: Of one study, or of several.
        uids: One of each file.
        frames: Frames of reference, which the slices of a scan share; asked for by default.
    """
    if frames is None:
        frames = [found.frame_of_reference for _, found in entries]
    slices = [
        Slice(
            (path.parent, found.series_number, found.visit, frame) if found.is_slice else None,
            uid,
            found.position,
            found.orientation,
        )
        for (path, found), uid, frame in zip(entries, uids, frames, strict=True)
    ]
    return scattered(slices)


def scattered(
    slices: Sequence[Slice], is_one_scan: Callable[[Sequence[int], int], bool] | None = None
) -> set[int]:
    """Places of slices whose UIDs are drawn at random.

    Args:
        slices: Of a study, or of several.
        is_one_scan: Whether slices at some places, in order along their normal, are of one scan;
            so many UIDs divide them evenly, 0 for unevenly. Where it is not given, what can be no
            scan by itself, and what lies evenly between others, is taken for a part of one; then
            nothing may be read as one scan by that alone.
    """
    homes: dict[Hashable, list[int]] = {}
    for i, slice_ in enumerate(slices):
        has_place = slice_.position is not None and slice_.orientation is not None
        if slice_.home is not None and slice_.uid and has_place:
            homes.setdefault(slice_.home, []).append(i)
    found: set[int] = set()
    for members in homes.values():
        are_several = len({slices[i].uid for i in members}) > 1
        if (
            are_several
            and len(members) >= MIN_SLICES
            and _is_scattered(slices, members, is_one_scan)
        ):
            found |= set(members)
    return found


def is_even(heights: np.ndarray) -> bool:
    """Whether heights, rising, lie on an even grid and each place is taken once."""
    steps = np.diff(heights)
    if not len(steps):
        return True
    usual = float(np.median(steps))
    limit = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * usual)
    return usual > limit and bool(np.abs(steps - usual).max() <= limit)


def _is_scattered(
    slices: Sequence[Slice],
    members: Sequence[int],
    is_one_scan: Callable[[Sequence[int], int], bool] | None,
) -> bool:
    directions = np.array([slices[i].orientation for i in members])
    if np.abs(directions - directions[0]).max() > COSINE_TOLERANCE:
        return False
    across, down = directions[0].reshape(2, 3)
    axes = np.stack([np.cross(across, down), down, across], axis=1)
    places = np.array([slices[i].position for i in members]) @ axes
    if np.ptp(places[:, 1:], axis=0).max() > 2 * STEP_TOLERANCE_MM:
        return False
    order = np.argsort(places[:, 0], kind="stable")
    heights, ordered = places[order, 0], [members[k] for k in order]
    uids = [slices[i].uid for i in ordered]
    names = set(uids)
    runs = 1 + sum(a != b for a, b in pairwise(uids))
    if runs < MIN_RUNS * len(names):
        # One above the other, or a slice whose UID was damaged.
        return False
    parts = [heights[[uid == name for uid in uids]] for name in names]
    if not is_even(heights):
        return is_one_scan is None and len(names) >= MIN_UNEVEN and all(map(_is_ragged, parts))
    are_even = [len(part) > 2 and is_even(part) for part in parts]
    return is_one_scan is None or is_one_scan(ordered, len(names) if all(are_even) else 0)


def _is_ragged(heights: np.ndarray) -> bool:
    """Whether many steps differ from the usual one: no scan with some slices missing."""
    steps = np.diff(heights)
    if not len(steps):
        return True
    usual = float(np.median(steps))
    limit = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * usual)
    return bool((np.abs(steps - usual) > limit).mean() >= MIN_RAGGED)
