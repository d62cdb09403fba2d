"""The images of a study, divided into stacks.

By series, frame of reference, matrix, spacing and orientation; by acquisition where acquisitions
overlap. Copies of slices are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from pydicom import config
from pydicom.uid import UID

from covidctnet.errors import StudyError
from covidctnet.io.canonical import check_size
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import (
    MIN_SLICES,
    STEP_TOLERANCE,
    STEP_TOLERANCE_MM,
    Placement,
    check_placement,
    has_geometry,
    place,
)
from covidctnet.io.dicom.headers import (
    CT_IMAGE,
    ENHANCED_CT,
    LOCALIZER_TYPES,
    PICTURE_TYPES,
    series_key,
)
from covidctnet.io.dicom.series import Dropped, Stack
from covidctnet.io.dicom.voxels import SYNTAXES, same_pixels

__all__ = ["check_content", "find_stacks", "unfit"]

ORIENTATION_TOLERANCE = 1e-3
SPACING_TOLERANCE = 1e-3
# Cosine between the normals of a localizer and of the slices.
UPRIGHT = 0.1
# Acquisitions that share this part of the shorter one, or one place, adjoin.
JOINT_SHARE = 0.1
# What differs between two reconstructions, and never within one.
_OF_RECONSTRUCTION = ("ConvolutionKernel", "SliceThickness", "KVP")
# A stack that shares more than this with another shows the same part of the body.
SAME_PART = 0.5
# On the places of one grid, so far behind the end of a stack another one still goes on with it: the
# slices between them are missing.
MAX_HOLE_MM = 30.0
# What RescaleType may say of values that are no HU. Words for HU are spelt in many ways, so any
# other word is let pass, and the values decide.
OTHER_UNITS = re.compile(
    r"OD|OPTICAL.*|MG\W*/?\W*ML.*|MGML|MG\W*/?\W*C[CM].*|Z_?EFF.*|EDW?|ELECTRON.*|HU_MOD|PCT|PERCENT.*|%|BQ.*|"
    r"CNTS|COUNTS|SUV.*|RELATIVE.*|KEV|KV|GRAY|GREY.*|GRAYSCALE|LOG.*|MM|MM2.*|ADC.*|T1.*|T2.*"
)
# Images that may lie anywhere without being a slice that the scan lacks.
_ELSEWHERE = ("localizer", "projection or screen")


def find_stacks(
    frames: Sequence[Frame], *, allow_gaps: bool = False, allow_tilt: bool = False
) -> tuple[list[Stack], list[Dropped]]:
    """Divide the images of a study into stacks.

    Args:
        frames: All of the study.
        allow_gaps: Uneven steps are no fault.
        allow_tilt: Shear is no fault.

    Returns:
        Stacks, each with its fault if it has one, and what can be no CT volume at all.
    """
    stacks: list[Stack] = []
    dropped: list[Dropped] = []
    for _, members in sorted(_grouped(frames, lambda f: f.series_uid).items()):
        found, left_out = _stacks_of_series(members, allow_gaps, allow_tilt)
        stacks += found
        dropped += left_out
    large = {id(f) for s in stacks if len(s.frames) >= MIN_SLICES for f in s.frames}
    loose = [f for f in frames if id(f) not in large and has_geometry(f)]
    return [_with_neighbours(s, stacks, loose) for s in stacks], dropped


def _with_neighbours(stack: Stack, stacks: Sequence[Stack], loose: Sequence[Frame]) -> Stack:
    """The stack, told how many images lie where it goes on."""
    beyond = [(o, n) for o in stacks if o is not stack if (n := _beyond(stack, o))]
    counted = {id(f) for other, _ in beyond for f in other.frames}
    rest = [f for f in loose if id(f) not in counted]
    return replace(
        stack,
        beside=stack.beside + _continuing(stack, rest),
        beyond=tuple((other.series, n) for other, n in beyond),
    )


def _stacks_of_series(
    frames: Sequence[Frame], allow_gaps: bool, allow_tilt: bool
) -> tuple[list[Stack], list[Dropped]]:
    key = series_key(frames[0].series_uid)
    dropped: list[Dropped] = []
    for what, members in sorted(_grouped(frames, unfit).items()):
        if what:
            files = len({f.file for f in members})
            dropped.append(Dropped(key, what, len(members), "not a stack of CT slices", files))
    fit = [f for f in frames if not unfit(f)]
    if not fit:
        return [], dropped
    misplaced = [f for f in fit if not has_geometry(f)]
    if misplaced:
        fault = StudyError(
            "NO_GEOMETRY",
            f"wanted position, orientation and spacing of every slice, {len(misplaced)} of "
            f"{len(fit)} lack them. Export the original series.",
        )
        return [Stack(key, key, tuple(fit), None, fault)], dropped

    parts: list[Stack] = []
    for cluster in _clusters(fit):
        parts += _stacks_of_cluster(cluster, key, allow_gaps, allow_tilt)
    parts.sort(key=lambda s: (-len(s.frames), s.frames[0].sop_uid, s.frames[0].index))
    # What has a place among the slices and is none, such as a colour image, is a missing slice.
    others = [f for f in frames if unfit(f) and unfit(f) not in _ELSEWHERE and has_geometry(f)]
    return [
        replace(s, key=f"{key}.{n}" if parts[1:] else key, beside=_beside(s, [*fit, *others]))
        for n, s in enumerate(parts, start=1)
    ], dropped


def unfit(frame: Frame) -> str:
    """What a frame is when it cannot be a slice of HU; empty when it can."""
    if frame.sop_class != CT_IMAGE and frame.sop_class not in ENHANCED_CT:
        name = UID(frame.sop_class, config.IGNORE).name if frame.sop_class else "no image"
        return name if not name[:1].isdigit() else "unknown object"
    types = set(frame.image_type)
    if types & LOCALIZER_TYPES:
        return "localizer"
    if types & PICTURE_TYPES:
        return "projection or screen"
    pixels = frame.pixels
    if pixels.tag and (
        pixels.samples != 1 or pixels.bits_allocated <= 8 or pixels.bits_stored <= 8
    ):
        return "not HU"
    return "not HU" if OTHER_UNITS.fullmatch(frame.rescale_type.upper().strip()) else ""


def _clusters(frames: Sequence[Frame]) -> Iterable[list[Frame]]:
    """Frames of one frame of reference, matrix, spacing and orientation."""
    clusters: list[list[Frame]] = []
    for frame in sorted(frames, key=lambda f: (f.sop_uid, f.index, f.file.name)):
        home = next((c for c in clusters if _is_like(c[0], frame)), None)
        if home is None:
            clusters.append([frame])
        else:
            home.append(frame)
    return clusters


def _is_like(one: Frame, other: Frame, *, anywhere: bool = False) -> bool:
    """Whether two frames have one format; `anywhere`, whatever their frame of reference."""
    return (
        (anywhere or one.frame_of_reference == other.frame_of_reference)
        and (one.pixels.rows, one.pixels.columns) == (other.pixels.rows, other.pixels.columns)
        and np.allclose(one.spacing or (), other.spacing or (), rtol=SPACING_TOLERANCE, atol=0)
        and _is_parallel(one, other)
    )


def _is_parallel(one: Frame, other: Frame) -> bool:
    return np.allclose(
        one.orientation or (), other.orientation or (), rtol=0, atol=ORIENTATION_TOLERANCE
    )


def _stacks_of_cluster(
    frames: list[Frame], key: str, allow_gaps: bool, allow_tilt: bool
) -> list[Stack]:
    def stack(members: Sequence[Frame], notes: tuple[str, ...] = ()) -> Stack:
        placement = place(members)
        fault = _fault(placement, allow_gaps, allow_tilt)
        return Stack(key, key, placement.frames, placement, fault, notes)

    placement = place(frames)
    if len(frames) > 1 and placement.step_mm == 0:
        alike = _without_copies(placement)[0]
        if len(alike) > 1:
            fault = StudyError(
                "NO_GEOMETRY",
                f"{len(alike)} different slices claim one position. Export the original series.",
            )
            return [Stack(key, key, tuple(alike), placement, fault)]
    kept, copies = _without_copies(placement)
    notes: tuple[str, ...] = (f"{copies} copies of slices dropped",) if copies else ()
    parts = _by_acquisition(place(kept))
    if parts is not None and len(parts) > 1 and (joined := _joined(parts)) is not None:
        whole, twice = joined
        notes += (
            f"{len(parts)} acquisitions that adjoin joined; where two images lie at one place "
            f"({twice} times) that of the longer acquisition was kept",
        )
        parts = [whole]
    if parts is None:
        placement = place(kept)
        most = max(len(group) for group in placement.groups())
        fault = StudyError(
            "OVERLAPPING_ACQUISITIONS",
            f"up to {most} different slices lie at one place and no header tells them apart. "
            "Export each acquisition as a series of its own.",
        )
        return [Stack(key, key, placement.frames, placement, fault, notes)]
    return [stack(part, notes) for part in parts]


def _without_copies(placement: Placement) -> tuple[list[Frame], int]:
    """Frames, each once: at one place and equal in every pixel is a copy."""
    kept: list[Frame] = []
    for group in placement.groups():
        mine: list[Frame] = []
        for frame in (placement.frames[i] for i in group):
            if not any(same_pixels(frame, other) for other in mine):
                mine.append(frame)
        kept += mine
    return kept, len(placement.frames) - len(kept)


def _by_acquisition(placement: Placement) -> list[list[Frame]] | None:
    """Overlapping acquisitions apart; None when slices share a place and nothing separates them."""
    most = max(len(group) for group in placement.groups())
    marks = {id(f): dict(f.marks) for f in placement.frames}
    for name in dict.fromkeys(name for f in placement.frames for name, _ in f.marks):
        groups: dict[str, list[Frame]] = {}
        for frame in placement.frames:
            groups.setdefault(marks[id(frame)].get(name, ""), []).append(frame)
        parts = list(groups.values())
        if len(parts) < 2:
            continue
        is_separating = len(parts) == most or name == "AcquisitionNumber"
        if most > 1 and is_separating and all(_is_unique(part) for part in parts):
            return parts
        if most == 1 and name == "AcquisitionNumber" and _overlap(parts):
            return parts
    return [list(placement.frames)] if most == 1 else None


def _joined(parts: Sequence[list[Frame]]) -> tuple[list[Frame], int] | None:
    """Acquisitions that adjoin, as one scan, and the images left out; None when they do not.

    A scan that was interrupted and taken up again begins with the place where it stopped.
    """
    kept: list[Frame] = []
    twice = 0
    for part in sorted(parts, key=lambda p: (-len(p), p[0].sop_uid)):
        if not kept:
            kept = list(part)
            continue
        marks = [{name: v for name, v in f.marks if name in _OF_RECONSTRUCTION} for f in part]
        first = {name: v for name, v in kept[0].marks if name in _OF_RECONSTRUCTION}
        if any(mark != first for mark in marks):
            return None
        both = place([*kept, *part])
        mine = set(map(id, kept))
        groups = [[both.frames[i] for i in group] for group in both.groups()]
        shared = sum(len(group) > 1 for group in groups)
        here, there = _heights(both, kept), _heights(both, part)
        overlap = min(here[-1], there[-1]) - max(here[0], there[0])
        if overlap > max(0.0, JOINT_SHARE * (there[-1] - there[0])):
            # Woven into each other, or two scans of one part of the body.
            return None
        if shared > max(1, JOINT_SHARE * len(part)) or shared == len(part):
            return None
        kept = [next((f for f in group if id(f) in mine), group[0]) for group in groups]
        twice += shared
    heights = place(kept).heights
    steps = np.diff(heights)
    limit = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * float(np.median(steps)))
    if np.abs(steps - np.median(steps)).max() > limit:
        return None
    return kept, twice


def _heights(placement: Placement, frames: Sequence[Frame]) -> np.ndarray:
    mine = set(map(id, frames))
    return placement.heights[[id(f) in mine for f in placement.frames]]


def _is_unique(frames: Sequence[Frame]) -> bool:
    return max(len(group) for group in place(frames).groups()) == 1


def _overlap(parts: Sequence[Sequence[Frame]]) -> bool:
    """Whether acquisitions lie within each other; blocks one above the other do not."""
    whole = place([f for part in parts for f in part])
    number = {id(f): k for k, part in enumerate(parts) for f in part}
    order = [number[id(f)] for f in whole.frames]
    runs = 1 + sum(a != b for a, b in pairwise(order))
    return runs > len(parts)


def _fault(placement: Placement, allow_gaps: bool, allow_tilt: bool) -> StudyError | None:
    try:
        pixels = placement.frames[0].pixels
        check_size((len(placement.frames), pixels.rows, pixels.columns))
        check_content(placement.frames)
        check_placement(placement, allow_gaps=allow_gaps, allow_tilt=allow_tilt)
    except StudyError as error:
        return error
    return None


def check_content(frames: Sequence[Frame]) -> None:
    """Refuse frames whose pixels cannot be decoded, or cannot become HU.

    Raises:
        StudyError: ``UNSUPPORTED_SYNTAX`` or ``NO_RESCALE``.
    """
    for frame in frames:
        pixels = frame.pixels
        if pixels.syntax not in SYNTAXES:
            raise StudyError(
                "UNSUPPORTED_SYNTAX",
                f"transfer syntax {pixels.syntax or 'missing'} is not read. "
                "Export the series uncompressed.",
            )
    bare = [f for f in frames if f.slope is None or f.intercept is None]
    if bare:
        raise StudyError(
            "NO_RESCALE",
            f"wanted rescale slope and intercept on every slice, {len(bare)} of {len(frames)} "
            "lack them. Export the original series.",
        )
    if any(f.slope == 0 for f in frames):
        raise StudyError(
            "NO_RESCALE", "a rescale slope of 0 makes every voxel alike. Export the series again."
        )


def _beside(stack: Stack, frames: Sequence[Frame]) -> int:
    """Images of the series that lie beyond a stack and have another format or direction.

    One at a right angle is a localizer, whatever it calls itself.
    """
    if stack.placement is None or len(stack.frames) < MIN_SLICES:
        return 0
    first = stack.frames[0]
    mine = set(map(id, stack.frames))
    normal = stack.placement.axes[:, 0]
    low, high = stack.placement.heights[0], stack.placement.heights[-1]
    room = stack.placement.step_mm / 2
    count = 0
    for frame in frames:
        is_other = _format(frame) != _format(first) or bool(unfit(frame))
        across, down = np.reshape(frame.orientation or (0.0,) * 6, (2, 3))
        turned = float(np.cross(across, down) @ normal)
        is_other |= not _is_parallel(frame, first)
        if id(frame) in mine or not is_other or abs(turned) < UPRIGHT:
            continue
        height = float(np.array(frame.position) @ normal)
        count += not low - room <= height <= high + room
    return count


def _continuing(stack: Stack, loose: Sequence[Frame]) -> int:
    """Images of other series that are part of no scan and lie where the next slice would."""
    if stack.placement is None or len(stack.frames) < MIN_SLICES:
        return 0
    first, step, axes = stack.frames[0], stack.placement.step_mm, stack.placement.axes
    ends = ((stack.placement.heights[0], -step), (stack.placement.heights[-1], step))
    count = 0
    for frame in loose:
        if frame.series_uid == first.series_uid or not _is_like(frame, first, anywhere=True):
            continue
        position = np.array(frame.position)
        beside = np.abs((position - np.array(first.position)) @ axes[:, 1:]).max()
        height = float(position @ axes[:, 0])
        count += beside < STEP_TOLERANCE_MM and any(
            abs(height - end - way) < STEP_TOLERANCE_MM for end, way in ends
        )
    return count


def _beyond(stack: Stack, other: Stack) -> int:
    """Images of another stack that go on where this one ends, on the same grid.

    Whatever parted the two, an acquisition, a time, a type or a series: without the other, the
    scan is cut. A second scan of the same part of the body may reach further.
    """
    mine, its = stack.placement, other.placement
    if mine is None or its is None or len(stack.frames) < MIN_SLICES:
        return 0
    limit = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * mine.step_mm)
    first = stack.frames[0]
    if abs(mine.step_mm - its.step_mm) > limit or not _is_like(
        other.frames[0], first, anywhere=True
    ):
        return 0
    places = (np.array([f.position for f in its.frames]) - np.array(first.position)) @ mine.axes
    if np.abs(places[:, 1:] - np.median(mine.offsets, axis=0)).max() > limit + _drift(mine):
        return 0
    heights = np.sort(places[:, 0])
    low, high = 0.0, mine.extent_mm
    room = mine.step_mm / 2
    above, below = heights[heights > high + room], heights[heights < low - room]
    count = len(above) + len(below)
    if len(heights) - count > SAME_PART * len(heights):
        return 0
    ways = [above[0] - high] if len(above) else []
    ways += [low - below[-1]] if len(below) else []
    return count if any(_is_next(way, mine.step_mm, limit) for way in ways) else 0


def _is_next(way: float, step: float, limit: float) -> bool:
    """Whether a slice so far behind the last one is the next, or one of the next but for a hole."""
    is_on_grid = abs(way - step * round(way / step)) <= limit
    return way <= 1.5 * step or (is_on_grid and way - step <= MAX_HOLE_MM)


def _drift(placement: Placement) -> float:
    """How far the slices of a tilted stack lie beside each other, mm."""
    return float(np.ptp(placement.offsets, axis=0).max())


def _format(frame: Frame) -> tuple[object, ...]:
    pixels = frame.pixels
    return pixels.rows, pixels.columns, frame.spacing, frame.frame_of_reference


def _grouped(frames: Sequence[Frame], key: Callable[[Frame], str]) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return groups
