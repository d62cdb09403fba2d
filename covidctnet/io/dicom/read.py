"""A DICOM study to a volume: headers, then the choice of a series, then voxels."""

from __future__ import annotations

import contextlib
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import config
from pydicom.uid import UID

from covidctnet.errors import StudyError
from covidctnet.io.archive import File, Link
from covidctnet.io.canonical import volume_of
from covidctnet.io.dicom.bits import BITS_NOTES
from covidctnet.io.dicom.continuity import (
    check_continuity,
    check_foreign,
    contradicted_step,
    repeats,
)
from covidctnet.io.dicom.elements import (
    DamagedFileError,
    NotDicomError,
    PackedFileError,
    PrivatePixelsError,
)
from covidctnet.io.dicom.frame import Frame, Identity
from covidctnet.io.dicom.geometry import check_placement, resample_gaps, untilt
from covidctnet.io.dicom.headers import ENCAPSULATED_LENGTH, read_frames
from covidctnet.io.dicom.identity import identify
from covidctnet.io.dicom.kinds import NOT_HU, unfit
from covidctnet.io.dicom.objects import CT_IMAGE, ENHANCED_CT, series_key
from covidctnet.io.dicom.patients import check_alternatives, check_patients, of_one_patient
from covidctnet.io.dicom.pictures import LOCALIZER_TYPES
from covidctnet.io.dicom.rescale import check_rescale
from covidctnet.io.dicom.series import Dropped, Stack, choose
from covidctnet.io.dicom.single_uids import without_single_uids
from covidctnet.io.dicom.stacks import find_stacks
from covidctnet.io.dicom.strays import Slot, is_in_second_copy, is_named_amid, is_stray
from covidctnet.io.dicom.voxels import read_hu
from covidctnet.io.filled import Filler, filler_of
from covidctnet.io.hu import AIR_HU
from covidctnet.io.names import packed_suffix
from covidctnet.volume import SYNTHETIC_NOTE, Volume

__all__ = ["Survey", "holds_series", "keys_of_slices", "read_dicom", "survey"]

# Flags of volumes whose slices are no images of the files.
_INTERPOLATED = frozenset({"gaps_resampled", "untilted"})


@dataclass(frozen=True, eq=False)
class Survey:
    """What a study's headers say.

    Attributes:
        stacks: Images that form volumes, with their faults.
        dropped: Images that form none.
        frames: All images.
        damaged: Files that cannot be read.
    """

    stacks: tuple[Stack, ...]
    dropped: tuple[Dropped, ...]
    frames: tuple[Frame, ...]
    damaged: int = 0

    def choose(self, series: str | None = None) -> tuple[Stack, tuple[Dropped, ...]]:
        """The stack to read, and everything that is left out.

        Raises:
            StudyError: ``NOT_CT``, ``NOT_HU``, ``MIXED_PATIENT``, or what `choose` raises.
        """
        if not self.stacks:
            counts: Counter[str] = Counter()
            for left in self.dropped:
                counts[left.what] += left.images
            kinds = "; ".join(f"{n} x {what}" for what, n in counts.items()) or "no image"
            only_colour = any(d.what.startswith(NOT_HU) for d in self.dropped)
            raise StudyError(
                "NOT_HU" if only_colour else "NOT_CT",
                f"expected CT images in HU, got {kinds}. Give the original CT series.",
            )
        asked = [s for s in self.stacks if series in (None, s.key, s.series)]
        check_patients(asked)
        best, left_out = choose(self.stacks, series=series)
        check_alternatives(best, asked)
        return best, (*self.dropped, *left_out)


@dataclass(frozen=True, eq=False)
class _Damage:
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


def survey(
    files: Sequence[File],
    *,
    series: str | None = None,
    series_uid: str | None = None,
    allow_gaps: bool = False,
    allow_tilt: bool = False,
) -> Survey:
    """Read the headers of a study; pixels only to tell copies of slices.

    Args:
        files: Of the study, in any order.
        series: Key of a series or a stack, when the caller chooses: nothing else is looked at.
        series_uid: Digest-free UID when only one series is asked for.
        allow_gaps: Uneven steps are no fault.
        allow_tilt: Shear is no fault.

    Raises:
        StudyError: ``UNKNOWN_SERIES``, ``MIXED_PATIENT``, ``MIXED_STUDY``.
    """
    frames: list[Frame] = []
    damage: list[_Damage] = []
    for number, file in enumerate(sorted(files, key=str), start=1):
        # By its number: a file name may carry a patient's name.
        which = f"file {number} of {len(files)} in the order of names"
        try:
            frames += read_frames(file)
        except PackedFileError as error:
            refusal = StudyError(
                error.code,
                f"expected DICOM files, {which} is compressed by gzip. Unpack the files of the "
                "study and read them again.",
            )
            damage.append(_Damage(file, refusal, is_slice=True))
        except PrivatePixelsError as error:
            refusal = StudyError(
                error.code,
                f"expected pixels where the DICOM standard puts them, {which} is of a Philips "
                "archive that compresses pixels by a method of its own and holds them in private "
                "elements (ELSCINT1). Export the series again without that compression.",
            )
            damage.append(_Damage(file, refusal, _known(file), is_slice=True))
        except DamagedFileError as error:
            known = _known(file)
            place = known.position if known else None
            height = f" (z = {place[2]:.1f})" if place else ""
            refusal = StudyError(
                error.code,
                f"expected whole slices, {which}{height} is damaged: {error}. "
                "Export the series again.",
            )
            damage.append(_Damage(file, refusal, known))
        except NotDicomError:
            packed = packed_suffix(file.name)
            what, advice = "holds no DICOM", "else export the series again"
            if packed:
                what, advice = f"is compressed ({packed})", "else unpack it"
            refusal = StudyError(
                "CORRUPT_SLICE",
                f"expected whole slices, {which} {what}. Move it away if it is no slice; {advice}.",
            )
            damage.append(_Damage(file, refusal))
        except OSError as error:
            advice = "Put the file in its place" if isinstance(file, Link) else "Check its rights"
            refusal = StudyError(
                "UNREADABLE",
                f"expected files that can be read, {which} cannot be read ({error.strerror}). "
                f"{advice}.",
            )
            damage.append(_Damage(file, refusal))
    files_of = _Files(frames)
    if series_uid is not None:
        frames = [f for f in frames if f.series_uid == series_uid]
    frames, notes = without_single_uids(frames)
    if series is not None:
        frames = _only(frames, series)
    ct = [f for f in frames if f.sop_class == CT_IMAGE or f.sop_class in ENHANCED_CT]
    _check_study(ct)
    stacks, dropped = find_stacks(frames, allow_gaps=allow_gaps, allow_tilt=allow_tilt)
    stacks = [replace(stack, notes=(*notes, *stack.notes)) for stack in stacks]
    if damage and not stacks and not (frames and dropped):
        raise damage[0].error
    is_chosen = series is not None or series_uid is not None
    stacks = [of_one_patient(stack) for stack in stacks]
    stacks = [_beside_damage(stack, damage, files_of, is_chosen) for stack in stacks]
    return Survey(tuple(stacks), tuple(dropped), tuple(frames), len(damage))


def _only(frames: Sequence[Frame], series: str) -> list[Frame]:
    """The frames of one series, by its key or that of one of its stacks."""
    expected = series.partition(".")[0]
    found = [f for f in frames if series_key(f.series_uid) == expected]
    if not found:
        known = ", ".join(_keys_of_slices(frames)) or "none"
        raise StudyError(
            "UNKNOWN_SERIES",
            f"expected one of the series of this study, {known}, got {series}. "
            "Take a key that `covidctnet inspect` shows.",
        )
    return found


def holds_series(files: Sequence[File], series: str) -> bool:
    """Whether a series is among the files of a study.

    Args:
        files: Of the study.
        series: Key of a series or of a stack.
    """
    return series.partition(".")[0] in {series_key(f.series_uid) for f in _frames_of(files)}


def keys_of_slices(files: Sequence[File]) -> list[str]:
    """Keys of the series among the files of a study that hold CT slices.

    Args:
        files: Of the study.
    """
    return _keys_of_slices(_frames_of(files))


def _keys_of_slices(frames: Sequence[Frame]) -> list[str]:
    return sorted({series_key(f.series_uid) for f in frames if not unfit(f)})


def _frames_of(files: Sequence[File]) -> list[Frame]:
    """The images of a study, as its series are named; what cannot be read is left out."""
    frames: list[Frame] = []
    for file in files:
        try:
            frames += read_frames(file)
        except (DamagedFileError, NotDicomError, OSError):
            continue
    return without_single_uids(frames)[0]


def _known(file: File) -> Identity | None:
    """What the beginning of a damaged file says."""
    try:
        return identify(file)
    except (DamagedFileError, NotDicomError, OSError):
        return None


class _Files:
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


def _beside_damage(
    stack: Stack, damage: Sequence[_Damage], files: _Files, is_chosen: bool
) -> Stack:
    """The stack, refused where a damaged file may be a slice that it lacks."""
    own = {files.series_of[f.file] for f in stack.frames}
    near = [d for d in damage if not _is_elsewhere(d, own, files)]
    if not near:
        return stack
    # Who chooses a series means it and its folder: other damage is told and does no harm.
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


def _is_elsewhere(damage: _Damage, own: set[str], files: _Files) -> bool:
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


def read_dicom(
    files: Sequence[File],
    study: str,
    *,
    notes: Sequence[str] = (),
    series: str | None = None,
    series_uid: str | None = None,
    allow_gaps: bool = False,
    undo_tilt: bool = False,
) -> Volume:
    """Read a study's volume.

    Args:
        files: Of the study, in any order.
        study: Short id.
        notes: What was decided about its files.
        series: Key of the series to read; the rule chooses by default.
        series_uid: UID of the only series to look at.
        allow_gaps: Resample uneven slices to even steps, flagged.
        undo_tilt: Undo the shear of a tilted gantry, flagged.

    Returns:
        HU, canonical orientation.

    Raises:
        StudyError: When it cannot be read to the right values in the right place.
    """
    seen = survey(
        files,
        series=series,
        series_uid=series_uid,
        allow_gaps=allow_gaps,
        allow_tilt=undo_tilt,
    )
    stack, dropped = seen.choose(series)
    placement = stack.placement
    assert placement is not None  # a stack without geometry has a fault
    notes = [*notes]
    notes += [f"{d.images} images left out: {d.what}, series {d.key} ({d.why})" for d in dropped]
    notes += stack.notes
    if stack.strays:
        notes.append(
            f"{stack.strays} files beside the slices cannot be read; the slices are whole without "
            "them"
        )
    array, more = read_hu(stack.frames)
    as_stored = array
    check_rescale(stack.frames, array, placement.heights)
    check_continuity(stack.frames, array)
    step = contradicted_step(stack.frames, placement.step_mm)
    if step is not None:
        notes.append(
            f"positions lie {placement.step_mm:.4g} mm apart, other fields of the headers agree "
            f"with each other and say that slices lie {step:.4g} mm apart: the positions count"
        )
    notes += more
    if again := repeats(array):
        notes.append(f"{again} of {len(array)} slices repeat the one before in every voxel")
    affine = placement.affine
    flags = set()
    if set(more) & set(BITS_NOTES):
        flags.add("stored_bits")
    if allow_gaps and not _is_even(stack):
        array, affine = resample_gaps(array, placement)
        flags.add("gaps_resampled")
        notes.append(f"uneven slices resampled to {placement.step_mm:.3g} mm by interpolation")
    if undo_tilt and _is_tilted(stack):
        array, affine = untilt(array, affine, placement)
        flags.add("untilted")
        notes.append("the shear of a tilted gantry was undone by interpolation")
    if any(f.is_lossy for f in stack.frames):
        flags.add("lossy")
    if stack.strays:
        flags.add("stray_files")
    if any(f.has_contrast for f in stack.frames):
        flags.add("contrast")
    if all(f.is_synthetic for f in stack.frames):
        notes.append(SYNTHETIC_NOTE)
    volume = volume_of(
        array,
        affine,
        study=study,
        reader="dicom",
        notes=tuple(notes),
        flags=tuple(flags),
        acquisition=_acquisition(stack),
        is_patient_order=True,
        filler=_filler(stack.frames),
        images=() if flags & _INTERPOLATED else _images(stack.frames, files),
    )
    check_foreign(stack.frames, as_stored)
    return volume


def _images(frames: Sequence[Frame], files: Sequence[File]) -> tuple[tuple[int, int], ...]:
    """The place of every slice's file among those of the study, and the frame of that file."""
    place = {file: number for number, file in enumerate(files)}
    return tuple((place[frame.file], frame.index) for frame in frames)


def _filler(frames: Sequence[Frame]) -> Filler:
    """What copies of these files that broke off would be filled up with."""
    is_one_file = len({f.file for f in frames}) == 1
    if any(f.pixels.length == ENCAPSULATED_LENGTH for f in frames):
        # Zeros amid compressed pixels become anything.
        return Filler(None, is_one_file)
    intercepts = {float(f.intercept or 0) for f in frames}
    # Zeros that are declared padding become air.
    padding = [f.pixels.padding for f in frames if f.pixels.padding]
    intercepts |= {AIR_HU for low, high in padding if low <= 0 <= high}
    return filler_of(intercepts, is_one_file=is_one_file)


def _acquisition(stack: Stack) -> tuple[tuple[str, str | float], ...]:
    """What the header tells of the scanner's settings."""
    out: list[tuple[str, str | float]] = [("kernel", stack.kernel)]
    with contextlib.suppress(KeyError, ValueError):  # not told, or no number
        out.append(("kvp", float(dict(stack.frames[0].marks)["KVP"])))
    if stack.frames[0].scanner:
        out.append(("scanner", stack.frames[0].scanner))
    exposures = [f.exposure_mas for f in stack.frames if f.exposure_mas]
    if len(exposures) == len(stack.frames):
        out.append(("exposure_mas", statistics.median(exposures)))
    return tuple(out)


def _is_even(stack: Stack) -> bool:
    return _passes(stack, allow_gaps=False, allow_tilt=True)


def _is_tilted(stack: Stack) -> bool:
    return not _passes(stack, allow_gaps=True, allow_tilt=False)


def _passes(stack: Stack, *, allow_gaps: bool, allow_tilt: bool) -> bool:
    assert stack.placement is not None
    try:
        check_placement(stack.placement, allow_gaps=allow_gaps, allow_tilt=allow_tilt)
    except StudyError:
        return False
    return True


def _check_study(frames: Sequence[Frame]) -> None:
    # A localizer may have another study's UID: an anonymiser that draws one for every file.
    studies = Counter(f.study_uid for f in frames if not LOCALIZER_TYPES & set(f.image_type))
    if len(studies) < 2:
        return
    if bare := studies[""]:
        raise StudyError(
            "MIXED_STUDY",
            f"expected one study, {bare} of {len(frames)} slices name no study and the others do. "
            "Export the series again, or give these slices its study UID.",
        )
    raise StudyError(
        "MIXED_STUDY",
        f"expected one study, the slices of a series carry {len(studies)} study UIDs. "
        "Export the series again.",
    )
