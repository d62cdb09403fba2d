"""To which study, series and patient a DICOM file belongs; reads its first kilobytes."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO, cast

from pydicom.dataset import Dataset

from covidctnet.io.archive import File
from covidctnet.io.dicom.elements import (
    HEAD_BYTES,
    PARSE_ERRORS,
    DamagedFileError,
    NotDicomError,
    parse,
)
from covidctnet.io.dicom.frame import Identity, Place
from covidctnet.io.dicom.objects import (
    CT_IMAGE,
    DICOMDIR,
    ENHANCED_CT,
    FUNCTIONAL_GROUPS,
    MAX_FRAMES,
    check_end,
    group_item,
    sop_class_of,
)
from covidctnet.io.dicom.pictures import LOCALIZER_TYPES
from covidctnet.io.dicom.quick import quick_elements
from covidctnet.io.dicom.values import (
    items,
    number_or_none,
    numbers_or_none,
    raw,
    tag_of,
    text,
    texts,
    uid,
)
from covidctnet.io.dicom.visit_marks import VISIT_KEYWORDS, study_minute, visit_marks

__all__ = ["identify", "owner_elements", "owners"]

_IDENTITY_TAGS = [
    tag_of(keyword)
    for keyword in (
        *VISIT_KEYWORDS,
        "StudyTime",
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "Modality",
        "ImageType",
        "SeriesNumber",
        "InstanceNumber",
        "ImagePositionPatient",
        "ImageOrientationPatient",
    )
]
_IDENTITY_TAG_SET = frozenset(int(tag) for tag in _IDENTITY_TAGS)


def identify(path: File) -> Identity:
    """Study and series of a file; reads its first kilobytes.

    Raises:
        NotDicomError: If it holds something else, or a directory of a medium.
        DamagedFileError: If it is DICOM and cannot be parsed, or ends before it says
            where it belongs.
    """
    with path.open("rb") as file:
        # Nearly all headers are ordinary ones.
        quick = quick_elements(file.read(HEAD_BYTES), _IDENTITY_TAG_SET)
        if quick is not None:
            data = cast(Dataset, quick)
        else:
            file.seek(0)
            # A file cut short behind its UIDs still belongs to its study, which is then refused.
            data, _ = parse(file, _IDENTITY_TAGS, find_pixels=False)
        try:
            found = _identity(data)
        except PARSE_ERRORS as e:
            raise DamagedFileError(f"unreadable header ({type(e).__name__})") from None
        if found.sop_class in ENHANCED_CT and not LOCALIZER_TYPES & set(texts(data, "ImageType")):
            return _of_enhanced(found, _places(file))
    return found


def _of_enhanced(found: Identity, places: tuple[Place, ...]) -> Identity:
    """An enhanced CT with its frames; one that holds a single frame is a slice."""
    if len(places) == 1:
        ((position, orientation),) = places
        return replace(found, is_slice=True, position=position, orientation=orientation)
    return replace(found, places=places)


def _places(
    file: BinaryIO,
) -> tuple[Place, ...]:
    """Position and orientation of the frames of an enhanced CT; nothing when it is damaged."""
    file.seek(0)
    try:
        data, _ = parse(file, [tag_of(name) for name in FUNCTIONAL_GROUPS], find_pixels=False)
        shared = items(data, "SharedFunctionalGroupsSequence")[:1]
        each = items(data, "PerFrameFunctionalGroupsSequence")[:MAX_FRAMES]
        places = []
        for item in each:
            position = group_item("PlanePositionSequence", item, *shared)
            orientation = group_item("PlaneOrientationSequence", item, *shared)
            places.append(
                (
                    numbers_or_none(position, "ImagePositionPatient", 3),
                    numbers_or_none(orientation, "ImageOrientationPatient", 6),
                )
            )
        return tuple(places)
    except (DamagedFileError, NotDicomError, *PARSE_ERRORS):
        # Reading refuses the file; here it only says no place.
        return ()


def owners(path: File) -> tuple[tuple[str, str], ...]:
    """Whom a file is of: what a person who owns it knows it by, and nobody else may be shown.

    Raises:
        NotDicomError: If it holds something else.
        DamagedFileError: If it cannot be parsed.
    """
    keywords = {
        "patient": "PatientID",
        "name": "PatientName",
        "accession": "AccessionNumber",
        "date": "StudyDate",
    }
    with path.open("rb") as file:
        data, _ = parse(file, [tag_of(keyword) for keyword in keywords.values()], find_pixels=False)
    found = ((what, text(data, keyword)) for what, keyword in keywords.items())
    # A header could hold what moves a terminal's cursor.
    return tuple((what, "".join(c for c in value if c.isprintable())) for what, value in found)


_OWNER_KEYWORDS = {
    "patient_id": "PatientID",
    "name": "PatientName",
    "birth": "PatientBirthDate",
    "accession": "AccessionNumber",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
}


def owner_elements(path: File) -> dict[str, str]:
    """Whom a file is of and the UIDs that it belongs to; see `covidctnet.io.owner.Owner`.

    Returns:
        ``patient_id``, ``name``, ``birth``, ``accession``, ``study_uid`` and ``series_uid``; empty
        where the file does not say.

    Raises:
        NotDicomError: If it holds something else.
        DamagedFileError: If it cannot be parsed.
    """
    with path.open("rb") as file:
        data, _ = parse(
            file, [tag_of(keyword) for keyword in _OWNER_KEYWORDS.values()], find_pixels=False
        )
    try:
        found = {name: _words(data, keyword) for name, keyword in _OWNER_KEYWORDS.items()}
    except PARSE_ERRORS as error:
        raise DamagedFileError(f"unreadable header ({type(error).__name__})") from None
    # A header could hold what moves a terminal's cursor.
    return {name: "".join(c for c in value if c.isprintable()) for name, value in found.items()}


def _words(data: Dataset, keyword: str) -> str:
    """A value as text of any language, so that two different ones stay different."""
    value = raw(data, keyword)
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def _identity(data: Dataset) -> Identity:
    sop_class = sop_class_of(data)
    if sop_class == DICOMDIR:
        raise NotDicomError("a directory of a medium")
    study = uid(data, "StudyInstanceUID")
    check_end(data, study)
    return Identity(
        study_uid=study,
        series_uid=uid(data, "SeriesInstanceUID"),
        sop_class=sop_class,
        sop_uid=uid(data, "SOPInstanceUID"),
        frame_of_reference=uid(data, "FrameOfReferenceUID"),
        series_number=text(data, "SeriesNumber"),
        number=number_or_none(data, "InstanceNumber"),
        position=numbers_or_none(data, "ImagePositionPatient", 3),
        orientation=numbers_or_none(data, "ImageOrientationPatient", 6),
        visit=visit_marks(data),
        minute=study_minute(data),
        is_slice=sop_class == CT_IMAGE and not LOCALIZER_TYPES & set(texts(data, "ImageType")),
    )
