"""The images of a study, divided into stacks.

By series, frame of reference, matrix, spacing and orientation; by acquisition where acquisitions
overlap. Copies of slices are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from pydicom import config
from pydicom.uid import UID

from covidctnet.errors import StudyError
from covidctnet.io.canonical import check_size
from covidctnet.io.frame import Frame
from covidctnet.io.geometry import (
    MIN_SLICES,
    STEP_TOLERANCE_MM,
    Placement,
    check_placement,
    has_geometry,
    place,
)
from covidctnet.io.headers import CT_IMAGE, ENHANCED_CT, series_key
from covidctnet.io.series import Dropped, Stack
from covidctnet.io.voxels import SYNTAXES, same_pixels

__all__ = ["find_stacks"]

ORIENTATION_TOLERANCE = 1e-3
SPACING_TOLERANCE = 1e-3
# Cosine between the normals of a localizer and of the slices.
UPRIGHT = 0.1
# ImageType values of CT storage that is no stack of HU slices.
LOCALIZER_TYPES = {"LOCALIZER", "SCOUT"}
PICTURE_TYPES = {
    "SCREEN SAVE",
    "PROJECTION IMAGE",
    "MIP",
    "MAX_IP",
    "MIN_IP",
    "MINIP",
    "VOLREN",
    "VRT",
    "3D",
    "DOSE_INFO",
    "MONITORING",
    "PERFUSION",
}
HU_TYPES = {"", "HU", "US"}
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
    return [replace(s, beside=s.beside + _continuing(s, loose)) for s in stacks], dropped


def _stacks_of_series(
    frames: Sequence[Frame], allow_gaps: bool, allow_tilt: bool
) -> tuple[list[Stack], list[Dropped]]:
    key = series_key(frames[0].series_uid)
    dropped: list[Dropped] = []
    for what, members in sorted(_grouped(frames, _unfit).items()):
        if what:
            dropped.append(Dropped(key, what, len(members), "not a stack of CT slices"))
    fit = [f for f in frames if not _unfit(f)]
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
    others = [f for f in frames if _unfit(f) and _unfit(f) not in _ELSEWHERE and has_geometry(f)]
    return [
        replace(s, key=f"{key}.{n}" if parts[1:] else key, beside=_beside(s, [*fit, *others]))
        for n, s in enumerate(parts, start=1)
    ], dropped


def _unfit(frame: Frame) -> str:
    """What a frame is when it cannot be a slice of HU, or nothing."""
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
    return "" if frame.rescale_type.upper() in HU_TYPES else "not HU"


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
    notes = (f"{copies} copies of slices dropped",) if copies else ()
    parts = _by_acquisition(place(kept))
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
        _check_content(placement.frames)
        check_placement(placement, allow_gaps=allow_gaps, allow_tilt=allow_tilt)
    except StudyError as error:
        return error
    return None


def _check_content(frames: Sequence[Frame]) -> None:
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
        is_other = _format(frame) != _format(first) or bool(_unfit(frame))
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


def _format(frame: Frame) -> tuple[object, ...]:
    pixels = frame.pixels
    return pixels.rows, pixels.columns, frame.spacing, frame.frame_of_reference


def _grouped(frames: Sequence[Frame], key: Callable[[Frame], str]) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return groups
