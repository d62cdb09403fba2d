"""Whether what is read of a study is of one patient, and whether the rest may be of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.anatomy import are_one_acquisition, images_of, show_one_body
from covidctnet.io.dicom.geometry import MIN_SLICES, Placement
from covidctnet.io.dicom.neighbours import is_alike, is_parallel
from covidctnet.io.dicom.series import Stack
from covidctnet.io.dicom.visit_marks import (
    MIN_MINUTES_APART,
    SOME_MARKS,
    VISIT_WORDS,
    common_marks,
    common_minute,
    differing_facts,
    marks_in_common,
)

__all__ = ["check_alternatives", "check_patients", "of_one_patient"]

_SORT = "Sort the files by patient and give each patient a study UID of its own."
# What is alike in all slices of a patient; the date may be that on which a file was written.
_OF_PATIENT = (1, 2, 3)
# So many slices that say the same are no accident.
MIN_ALIKE = 2
# A stack as long as this part of the longest may be a scan of its own.
MIN_PART = 0.25
# And as a scan of the chest when it shows this part of the lung.
MIN_LUNGS = 0.5


def of_one_patient(stack: Stack) -> Stack:
    """The stack, refused when its slices carry several patients."""
    for place, what in enumerate(("ids", "names")):
        found = {f.patient[place] for f in stack.frames} - {""}
        if len(found) < 2:
            continue
        carry = f"the slices of a series carry {len(found)} patient {what}. {_SORT}"
        if len(found) == len({f.file for f in stack.frames}):
            carry = (
                f"each of {len(found)} slices carries another of the patient {what}, as a program "
                "writes that anonymises file by file. Anonymise the series again, with one."
            )
        return _refused(stack, carry)
    for place in _OF_PATIENT:
        counts = Counter(f.visit[place] for f in stack.frames if f.visit)
        many = [value for value, count in counts.items() if value and count >= MIN_ALIKE]
        if len(many) > 1:
            carry = f"the slices of a series carry {len(many)} {VISIT_WORDS[place]}. {_SORT}"
            return _refused(stack, carry)
    return stack


def _refused(stack: Stack, carry: str) -> Stack:
    return replace(stack, fault=StudyError("MIXED_PATIENT", f"expected one patient, {carry}"))


def check_patients(stacks: Sequence[Stack]) -> None:
    """Refuse series of several patients; a name may be spelt otherwise in a derived series.

    A series that differs in one mark from another, and comes of the same acquisition by its pixels,
    is of the same patient.

    Raises:
        StudyError: ``MIXED_PATIENT``.
    """
    for stack in stacks:
        if stack.fault and stack.fault.code == "MIXED_PATIENT":
            raise stack.fault
    stacks = _without_rebuilt(stacks)
    frames = [f for stack in stacks for f in stack.frames]
    ids = {f.patient[0] for f in frames} - {""}
    names = {f.patient[1] for f in frames} - {""}
    if len(ids) > 1 or (not ids and len(names) > 1):
        _refuse(max(len(ids), len(names)), f"patient {'ids' if ids else 'names'}")
    large = [stack for stack in stacks if len(stack.frames) >= MIN_SLICES]
    marks = [_marks(stack) for stack in large]
    for place, what in enumerate(VISIT_WORDS):
        found = {own[place] for own in marks if own} - {""}
        if len(found) > 1:
            _refuse(len(found), what)
    minutes = [m for stack in large if (m := _minute(stack)) is not None]
    if minutes and max(minutes) - min(minutes) >= MIN_MINUTES_APART:
        _refuse(len(set(minutes)), "times of the study")


def _without_rebuilt(stacks: Sequence[Stack]) -> list[Stack]:
    """The stacks, but for those of the acquisition of another that differ from it in one mark."""
    kept: list[Stack] = []
    for stack in sorted(stacks, key=lambda s: (not s.is_original, -len(s.frames), s.key)):
        if not any(_is_rebuilt(stack, other) for other in kept):
            kept.append(stack)
    return kept


def _is_rebuilt(stack: Stack, other: Stack) -> bool:
    one, two = stack.placement, other.placement
    if one is None or two is None or min(len(stack.frames), len(other.frames)) < MIN_SLICES:
        return False
    said = [(_marks(s), _minute(s)) for s in (stack, other)]
    if differing_facts(*said) != 1 or not is_parallel(stack.frames[0], other.frames[0]):
        return False
    normal = one.axes[:, 0]
    return are_one_acquisition(images_of(one, normal), images_of(two, normal))


def _refuse(count: int, what: str) -> None:
    raise StudyError(
        "MIXED_PATIENT",
        f"expected one patient, the series of this study carry {count} {what}. {_SORT} "
        "Or choose a series by its key.",
    )


def _marks(stack: Stack) -> tuple[str, ...]:
    return common_marks([f.visit for f in stack.frames if f.visit])


def _minute(stack: Stack) -> int | None:
    return common_minute([f.minute for f in stack.frames])


def check_alternatives(best: Stack, stacks: Sequence[Stack]) -> None:
    """Refuse to choose where another scan may be another patient's, or of another part of the body.

    Args:
        best: The stack that the rule chose.
        stacks: All from which it was chosen.

    Raises:
        StudyError: ``AMBIGUOUS_SERIES``.
    """
    longest = max(stack.extent_mm for stack in stacks)
    found: dict[str, list[Stack]] = {}
    for other in stacks:
        is_scan = len(other.frames) >= MIN_SLICES and other.direction == "axial"
        if other is best or not is_scan or other.extent_mm < MIN_PART * longest:
            continue
        if other.fault and other.fault.code == "NO_RESCALE":
            continue  # pictures without HU are no scan that could have been meant
        if other.lung_ml is not None and other.lung_ml < MIN_LUNGS * (best.lung_ml or 0.0):
            continue  # a head or an abdomen beside the chest is no other choice
        if other.is_original or not best.is_original:
            found.setdefault(_why_apart(best, other), []).append(other)
    for why in ("heights", "formats", "frames", "bodies"):
        if others := found.get(why):
            keys = ", ".join(sorted(stack.key for stack in (best, *others)))
            raise StudyError(
                "AMBIGUOUS_SERIES",
                f"expected scans of one part of one patient, {len(others) + 1} {_WHY[why]}: "
                f"{keys}. Choose one with --series KEY (in Python series=KEY), or answer all with "
                "--every-series; files of several patients need study UIDs of their own.",
            )


_WHY = {
    "heights": (
        "scans lie at heights that have nothing in common, as several patients or several parts of "
        "the body do"
    ),
    "formats": (
        "scans under one series UID differ in matrix, spacing or frame of reference and in where "
        "they begin and end, as several patients do"
    ),
    "bodies": (
        "scans begin and end together, show different bodies, and no sex, date of birth, age or "
        "date of the study says that they are of one patient"
    ),
    "frames": (
        "scans lie in frames of reference of their own, and no sex, date of birth, age or date of "
        "the study says that they are of one patient"
    ),
}


def _why_apart(best: Stack, other: Stack) -> str:
    """Why two stacks may be of two patients or two parts of the body; empty when nothing says so.

    Two that begin and end together are reconstructions of one scan, if they show one body; prone
    and supine are one patient's, wherever the table stood.
    """
    one, two = best.placement, other.placement
    if one is None or two is None:
        return ""
    first, second = best.frames[0], other.frames[0]
    two_frames = len({first.frame_of_reference, second.frame_of_reference} - {""}) > 1
    if two_frames and not is_parallel(first, second):
        return ""
    low, high = _ends(one, one)
    its_low, its_high = _ends(one, two)
    if its_low > high or its_high < low:
        return "heights"
    is_said = marks_in_common(_marks(best), _marks(other)) >= SOME_MARKS
    if max(abs(low - its_low), abs(high - its_high)) <= max(one.step_mm, two.step_mm):
        is_doubtful = not is_said and (two_frames or _folder(best) != _folder(other))
        return "bodies" if is_doubtful and not show_one_body(one, two) else ""
    if best.series == other.series and not is_alike(first, second):
        return "formats"
    return "frames" if two_frames and not is_said else ""


def _folder(stack: Stack) -> str:
    return str(stack.frames[0].file.parent)


def _ends(axes: Placement, placement: Placement) -> tuple[float, float]:
    """Where a stack begins and ends along the normal of another."""
    ends = [float(np.array(placement.frames[k].position) @ axes.axes[:, 0]) for k in (0, -1)]
    return min(ends), max(ends)
