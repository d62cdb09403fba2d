"""A DICOM study to a volume: headers, then the choice of a series, then voxels."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.canonical import volume_of
from covidctnet.io.dicom.bits import BITS_NOTES
from covidctnet.io.dicom.continuity import (
    check_continuity,
    check_foreign,
    contradicted_step,
    repeats,
)
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import check_placement, resample_gaps, untilt
from covidctnet.io.dicom.headers import ENCAPSULATED_LENGTH
from covidctnet.io.dicom.rescale import check_rescale
from covidctnet.io.dicom.series import Stack
from covidctnet.io.dicom.survey import survey
from covidctnet.io.dicom.voxels import read_hu
from covidctnet.io.filled import Filler, filler_of
from covidctnet.io.hu import AIR_HU
from covidctnet.volume import SYNTHETIC_NOTE, Volume

__all__ = ["read_dicom"]

# Flags of volumes whose slices are no images of the files.
_INTERPOLATED = frozenset({"gaps_resampled", "untilted"})


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
            f"{stack.strays} files next to the slices cannot be read; the slices are whole without "
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
    with contextlib.suppress(KeyError, ValueError):  # not said, or no number
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
