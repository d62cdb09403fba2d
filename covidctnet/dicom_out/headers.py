"""Headers of a source as results may copy them: every value is checked, whatever the file says."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataset import Dataset

from covidctnet.dicom_out.uids import is_uid, uid_of
from covidctnet.errors import StudyError
from covidctnet.io.dicom.result_headers import COPIED
from covidctnet.volume import Origin

__all__ = ["Headers", "SourceImage", "checked_headers"]

# PS3.5, table 6.2-1.
_LENGTHS = {"LO": 64, "SH": 16, "LT": 10240, "CS": 16, "PN": 64}
_NAMED = {"PatientSex": ("M", "F", "O"), "PatientIdentityRemoved": ("YES", "NO")}
# Required, though their value may be missing.
_ALWAYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_NO_DATE, _NO_TIME = "19000101", "000000"
_LOSSY_METHODS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}


@dataclass(frozen=True)
class SourceImage:
    """One image of a source.

    Attributes:
        sop_class: UID.
        sop_uid: UID.
        series_uid: UID.
        frame: Of it, from 1; 0 where it has one.
        position: Of the first pixel, LPS mm; empty for a radiograph.
        orientation: Direction cosines; empty for a radiograph.
        spacing: Of rows and of columns, mm; empty for a radiograph.
        thickness_mm: Of the slice; 0 where it is not known.
    """

    sop_class: str
    sop_uid: str
    series_uid: str
    frame: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness_mm: float


@dataclass(frozen=True, eq=False)
class Headers:
    """What results copy from a source, and refer to.

    Attributes:
        study: Elements of the patient and of the study.
        images: In the order of the reader.
        rows: Of each.
        columns: Of each.
        modality: Of the source.
        frame_of_reference: UID.
        position_reference: See PositionReferenceIndicator.
        content_moment: Date and time that results carry; see `_moment`.
        lossy: Ratio and method, where the images were compressed with loss.
        notes: What was left out or replaced, without the values.
    """

    study: Dataset
    images: tuple[SourceImage, ...]
    rows: int
    columns: int
    modality: str
    frame_of_reference: str
    position_reference: str
    content_moment: tuple[str, str]
    lossy: tuple[str, str] | None
    notes: tuple[str, ...]

    @property
    def key(self) -> str:
        """Text that names these images and no others."""
        return "\n".join(f"{image.sop_uid} {image.frame}" for image in self.images)


def checked_headers(found: Mapping[str, Any], origin: Origin) -> Headers:
    """The headers that a child process read, checked.

    Values that the standard does not allow are left out. UIDs and the patient's id are what a PACS
    files by: the study has no DICOM results where they break the standard.

    Args:
        found: From `covidctnet.io.dicom.result_headers.read_result_headers`.
        origin: Of the volume.

    Raises:
        StudyError: ``BAD_IDENTITY``.
    """
    texts = {str(keyword): str(value) for keyword, value in found["study"].items()}
    images = tuple(_image(one) for one in found["images"])
    _check_uids(texts, images, {str(one["study_uid"]) for one in found["images"]})
    if len(texts.get("PatientID", "")) > _LENGTHS["LO"]:
        raise _bad(f"a PatientID of at most {_LENGTHS['LO']} characters, got a longer one")
    notes: list[str] = []
    study = Dataset()
    for keyword in COPIED:
        value = _cleaned(keyword, texts[keyword]) if keyword in texts else ""
        if value:
            setattr(study, keyword, value)
        else:
            if keyword in texts:
                notes.append(f"{keyword} left out, as the standard does not allow its value")
            if keyword in _ALWAYS:
                setattr(study, keyword, "")
    if study.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethod" not in study:
        study.DeidentificationMethod = "see the source images"
    frames = {str(one["frame_of_reference"]) for one in found["images"]}
    frame = frames.pop() if len(frames) == 1 else ""
    if not is_uid(frame):
        frame = uid_of("frame of reference", images[0].series_uid)
        if images[0].position:
            notes.append("the source names no valid frame of reference: results name one of theirs")
    return Headers(
        study,
        images,
        origin_rows(found, origin),
        int(found["columns"]),
        _cleaned("Modality", texts.get("Modality", "")) or "OT",
        frame,
        _cleaned("PositionReferenceIndicator", texts.get("PositionReferenceIndicator", "")),
        _moment(texts),
        _lossy(found, texts),
        tuple(notes),
    )


def origin_rows(found: Mapping[str, Any], origin: Origin) -> int:
    """Rows of the images, which must hold as many pixels as the volume's slices.

    Raises:
        StudyError: ``CHANGED`` if they do not: the files are others than those that were read.
    """
    rows, columns, count = int(found["rows"]), int(found["columns"]), len(found["images"])
    slices, high, wide = origin.shape
    if rows * columns * count != slices * high * wide:
        raise StudyError(
            "CHANGED",
            f"expected {count} images that hold {slices * high * wide} pixels, got "
            f"{rows} x {columns} each. Run again when nothing writes into the folder.",
        )
    return rows


def _image(one: Mapping[str, Any]) -> SourceImage:
    try:
        thickness = float(one["thickness"])
    except ValueError:
        thickness = 0.0
    return SourceImage(
        str(one["sop_class"]),
        str(one["sop_uid"]),
        str(one["series_uid"]),
        int(one["frame"]),
        tuple(map(float, one["position"] or ())),
        tuple(map(float, one["orientation"] or ())),
        tuple(map(float, one["spacing"] or ())),
        thickness if 0 < thickness < 1000 else 0.0,
    )


def _check_uids(
    texts: Mapping[str, str], images: tuple[SourceImage, ...], studies: set[str]
) -> None:
    """Refuse what a PACS would drop, or file elsewhere."""
    named = {
        "StudyInstanceUID": [texts.get("StudyInstanceUID", "")] * len(images),
        "SeriesInstanceUID": [image.series_uid for image in images],
        "SOPInstanceUID": [image.sop_uid for image in images],
        "SOPClassUID": [image.sop_class for image in images],
    }
    for keyword, uids in named.items():
        if bad := sum(not is_uid(uid) for uid in uids):
            raise _bad(
                f"a {keyword} of digits and dots, 64 characters at most, got another or none in "
                f"{bad} of {len(images)} images"
            )
    if len(studies) != 1:
        raise _bad(f"one StudyInstanceUID in all images, got {len(studies)}")
    if len({(image.sop_uid, image.frame) for image in images}) < len(images):
        raise _bad("a SOPInstanceUID of its own for every image, got some twice")


def _bad(expected: str) -> StudyError:
    return StudyError(
        "BAD_IDENTITY",
        f"expected {expected}. A PACS would drop results that refer to it, or file them elsewhere. "
        "Give the images UIDs as the standard has them (PS3.5, 9.1), or write --nifti alone.",
    )


def _cleaned(keyword: str, text: str) -> Any:
    """A value as the standard has it for an element; empty where it allows no such value."""
    vr = dictionary_VR(keyword)
    # Backslashes divide values, except in long text.
    parts = [text] if vr == "LT" else text.split("\\")
    if dictionary_VM(keyword) == "1":
        parts = parts[:1]
    kept = [value for part in parts if (value := _one(vr, part))]
    if not kept or (keyword in _NAMED and kept[0] not in _NAMED[keyword]):
        return ""
    return kept[0] if len(kept) == 1 else kept


def _one(vr: str, text: str) -> str:
    keeps = "\r\n\t\f" if vr == "LT" else ""
    text = "".join(c for c in text if c in keeps or (c.isprintable() and c != "\ufffd")).strip()
    if vr == "CS":
        text = text.upper()
        return text if re.fullmatch(r"[A-Z0-9 _]{1,16}", text) else ""
    if vr == "PN":
        groups = text.split("=")[:3]
        return "=".join(groups) if all(len(group) <= 64 for group in groups) else ""
    if vr == "DA":
        return text if _is_date(text) else ""
    if vr == "TM":
        return text if _is_time(text) else ""
    if vr == "AS":
        return text if re.fullmatch(r"\d{3}[DWMY]", text) else ""
    if vr == "DS":
        return text if re.fullmatch(r"[+-]?\d+(\.\d*)?", text) and len(text) <= 16 else ""
    if vr == "UI":
        return text if is_uid(text) else ""
    return text if len(text) <= _LENGTHS[vr] else ""


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{8}", text, re.ASCII):
        return False
    try:
        datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return False
    return True


def _is_time(text: str) -> bool:
    found = re.fullmatch(r"(\d\d)(?:(\d\d)(?:(\d\d)(?:\.\d{1,6})?)?)?", text, re.ASCII)
    limits = (24, 60, 61)
    return found is not None and all(
        part is None or int(part) < limit
        for part, limit in zip(found.groups(), limits, strict=True)
    )


def _moment(texts: Mapping[str, str]) -> tuple[str, str]:
    """The moment of the source's images: without a clock, a second run writes the same."""
    for name in ("Content", "Series", "Study"):
        date, time = texts.get(f"{name}Date", ""), texts.get(f"{name}Time", "")
        if _is_date(date):
            return date, time if _is_time(time) else _NO_TIME
    return _NO_DATE, _NO_TIME


def _lossy(found: Mapping[str, Any], texts: Mapping[str, str]) -> tuple[str, str] | None:
    """Ratio and method of the loss, as the header says it, or by the size of the first file."""
    if not any(one["is_lossy"] for one in found["images"]):
        return None
    ratio = _cleaned("LossyImageCompressionRatio", texts.get("LossyImageCompressionRatio", ""))
    method = _cleaned("LossyImageCompressionMethod", texts.get("LossyImageCompressionMethod", ""))
    if not ratio or isinstance(ratio, list) or float(ratio) <= 0:
        pixels = 2 * int(found["rows"]) * int(found["columns"])
        ratio = f"{max(1.0, pixels / max(int(found['bytes']), 1)):.2f}"
    if not method or isinstance(method, list):
        method = _LOSSY_METHODS.get(str(found["images"][0]["syntax"]), "ISO_10918_1")
    return ratio, method
