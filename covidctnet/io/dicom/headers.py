"""DICOM headers, one value a frame: what geometry and voxels will need, and nothing about whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from covidctnet.io.archive import File
from covidctnet.io.dicom.contrast import CONTRAST_KEYWORDS, has_contrast
from covidctnet.io.dicom.elements import (
    DEFLATED,
    PARSE_ERRORS,
    AbsurdFileError,
    DamagedFileError,
    PixelElement,
    PrivatePixelsError,
    parse,
)
from covidctnet.io.dicom.frame import Frame, Part, PixelFormat
from covidctnet.io.dicom.marks import FRAME_MARKS, MARKS, mark
from covidctnet.io.dicom.objects import (
    CT_IMAGE,
    ENHANCED_CT,
    FUNCTIONAL_GROUPS,
    MAX_FRAMES,
    MAX_SIDE,
    PHANTOM_MANUFACTURER,
    PIXEL_KEYWORDS,
    check_end,
    group_item,
    sop_class_of,
)
from covidctnet.io.dicom.pictures import derivation_words, picture_kind
from covidctnet.io.dicom.values import (
    binary,
    digest,
    items,
    meta_text,
    number,
    number_or_none,
    numbers,
    numbers_or_none,
    raw,
    raw_at,
    tag_of,
    text,
    texts,
    uid,
)
from covidctnet.io.dicom.visit_marks import VISIT_KEYWORDS, study_minute, visit_marks

__all__ = ["ENCAPSULATED_LENGTH", "pixel_format", "read_frames"]

_MAX_SCANNER = 64

BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"
LOSSY_SYNTAXES = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
)
ENCAPSULATED_LENGTH = 0xFFFFFFFF
# Of an object whose pixels are no business of ours.
NO_PIXELS = PixelFormat(
    syntax="",
    tag=0,
    start=0,
    length=0,
    is_big_endian=False,
    rows=0,
    columns=0,
    frames=1,
    samples=1,
    bits_allocated=0,
    bits_stored=0,
    high_bit=0,
    is_signed=False,
    photometric="",
    padding=None,
)
_KEYWORDS = (
    *MARKS,
    *FUNCTIONAL_GROUPS,
    "ConcatenationUID",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "ConcatenationFrameOffsetNumber",
    "VolumeBasedCalculationTechnique",
    "VolumetricProperties",
    "DerivationCodeSequence",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientName",
    *VISIT_KEYWORDS,
    "StudyTime",
    "InstanceNumber",
    "Manufacturer",
    "ManufacturerModelName",
    "Exposure",
    "Modality",
    *CONTRAST_KEYWORDS,
    "LossyImageCompression",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "SliceLocation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    *PIXEL_KEYWORDS,
    "ExtendedOffsetTable",
)
# Philips archives compress pixels by a method of their own and move them to this private group.
_PRIVATE_PIXELS = b"ELSCINT1"
_PRIVATE_CREATORS = [Tag(0x07A1, element) for element in range(0x10, 0x14)]
_ALL_TAGS = [*(tag_of(keyword) for keyword in _KEYWORDS), *_PRIVATE_CREATORS]


def read_frames(path: File) -> tuple[Frame, ...]:
    """The images of a file, from its header; no pixel is decoded.

    Returns:
        One value a frame; a single one for objects that hold no image, with no pixel format tag.

    Raises:
        NotDicomError: If it holds something else.
        DamagedFileError: If it cannot be parsed, or claims an absurd size.
    """
    with path.open("rb") as file:
        data, element = parse(file, _ALL_TAGS)
    try:
        return _frames(path, data, element)
    # Broken sequences surface only when they are opened, as any of these.
    except PARSE_ERRORS as e:
        raise DamagedFileError(f"unreadable header ({type(e).__name__})") from None


def _frames(path: File, data: Dataset, element: PixelElement | None) -> tuple[Frame, ...]:
    sop_class = sop_class_of(data)
    check_end(data, uid(data, "StudyInstanceUID"))
    is_ct = sop_class == CT_IMAGE or sop_class in ENHANCED_CT
    picture = ""
    if sop_class == CT_IMAGE:
        picture = picture_kind(
            texts(data, "ImageType"),
            derivation=derivation_words(data),
            description=text(data, "SeriesDescription"),
        )
        is_ct = not picture
    # Nothing of another object is ever decoded: whatever it claims harms nobody.
    pixels = pixel_format(data, element) if is_ct else NO_PIXELS
    is_slice = is_ct and not (sop_class == CT_IMAGE and _is_no_slice(data, pixels, element))
    if is_slice:
        _check_size(pixels)
    common: dict[str, Any] = {
        "file": path,
        "pixels": pixels,
        "study_uid": uid(data, "StudyInstanceUID"),
        "series_uid": uid(data, "SeriesInstanceUID"),
        "sop_uid": uid(data, "SOPInstanceUID"),
        "sop_class": sop_class,
        "series_number": text(data, "SeriesNumber"),
        "patient": (digest(data, "PatientID"), digest(data, "PatientName")),
        "visit": visit_marks(data),
        "minute": study_minute(data),
        "frame_of_reference": uid(data, "FrameOfReferenceUID"),
        "has_contrast": has_contrast(data),
        "is_lossy": text(data, "LossyImageCompression") == "01" or pixels.syntax in LOSSY_SYNTAXES,
        "is_synthetic": text(data, "Manufacturer") == PHANTOM_MANUFACTURER,
        "scanner": _scanner(data),
        "exposure_mas": number_or_none(data, "Exposure"),
        "has_table": bool(items(data, "ModalityLUTSequence")),
    }
    if not is_slice:
        frame = replace(_bystander(data, common), picture=picture)
        is_other = sop_class != CT_IMAGE and sop_class not in ENHANCED_CT
        return (_as_it_says(path, data, element, frame) if is_other else frame,)
    sizes = (pixels.rows, pixels.columns, pixels.bits_allocated)
    if element is None or 0 in sizes:
        if any(raw_at(data, tag).startswith(_PRIVATE_PIXELS) for tag in _PRIVATE_CREATORS):
            raise PrivatePixelsError("its pixels are in private elements (ELSCINT1)")
        # Cut short between two elements, a file looks whole; a CT without pixels never is.
        raise DamagedFileError("it has no pixels")
    is_native = element.length != ENCAPSULATED_LENGTH and pixels.syntax != DEFLATED
    if is_native and path.stat().st_size < element.start + element.length:
        raise DamagedFileError("it ends amid its pixels")
    if sop_class in ENHANCED_CT:
        return _enhanced_frames(data, common)
    if sop_class == CT_IMAGE and pixels.frames != 1:
        raise DamagedFileError(f"a CT image holds one frame, it claims {pixels.frames}")
    return (
        Frame(
            **common,
            index=0,
            number=number_or_none(data, "InstanceNumber"),
            image_type=texts(data, "ImageType"),
            position=numbers(data, "ImagePositionPatient", 3),
            orientation=numbers(data, "ImageOrientationPatient", 6),
            spacing=numbers(data, "PixelSpacing", 2),
            slope=number(data, "RescaleSlope"),
            intercept=number(data, "RescaleIntercept"),
            rescale_type=text(data, "RescaleType"),
            marks=tuple((keyword, mark(data, keyword)) for keyword in MARKS),
            kernel=text(data, "ConvolutionKernel"),
            spacing_between=number_or_none(data, "SpacingBetweenSlices"),
            location=number_or_none(data, "SliceLocation"),
        ),
    )


def _bystander(data: Dataset, common: dict[str, Any]) -> Frame:
    """An object that is no CT image: where it lies, if it says so, and nothing of its pixels."""
    return Frame(
        **common,
        index=0,
        number=number_or_none(data, "InstanceNumber"),
        image_type=texts(data, "ImageType"),
        position=numbers_or_none(data, "ImagePositionPatient", 3),
        orientation=numbers_or_none(data, "ImageOrientationPatient", 6),
        spacing=numbers_or_none(data, "PixelSpacing", 2),
        slope=None,
        intercept=None,
        rescale_type="",
        marks=tuple((keyword, mark(data, keyword)) for keyword in MARKS),
        kernel=text(data, "ConvolutionKernel"),
    )


def _as_it_says(path: File, data: Dataset, element: PixelElement | None, frame: Frame) -> Frame:
    """An object of another class with what its header says of its pixels.

    A slice may be stored as one. What cannot be decoded keeps its size alone.
    """
    try:
        pixels = pixel_format(data, element)
    except (DamagedFileError, *PARSE_ERRORS):
        return frame
    size = replace(
        NO_PIXELS,
        **{
            name: getattr(pixels, name)
            for name in ("rows", "columns", "frames", "samples", "bits_allocated", "bits_stored")
        },
    )
    is_decoded = (
        element is not None
        and pixels.frames == pixels.samples == 1
        and pixels.photometric.startswith("MONOCHROME")
        and pixels.bits_allocated == 16
        and pixels.bits_stored > 8
        and min(pixels.rows, pixels.columns) > 0
        and max(pixels.rows, pixels.columns) <= MAX_SIDE
    )
    if is_decoded and element is not None and element.length != ENCAPSULATED_LENGTH:
        is_decoded = pixels.length >= 2 * pixels.rows * pixels.columns
        is_decoded &= path.stat().st_size >= element.start + element.length
    if not is_decoded:
        return replace(frame, pixels=size)
    return replace(
        frame,
        pixels=pixels,
        is_lossy=frame.is_lossy or pixels.syntax in LOSSY_SYNTAXES,
        slope=number_or_none(data, "RescaleSlope"),
        intercept=number_or_none(data, "RescaleIntercept"),
        rescale_type=text(data, "RescaleType"),
    )


def _is_no_slice(data: Dataset, pixels: PixelFormat, element: PixelElement | None) -> bool:
    """Whether an object of CT storage is surely no slice, and not a slice that was damaged.

    Programs save pages, movies and presentations as CT images. They are whole in themselves and
    must not refuse the scan beside them.
    """
    is_grey = not pixels.photometric or pixels.photometric.startswith("MONOCHROME")
    if not is_grey or pixels.samples != 1:
        return True
    if 0 < min(pixels.bits_allocated, pixels.bits_stored) <= 8:
        return True
    size = pixels.rows * pixels.columns * (pixels.bits_allocated // 8)
    is_native = element is not None and element.length != ENCAPSULATED_LENGTH
    is_consistent = is_native and 0 < pixels.frames * size <= pixels.length
    if pixels.frames > 1 and is_consistent:
        return True
    if numbers_or_none(data, "ImagePositionPatient", 3) is not None:
        return False
    # A slice says its place before the size of its matrix.
    is_large = max(pixels.rows, pixels.columns) > MAX_SIDE
    return pixels.rows > 0 if element is None else is_large and is_consistent


def _check_size(pixels: PixelFormat) -> None:
    rows, columns, frames = pixels.rows, pixels.columns, pixels.frames
    if max(rows, columns) > MAX_SIDE or not 0 < frames <= MAX_FRAMES:
        raise AbsurdFileError(
            f"it claims {frames} frames of {rows} x {columns}; "
            f"{MAX_FRAMES} of {MAX_SIDE} x {MAX_SIDE} are the most that is read"
        )


def _scanner(data: Dataset) -> str:
    words = f"{text(data, 'Manufacturer')} {text(data, 'ManufacturerModelName')}".split()
    return " ".join(words)[:_MAX_SCANNER]


def _enhanced_frames(data: Dataset, common: dict[str, Any]) -> tuple[Frame, ...]:
    """Frames of an enhanced CT: what is not said for a frame is said for all."""
    count = common["pixels"].frames
    shared = items(data, "SharedFunctionalGroupsSequence")[:1]
    each = items(data, "PerFrameFunctionalGroupsSequence")
    if len(each) != count:
        raise DamagedFileError(f"it claims {count} frames and describes {len(each)}")

    def group(item: Dataset, sequence: str) -> Dataset:
        return group_item(sequence, item, *shared)

    description, whole = text(data, "SeriesDescription"), _part(data)
    frames = []
    for index, item in enumerate(each):
        value = group(item, "PixelValueTransformationSequence")
        kernel = text(group(item, "CTReconstructionSequence"), "ConvolutionKernel")
        kind, derived = (
            group(item, "CTImageFrameTypeSequence"),
            group(item, "DerivationImageSequence"),
        )
        types = texts(kind, "FrameType")
        image_type = texts(data, "ImageType")
        # Where the whole and the frame contradict each other, neither is believed to be HU.
        words = (*derivation_words(data, kind, derived), *image_type[3:])
        frames.append(
            Frame(
                **common,
                index=index,
                number=None,
                image_type=types or image_type,
                picture=picture_kind(
                    types or image_type,
                    is_enhanced=True,
                    derivation=words,
                    description=description,
                ),
                part=whole,
                position=numbers(group(item, "PlanePositionSequence"), "ImagePositionPatient", 3),
                orientation=numbers(
                    group(item, "PlaneOrientationSequence"), "ImageOrientationPatient", 6
                ),
                spacing=numbers(group(item, "PixelMeasuresSequence"), "PixelSpacing", 2),
                slope=number(value, "RescaleSlope"),
                intercept=number(value, "RescaleIntercept"),
                rescale_type=text(value, "RescaleType"),
                marks=(
                    *(
                        (keyword, mark(group(item, sequence), keyword))
                        for sequence, keywords in FRAME_MARKS
                        for keyword in keywords
                    ),
                    ("ConvolutionKernel", kernel),
                    ("FrameType", "\\".join(types)),
                ),
                kernel=kernel,
            )
        )
    return tuple(frames)


def _part(data: Dataset) -> Part | None:
    """Which part of a multi-frame image a file says to hold."""
    whole, total = uid(data, "ConcatenationUID"), binary(data, "InConcatenationTotalNumber")
    number = binary(data, "InConcatenationNumber", default=None)
    if number is None and not whole and total < 2:
        return None
    before = binary(data, "ConcatenationFrameOffsetNumber", default=None, size=4)
    return Part(whole, 1 if number is None else number, total, before)


def pixel_format(data: Dataset, element: PixelElement | None) -> PixelFormat:
    """How a file stores its pixels, as its header says."""
    rows, columns = binary(data, "Rows"), binary(data, "Columns")
    frames = int(number(data, "NumberOfFrames") or 1)
    allocated = binary(data, "BitsAllocated")
    stored = binary(data, "BitsStored") or allocated
    is_signed = binary(data, "PixelRepresentation") == 1
    syntax = meta_text(data, "TransferSyntaxUID")
    if not syntax and element is not None and element.length != ENCAPSULATED_LENGTH:
        syntax = BIG_ENDIAN if element.is_big_endian else IMPLICIT
    lowest = binary(data, "PixelPaddingValue", default=None, signed=is_signed)
    limit = binary(data, "PixelPaddingRangeLimit", default=lowest, signed=is_signed)
    return PixelFormat(
        syntax=syntax,
        tag=element.tag if element else 0,
        start=element.start if element else 0,
        length=element.length if element else 0,
        is_big_endian=element.is_big_endian if element else False,
        rows=rows,
        columns=columns,
        frames=frames,
        samples=binary(data, "SamplesPerPixel") or 1,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=binary(data, "HighBit", default=stored - 1),
        is_signed=is_signed,
        photometric=text(data, "PhotometricInterpretation"),
        padding=None
        if lowest is None or limit is None
        else (min(lowest, limit), max(lowest, limit)),
        offsets=_offsets(data),
    )


def _offsets(data: Dataset) -> tuple[int, ...]:
    """The extended offset table."""
    table = raw(data, "ExtendedOffsetTable", strip=False)
    return tuple(int.from_bytes(table[k : k + 8], "little") for k in range(0, len(table), 8))
