"""What the headers of a study say: stacks of slices, what is left out, what is damaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.dicom.damage import (
    Damage,
    FilesOfSeries,
    frames_or_damage,
    with_damage,
)
from covidctnet.io.dicom.elements import (
    DamagedFileError,
    NotDicomError,
)
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.kinds import NOT_HU, unfit
from covidctnet.io.dicom.objects import CT_IMAGE, ENHANCED_CT, series_key
from covidctnet.io.dicom.patients import check_alternatives, check_patients, of_one_patient
from covidctnet.io.dicom.pictures import LOCALIZER_TYPES
from covidctnet.io.dicom.series import Dropped, Stack, choose
from covidctnet.io.dicom.single_uids import without_single_uids
from covidctnet.io.dicom.stacks import find_stacks

__all__ = ["Survey", "holds_series", "keys_of_slices", "survey"]


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
    damage: list[Damage] = []
    for number, file in enumerate(sorted(files, key=str), start=1):
        # By its number: a file name may carry a patient's name.
        found = frames_or_damage(file, f"file {number} of {len(files)} in the order of names")
        if isinstance(found, Damage):
            damage.append(found)
        else:
            frames += found
    files_of = FilesOfSeries(frames)
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
    stacks = [with_damage(stack, damage, files_of, is_chosen) for stack in stacks]
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
