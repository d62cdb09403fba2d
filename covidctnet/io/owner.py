"""Whom a study is of, as its headers say: for comparing and for its owner's eyes, never for logs.

What is here names people. It may be compared in memory, shown on a terminal, or written into the
one file that is marked as not to be shared; no message, report or log may hold it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

from covidctnet.io.archive import BadArchiveError
from covidctnet.io.dicom import DamagedFileError, NotDicomError, owner_elements
from covidctnet.io.discover import Study

__all__ = ["Owner", "owner_of"]

# Files of a study that are looked at: the first, the last, and one between.
_LOOKS = 3


@dataclass(frozen=True)
class Owner:
    """Whom a study is of. Values are empty where no header says them.

    Attributes:
        patient_id: PatientID.
        name: PatientName.
        birth: PatientBirthDate.
        accession: AccessionNumber.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID of the file that was looked at.
        other_ids: Further PatientIDs in other files of the study.
    """

    patient_id: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    birth: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    series_uid: str = field(default="", repr=False)
    other_ids: tuple[str, ...] = field(default=(), repr=False)


def owner_of(study: Study) -> Owner:
    """Whom a study is of, by at most three of its files; reads their first kilobytes.

    Args:
        study: From `find_studies`; anything but DICOM says nothing.
    """
    count = len(study.files)
    if study.format != "dicom" or not count:
        return Owner()
    places = sorted({round(k * (count - 1) / (_LOOKS - 1)) for k in range(_LOOKS)})
    owners: list[Owner] = []
    for place in places:
        # What is damaged is told by who reads the study.
        with suppress(NotDicomError, DamagedFileError, BadArchiveError, OSError):
            found = owner_elements(study.files[place])
            owners.append(
                Owner(
                    found["patient_id"],
                    found["name"],
                    found["birth"],
                    found["accession"],
                    found["study_uid"],
                    found["series_uid"],
                )
            )
    if not owners:
        return Owner()
    # A file of another program may name nobody.
    first = next((owner for owner in owners if owner.patient_id), owners[0])
    others = {owner.patient_id for owner in owners} - {"", first.patient_id}
    return replace(first, other_ids=tuple(sorted(others)))
