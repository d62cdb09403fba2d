"""A DICOM study to a volume: headers, then the choice of a series, then voxels."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.canonical import volume_of
from covidctnet.io.elements import DamagedFileError, NotDicomError
from covidctnet.io.frame import Frame
from covidctnet.io.geometry import check_placement, resample_gaps, untilt
from covidctnet.io.headers import CT_IMAGE, ENHANCED_CT, read_frames
from covidctnet.io.series import Dropped, Stack, choose
from covidctnet.io.stacks import find_stacks
from covidctnet.io.voxels import read_hu
from covidctnet.volume import SYNTHETIC_NOTE, Volume

__all__ = ["Survey", "read_dicom", "survey"]


@dataclass(frozen=True, eq=False)
class Survey:
    """What a study's headers say.

    Attributes:
        stacks: Images that form volumes, with their faults.
        dropped: Images that form none.
        frames: All images.
    """

    stacks: tuple[Stack, ...]
    dropped: tuple[Dropped, ...]
    frames: tuple[Frame, ...]

    def choose(self, series: str | None = None) -> tuple[Stack, tuple[Dropped, ...]]:
        """The stack to read, and everything that is left out.

        Raises:
            StudyError: ``NOT_CT``, ``NOT_HU``, ``MIXED_PATIENT``, or what `choose` raises.
        """
        if not self.stacks:
            kinds = "; ".join(f"{d.images} x {d.what}" for d in self.dropped) or "no image"
            only_colour = any(d.what == "not HU" for d in self.dropped)
            raise StudyError(
                "NOT_HU" if only_colour else "NOT_CT",
                f"wanted CT images in HU, got {kinds}. Give the original CT series.",
            )
        best, left_out = choose(self.stacks, series=series)
        return best, (*self.dropped, *left_out)


def survey(
    files: Sequence[File],
    *,
    series_uid: str | None = None,
    allow_gaps: bool = False,
    allow_tilt: bool = False,
) -> Survey:
    """Read the headers of a study; pixels only to tell copies of slices.

    Args:
        files: Of the study, in any order.
        series_uid: Digest-free UID when only one series is asked for.
        allow_gaps: Uneven steps are no fault.
        allow_tilt: Shear is no fault.

    Raises:
        StudyError: ``MIXED_PATIENT``, ``MIXED_STUDY``.
    """
    frames: list[Frame] = []
    damage: StudyError | None = None
    for number, file in enumerate(sorted(files, key=str), start=1):
        # By its number: a file name may carry a patient's name.
        which = f"file {number} of {len(files)} in the order of names"
        try:
            frames += read_frames(file)
        except DamagedFileError as error:
            damage = damage or StudyError(
                error.code,
                f"wanted whole slices, {which} is damaged: {error}. Export the series again.",
            )
        except NotDicomError:
            damage = damage or StudyError(
                "CORRUPT_SLICE",
                f"wanted whole slices, {which} holds no DICOM. Export the series again.",
            )
        except OSError as error:
            damage = damage or StudyError(
                "UNREADABLE", f"{which} cannot be read ({error.strerror}). Check its rights."
            )
    if series_uid is not None:
        frames = [f for f in frames if f.series_uid == series_uid]
    _check_patient([f for f in frames if f.sop_class == CT_IMAGE or f.sop_class in ENHANCED_CT])
    stacks, dropped = find_stacks(frames, allow_gaps=allow_gaps, allow_tilt=allow_tilt)
    if damage is not None:
        if not stacks and not (frames and dropped):
            raise damage
        # A damaged file may be a slice of any of them.
        stacks = [replace(stack, fault=damage) for stack in stacks]
    return Survey(tuple(stacks), tuple(dropped), tuple(frames))


def read_dicom(
    files: Sequence[File],
    study: str,
    *,
    series: str | None = None,
    series_uid: str | None = None,
    allow_gaps: bool = False,
    undo_tilt: bool = False,
) -> Volume:
    """Read a study's volume.

    Args:
        files: Of the study, in any order.
        study: Short id.
        series: Key of the series to read; the rule chooses by default.
        series_uid: UID of the only series to look at.
        allow_gaps: Resample uneven slices to even steps, flagged.
        undo_tilt: Undo the shear of a tilted gantry, flagged.

    Returns:
        HU, canonical orientation.

    Raises:
        StudyError: When it cannot be read to the right values in the right place.
    """
    seen = survey(files, series_uid=series_uid, allow_gaps=allow_gaps, allow_tilt=undo_tilt)
    stack, dropped = seen.choose(series)
    placement = stack.placement
    assert placement is not None  # a stack without geometry has a fault
    notes = [f"{d.images} images left out: {d.what}, series {d.key} ({d.why})" for d in dropped]
    notes += stack.notes
    array, more = read_hu(stack.frames)
    notes += more
    affine = placement.affine
    flags = set()
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
    if any(f.has_contrast for f in stack.frames):
        flags.add("contrast")
    if all(f.is_synthetic for f in stack.frames):
        notes.append(SYNTHETIC_NOTE)
    return volume_of(
        array,
        affine,
        study=study,
        reader="dicom",
        notes=tuple(notes),
        flags=tuple(flags),
        acquisition=_acquisition(stack),
        is_patient_order=True,
    )


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


def _check_patient(frames: Sequence[Frame]) -> None:
    studies = {f.study_uid for f in frames}
    if len(studies) > 1:
        raise StudyError(
            "MIXED_STUDY",
            f"wanted one study, the slices of a series carry {len(studies)} study UIDs. "
            "Export the series again.",
        )
    for place, what in enumerate(("ids", "names")):
        found = {f.patient[place] for f in frames} - {""}
        if len(found) > 1:
            raise StudyError(
                "MIXED_PATIENT",
                f"wanted one patient, the slices of this study carry {len(found)} patient {what}. "
                "Sort the files by patient and give the study UIDs of their own.",
            )
