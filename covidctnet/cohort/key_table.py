"""Which study and patient an id is: a table for those who own the scans, and nobody else."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from covidctnet.cohort.archive import CohortStudy
from covidctnet.cohort.pseudonyms import PRIVATE, Pseudonyms, private_folder
from covidctnet.files import table_text, write_whole
from covidctnet.io.discover import Study
from covidctnet.io.owner import Owner, owner_of

__all__ = [
    "TABLE_FILE",
    "KeyRow",
    "add_key_rows",
    "add_to_key_table",
    "key_row",
    "read_key_table",
]

TABLE_FILE = "do-not-share-key-table.csv"


class KeyRow(NamedTuple):
    """Whose id is whose.

    Attributes:
        study: Id of the study.
        patient: Id of the patient; empty where studies have none.
        path: Where the study lies.
        archive_patient: What the archive calls the patient.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID of a file of the study.
        patient_id: PatientID.
        accession: AccessionNumber.
        given_id: The id that ``covidctnet inspect`` shows, or that a file of answers gives.
    """

    study: str
    patient: str
    path: str
    archive_patient: str
    study_uid: str
    series_uid: str
    patient_id: str
    accession: str
    given_id: str


def key_row(
    found: Study, study: str, *, patient: str = "", name: str = "", owner: Owner | None = None
) -> KeyRow:
    """The row of a study.

    Args:
        found: As it was found.
        study: Its id.
        patient: Id of its patient.
        name: What the archive calls the patient.
        owner: Whom it is of; read from its files when not given.
    """
    owner = owner or owner_of(found)
    return KeyRow(
        study,
        patient,
        str(found.path),
        name,
        owner.study_uid,
        owner.series_uid,
        owner.patient_id,
        owner.accession,
        found.id,
    )


def add_key_rows(
    folder: Path,
    ids: Pseudonyms,
    found: Sequence[CohortStudy],
    cohort: Sequence[CohortStudy],
    owners: Mapping[str, Owner],
) -> None:
    """Write the rows of a cohort; nothing where ids are of before keys.

    Args:
        folder: Of the work or the evaluation.
        ids: How its ids are made.
        found: The cohort as it was read.
        cohort: The same under its ids.
        owners: By study id.

    Raises:
        StorageError: If the table cannot be written.
    """
    if not ids.secret:
        return
    add_to_key_table(
        folder,
        [
            key_row(
                entry.study,
                named.study.id,
                patient=named.patient,
                name=entry.patient,
                owner=owners[named.study.id],
            )
            for entry, named in zip(found, cohort, strict=True)
        ],
    )


def read_key_table(folder: Path) -> dict[str, KeyRow]:
    """The rows of a folder by study id; none where there is no such table.

    Args:
        folder: Of the work, the results or the evaluation.
    """
    rows: dict[str, KeyRow] = {}
    # A table that a spreadsheet changed is made again from the scans.
    with suppress(OSError, csv.Error, UnicodeDecodeError):
        text = (folder / PRIVATE / TABLE_FILE).read_text(encoding="utf-8")
        for row in csv.DictReader(text.splitlines()):
            cells = [row.get(name) or "" for name in KeyRow._fields]
            if cells[0]:
                rows[cells[0]] = KeyRow(*cells)
    return rows


def add_to_key_table(folder: Path, rows: Iterable[KeyRow]) -> None:
    """Write rows into the table of a folder; those of other studies stay.

    Raises:
        StorageError: If it cannot be written.
    """
    held = read_key_table(folder)
    new = {row.study: row for row in rows}
    if all(held.get(study) == row for study, row in new.items()):
        return
    held |= new
    file = private_folder(folder) / TABLE_FILE
    write_whole(file, table_text([KeyRow._fields, *(held[study] for study in sorted(held))]))
    with suppress(OSError):
        file.chmod(0o600)
