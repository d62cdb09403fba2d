"""UIDs that say nothing, as every file has one of its own, or one of a few drawn at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from covidctnet.errors import StudyError
from covidctnet.io.dicom.continuity import is_one_scan, may_be_two, shrunk
from covidctnet.io.dicom.frame import Entry, Frame
from covidctnet.io.dicom.geometry import MIN_SLICES, has_geometry, place
from covidctnet.io.dicom.objects import CT_IMAGE, ENHANCED_CT
from covidctnet.io.dicom.pictures import LOCALIZER_TYPES
from covidctnet.io.dicom.scattered import Slice, is_even, scattered
from covidctnet.io.dicom.voxels import read_hu

# So many slices in the middle of a scan are asked whether they go on.
ASKED = 40

__all__ = ["one_each", "one_each_in_series", "without_single_uids"]


def one_each(entries: Sequence[Entry], uids: Sequence[str]) -> set[int]:
    """Slices of one folder, series number and direction that have a UID of their own each."""
    homes = [
        (path.parent, found.series_number, found.visit, _direction(found.orientation))
        if found.is_slice
        else None
        for path, found in entries
    ]
    return _singles(homes, uids)


def one_each_in_series(entries: Sequence[Entry]) -> set[int]:
    """Slices of one series, wherever they lie, that have a study UID of their own each."""
    homes = [
        (found.series_uid, found.frame_of_reference, found.visit, _direction(found.orientation))
        if found.is_slice and found.series_uid
        else None
        for _, found in entries
    ]
    return _singles(homes, [found.study_uid for _, found in entries])


@cache
def _direction(orientation: tuple[float, ...] | None) -> Hashable:
    """Which way rows and columns run, roughly: noise in the last digits says nothing."""
    if orientation is None:
        return None
    return tuple(
        (axis := [abs(cosine) for cosine in vector].index(max(map(abs, vector))), vector[axis] > 0)
        for vector in (orientation[:3], orientation[3:])
    )


def _singles(homes: Sequence[Hashable], uids: Sequence[str]) -> set[int]:
    """Places whose UID occurs once, where many of one home are like that."""
    counts = Counter(uids)
    alone = [
        i
        for i, (home, uid) in enumerate(zip(homes, uids, strict=True))
        if home is not None and uid and counts[uid] == 1
    ]
    many = Counter(homes[i] for i in alone)
    return {i for i in alone if many[homes[i]] >= MIN_SLICES}


def without_single_uids(frames: Sequence[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """The frames of a study, UIDs taken off that every file has for itself.

    Series are then distinguished by their number; frames of reference are not distinguished.

    Args:
        frames: All of the study.

    Returns:
        The frames, and notes on what was taken off.
    """
    is_slice = [_is_single(f) and not LOCALIZER_TYPES & set(f.image_type) for f in frames]
    notes: list[str] = []

    def single(uids: Sequence[str], homes: Iterable[Hashable]) -> set[int]:
        return _singles([h if s else None for h, s in zip(homes, is_slice, strict=True)], uids)

    def homes() -> Iterable[Hashable]:
        return ((f.series_number, _direction(f.orientation)) for f in frames)

    changes: dict[int, dict[str, str]] = {}
    reference = [f.frame_of_reference for f in frames]
    own = single(reference, homes())
    drawn = _drawn(frames, is_slice, reference, [""] * len(frames)) - own
    if own:
        notes.append(f"{len(own)} images have a frame of reference each: it was not asked for")
    if drawn:
        notes.append(
            f"{len(drawn)} images have frames of reference in no order: they were not asked for"
        )
    for i in own | drawn:
        changes.setdefault(i, {})["frame_of_reference"] = ""
        reference[i] = ""
    series = [f.series_uid for f in frames]
    if own := single(series, homes()):
        notes.append(
            f"{len(own)} images of {len(own)} series UIDs joined by the number of their series"
        )
    if drawn := _drawn(frames, is_slice, series, reference) - own:
        several = len({series[i] for i in drawn})
        notes.append(
            f"{len(drawn)} images of {several} series UIDs in no order joined by the number of "
            "their series and their places"
        )
    for i, name in _names(frames, own | drawn).items():
        changes.setdefault(i, {})["series_uid"] = name
    studies = [f.study_uid for f in frames]
    own = single(studies, homes())
    for i in own | _drawn(frames, is_slice, studies, [""] * len(frames)):
        changes.setdefault(i, {})["study_uid"] = ""
    return [_changed(f, changes.get(i, {})) for i, f in enumerate(frames)], tuple(notes)


def _is_single(frame: Frame) -> bool:
    """Whether its file holds this image alone."""
    is_alone = frame.sop_class in ENHANCED_CT and frame.pixels.frames == 1
    return frame.sop_class == CT_IMAGE or is_alone


def _drawn(
    frames: Sequence[Frame], is_slice: Sequence[bool], uids: Sequence[str], reference: Sequence[str]
) -> set[int]:
    """Slices whose UIDs are drawn at random, a few for many."""

    def home(frame: Frame) -> tuple[Hashable, ...]:
        size = frame.pixels.rows, frame.pixels.columns, frame.spacing
        return (
            *_reconstruction(frame),
            frame.series_number,
            frame.patient,
            frame.visit,
            size,
        )

    slices = [
        Slice((home(f), one) if is_one else None, uid, f.position, f.orientation)
        for f, is_one, uid, one in zip(frames, is_slice, uids, reference, strict=True)
    ]
    return scattered(slices, lambda order, period: _go_on([frames[i] for i in order], period))


def _go_on(frames: Sequence[Frame], period: int) -> bool:
    """Whether pixels say that slices which UIDs divide in turn, or in no order, are of one scan."""
    middle = max(0, len(frames) // 2 - ASKED // 2)
    try:
        hu, _ = read_hu(frames[middle : middle + ASKED])
    except StudyError:
        return False
    images = shrunk(hu)
    return is_one_scan(images, period) if period else not may_be_two(images)


def _reconstruction(frame: Frame) -> tuple[str, str]:
    return frame.kernel, dict(frame.marks).get("SliceThickness", "")


def _names(frames: Sequence[Frame], chosen: set[int]) -> dict[int, str]:
    """What stands for the series of some slices: its number.

    Where slices of one number lie on no even grid and those of each reconstruction do, it is the
    reconstruction too.
    """
    by_number: dict[str, list[int]] = {}
    for i in sorted(chosen):
        by_number.setdefault(frames[i].series_number, []).append(i)
    names: dict[int, str] = {}
    for number, members in by_number.items():
        parts: dict[tuple[str, str], list[int]] = {}
        for i in members:
            parts.setdefault(_reconstruction(frames[i]), []).append(i)
        are_several = len(parts) > 1 and not _are_even([frames[i] for i in members])
        are_several = are_several and all(
            _are_even([frames[i] for i in part]) for part in parts.values()
        )
        for what, part in parts.items():
            name = f"number {number}" + (f" of {' '.join(what)}" if are_several else "")
            names.update(dict.fromkeys(part, name))
    return names


def _are_even(frames: Sequence[Frame]) -> bool:
    """Whether slices of one direction lie on an even grid, each place once."""
    if not all(map(has_geometry, frames)) or len({_direction(f.orientation) for f in frames}) > 1:
        return False
    return is_even(place(frames).heights)


def _changed(frame: Frame, values: Mapping[str, str]) -> Frame:
    return replace(frame, **values) if values else frame  # type: ignore[arg-type]
