"""UIDs that say nothing, as every file has one of its own: some anonymisers draw them so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache

from covidctnet.io.dicom.frame import Entry, Frame
from covidctnet.io.dicom.geometry import MIN_SLICES
from covidctnet.io.dicom.objects import CT_IMAGE
from covidctnet.io.dicom.pictures import LOCALIZER_TYPES

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
    is_slice = [f.sop_class == CT_IMAGE and not LOCALIZER_TYPES & set(f.image_type) for f in frames]
    notes: list[str] = []

    def single(uids: Sequence[str], homes: Iterable[Hashable]) -> set[int]:
        return _singles([h if s else None for h, s in zip(homes, is_slice, strict=True)], uids)

    def homes() -> Iterable[Hashable]:
        return ((f.series_number, _direction(f.orientation)) for f in frames)

    changes: dict[int, dict[str, str]] = {}
    if own := single([f.series_uid for f in frames], homes()):
        notes.append(
            f"{len(own)} images of {len(own)} series UIDs joined by the number of their series"
        )
        for i in own:
            changes.setdefault(i, {})["series_uid"] = f"number {frames[i].series_number}"
    if own := single([f.frame_of_reference for f in frames], homes()):
        notes.append(f"{len(own)} images have a frame of reference each: it was not asked for")
        for i in own:
            changes.setdefault(i, {})["frame_of_reference"] = ""
    if own := single([f.study_uid for f in frames], homes()):
        for i in own:
            changes.setdefault(i, {})["study_uid"] = ""
    return [_changed(f, changes.get(i, {})) for i, f in enumerate(frames)], tuple(notes)


def _changed(frame: Frame, values: Mapping[str, str]) -> Frame:
    return replace(frame, **values) if values else frame  # type: ignore[arg-type]
