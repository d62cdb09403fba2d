"""What results in DICOM copy from the headers of a study: whose it is, and which images it has.

Nothing of it may reach a log or a report. It is read only when such results are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO, cast

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.dicom.elements import PARSE_ERRORS, DamagedFileError, NotDicomError, parse, quiet
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.objects import ENHANCED_CT
from covidctnet.io.dicom.values import binary, raw, tag_of

__all__ = ["COPIED", "read_result_headers"]

# Of the modules Patient, General Study and Patient Study, and what tells that somebody has taken
# names away.
COPIED = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "StudyDescription",
    "ReferringPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "AdmittingDiagnosesDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "Occupation",
    "AdditionalPatientHistory",
)
_OTHERS = (
    "SpecificCharacterSet",
    "Modality",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "SeriesDate",
    "SeriesTime",
    "ContentDate",
    "ContentTime",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_TAGS = [tag_of(keyword) for keyword in (*COPIED, *_OTHERS, "Rows", "Columns")]
# No value of these modules is longer; what is longer is cut where it is written.
_MAX_BYTES = 10240
_SEPARATORS = {0x0A, 0x0C, 0x0D, 0x5C, 0x5E, 0x3D}


def read_result_headers(files: Sequence[File], images: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The headers that results copy and refer to, as values fit for JSON.

    Args:
        files: Of the study, in its order.
        images: See `covidctnet.volume.Origin`.

    Returns:
        ``study``: text by keyword of the first image. ``images``: for each, in this order, a
        mapping with ``sop_class``, ``sop_uid``, ``series_uid``, ``study_uid``, ``frame`` (from 1;
        0 for an image of one frame), ``position``, ``orientation``, ``spacing`` and ``thickness``.
        ``rows``, ``columns`` and ``bytes``: of the first one. Texts are as they were found:
        nothing is checked.

    Raises:
        StudyError: ``UNREADABLE``, ``CORRUPT_SLICE`` where a file cannot be read any more.
    """
    opened: dict[int, tuple[Frame, ...]] = {}
    try:
        first = _study(files[images[0][0]])
        for number, _ in images:
            if number not in opened:
                opened[number] = read_frames(files[number])
        listed = [_image(opened[number], index) for number, index in images]
    except (DamagedFileError, NotDicomError, LookupError):
        raise StudyError(
            "CORRUPT_SLICE",
            "expected the headers of the scan again, a file holds others or none. Read the study "
            "again when nothing writes into it.",
        ) from None
    except OSError as error:
        raise StudyError(
            "UNREADABLE",
            f"expected files that can be read: {error.strerror}. Check their rights and the disk.",
        ) from None
    return {**first, "images": listed}


def _study(file: File) -> dict[str, Any]:
    with file.open("rb") as opened:
        data, _ = parse(cast(BinaryIO, opened), _TAGS, find_pixels=False)
    try:
        texts = {keyword: _decoded(data, keyword) for keyword in (*COPIED, *_OTHERS)}
    except PARSE_ERRORS as error:
        raise DamagedFileError(f"unreadable header ({type(error).__name__})") from None
    return {
        "study": {keyword: value for keyword, value in texts.items() if value},
        "rows": binary(data, "Rows"),
        "columns": binary(data, "Columns"),
        "bytes": file.stat().st_size,
    }


def _decoded(data: Dataset, keyword: str) -> str:
    """A value as text, by the character set of its file."""
    value = raw(data, keyword)[:_MAX_BYTES]
    if dictionary_VR(tag_of(keyword)) not in ("PN", "LO", "SH", "LT", "ST", "UT", "UC"):
        return value.decode("ascii", errors="replace")
    with quiet():
        try:
            # The parser has converted this one element.
            named = data.get("SpecificCharacterSet") or ""
            sets = [named] if isinstance(named, str) else [str(part) for part in named]
            return str(decode_bytes(value, convert_encodings(sets), _SEPARATORS))
        except (LookupError, ValueError):
            return value.decode("latin-1")


def _image(frames: tuple[Frame, ...], index: int) -> dict[str, Any]:
    frame = frames[index]
    return {
        "sop_class": frame.sop_class,
        "sop_uid": frame.sop_uid,
        "series_uid": frame.series_uid,
        "study_uid": frame.study_uid,
        "frame_of_reference": frame.frame_of_reference,
        # Frames are counted in files that may hold several.
        "frame": frame.index + 1 if frame.sop_class in ENHANCED_CT else 0,
        "position": frame.position,
        "orientation": frame.orientation,
        "spacing": frame.spacing,
        "thickness": dict(frame.marks).get("SliceThickness", ""),
        "is_lossy": frame.is_lossy,
        "syntax": frame.pixels.syntax,
    }
