"""Slices of a series that are stored as objects of another class than CT: secondary captures.

Viewers and converters write some or all slices of a series anew under another SOP class. Those that
kept their place, spacing and rescaling are read with the rest where they fill its grid and their
pixels go on in it. Where they did not, the series lacks slices, and is refused: what is left would
be every second slice, or a part, as if it were the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from pydicom import config
from pydicom.uid import UID

from covidctnet.errors import StudyError
from covidctnet.io.dicom.continuity import shrunk
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import (
    MIN_SLICES,
    SAME_PLACE,
    STEP_TOLERANCE,
    STEP_TOLERANCE_MM,
    has_geometry,
    place,
)
from covidctnet.io.dicom.neighbours import is_alike
from covidctnet.io.dicom.objects import CT_IMAGE, ENHANCED_CT
from covidctnet.io.dicom.series import Stack
from covidctnet.io.dicom.stored import SYNTAXES, OpenFile
from covidctnet.io.dicom.voxels import read_hu

__all__ = ["with_other_classes", "without_missing_classes"]

# So many images of another class are asked whether their pixels go on.
ASKED = 12
# A slice differs from the mean of its neighbours by at most this part of what they differ by: half
# as much in real scans, 0.87 in noise alone, more than 1 in another scan.
MAX_DIFFERENCE = 0.95
# And its soft tissue is as bright as theirs, HU.
MAX_LEVEL_HU = 5.0
SOFT_HU = (-200.0, 250.0)
# Of the gaps between slices, in which other images of the series are numbered or lie; and images of
# another series, which may show the same part of the body for a reason of their own.
MIN_SHARE, MIN_SHARE_ELSEWHERE = 0.25, 0.8


def with_other_classes(
    frames: Sequence[Frame], others: Sequence[Frame]
) -> tuple[list[Frame], tuple[str, ...]]:
    """CT slices of a series with those of other classes that surely belong among them.

    Args:
        frames: Slices of CT, all with geometry.
        others: Other objects of the series.

    Returns:
        The slices, and notes on what was added.
    """
    first = frames[0]
    fit = [
        other
        for other in others
        if _is_of_other_class(other)
        and _is_readable(other)
        and is_alike(first, other)
        and (other.patient, other.series_number) == (first.patient, first.series_number)
    ]
    own = [frame for frame in frames if is_alike(first, frame)]
    if not fit or len(own) < len(frames) or len(own) < MIN_SLICES / 2:
        return list(frames), ()
    whole = place([*frames, *fit])
    mine = set(map(id, frames))
    # Where a slice lies already, another image is its copy.
    copies = {
        i
        for group in whole.groups()
        if any(id(whole.frames[i]) in mine for i in group)
        for i in group
        if id(whole.frames[i]) not in mine
    }
    kept = [frame for i, frame in enumerate(whole.frames) if i not in copies]
    added = [frame for frame in kept if id(frame) not in mine]
    if not added:
        return list(frames), ()
    whole = place(kept)
    limit = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * whole.step_mm)
    steps = np.diff(whole.heights)
    if np.abs(steps - whole.step_mm).max() > limit or not _is_in_line(whole.offsets):
        return list(frames), ()
    if not _go_on(whole.frames, mine):
        return list(frames), ()
    note = (
        f"{len(added)} slices stored as {_name(added[0])} fill the grid of the others and go on in "
        "their pixels: read with them"
    )
    return [
        frame if id(frame) in mine else _as_slice(frame, whole.frames, mine) for frame in kept
    ], (note,)


def _is_readable(frame: Frame) -> bool:
    return (
        frame.pixels.tag != 0
        and frame.pixels.syntax in SYNTAXES
        and has_geometry(frame)
        and bool(frame.slope)
        and frame.intercept is not None
        and not frame.has_table
    )


def _is_in_line(offsets: np.ndarray) -> bool:
    middle = np.median(offsets, axis=0)
    return bool(np.abs(offsets - middle).max() <= STEP_TOLERANCE_MM)


def _as_slice(frame: Frame, frames: Sequence[Frame], mine: set[int]) -> Frame:
    """A frame as the CT slice nearest to it says that it is."""
    k = next(i for i, one in enumerate(frames) if one is frame)
    near = min(
        (i for i, one in enumerate(frames) if id(one) in mine), key=lambda i: (abs(i - k), i)
    )
    model = frames[near]
    return replace(
        frame,
        sop_class=CT_IMAGE,
        marks=model.marks,
        image_type=model.image_type,
        kernel=model.kernel,
        visit=model.visit,
        minute=model.minute,
        has_contrast=model.has_contrast,
        exposure_mas=model.exposure_mas,
    )


def _go_on(frames: Sequence[Frame], mine: set[int]) -> bool:
    """Whether the images that are no CT are as slices between their neighbours are."""
    inner = [k for k in range(1, len(frames) - 1) if id(frames[k]) not in mine]
    asked = (
        [inner[k] for k in np.unique(np.linspace(0, len(inner) - 1, ASKED).astype(int))]
        if inner
        else []
    )
    differences, levels = [], []
    try:
        with OpenFile() as opened:
            for k in asked:
                below, here, above = (
                    shrunk(read_hu([frames[i]], opened=opened)[0])[0] for i in (k - 1, k, k + 1)
                )
                mean = (below + above) / 2
                apart = float(np.abs(above - below).mean())
                differences.append(float(np.abs(here - mean).mean()) / max(apart, 1e-6))
                soft = np.logical_and.reduce(
                    [(image > SOFT_HU[0]) & (image < SOFT_HU[1]) for image in (below, here, above)]
                )
                if soft.any():
                    levels.append(float(np.median((here - mean)[soft])))
    except StudyError:
        return False
    if not differences or np.median(differences) > MAX_DIFFERENCE:
        return False
    return not levels or abs(float(np.median(levels))) <= MAX_LEVEL_HU


def without_missing_classes(stacks: Sequence[Stack], frames: Sequence[Frame]) -> list[Stack]:
    """Stacks, refused where objects of another class are slices that they lack.

    Such an image lies or is numbered between two slices, or is numbered behind the last one and has
    the size of a slice; or it has that size and says neither. Pages and reports in one series with
    the scan, as anonymisers leave them, do none of this.

    Args:
        stacks: Of a study.
        frames: All of its images.
    """
    taken = {(f.file, f.index) for stack in stacks for f in stack.frames}
    others = [f for f in frames if _is_of_other_class(f) and (f.file, f.index) not in taken]
    return [_checked(stack, others) for stack in stacks] if others else list(stacks)


def _is_of_other_class(frame: Frame) -> bool:
    return frame.sop_class != CT_IMAGE and frame.sop_class not in ENHANCED_CT


def _checked(stack: Stack, others: Sequence[Frame]) -> Stack:
    if stack.placement is None or len(stack.frames) < MIN_SLICES / 2 or stack.fault:
        return stack
    first, numbers = stack.frames[0], {f.series_number for f in stack.frames}
    series = {f.series_uid for f in stack.frames}
    own = [
        o
        for o in others
        if o.series_uid in series and (o.series_number in ("", *numbers) or "" in numbers)
    ]
    away = [
        o
        for o in others
        if o.series_uid not in series
        and o.frame_of_reference in ("", first.frame_of_reference)
        and _has_size_of(o, first)
    ]
    found = [
        *_between(stack, own, MIN_SHARE),
        *_numbered(stack, own, MIN_SHARE),
        *_next_ones(stack, own),
        *_without_place(first, own),
        *_between(stack, away, MIN_SHARE_ELSEWHERE),
        *_numbered(stack, away, MIN_SHARE_ELSEWHERE),
    ]
    if not found:
        return stack
    names = ", ".join(sorted({_name(o) for o in found}))
    count = len(set(map(id, found)))
    fault = StudyError(
        "SLICE_GAP",
        f"expected all slices as CT images, got {count} image{'s' if count > 1 else ''} of another "
        f"kind ({names}) among or behind the {len(stack.frames)} slices of a series: without them "
        "it is not whole. Export the whole series as CT images.",
    )
    return replace(stack, fault=fault)


def _between(stack: Stack, others: Sequence[Frame], share: float) -> list[Frame]:
    """Images that lie between slices, in many of the gaps."""
    assert stack.placement is not None
    placement, first = stack.placement, stack.frames[0]
    found: dict[int, Frame] = {}
    gaps = set()
    for other in others:
        if not has_geometry(other) or not _has_format_of(other, first):
            continue
        height, *beside = (np.array(other.position) - np.array(first.position)) @ placement.axes
        off = np.abs(np.array(beside) - np.median(placement.offsets, axis=0)).max()
        places = placement.heights - placement.heights[0]
        k = int(np.searchsorted(places, height)) - 1
        if not 0 <= k < len(places) - 1 or off > STEP_TOLERANCE_MM + np.ptp(placement.offsets):
            continue
        room = SAME_PLACE * placement.step_mm
        if places[k] + room < height < places[k + 1] - room:
            gaps.add(k)
            found[id(other)] = other
    return list(found.values()) if gaps and len(gaps) >= share * (len(stack.frames) - 1) else []


def _has_format_of(frame: Frame, first: Frame) -> bool:
    size, own = frame.pixels, first.pixels
    is_size = size.rows == 0 or (size.rows, size.columns) == (own.rows, own.columns)
    return is_size and frame.spacing == first.spacing and frame.orientation == first.orientation


def _numbered(stack: Stack, others: Sequence[Frame], share: float) -> list[Frame]:
    """Images with numbers that the slices of a stack leave out: in many gaps, or of their size."""
    numbers = [f.number for f in stack.frames if f.number is not None]
    known = set(numbers)
    if len(known) < len(stack.frames):
        return []
    inner = [
        o
        for o in others
        if o.number is not None and o.number not in known and min(known) < o.number < max(known)
    ]
    its = {o.number for o in inner if o.number is not None}
    gaps = sum(any(min(a, b) < n < max(a, b) for n in its) for a, b in pairwise(numbers))
    return inner if gaps and gaps >= share * (len(numbers) - 1) else []


def _next_ones(stack: Stack, others: Sequence[Frame]) -> list[Frame]:
    """Images of the size of a slice that are numbered as the next ones behind either end."""
    known = {f.number for f in stack.frames if f.number is not None}
    size = stack.frames[0].pixels.rows, stack.frames[0].pixels.columns
    its = {
        o.number: o
        for o in others
        if o.number is not None
        and (o.pixels.rows, o.pixels.columns) == size
        and o.pixels.frames == 1
    }
    found = []
    for end, way in ((max(known), 1), (min(known), -1)) if known else ():
        number = end + way
        while number in its:
            found.append(its[number])
            number += way
    return found


def _without_place(first: Frame, others: Sequence[Frame]) -> list[Frame]:
    """Images of the size of a slice that say neither a place nor a number."""
    return [o for o in others if o.position is None and o.number is None and _has_size_of(o, first)]


def _has_size_of(frame: Frame, first: Frame) -> bool:
    """Whether an image may be a slice by its size and its bits."""
    size, own = frame.pixels, first.pixels
    is_size = (size.rows, size.columns) == (own.rows, own.columns)
    return is_size and size.frames == size.samples == 1 and size.bits_allocated > 8


def _name(frame: Frame) -> str:
    name = UID(frame.sop_class, config.IGNORE).name
    return name if not name[:1].isdigit() else "unknown object"
