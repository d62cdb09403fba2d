"""Files of a study that cannot be read, and which stacks may lack their slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import config
from pydicom.uid import UID

from covidctnet.errors import StudyError
from covidctnet.io.archive import File, Link
from covidctnet.io.dicom.elements import (
    DamagedFileError,
    NotDicomError,
    PackedFileError,
    PrivatePixelsError,
)
from covidctnet.io.dicom.frame import Frame, Identity
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.identity import identify
from covidctnet.io.dicom.objects import CT_IMAGE, ENHANCED_CT
from covidctnet.io.dicom.series import Stack
from covidctnet.io.dicom.strays import Slot, is_in_second_copy, is_named_amid, is_stray
from covidctnet.io.names import packed_suffix

__all__ = ["Damage", "FilesOfSeries", "frames_or_damage", "with_damage"]


@dataclass(frozen=True, eq=False)
class Damage:
    """A file that cannot be read.

    Attributes:
        file: The file.
        error: What a stack that may lack it is refused with.
        known: What its beginning says, where that can be read.
        is_slice: Whether it is whole, and only not read as it is.
    """

    file: File
    error: StudyError
    known: Identity | None = None
    is_slice: bool = False


def frames_or_damage(file: File, which: str) -> tuple[Frame, ...] | Damage:
    """The images of a file, or why it cannot be read.

    Args:
        file: The file.
        which: What a message calls it.
    """
    try:
        return read_frames(file)
    except PackedFileError as error:
        refusal = StudyError(
            error.code,
            f"expected DICOM files, {which} is compressed by gzip. Unpack the files of the "
            "study and read them again.",
        )
        return Damage(file, refusal, is_slice=True)
    except PrivatePixelsError as error:
        refusal = StudyError(
            error.code,
            f"expected pixels where the DICOM standard puts them, {which} is of a Philips "
            "archive that compresses pixels by a method of its own and holds them in private "
            "elements (ELSCINT1). Export the series again without that compression.",
        )
        return Damage(file, refusal, _known(file), is_slice=True)
    except DamagedFileError as error:
        known = _known(file)
        place = known.position if known else None
        height = f" (z = {place[2]:.1f})" if place else ""
        refusal = StudyError(
            error.code,
            f"expected whole slices, {which}{height} is damaged: {error}. Export the series again.",
        )
        return Damage(file, refusal, known)
    except NotDicomError:
        packed = packed_suffix(file.name)
        what, advice = "holds no DICOM", "else export the series again"
        if packed:
            what, advice = f"is compressed ({packed})", "else unpack it"
        refusal = StudyError(
            "CORRUPT_SLICE",
            f"expected whole slices, {which} {what}. Move it away if it is no slice; {advice}.",
        )
        return Damage(file, refusal)
    except OSError as error:
        advice = "Put the file in its place" if isinstance(file, Link) else "Check its rights"
        refusal = StudyError(
            "UNREADABLE",
            f"expected files that can be read, {which} cannot be read ({error.strerror}). "
            f"{advice}.",
        )
        return Damage(file, refusal)


def _known(file: File) -> Identity | None:
    """What the beginning of a damaged file says."""
    try:
        return identify(file)
    except (DamagedFileError, NotDicomError, OSError):
        return None


class FilesOfSeries:
    """Which series the files of a study are of, and which lie together.

    Args:
        frames: All of the study, whichever series is asked for.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.series_of = {f.file: f.series_uid for f in frames}
        self.series = set(self.series_of.values())
        self._slots: dict[Path, dict[str, Slot]] = {}
        for frame in frames:
            slot = frame.series_uid, frame.number, frame.position
            self._slots.setdefault(frame.file.parent, {})[frame.file.name] = slot
        self._names: dict[Path, list[str]] = {}
        self._series_in: dict[Path, set[str]] = {}
        for file, series in self.series_of.items():
            self._names.setdefault(file.parent, []).append(file.name)
            self._series_in.setdefault(file.parent, set()).add(series)

    def is_among_others(self, file: File, own: set[str]) -> bool:
        """Whether a file lies in a folder of other series."""
        there = self._series_in.get(file.parent, set())
        return bool(there) and not there & own

    def is_in_second_copy(self, file: File) -> bool:
        """Whether a file lies in a second copy of a folder that holds its slice."""
        return is_in_second_copy(file, self._slots)

    def is_named_amid(self, file: File) -> bool:
        """Whether its name is numbered between those of the files in its folder."""
        return is_named_amid(file.name, self._names.get(file.parent, []))


def with_damage(
    stack: Stack, damage: Sequence[Damage], files: FilesOfSeries, is_chosen: bool
) -> Stack:
    """The stack, refused where a damaged file may be a slice that it lacks.

    Args:
        stack: A stack.
        damage: Files of the study that cannot be read.
        files: Those that can.
        is_chosen: Whether the caller named a series.
    """
    own = {files.series_of[f.file] for f in stack.frames}
    near = [d for d in damage if not _is_elsewhere(d, own, files)]
    if not near:
        return stack
    # Who chooses a series means it and its folder: other damage is counted and does no harm.
    nearest = [
        d
        for d in near
        if not is_chosen
        or not (files.is_among_others(d.file, own) or _is_of_other_series(d.known, own))
    ]
    if stack.fault and nearest:
        # A hole that a damaged file may fill is that file's.
        return replace(stack, fault=nearest[0].error)
    missing = [
        d
        for d in nearest
        if not (_is_of_other_series(d.known, own) and _has_its_places(stack, d.known))
        and (
            d.is_slice
            or d.error.code == "UNREADABLE"
            or not is_stray(
                d.file, d.known, stack.frames, is_copied=files.is_in_second_copy(d.file)
            )
        )
    ]
    return replace(stack, fault=missing[0].error) if missing else replace(stack, strays=len(near))


def _is_of_other_series(known: Identity | None, own: set[str]) -> bool:
    """Whether a file names a series that is not the only one of a stack."""
    return known is not None and len(own) == 1 and known.series_uid not in ("", *own)


def _has_its_places(stack: Stack, known: Identity | None) -> bool:
    """Whether a stack has a slice wherever a file says that it has one."""
    if known is None or stack.placement is None:
        return False
    places = [position for position, _ in known.places] or [known.position]
    if None in places:
        return False
    own = np.array([f.position for f in stack.placement.frames]) @ stack.placement.axes[:, 0]
    its = np.array(places, dtype=float) @ stack.placement.axes[:, 0]
    apart = np.abs(np.subtract.outer(its, own)).min(axis=1)
    return bool((apart <= stack.placement.step_mm / 2).all())


def _is_elsewhere(damage: Damage, own: set[str], files: FilesOfSeries) -> bool:
    """Whether a damaged file belongs to another series.

    It is no CT, or of a series of which images are whole; or it says nothing, and lies and is
    numbered amid the files of other series.
    """
    known = damage.known
    if known is None or not known.series_uid:
        return files.is_among_others(damage.file, own) and files.is_named_amid(damage.file)
    if known.series_uid in own:
        return False
    if known.sop_class == CT_IMAGE or known.sop_class in ENHANCED_CT:
        return known.series_uid in files.series
    return UID(known.sop_class, config.IGNORE).name.endswith(" Storage")
