"""What a header says of a study to the person who owns it: for a table that stays on their machine.

These values name people. No log, report or result may hold them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import date

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataset import Dataset

from covidctnet.io.archive import File
from covidctnet.io.dicom.elements import parse, quiet
from covidctnet.io.dicom.values import digest, raw, tag_of, text, uid

__all__ = ["StudyHeader", "read_study_header"]

_KEYWORDS = (
    "SpecificCharacterSet",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "InstitutionName",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
)
_TAGS = [tag_of(keyword) for keyword in _KEYWORDS]
_DATE = re.compile(r"(\d{4})[.:-]?(\d{2})[.:-]?(\d{2})")
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0, "": 1.0}
_OLDEST = 120
_LONGEST = 64
# What programs write where they have no date.
_NO_DATES = ("00010101", "19000101", "19700101")


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """Whom and what a study is of.

    Attributes:
        study_uid: StudyInstanceUID, or empty.
        patient: PatientID, or empty.
        accession: AccessionNumber, or empty.
        institution: InstitutionName, or empty.
        age: In years; NaN when it is not told.
        sex: ``F`` or ``M``, or empty.
        person: Digests of name and date of birth, each empty when it is not told.
        moment: Date and time of the study as digits, to sort by; empty without a date.
    """

    study_uid: str
    patient: str = field(repr=False)
    accession: str = field(repr=False)
    institution: str
    age: float
    sex: str
    person: tuple[str, str] = field(repr=False)
    moment: str = field(repr=False)


def read_study_header(path: File) -> StudyHeader:
    """Read what one file says of its study; reads its first kilobytes.

    Raises:
        NotDicomError: If it holds something else.
        DamagedFileError: If it cannot be parsed.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        data, _ = parse(file, _TAGS, find_pixels=False)
    day, born = _date(data, "StudyDate"), _date(data, "PatientBirthDate")
    clock = re.sub(r"\D", "", text(data, "StudyTime").partition(".")[0])
    sex = text(data, "PatientSex").upper()[:1]
    return StudyHeader(
        study_uid=uid(data, "StudyInstanceUID"),
        patient=_words(data, "PatientID"),
        accession=_words(data, "AccessionNumber"),
        institution=_words(data, "InstitutionName"),
        age=_age(data, born, day),
        sex=sex if sex in ("F", "M") else "",
        person=(digest(data, "PatientName"), digest(data, "PatientBirthDate") if born else ""),
        moment=f"{day:%Y%m%d}{clock:0<6.6}" if day else "",
    )


def _date(data: Dataset, keyword: str) -> date | None:
    match = _DATE.fullmatch(text(data, keyword))
    if match is None or "".join(match.groups()) in _NO_DATES:
        return None
    try:
        return date(*map(int, match.groups()))
    except ValueError:
        return None


def _age(data: Dataset, born: date | None, day: date | None) -> float:
    """As the header says it, or from the dates of birth and study."""
    years = math.nan
    if match := _AGE.fullmatch(text(data, "PatientAge").upper()):
        years = int(match[1]) / _PER_YEAR[match[2]]
    if not years > 0 and born and day:
        had_birthday = (day.month, day.day) >= (born.month, born.day)
        years = float(day.year - born.year - (not had_birthday))
    return years if 0 < years <= _OLDEST else math.nan


def _words(data: Dataset, keyword: str) -> str:
    """Text in the character set of the file, without what moves a cursor."""
    value = raw(data, keyword)
    try:
        with quiet():
            sets = text(data, "SpecificCharacterSet").split("\\")
            words = decode_bytes(value, convert_encodings(sets), {0x0A, 0x0C, 0x0D})
    except (LookupError, ValueError, AttributeError):
        words = value.decode("latin-1")
    shown = "".join(c if c.isprintable() else " " for c in words)
    return " ".join(shown.split())[:_LONGEST]
