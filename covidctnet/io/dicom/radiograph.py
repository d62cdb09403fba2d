"""One radiograph from one DICOM file (CR, DX): its grey values as a reader sees them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import UID

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.dicom.elements import (
    PARSE_ERRORS,
    PIXELS,
    DamagedFileError,
    NotDicomError,
    PixelElement,
    parse,
)
from covidctnet.io.dicom.frame import PixelFormat
from covidctnet.io.dicom.headers import LOSSY_SYNTAXES, pixel_format
from covidctnet.io.dicom.objects import PHANTOM_MANUFACTURER, PIXEL_KEYWORDS, sop_class_of
from covidctnet.io.dicom.stored import SYNTAXES, stored_image
from covidctnet.io.dicom.values import items, number, numbers, raw, tag_of, text
from covidctnet.io.picture_size import check_shape
from covidctnet.volume import SYNTHETIC_NOTE

__all__ = ["RADIOGRAPHS", "DicomRadiograph", "is_radiograph", "read_radiograph"]

# CR, and DX for presentation. DX for processing is raw: no reader sees such values.
RADIOGRAPHS = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1")
_RAW = "1.2.840.10008.5.1.4.1.1.1.1.1"
# Archives keep radiographs of other sources as such; then the modality says what they are.
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_MODALITIES = ("CR", "DX")

# ViewPosition of a frontal view. Source: DICOM PS3.3, C.8.7.1 (CR) and C.8.11.5 (DX).
_FRONTAL = ("AP", "PA")
_OTHER_VIEWS = ("LL", "RL", "RLD", "LLD", "RLO", "LLO", "LAT", "LATERAL")
_LATERAL = re.compile(
    r"(?<![A-Z])(LAT|LATERAL|LATERALE|SEITLICH|PROFIL|OBLIQUE|DECUBITUS|LLD|RLD|LL|RL)(?![A-Z])"
)
_FRONTAL_WORD = re.compile(
    r"(?<![A-Z])(AP|PA|FRONTAL|FRONTALE|POSTERO\W*ANTERIOR|ANTERO\W*POSTERIOR)(?![A-Z])"
)
_CHEST = re.compile(r"CHEST|THORA|TORAX|TORAC|LUNG|PULMO|PECHO")
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
_KEYWORDS = (
    *_DESCRIPTIONS,
    "Manufacturer",
    "SOPClassUID",
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "ViewCodeSequence",
    "LossyImageCompression",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
    *PIXEL_KEYWORDS,
)
_TAGS = [tag_of(keyword) for keyword in _KEYWORDS]


@dataclass(frozen=True, eq=False)
class DicomRadiograph:
    """A radiograph in DICOM.

    Attributes:
        pixels: Shape (row, column), brighter is denser: uint8 where the header says what is black
            and what is white, else float32 of an unknown range.
        spacing_mm: Between rows and between columns, on the detector where nothing else is said;
            None where it is not said.
        bits: That the file stores for each pixel.
        photometric: PhotometricInterpretation of the file.
        flags: ``view_unknown`` where nothing says that it is a frontal view; ``lossy``.
        notes: What the reader decided.
    """

    pixels: np.ndarray
    spacing_mm: tuple[float, float] | None
    bits: int
    photometric: str
    flags: tuple[str, ...]
    notes: tuple[str, ...]


def is_radiograph(path: File) -> bool:
    """Whether a DICOM file says that it is a radiograph, for reading or raw.

    Raises:
        NotDicomError: If it holds something else.
        DamagedFileError: If it cannot be parsed.
    """
    with path.open("rb") as file:
        tags = [tag_of("SOPClassUID"), tag_of("Modality")]
        data, _ = parse(file, tags, find_pixels=False)
    return _kind(data) in (*RADIOGRAPHS, _RAW)


def read_radiograph(path: File) -> DicomRadiograph:
    """Read a frontal radiograph of a chest, as its header says that it is to be shown.

    Values go through the modality transformation and the first window or table of the header (VOI
    LUT); MONOCHROME1 is inverted. Source: DICOM PS3.3, C.11.1 and C.11.2.

    Args:
        path: A DICOM file.

    Raises:
        StudyError: ``NOT_RADIOGRAPH`` for another object, ``LATERAL_VIEW``, ``NOT_CHEST`` for
            another part of the body, ``COLOUR_MODEL`` for colours, ``SEVERAL_PICTURES``,
            ``ABSURD_SIZE``, ``SMALL_PICTURE``, ``UNSUPPORTED_SYNTAX``, or ``CORRUPT_SLICE``.
    """
    try:
        with path.open("rb") as file:
            data, element = parse(file, _TAGS)
        return _read(path, data, element)
    except NotDicomError:
        raise _not_a_radiograph("a DICOM directory or no DICOM") from None
    except DamagedFileError as error:
        raise StudyError(
            error.code, f"expected a whole DICOM radiograph: {error}. Export it again."
        ) from None
    except PARSE_ERRORS as error:
        raise StudyError(
            "CORRUPT_SLICE",
            f"expected a whole DICOM radiograph, got an unreadable header "
            f"({type(error).__name__}). Export it again.",
        ) from None


def _kind(data: Dataset) -> str:
    """The SOP class; that of CR for a secondary capture of a radiograph."""
    found = sop_class_of(data)
    if found == _SECONDARY and text(data, "Modality").upper() in _MODALITIES:
        return RADIOGRAPHS[0]
    return found


def _not_a_radiograph(what: str) -> StudyError:
    return StudyError(
        "NOT_RADIOGRAPH",
        f"expected a radiograph (CR or DX), got {what}. Give CT to a system that reads it.",
    )


def _read(path: File, data: Dataset, element: PixelElement | None) -> DicomRadiograph:
    kind = _kind(data)
    if kind == _RAW:
        raise StudyError(
            "NOT_RADIOGRAPH",
            "expected a radiograph for presentation, got raw values for processing (DX). Export "
            "the image that is shown to readers.",
        )
    if kind not in RADIOGRAPHS:
        raise _not_a_radiograph(UID(kind, config.IGNORE).name if kind else "no image")
    flags = _checked_view(data)
    pixels = pixel_format(data, element)
    if pixels.samples != 1 or not pixels.photometric.startswith("MONOCHROME"):
        raise StudyError(
            "COLOUR_MODEL",
            f"expected grey values, got a radiograph in {pixels.photometric or 'colours'}. Export "
            "the original image.",
        )
    if pixels.frames != 1:
        raise StudyError(
            "SEVERAL_PICTURES",
            f"expected one radiograph, got a DICOM file of {pixels.frames} frames. Export the one "
            "that is meant alone.",
        )
    check_shape(pixels.rows, pixels.columns)
    if element is not None and pixels.syntax not in SYNTAXES:
        raise StudyError(
            "UNSUPPORTED_SYNTAX",
            "expected pixels uncompressed, or compressed by JPEG, JPEG 2000, JPEG-LS or RLE, "
            f"transfer syntax {pixels.syntax or 'missing'} is not read. Export the image "
            "uncompressed.",
        )
    if pixels.tag != PIXELS:
        raise DamagedFileError("it has no pixels")
    stored = stored_image(path, pixels)
    grey, notes = _shown(stored, data, pixels)
    if text(data, "LossyImageCompression") == "01" or pixels.syntax in LOSSY_SYNTAXES:
        flags = (*flags, "lossy")
    if text(data, "Manufacturer") == PHANTOM_MANUFACTURER:
        notes = (SYNTHETIC_NOTE, *notes)
    return DicomRadiograph(
        grey, _spacing(data), pixels.bits_stored, pixels.photometric, flags, notes
    )


def _checked_view(data: Dataset) -> tuple[str, ...]:
    """Flags of the view; refuses what is not a frontal view of a chest."""
    part = text(data, "BodyPartExamined").upper()
    if part and not _CHEST.search(part):
        raise StudyError(
            "NOT_CHEST",
            "expected a radiograph of the chest, its header names another part of the body. Give a "
            "frontal radiograph of the chest.",
        )
    view = text(data, "ViewPosition").upper()
    meanings = [text(item, "CodeMeaning").upper() for item in items(data, "ViewCodeSequence")]
    words = [*meanings, *(text(data, keyword).upper() for keyword in _DESCRIPTIONS)]
    is_frontal = view in _FRONTAL or any(map(_FRONTAL_WORD.search, words))
    is_other = any(map(_LATERAL.search, words))
    # A description may name the views of the whole series; the field of the image decides.
    if view in _OTHER_VIEWS or (is_other and not is_frontal):
        raise StudyError(
            "LATERAL_VIEW",
            "expected a frontal radiograph (AP or PA), its header says a lateral, oblique or "
            "decubitus view. Give the frontal view of the study.",
        )
    return ("view_unknown",) if not is_frontal else ()


def _shown(
    stored: np.ndarray, data: Dataset, pixels: PixelFormat
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Grey values as a reader sees them, and notes."""
    notes: list[str] = []
    padded = np.zeros(stored.shape, dtype=bool)
    if pixels.padding is not None:
        padded = (stored >= pixels.padding[0]) & (stored <= pixels.padding[1])
        if padded.all():
            padded[:] = False
    values = stored.astype(np.float32)
    if tables := items(data, "ModalityLUTSequence"):
        values, _ = _looked_up(stored, tables[0], is_signed=pixels.is_signed)
        notes.append("the modality table of the header was applied")
    else:
        slope, intercept = number(data, "RescaleSlope"), number(data, "RescaleIntercept")
        values = values * np.float32(slope or 1.0) + np.float32(intercept or 0.0)
    window = _window(data)
    is_byte = True
    if tables := items(data, "VOILUTSequence"):
        # The table is looked up by whole numbers of the step before.
        values, top = _looked_up(np.rint(values), tables[0], is_signed=bool(values.min() < 0))
        values = values * np.float32(255 / top)
        notes.append("the first table of the header (VOI LUT) was applied")
    elif window is not None:
        values = _windowed(values, *window, text(data, "VOILUTFunction").upper()) * 255
        notes.append(f"the first window of the header was applied: {window[0]:g}, {window[1]:g}")
    elif pixels.bits_stored <= 8 and not pixels.is_signed:
        values = stored.astype(np.float32) * np.float32(255 / (2**pixels.bits_stored - 1))
    else:
        is_byte = False
    if pixels.photometric == "MONOCHROME1":
        low, high = (0.0, 255.0) if is_byte else _ends(values, padded)
        values = np.float32(low + high) - values
        notes.append("MONOCHROME1: black and white were exchanged")
    if padded.any():
        values[padded] = 0.0 if is_byte else values[~padded].min()
        notes.append(f"{int(padded.sum())} padding pixels were set to black")
    if is_byte:
        return np.rint(np.clip(values, 0, 255)).astype(np.uint8), tuple(notes)
    return values, tuple(notes)


def _ends(values: np.ndarray, padded: np.ndarray) -> tuple[float, float]:
    inside = values[~padded]
    return float(inside.min()), float(inside.max())


def _window(data: Dataset) -> tuple[float, float] | None:
    """Centre and width of the first window; None where there is none that can be."""
    found = [_first(data, keyword) for keyword in ("WindowCenter", "WindowWidth")]
    centre, width = found
    if centre is None or width is None or not width >= 1:
        return None
    return centre, width


def _first(data: Dataset, keyword: str) -> float | None:
    """The first of several numbers; None where it is none."""
    try:
        value = float(text(data, keyword).split("\\")[0])
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Values through a window, in [0, 1]. Source: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        out: np.ndarray = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -80, 80)))
        return out
    if function != "LINEAR_EXACT":
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    shown: np.ndarray = np.clip((values - centre) / width + 0.5, 0, 1)
    return shown


def _looked_up(values: np.ndarray, table: Dataset, *, is_signed: bool) -> tuple[np.ndarray, float]:
    """Values through a table, float32, and the largest number that it can hold.

    Source: DICOM PS3.3, C.11.1.1 and C.11.2.1.1.
    """
    read = partial(_words, table, "LUTDescriptor")
    descriptor = read(is_signed=False)
    if len(descriptor) != 3:
        raise DamagedFileError("a table of its values has no description")
    count = int(descriptor[0]) or 2**16
    first = int(read(is_signed=is_signed)[1])
    bits = int(descriptor[2])
    content = raw(table, "LUTData", strip=False)
    if len(content) >= 2 * count:
        entries = _words(table, "LUTData", is_signed=False)[:count]
    elif len(content) >= count and bits == 8:
        entries = np.frombuffer(content, np.uint8)[:count].astype(np.int64)
    else:
        raise DamagedFileError("a table of its values is too short")
    if not 8 <= bits <= 16:
        raise DamagedFileError(f"a table of its values has {bits} bits")
    # Some programs say 16 bits and fill 12.
    top = float(max(int(entries.max()), 1)) if entries.max() > 2**bits - 1 else float(2**bits - 1)
    place = np.clip(values.astype(np.int64) - first, 0, count - 1)
    return entries[place].astype(np.float32), top


def _words(data: Dataset, keyword: str, *, is_signed: bool) -> np.ndarray:
    """Numbers of 16 bits in the byte order of their file, int64."""
    item = data.get_item(tag_of(keyword))
    content = raw(data, keyword, strip=False)
    order = "<" if getattr(item, "is_little_endian", True) else ">"
    kind = f"{order}{'i' if is_signed else 'u'}2"
    return np.frombuffer(content[: len(content) // 2 * 2], kind).astype(np.int64)


def _spacing(data: Dataset) -> tuple[float, float] | None:
    """Between rows and between columns, mm."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            found = numbers(data, keyword, 2)
        except DamagedFileError:
            continue
        if found and min(found) > 0:
            return found[0], found[1]
    return None
