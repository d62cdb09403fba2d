"""The images of a study, divided into stacks.

By series, frame of reference, matrix, spacing and orientation; by acquisition where acquisitions
overlap, or lie between each other's slices. Copies of slices are dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.canonical import check_size
from covidctnet.io.dicom.concatenation import with_missing_parts
from covidctnet.io.dicom.continuity import LARGEST_PERIOD, is_one_scan, shrunk
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
from covidctnet.io.dicom.joining import join_series
from covidctnet.io.dicom.kinds import unfit
from covidctnet.io.dicom.lungs import with_lungs
from covidctnet.io.dicom.neighbours import is_alike, with_neighbours
from covidctnet.io.dicom.objects import series_key
from covidctnet.io.dicom.other_classes import with_other_classes, without_missing_classes
from covidctnet.io.dicom.series import Dropped, Stack
from covidctnet.io.dicom.stored import SYNTAXES, OpenFile
from covidctnet.io.dicom.voxels import read_hu

__all__ = ["WITHOUT_PLACE", "check_content", "find_stacks"]

# What an image is called that says no place and that no stack lacks.
WITHOUT_PLACE = "image without a place"
# Acquisitions that share this part of the shorter one, or one place, adjoin.
JOINT_SHARE = 0.1
# No scanner makes images of more formats in one series.
MAX_FORMATS = 100
# What only counts acquisitions or slices, and does so within one scan in some archives.
_ORDER = "order of the instance numbers"
_COUNTS = ("AcquisitionNumber", "FrameAcquisitionNumber", "StackID", _ORDER)
_TIMES = (
    "AcquisitionTime",
    "AcquisitionDateTime",
    "FrameAcquisitionDateTime",
    "TriggerTime",
    "ActualCardiacTriggerDelayTime",
    "ActualRespiratoryTriggerDelayTime",
    "StartingRespiratoryAmplitude",
    "EndingRespiratoryAmplitude",
    "TemporalPositionTimeOffset",
    "FrameReferenceTime",
)
# What tells two slices of one place apart, and varies within one scan: for slices in turn the
# pixels are asked first.
_VARYING = (*_COUNTS, *_TIMES, "exposure")
# What headers give wrongly too often to divide slices that no place divides.
_DOUBTFUL = ("SliceThickness",)
# So many images of one place are bolus tracking: they wait for contrast medium.
MIN_TRACKING = 2
# Fewer slices than this in turn are no acquisition; so many are asked whether they go on.
MIN_WOVEN = 4
ASKED = 40
# What differs between two reconstructions, and never within one.
_OF_RECONSTRUCTION = ("ConvolutionKernel", "SliceThickness", "KVP")


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
    every: list[Frame] = []
    for _, members in sorted(_grouped(frames, lambda f: f.series_uid).items()):
        members = _with_frame_of_reference(members)
        every += members
        found, left_out = _stacks_of_series(members, allow_gaps, allow_tilt)
        stacks += found
        dropped += left_out

    def rebuilt(stack: Stack, frames: Sequence[Frame], note: str) -> Stack:
        placement = place(frames)
        fault = _fault(placement, allow_gaps, allow_tilt)
        notes = (*stack.notes, note)
        return replace(
            stack, frames=placement.frames, placement=placement, fault=fault, notes=notes
        )

    stacks = without_missing_classes(join_series(stacks, rebuilt), every)
    stacks = with_lungs(with_neighbours(stacks, every))
    return with_missing_parts(stacks, every), dropped


def _stacks_of_series(
    frames: Sequence[Frame], allow_gaps: bool, allow_tilt: bool
) -> tuple[list[Stack], list[Dropped]]:
    key = series_key(frames[0].series_uid)
    dropped = _left_out(key, frames)
    fit = [f for f in frames if not unfit(f)]
    if not fit:
        return [], dropped
    others = [f for f in frames if unfit(f)]
    whole, notes = with_other_classes(fit, others) if all(map(has_geometry, fit)) else (fit, ())
    if notes:
        taken = {f.file for f in whole}
        stacks = [
            replace(stack, notes=(*stack.notes, *notes))
            for stack in _placed_stacks(whole, key, allow_gaps, allow_tilt)
        ]
        if len(stacks) == 1 and not stacks[0].fault:
            return stacks, _left_out(key, [f for f in frames if f.file not in taken])
    stacks, left_out = _stacks_of_slices(fit, key, allow_gaps, allow_tilt)
    return stacks, [*dropped, *left_out]


def _left_out(key: str, frames: Sequence[Frame]) -> list[Dropped]:
    """What of the images of a series is no slice of HU, by its kind."""
    return [
        Dropped(key, what, len(members), "not a stack of CT slices", len({f.file for f in members}))
        for what, members in sorted(_grouped(frames, unfit).items())
        if what
    ]


def _stacks_of_slices(
    fit: Sequence[Frame], key: str, allow_gaps: bool, allow_tilt: bool
) -> tuple[list[Stack], list[Dropped]]:
    dropped: list[Dropped] = []
    misplaced = [f for f in fit if not has_geometry(f)]
    placed = [f for f in fit if has_geometry(f)]
    if not misplaced:
        return _placed_stacks(fit, key, allow_gaps, allow_tilt), dropped
    if _is_whole_without(placed, misplaced):
        stacks = _placed_stacks(placed, key, allow_gaps, allow_tilt)
        if not any(stack.fault for stack in stacks):
            files = len({f.file for f in misplaced})
            why = "the slices are whole without it"
            dropped.append(Dropped(key, WITHOUT_PLACE, len(misplaced), why, files))
            return stacks, dropped
    fault = StudyError(
        "NO_GEOMETRY",
        f"expected position, orientation and spacing of every slice, {len(misplaced)} of "
        f"{len(fit)} lack them. Export the original series.",
    )
    return [Stack(key, key, tuple(fit), None, fault)], dropped


def _is_whole_without(placed: Sequence[Frame], misplaced: Sequence[Frame]) -> bool:
    """Whether images that say no place are pages that were saved beside whole series.

    Anonymisers that write one series UID into all files bring them together. A page has another
    series number than any slice, or is of another type and not numbered as the next slice; and
    the instance numbers of the slices have no hole that it may fill.
    """
    numbers: dict[str, set[float]] = {}
    for frame in placed:
        if frame.number is None:
            return False
        numbers.setdefault(frame.series_number, set()).add(frame.number)
    if not numbers or any(max(own) - min(own) + 1 != len(own) for own in numbers.values()):
        return False
    types = {frame.image_type for frame in placed}

    def is_page(frame: Frame) -> bool:
        if frame.position is not None or frame.orientation is not None:
            return False
        if frame.series_number and "" not in numbers and frame.series_number not in numbers:
            return True
        own = numbers.get(frame.series_number)
        if own is None or frame.number is None or not frame.image_type:
            return False
        is_next = frame.number in (min(own) - 1, max(own) + 1)
        return frame.image_type not in types and not is_next

    return all(is_page(frame) for frame in misplaced)


def _placed_stacks(
    frames: Sequence[Frame], key: str, allow_gaps: bool, allow_tilt: bool
) -> list[Stack]:
    """The stacks of a series whose images all say where they lie."""
    parts: list[Stack] = []
    try:
        clusters = _clusters(frames)
    except StudyError as fault:
        return [Stack(key, key, tuple(frames), None, fault)]
    for cluster in clusters:
        parts += _stacks_of_cluster(cluster, key, allow_gaps, allow_tilt)
    parts.sort(key=lambda s: (-len(s.frames), s.frames[0].sop_uid, s.frames[0].index))
    return [
        replace(s, key=f"{key}.{n}" if parts[1:] else key) for n, s in enumerate(parts, start=1)
    ]


def _clusters(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames of one frame of reference, matrix, spacing and orientation."""
    clusters: list[list[Frame]] = []
    for frame in sorted(frames, key=lambda f: (f.sop_uid, f.index, f.file.name)):
        home = next((c for c in clusters if is_alike(c[0], frame)), None)
        if home is None:
            clusters.append([frame])
        else:
            home.append(frame)
        if len(clusters) > MAX_FORMATS:
            raise StudyError(
                "NO_GEOMETRY",
                f"expected slices of a few formats in a series, got more than {MAX_FORMATS} "
                "matrices, spacings and directions. Export the original series.",
            )
    return clusters


def _with_frame_of_reference(frames: Sequence[Frame]) -> list[Frame]:
    """Frames of one series; those that name no frame of reference have that of the others."""
    named = {f.frame_of_reference for f in frames if not unfit(f)} - {""}
    if len(named) != 1:
        return list(frames)
    (name,) = named
    return [f if f.frame_of_reference else replace(f, frame_of_reference=name) for f in frames]


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
            return [_of_one_place(alike, key)]
    kept, copies = _without_copies(placement)
    notes: tuple[str, ...] = (f"{copies} copies of slices dropped",) if copies else ()
    kept, tracking = _without_bolus_tracking(kept)
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
            f"expected one slice at each place, up to {most} different slices lie at one place and "
            f"no header tells them apart. {_advice_to_part(kept)}.",
        )
        return [Stack(key, key, placement.frames, placement, fault, notes)]
    others = [_of_one_place(part, key) for part in tracking]
    return [*(stack(part, notes) for part in parts), *others]


def _advice_to_part(frames: Sequence[Frame]) -> str:
    """What to do about scans that no header tells apart."""
    folders: dict[object, list[Frame]] = {}
    for frame in frames:
        folders.setdefault(frame.file.parent, []).append(frame)
    if len(folders) > 1 and all(map(_is_unique, folders.values())):
        return (
            f"They are in {len(folders)} folders, each with one scan at most: read each folder by "
            "itself, or give every scan a study UID and a series UID of its own"
        )
    return "Export each acquisition as a series of its own"


def _of_one_place(frames: Sequence[Frame], key: str) -> Stack:
    """A stack of different slices that say one position: no scan."""
    fault = StudyError(
        "NO_GEOMETRY",
        f"expected a position for each slice, {len(frames)} different slices claim one "
        "position. Export the original series.",
    )
    return Stack(key, key, tuple(frames), place(frames), fault)


def _without_bolus_tracking(frames: list[Frame]) -> tuple[list[Frame], list[list[Frame]]]:
    """Frames without those of bolus tracking, which wait for contrast medium, and these.

    A scanner takes them again and again at one place, as a series of its own; anonymisers that
    write one series UID into all files bring them into the scan. A mark must tell them apart, and
    what is left must have one slice at each place; the steps of it are asked later.
    """
    placement = place(frames)
    if max(map(len, placement.groups())) > MIN_TRACKING:
        for _, parts in _partitions(placement):
            tracking = [p for p in parts if len(p) >= MIN_TRACKING and place(p).step_mm == 0]
            taken = {id(f) for part in tracking for f in part}
            rest = [f for f in frames if id(f) not in taken]
            if tracking and len(rest) >= MIN_SLICES and _is_unique(rest):
                return rest, tracking
    return frames, []


def _without_copies(placement: Placement) -> tuple[list[Frame], int]:
    """Frames, each once: at one place and equal in every HU is a copy."""
    kept: list[Frame] = []
    groups = placement.groups()
    content = _digests([placement.frames[i] for group in groups if len(group) > 1 for i in group])
    for group in groups:
        seen: set[object] = set()
        for frame in (placement.frames[i] for i in group):
            digest = content.get(id(frame))
            if digest is None or digest not in seen:
                seen.add(digest)
                kept.append(frame)
    return kept, len(placement.frames) - len(kept)


def _digests(frames: Sequence[Frame]) -> dict[int, bytes]:
    """What frames have in common when they are equal in every HU, and only then; by identity.

    A damaged slice has none, as it is no copy: reading its stack will tell.
    """
    found: dict[int, bytes] = {}
    with OpenFile() as opened:
        # File by file, so that each is opened once.
        for frame in sorted(frames, key=lambda f: (str(f.file), f.index)):
            if frame.slope is None or frame.intercept is None:
                continue
            try:
                hu, _ = read_hu([frame], opened=opened)
            except StudyError:
                continue
            found[id(frame)] = hashlib.sha256(hu.astype(np.float32).tobytes()).digest()
    return found


def _by_acquisition(placement: Placement) -> list[list[Frame]] | None:
    """Overlapping acquisitions apart; None when slices share a place and nothing separates them."""
    most = max(len(group) for group in placement.groups())
    if most == 1:
        return _unwoven(placement) or [list(placement.frames)]
    for name, parts in _partitions(placement):
        is_separating = len(parts) == most or name in _COUNTS
        if is_separating and all(_is_unique(part) for part in parts):
            return parts
    return None


def _unwoven(placement: Placement) -> list[list[Frame]] | None:
    """Acquisitions that lie between each other's slices apart; None for one scan.

    Slices that a mark divides in turn are of several acquisitions. What only counts, an acquisition
    or an instance number, and a time also divide the slices of one scan in some archives: there the
    pixels decide, and where these say nothing, the mark does.
    """
    is_whole = _is_even(placement)
    for name, parts in [*_partitions(placement), *_by_order(placement)]:
        if name in _DOUBTFUL or not _overlap(parts):
            continue
        if name in _COUNTS and not is_whole:
            return parts
        if min(map(len, parts)) < MIN_WOVEN or not all(_is_even(place(part)) for part in parts):
            continue
        if name in _VARYING and is_whole and _goes_on(placement.frames, len(parts)):
            continue
        return parts
    return None


def _partitions(placement: Placement) -> Iterable[tuple[str, list[list[Frame]]]]:
    """What divides frames into two or more parts, by name."""
    said: list[dict[str, str]] = []
    for frame in placement.frames:
        more = {"contrast": str(frame.has_contrast), "exposure": str(frame.exposure_mas)}
        said.append({**dict(frame.marks), **more})
    for name in dict.fromkeys(name for marks in said for name in marks):
        groups: dict[str, list[Frame]] = {}
        for frame, marks in zip(placement.frames, said, strict=True):
            groups.setdefault(marks.get(name, ""), []).append(frame)
        if len(groups) > 1:
            yield name, list(groups.values())


def _by_order(placement: Placement) -> Iterable[tuple[str, list[list[Frame]]]]:
    """Slices in turn, where the numbers of each part go by one step and those of all do not."""
    numbers = [f.number for f in placement.frames]
    if None in numbers:
        return
    values = np.array(numbers, dtype=float)
    if len(set(np.sign(np.diff(values)))) == 1 and values[0] != values[-1]:
        return
    for period in range(2, LARGEST_PERIOD + 1):
        steps = [np.diff(values[k::period]) for k in range(period)]
        if all(len(own) and own[0] == steps[0][0] != 0 and (own == own[0]).all() for own in steps):
            yield _ORDER, [list(placement.frames[k::period]) for k in range(period)]
            return


def _goes_on(frames: Sequence[Frame], period: int) -> bool:
    """Whether the pixels say that slices divided in turn are of one scan."""
    middle = max(0, len(frames) // 2 - ASKED // 2)
    try:
        hu, _ = read_hu(frames[middle : middle + ASKED])
    except StudyError:
        return False
    return is_one_scan(shrunk(hu), period)


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
    return (kept, twice) if _has_even_steps(heights) else None


def _is_even(placement: Placement) -> bool:
    return _has_even_steps(placement.heights)


def _has_even_steps(heights: np.ndarray) -> bool:
    steps = np.diff(heights)
    if not len(steps):
        return True
    limit = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * float(np.median(steps)))
    return bool(np.abs(steps - np.median(steps)).max() <= limit)


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
                "expected pixels uncompressed, or compressed by JPEG, JPEG 2000, JPEG-LS or RLE, "
                f"transfer syntax {pixels.syntax or 'missing'} is not read. Export the series "
                "uncompressed.",
            )
    if tables := sum(f.has_table for f in frames):
        raise StudyError(
            "NO_RESCALE",
            f"expected rescale slope and intercept alone, {tables} of {len(frames)} slices have a "
            "table of values (Modality LUT). Export the original series.",
        )
    bare = [f for f in frames if f.slope is None or f.intercept is None]
    if bare:
        raise StudyError(
            "NO_RESCALE",
            f"expected rescale slope and intercept on every slice, {len(bare)} of {len(frames)} "
            "lack them. Export the original series.",
        )
    if any(f.slope == 0 for f in frames):
        raise StudyError(
            "NO_RESCALE",
            "expected a rescale slope that is not 0, a slope of 0 makes every voxel alike. "
            "Export the series again.",
        )


def _grouped(frames: Sequence[Frame], key: Callable[[Frame], str]) -> dict[str, list[Frame]]:
    groups: dict[str, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return groups
