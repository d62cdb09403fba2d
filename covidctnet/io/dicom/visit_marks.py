"""What the header says alike in all files of one visit of a patient."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from pydicom.dataset import Dataset

from covidctnet.io.dicom.values import digest, text

__all__ = [
    "MANY_MARKS",
    "MIN_MINUTES_APART",
    "SOME_MARKS",
    "VISIT_KEYWORDS",
    "VISIT_WORDS",
    "common_marks",
    "common_minute",
    "differing_facts",
    "marks_in_common",
    "study_minute",
    "visit_marks",
]

# The first is the patient's id.
VISIT_KEYWORDS = ("PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate")
# How messages call several of them.
VISIT_WORDS = ("patient ids", "dates of birth", "sexes", "ages", "dates of the study")
# Visits of two patients, or two visits of one, begin no nearer to each other.
MIN_MINUTES_APART = 10
# So many of birth, sex, age and date are alike in two patients only rarely: where little speaks for
# two visits, and where both the folder and the frame of reference do.
SOME_MARKS, MANY_MARKS = 2, 3
# Marks that change together: who it is, when born, of which sex, and when seen.
_FACTS = ((0,), (1, 3), (2,), (4,))
_WHEN = len(_FACTS) - 1
# Dates that programs write where they have none.
_NO_DATES = ("00000000", "00010101", "19000101", "19700101")


def visit_marks(data: Dataset) -> tuple[str, ...]:
    """Digests of the values of `VISIT_KEYWORDS`; empty for one that says nothing."""
    birth, date = text(data, "PatientBirthDate"), text(data, "StudyDate")
    sex, age = text(data, "PatientSex").upper()[:1], text(data, "PatientAge").upper()
    return (
        digest(data, "PatientID"),
        _short("" if birth in _NO_DATES else birth),
        # O stands for other and for unknown.
        _short(sex if sex in ("M", "F") else ""),
        # 045Y and 45 are one age, in years.
        _short(_years(age)),
        _short("" if date in _NO_DATES else date),
    )


def _years(age: str) -> str:
    """An age in years, also of one in months; as it is written where it is neither."""
    if age.endswith("M") and age[:-1].isdigit() and int(age[:-1]) >= 24:
        return str(int(age[:-1]) // 12)
    return age.removesuffix("Y").lstrip("0")


def _short(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:16] if value else ""


def study_minute(data: Dataset) -> int | None:
    """Minutes from midnight to the study's time; None when it has none, or midnight itself."""
    clock = text(data, "StudyTime").replace(":", "")[:4]
    if len(clock) < 4 or not clock.isdigit():
        return None
    return 60 * int(clock[:2]) + int(clock[2:]) or None


def common_marks(marks: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The marks of a scan: each that more than half of its slices carry, empty when none is."""
    found = []
    for values in zip(*marks, strict=True):
        value, count = Counter(values).most_common(1)[0]
        found.append(value if 2 * count > len(values) else "")
    return tuple(found)


def common_minute(minutes: Sequence[int | None]) -> int | None:
    """The minute of a scan: that of more than half of its slices."""
    if not minutes:
        return None
    value, count = Counter(minutes).most_common(1)[0]
    return value if 2 * count > len(minutes) else None


def marks_in_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many marks two scans share, but for the patient's id, which may be one for all."""
    return sum(bool(a) and a == b for a, b in zip(one[1:], other[1:], strict=False))


def differing_facts(
    one: tuple[Sequence[str], int | None], other: tuple[Sequence[str], int | None]
) -> int:
    """How many facts two scans contradict each other in; an age and a date of birth are one.

    Args:
        one: Marks and minute of a scan.
        other: Of another.
    """
    (marks, minute), (its_marks, its_minute) = one, other
    pairs = list(zip(marks, its_marks, strict=False))
    differ = {
        number
        for number, fact in enumerate(_FACTS)
        for place in fact
        if place < len(pairs) and all(pairs[place]) and pairs[place][0] != pairs[place][1]
    }
    if minute is not None and its_minute is not None:
        differ |= {_WHEN} if abs(minute - its_minute) >= MIN_MINUTES_APART else set()
    return len(differ)
