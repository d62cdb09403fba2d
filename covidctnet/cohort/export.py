"""An export of a PACS as it lies: which studies there are, and of whom, by their headers alone."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from covidctnet.cohort.layouts import patient_name
from covidctnet.cohort.mistakes import Mistake
from covidctnet.errors import UsageError
from covidctnet.io.archive import DamagedFileError, File, Member
from covidctnet.io.dicom import CT_IMAGE, ENHANCED_CT, NotDicomError, identify
from covidctnet.io.dicom.frame import Identity
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.study_header import StudyHeader, read_study_header
from covidctnet.io.discover import Study, find_studies

__all__ = ["ExportedStudy", "read_export"]

# What programs write in place of a patient's id, without blanks and marks.
_NO_IDS = frozenset(
    [
        "anon",
        "anonym",
        "anonymous",
        "anonymized",
        "anonymised",
        "deidentified",
        "removed",
        "unknown",
        "none",
        "null",
        "na",
        "patient",
        "test",
        "x",
        "xx",
        "xxx",
    ]
)
_CONSTANT = 10
_Header = tuple[StudyHeader, str, str]


@dataclass(frozen=True)
class ExportedStudy:
    """One study of an export. It names a patient, and stays on the machine of its owner.

    Attributes:
        study: Its files.
        path: Its folder or file on the disk.
        where: The same as it is told to its owner; its first file where several studies lie in one
            folder.
        patient: PatientID; where it says nothing, a name made of the study's id.
        accession: AccessionNumber, or empty.
        uid: StudyInstanceUID, or empty.
        visit: Which of the patient's studies in time, from 1; None where no date is known.
        site: InstitutionName, or empty.
        scanner: Maker and model, or empty.
        kernel: Reconstruction kernel as the header spells it, or empty.
        age: In years; NaN where it is not known.
        sex: ``F`` or ``M``, or empty.
    """

    study: Study
    path: Path
    where: str
    patient: str = field(repr=False)
    accession: str = field(default="", repr=False)
    uid: str = ""
    visit: int | None = None
    site: str = ""
    scanner: str = ""
    kernel: str = ""
    age: float = math.nan
    sex: str = ""


def read_export(
    folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> tuple[list[ExportedStudy], list[Mistake]]:
    """Find the studies of an export, flat or nested, and read their headers; no pixel is decoded.

    Args:
        folder: What was exported.
        progress: Called with (done, total) after every study.

    Returns:
        The studies that hold a CT or may hold one, in the order of their paths; and
        what is wrong or doubtful about them.

    Raises:
        UsageError: If the folder does not exist, or holds no study.
    """
    found = find_studies(folder)
    root = folder.resolve()
    studies: list[ExportedStudy] = []
    headers: dict[str, StudyHeader] = {}
    doubts: list[Mistake] = []
    places = [_place(study.files) for study in found]
    shared = Counter(places)
    for done, (study, path) in enumerate(zip(found, places, strict=True), start=1):
        where = _shown(path, root) if shared[path] == 1 else _by_files(study, root)
        if study.format == "dicom":
            header, doubt = _header(study, where)
            doubts += doubt
            if header is not None:
                studies.append(_of_header(study, path, where, header))
                headers[study.id] = header[0]
        elif study.format in ("nifti", "itk"):
            studies.append(ExportedStudy(study, path, where, patient_name(path)))
        else:
            text = "expected a scan, got a file or an archive that is not opened; it is left out"
            doubts.append(Mistake(0, where, text, "doubt"))
        if progress:
            progress(done, len(found))
    if not studies:
        raise UsageError(
            f"expected CT studies in the export {folder.name!r}, got none. Check the path."
        )
    return _in_order(studies, headers), doubts + _persons(studies, headers)


def _shown(path: Path, root: Path) -> str:
    """A path for the terminal of the export's owner, as short as it can be."""
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return "".join(c if c.isprintable() else "?" for c in inside.as_posix())


def _by_files(study: Study, root: Path) -> str:
    """A study that lies among others, by its first file."""
    more = f" and {len(study.files) - 1} more files" if len(study.files) > 1 else ""
    return f"{_shown(Path(str(study.files[0])), root)}{more}"


def _place(files: Sequence[File]) -> Path:
    """Where files lie on the disk: one file itself, several by their folder, an archive by it."""
    places = [f.archive if isinstance(f, Member) else Path(str(f)) for f in files]
    if len(set(places)) == 1:
        return places[0]
    folders = {
        str(p if isinstance(f, Member) else p.parent) for f, p in zip(files, places, strict=True)
    }
    return Path(os.path.commonpath(folders))


def _header(study: Study, where: str) -> tuple[_Header | None, list[Mistake]]:
    """What a study's headers say: those of the series with the most images."""
    images: dict[tuple[bool, str], list[File]] = {}
    patients: Counter[str] = Counter()
    for path in study.files:
        with suppress(NotDicomError, DamagedFileError, OSError):
            identity = identify(path)
            images.setdefault((_is_ct(identity), identity.series_uid), []).append(path)
            patients.update(identity.visit[:1])
    del patients[""]
    if not images:
        text = "expected DICOM files that can be read, got damaged ones; it is left out"
        return None, [Mistake(0, where, text, "doubt")]
    if not any(is_ct for is_ct, _ in images):
        text = "expected CT images, got others (reports, radiographs, plans); it is left out"
        return None, [Mistake(0, where, text, "doubt")]
    doubts = []
    if len(patients) > 1:
        text = (
            f"expected one PatientID in a study, got {len(patients)}. Sort the files by patient: "
            "preprocess will refuse it"
        )
        doubts.append(Mistake(0, where, text, "doubt"))
    _, series = max(images.items(), key=lambda entry: (entry[0][0], len(entry[1])))
    middle = series[len(series) // 2]
    scanner = kernel = ""
    with suppress(NotDicomError, DamagedFileError, OSError):
        frame = read_frames(middle)[0]
        scanner, kernel = frame.scanner, frame.kernel.split("\\")[0].strip()
    try:
        return (read_study_header(middle), scanner, kernel), doubts
    except (NotDicomError, DamagedFileError, OSError):
        text = "expected a header that can be read, got a damaged one; it is left out"
        return None, [Mistake(0, where, text, "doubt")]


def _is_ct(identity: Identity) -> bool:
    return identity.is_slice or identity.sop_class == CT_IMAGE or identity.sop_class in ENHANCED_CT


def _of_header(study: Study, path: Path, where: str, header: _Header) -> ExportedStudy:
    own, scanner, kernel = header
    named = own.patient if _names_somebody(own.patient) else f"study-{study.id}"
    return ExportedStudy(
        study,
        path,
        where,
        named,
        own.accession,
        own.study_uid,
        site=own.institution,
        scanner="".join(c for c in scanner if c.isprintable()),
        kernel="".join(c for c in kernel if c.isprintable()),
        age=own.age,
        sex=own.sex,
    )


def _names_somebody(patient: str) -> bool:
    plain = re.sub(r"[\W_]", "", patient).casefold()
    return bool(plain.strip("0")) and plain not in _NO_IDS


def _in_order(
    studies: Sequence[ExportedStudy], headers: Mapping[str, StudyHeader]
) -> list[ExportedStudy]:
    """The studies with their place in time among those of their patient; no date is kept."""
    moments: dict[str, set[str]] = {}
    for one in studies:
        if one.study.id in headers and headers[one.study.id].moment:
            moments.setdefault(one.patient, set()).add(headers[one.study.id].moment)
    order = {p: {m: n for n, m in enumerate(sorted(own), start=1)} for p, own in moments.items()}
    return [
        replace(one, visit=order.get(one.patient, {}).get(headers[one.study.id].moment))
        if one.study.id in headers
        else one
        for one in studies
    ]


def _persons(studies: Sequence[ExportedStudy], headers: Mapping[str, StudyHeader]) -> list[Mistake]:
    """Where PatientIDs may not tell persons apart."""
    doubts: list[Mistake] = []
    nameless = [one for one in studies if one.patient == f"study-{one.study.id}"]
    if nameless:
        text = (
            f"{len(nameless)} studies name no patient: each counts as a patient of its own. Where "
            "one person has several of them, give them one name in the column patient"
        )
        doubts.append(Mistake(0, "export", text, "doubt"))
    without_name = {one.study.id for one in nameless}
    by_patient: dict[str, list[ExportedStudy]] = {}
    by_person: dict[tuple[str, str], dict[str, ExportedStudy]] = {}
    for one in studies:
        if one.study.id not in headers or one.study.id in without_name:
            continue
        by_patient.setdefault(one.patient, []).append(one)
        person = headers[one.study.id].person
        if all(person):
            by_person.setdefault(person, {}).setdefault(one.patient, one)
    for own in by_patient.values():
        said = [(headers[one.study.id].sex, *headers[one.study.id].person) for one in own]
        several = [
            what
            for what, values in zip(
                ("sexes", "names", "dates of birth"), zip(*said, strict=True), strict=True
            )
            if len(set(values) - {""}) > 1
        ]
        if several:
            text = (
                f"{len(own)} studies have one PatientID and several {' and '.join(several)} (the "
                "path is that of the first). They count as one patient; if they are several, give "
                "them names of their own in the column patient"
            )
            doubts.append(Mistake(0, own[0].where, text, "doubt"))
    # A name that so many share is a constant that an anonymiser wrote.
    constant = max(_CONSTANT, len(by_patient) / _CONSTANT)
    for alike in by_person.values():
        if 1 < len(alike) < constant:
            places = " and ".join(one.where for one in _few(alike.values()))
            text = (
                f"{len(alike)} PatientIDs have one name and date of birth. If they are one person, "
                "give them one name in the column patient: else they may be in two splits"
            )
            doubts.append(Mistake(0, places, text, "doubt"))
    return doubts


def _few(studies: Iterable[ExportedStudy]) -> list[ExportedStudy]:
    return list(studies)[:3]
