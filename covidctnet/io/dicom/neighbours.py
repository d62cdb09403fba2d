"""Images beside a stack that may be slices of its scan: without them the scan is cut.

Whatever parted them from the stack, a series, an acquisition, a time, a type, damage to their
headers: what lies where the stack goes on, or is numbered as its next slice, is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np
from pydicom import config
from pydicom.uid import UID

from covidctnet.errors import StudyError
from covidctnet.io.dicom.continuity import shrunk
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import (
    MIN_SLICES,
    STEP_TOLERANCE,
    STEP_TOLERANCE_MM,
    Placement,
    has_geometry,
)
from covidctnet.io.dicom.kinds import ELSEWHERE, unfit
from covidctnet.io.dicom.lungs import are_lungs_within, show_lung
from covidctnet.io.dicom.objects import CT_IMAGE, ENHANCED_CT
from covidctnet.io.dicom.series import Stack
from covidctnet.io.dicom.stored import same_pixels
from covidctnet.io.dicom.voxels import read_hu

__all__ = ["is_alike", "is_parallel", "with_neighbours"]

ORIENTATION_TOLERANCE = 1e-3
SPACING_TOLERANCE = 1e-3
# Cosine between the normals of a localizer and of the slices.
UPRIGHT = 0.1
# Cosine between the normals of two series that show the body in one direction.
SAME_DIRECTION = 0.99
# A stack that shares more than this with another shows the same part of the body.
SAME_PART = 0.5
# And as a second scan of it, by itself, it reaches no further than by so many slices or mm: what
# goes on for longer is a part of the body that the first scan lacks.
FURTHER, FURTHER_MM = 2, 5.0
# On the places of one grid, so far behind the end of a stack another one still goes on with it: the
# slices between them are missing. Off the grid it must be nearer.
MAX_HOLE_MM = 60.0
MAX_HOLE_OFF_GRID_MM = 30.0
# Centres of the fields of view of two parts of one scan are no further apart.
MAX_ASIDE_MM = 60.0
# A slice whose position was damaged sideways is still so near to the line of the others.
LOST_ASIDE_MM = 10.0
# An image that shows a slice differs from it by less than this share of what neighbours differ by.
SHOWS_SLICE = 0.5
# What a scanner's single image differs in from a slice of a scan beside it.
_OF_RECONSTRUCTION = ("ConvolutionKernel", "SliceThickness", "KVP")
# So alike to the UID of CT images is one of which some characters were damaged.
MISSPELT = 0.8


@dataclass(frozen=True, eq=False)
class _Ends:
    """Where a stack lies and where it would go on."""

    first: Frame
    axes: np.ndarray
    step: float
    length: float
    aside: np.ndarray
    drift: float
    limit: float
    numbers: frozenset[float]

    def places(self, frames: Sequence[Frame]) -> np.ndarray:
        """Heights above the first slice, and how far down and across of the stack's line."""
        origin = np.array(self.first.position)
        places = (np.array([f.position for f in frames]) - origin) @ self.axes
        places[:, 1:] -= self.aside
        return np.asarray(places)


def with_neighbours(stacks: Sequence[Stack], frames: Sequence[Frame]) -> list[Stack]:
    """Stacks, each with the number of images that may be slices of its scan.

    Args:
        stacks: All of the study; fragments are not asked.
        frames: All images of the study.
    """
    large = {id(f) for s in stacks if len(s.frames) >= MIN_SLICES for f in s.frames}
    loose = _Loose([f for f in frames if id(f) not in large])
    placed = _Placed(stacks)
    of_series: dict[str, list[Frame]] = {}
    for frame in frames:
        of_series.setdefault(frame.series_uid, []).append(frame)
    out = []
    for stack in stacks:
        if stack.placement is None or len(stack.frames) < MIN_SLICES:
            out.append(stack)
            continue
        ends = _ends(stack, stack.placement)
        others = [o for o in placed.near(ends) if o is not stack and not _is_single(o, ends.first)]
        beyond = [(o, n) for o in others if (n := _beyond(stack, ends, o))]
        counted = {id(f) for other, _ in beyond for f in other.frames}
        found = _of_other_format(ends, of_series[stack.frames[0].series_uid])
        lost, alone = _lost(stack, ends, loose)
        found |= lost
        # Each counts once, and none of its own.
        found -= counted | set(map(id, stack.frames))
        notes = stack.notes
        if alone:
            notes += (
                f"{alone} single images of other series with another reconstruction lie where the "
                "scan would go on: left out",
            )
        # What goes on behind the lungs, an abdomen or a neck, is no part that a chest lacks.
        harmless = [] if found else [o for o, _ in beyond if _is_behind_lungs(stack, ends, o)]
        for other, n in beyond:
            if other in harmless:
                notes += (
                    f"{n} images of series {other.key} go on where the scan ends; the lungs end "
                    "before: left out",
                )
        series = tuple((other.series, n) for other, n in beyond if other not in harmless)
        out.append(replace(stack, beside=len(found), beyond=series, notes=notes))
    return out


def is_alike(one: Frame, other: Frame, *, anywhere: bool = False) -> bool:
    """Whether two frames have one format; `anywhere`, whatever their frame of reference."""
    return (
        (anywhere or one.frame_of_reference == other.frame_of_reference)
        and (one.pixels.rows, one.pixels.columns) == (other.pixels.rows, other.pixels.columns)
        and _has_spacing_of(one, other)
        and is_parallel(one, other)
    )


def is_parallel(one: Frame, other: Frame) -> bool:
    """Whether the rows and columns of two frames run in the same directions."""
    pairs = zip(one.orientation or (), other.orientation or (), strict=True)
    return all(abs(a - b) <= ORIENTATION_TOLERANCE for a, b in pairs)


def _has_spacing_of(one: Frame, other: Frame) -> bool:
    pairs = zip(one.spacing or (), other.spacing or (), strict=True)
    return all(abs(a - b) <= SPACING_TOLERANCE * abs(b) for a, b in pairs)


def _ends(stack: Stack, placement: Placement) -> _Ends:
    numbers = [f.number for f in stack.frames if f.number is not None]
    is_numbered = len(numbers) == len(set(numbers)) == len(stack.frames)
    return _Ends(
        first=stack.frames[0],
        axes=placement.axes,
        step=placement.step_mm,
        length=placement.extent_mm,
        aside=np.median(placement.offsets, axis=0),
        drift=float(np.ptp(placement.offsets, axis=0).max()),
        limit=max(STEP_TOLERANCE_MM, STEP_TOLERANCE * placement.step_mm),
        numbers=frozenset(numbers) if is_numbered else frozenset(),
    )


# ---- other stacks ----


class _Placed:
    """Stacks with geometry, so that those that reach beyond one are found at once."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        pairs = [(s, s.placement) for s in stacks if s.placement is not None]
        self._stacks = [stack for stack, _ in pairs]
        ends = [(p.frames[0].position, p.frames[-1].position) for _, p in pairs]
        self._ends = np.array(ends, dtype=float).reshape(-1, 2, 3)

    def near(self, ends: _Ends) -> list[Stack]:
        """Those that begin or end beyond a stack, not far from it."""
        heights = (self._ends - np.array(ends.first.position)) @ ends.axes[:, 0]
        low, high = heights.min(axis=1), heights.max(axis=1)
        room, reach = ends.step / 2, MAX_HOLE_MM + ends.step
        is_beyond = (low < -room) | (high > ends.length + room)
        is_near = (low < ends.length + reach) & (high > -reach)
        return [self._stacks[k] for k in np.flatnonzero(is_beyond & is_near)]


def _beyond(stack: Stack, ends: _Ends, other: Stack) -> int:
    """Images of another stack that go on where this one ends.

    On the same grid up to a hole of some slices, and even when both show much of the same part; off
    the grid, by another step, matrix or place, only when they hardly overlap, or when what lies
    beyond shows lung: a series of another part of the body that was planned by itself overlaps, or
    lies further away.
    """
    its = other.placement
    if its is None or abs(float(its.axes[:, 0] @ ends.axes[:, 0])) < SAME_DIRECTION:
        return 0
    places = ends.places(its.frames)
    room = ends.step / 2
    is_above, is_below = places[:, 0] > ends.length + room, places[:, 0] < -room
    count = int(is_above.sum() + is_below.sum())
    if not count:
        return 0
    heights = places[:, 0]
    ways = [heights[is_above].min() - ends.length] if is_above.any() else []
    ways += [-heights[is_below].max()] if is_below.any() else []
    shared = len(heights) - count
    first = other.frames[0]
    if (
        abs(ends.step - its.step_mm) <= ends.limit
        and is_alike(first, ends.first, anywhere=True)
        and np.abs(places[:, 1:]).max() <= ends.limit + ends.drift
    ):
        is_little = count <= max(FURTHER, FURTHER_MM / ends.step)
        is_second = shared > SAME_PART * len(heights) and is_little
        if is_second and not _is_copied(stack, ends, other, places):
            return 0
        if any(_is_next(way, ends.step, ends.limit) for way in ways):
            return count
    step = max(ends.step, its.step_mm)
    is_large = len(heights) >= MIN_SLICES
    reach = MAX_HOLE_OFF_GRID_MM if is_large else 1.5 * step
    apart = np.linalg.norm((_centre(first) - _centre(ends.first)) @ ends.axes[:, 1:])
    if apart > MAX_ASIDE_MM or (not is_large and apart > LOST_ASIDE_MM) or min(ways) > reach:
        return 0
    if shared <= 1:
        return count
    # The other half of the lungs, with an overlap: not a scan of mostly the same part.
    # Formats of one series are told of where one of them is chosen.
    is_half = is_large and shared <= SAME_PART * len(heights) and other.series != stack.series
    away = [its.frames[k] for k in np.flatnonzero(is_above | is_below)]
    return count if is_half and show_lung(away) else 0


def _is_behind_lungs(stack: Stack, ends: _Ends, other: Stack) -> bool:
    """Whether a stack shows whole lungs without another one that goes on where it ends."""
    heights = ends.places(other.frames)[:, 0]
    for is_above in (True, False):
        away = heights - ends.length if is_above else -heights
        beyond = [other.frames[k] for k in np.argsort(away) if away[k] > ends.step / 2]
        if beyond and not are_lungs_within(stack, beyond, is_above=is_above):
            return False
    return True


def _is_copied(stack: Stack, ends: _Ends, other: Stack, places: np.ndarray) -> bool:
    """Whether two stacks hold the same images where they share a place."""
    assert stack.placement is not None
    heights = stack.placement.heights - stack.placement.heights[0]
    for frame, height in zip(
        other.placement.frames if other.placement else (), places[:, 0], strict=True
    ):
        k = int(np.argmin(np.abs(heights - height)))
        if abs(heights[k] - height) <= ends.limit:
            return same_pixels(stack.frames[k], frame)
    return False


def _is_next(way: float, step: float, limit: float) -> bool:
    """Whether a slice so far behind the last one is the next, or one of the next but for a hole."""
    is_on_grid = abs(way - step * round(way / step)) <= limit
    return way <= 1.5 * step or (is_on_grid and way - step <= MAX_HOLE_MM)


def _centre(frame: Frame) -> np.ndarray:
    """The middle of an image, LPS mm."""
    across, down = np.reshape(frame.orientation or (0.0,) * 6, (2, 3))
    rows, columns = frame.spacing or (0.0, 0.0)
    return np.asarray(
        np.array(frame.position)
        + across * columns * (frame.pixels.columns - 1) / 2
        + down * rows * (frame.pixels.rows - 1) / 2
    )


# ---- single images ----


def _of_other_format(ends: _Ends, frames: Sequence[Frame]) -> set[int]:
    """Images of the stack's series beyond its ends that have another format or direction.

    One at a right angle is a localizer, whatever it calls itself. What has a place among the slices
    and is none, such as a colour image, is a missing slice.
    """
    found: set[int] = set()
    for frame in frames:
        kind = unfit(frame)
        if not has_geometry(frame) or kind in ELSEWHERE or _is_within(ends, frame):
            continue
        is_other = kind or _format(frame) != _format(ends.first)
        across, down = np.reshape(frame.orientation or (0.0,) * 6, (2, 3))
        turned = float(np.cross(across, down) @ ends.axes[:, 0])
        if (is_other or not is_parallel(frame, ends.first)) and abs(turned) >= UPRIGHT:
            found.add(id(frame))
    return found


def _format(frame: Frame) -> tuple[object, ...]:
    pixels = frame.pixels
    return pixels.rows, pixels.columns, frame.spacing, frame.frame_of_reference


class _Loose:
    """Images in no large stack, so that those which may concern one are found at once."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.sizes = Counter((f.series_uid, f.sop_class) for f in frames)
        self.placed = [f for f in frames if f.position is not None]
        self.positions = np.array([f.position for f in self.placed], dtype=float).reshape(-1, 3)
        self.series = np.array([f.series_uid for f in self.placed], dtype=object)
        self._numbered: dict[tuple[str, float | None], list[Frame]] = {}
        for frame in frames:
            key = frame.series_number, frame.number
            self._numbered.setdefault(key, []).append(frame)

    def numbered(self, ends: _Ends) -> list[Frame]:
        """Those that have the number of the stack's next slice, or none and lie elsewhere."""
        if not ends.numbers:
            return []
        series = ends.first.series_number
        next_ones = (min(ends.numbers) - 1, max(ends.numbers) + 1)
        found = [f for number in next_ones for f in self._numbered.get((series, number), ())]
        bare = self._numbered.get((series, None), ())
        return found + [f for f in bare if f.position is None or not _is_within(ends, f)]


def _lost(stack: Stack, ends: _Ends, loose: _Loose) -> tuple[set[int], int]:
    """Images in no scan that may be a slice which the stack lacks, and how many only look like it.

    One lies where the next slice would, or has its number, or says neither. Damage to several
    elements of an outer slice, its series UID among them, must not let it vanish.
    """
    found: set[int] = set()
    alone: set[int] = set()
    places = (loose.positions - np.array(ends.first.position)) @ ends.axes
    height = places[:, 0]
    aside = np.abs(places[:, 1:] - ends.aside).max(axis=1, initial=0.0)
    off = np.minimum(np.abs(height + ends.step), np.abs(height - ends.length - ends.step))
    is_within = (height >= -ends.step / 2) & (height <= ends.length + ends.step / 2)
    for k in np.flatnonzero((off <= ends.step / 4) & (aside <= LOST_ASIDE_MM + ends.drift)):
        frame = loose.placed[k]
        is_of_scan = frame.series_uid == ends.first.series_uid
        if not is_of_scan and is_within[loose.series == frame.series_uid].any():
            # A series of the same part of the body may reach further.
            continue
        if _is_turned(ends, frame):
            continue
        if _kind(frame) == "other" or not _has_size_of(ends, frame, both=True):
            is_exact = max(off[k], aside[k]) <= STEP_TOLERANCE_MM and has_geometry(frame)
            if not is_exact or not is_parallel(frame, ends.first):
                continue
            if not _has_spacing_of(frame, ends.first):
                continue
        if _is_alone(frame, ends.first):
            alone.add(id(frame))
            continue
        found.add(id(frame))
    for frame in loose.numbered(ends):
        kind = _kind(frame)
        is_alone = loose.sizes[frame.series_uid, frame.sop_class] == 1
        if kind == "other" or not is_alone or _is_turned(ends, frame):
            continue
        if not _has_size_of(ends, frame, both=False):
            continue
        is_missed = frame.number is not None or kind != "unknown"
        if is_missed and not _shows_slice(stack, ends, frame):
            found.add(id(frame))
    return found, len(alone)


def _is_single(other: Stack, first: Frame) -> bool:
    """Whether a stack is a single image that scanners make, or several of one place."""
    is_one_place = other.placement is not None and other.placement.step_mm == 0
    return is_one_place and all(_is_alone(frame, first) for frame in other.frames)


def _is_alone(frame: Frame, first: Frame) -> bool:
    """Whether a single image at the place of the next slice is one that scanners make by itself.

    Before a scan with contrast medium they take one image where they will watch it arrive, and
    readers keep one that they point at. Such an image has a series UID and a series number of its
    own and is reconstructed otherwise: no damage makes all of these out of a slice, and as a slice
    of another thickness or kernel it would not belong into the volume. An image that has these in
    common with the scan is joined with it where all the rest agrees, and refuses it else: it may be
    the slice that the scan lacks.
    """
    ours, its = dict(first.marks), dict(frame.marks)
    differs = [
        name
        for name in _OF_RECONSTRUCTION
        if ours.get(name) and its.get(name) and ours[name] != its[name]
    ]
    return bool(
        differs
        and frame.sop_class == first.sop_class
        and has_geometry(frame)
        and frame.frame_of_reference
        and frame.series_uid
        and frame.series_uid != first.series_uid
        and frame.series_number
        and first.series_number
        and frame.series_number != first.series_number
    )


def _shows_slice(stack: Stack, ends: _Ends, frame: Frame) -> bool:
    """Whether an image lies at the place of a slice and shows it: a copy of it, or a key image.

    An outer slice whose position was damaged may lie there too; it shows something else.
    """
    if unfit(frame) or not has_geometry(frame):
        return False
    if not is_alike(frame, ends.first, anywhere=True):
        return False
    height, *aside = (float(n) for n in ends.places([frame])[0])
    assert stack.placement is not None
    heights = stack.placement.heights - stack.placement.heights[0]
    k = int(np.argmin(np.abs(heights - height)))
    if max(map(abs, (heights[k] - height, *aside))) > ends.limit + ends.drift:
        return False
    beside = [stack.frames[i] for i in (k - 1, k + 1) if 0 <= i < len(stack.frames)]
    try:
        own, slice_, *others = (
            shrunk(read_hu([f])[0])[0] for f in (frame, stack.frames[k], *beside)
        )
    except StudyError:
        return False
    near = min(float(np.abs(slice_ - other).mean()) for other in others)
    return float(np.abs(own - slice_).mean()) <= SHOWS_SLICE * near


def _kind(frame: Frame) -> str:
    """``CT``, ``damaged`` when its SOP class is nearly that, ``unknown``, or ``other``."""
    if frame.sop_class == CT_IMAGE or frame.sop_class in ENHANCED_CT:
        return "other" if frame.picture else "CT"
    if UID(frame.sop_class, config.IGNORE).name != frame.sop_class:
        return "other"
    matcher = SequenceMatcher(None, frame.sop_class, CT_IMAGE, autojunk=False)
    return "damaged" if matcher.ratio() >= MISSPELT else "unknown"


def _is_turned(ends: _Ends, frame: Frame) -> bool:
    """Whether an image looks in another direction, as a localizer does."""
    if not has_geometry(frame):
        return False
    across, down = np.reshape(frame.orientation or (0.0,) * 6, (2, 3))
    return abs(float(np.cross(across, down) @ ends.axes[:, 0])) < SAME_DIRECTION


def _has_size_of(ends: _Ends, frame: Frame, *, both: bool) -> bool:
    """Whether both, or one, of rows and columns are those of the stack, or are not known."""
    size, other = frame.pixels, ends.first.pixels
    alike = (size.rows == other.rows, size.columns == other.columns)
    return size.rows == 0 or (all(alike) if both else any(alike))


def _is_within(ends: _Ends, frame: Frame) -> bool:
    height = float(ends.places([frame])[0, 0])
    return -ends.step / 2 <= height <= ends.length + ends.step / 2
