"""DICOM headers, one value a frame: what geometry and voxels will need, and nothing about whom."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, BinaryIO, cast

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from covidctnet.io.archive import File
from covidctnet.io.dicom.contrast import CONTRAST_KEYWORDS, has_contrast
from covidctnet.io.dicom.elements import (
    DEFLATED,
    HEAD_BYTES,
    PARSE_ERRORS,
    AbsurdFileError,
    DamagedFileError,
    NotDicomError,
    PixelElement,
    PrivatePixelsError,
    parse,
)
from covidctnet.io.dicom.frame import Frame, Identity, Part, PixelFormat, Place
from covidctnet.io.dicom.pictures import LOCALIZER_TYPES, derivation_words, picture_kind
from covidctnet.io.dicom.quick import quick_elements
from covidctnet.io.dicom.values import (
    binary,
    comparable,
    digest,
    items,
    meta_text,
    number,
    numbers,
    raw,
    raw_at,
    tag_of,
    text,
    texts,
    uid,
)
from covidctnet.io.dicom.visit_marks import VISIT_KEYWORDS, study_minute, visit_marks

__all__ = [
    "ENCAPSULATED_LENGTH",
    "identify",
    "owners",
    "read_frames",
    "series_key",
]

# No scanner makes larger images; a header that claims more is wrong, or meant to exhaust memory.
MAX_SIDE = 4096
MAX_FRAMES = 4096
_MAX_SCANNER = 64

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
DICOMDIR = "1.2.840.10008.1.3.10"
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
# What `covidctnet.phantom` writes as Manufacturer: pixels that were computed, not measured.
PHANTOM_MANUFACTURER = "covidctnet phantom"


# What may tell two images of one place apart, most telling first. The number of the series does
# where an anonymiser gave all series one UID.
_CARDIAC_PHASE = (
    "NominalPercentageOfCardiacPhase",
    "NominalCardiacTriggerDelayTime",
    "ActualCardiacTriggerDelayTime",
)
_RESPIRATORY_PHASE = (
    "NominalPercentageOfRespiratoryPhase",
    "StartingRespiratoryPhase",
    "StartingRespiratoryAmplitude",
    "EndingRespiratoryPhase",
    "EndingRespiratoryAmplitude",
    "NominalRespiratoryTriggerDelayTime",
    "ActualRespiratoryTriggerDelayTime",
)
_MARKS = (
    "SeriesNumber",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    *_CARDIAC_PHASE,
    *_RESPIRATORY_PHASE,
    "CardiacCyclePosition",
    "RespiratoryCyclePosition",
    "TriggerTime",
    "TemporalPositionTimeOffset",
    "FrameReferenceTime",
    "IrradiationEventUID",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "KVP",
    "ConvolutionKernel",
    "ImageType",
    "SliceThickness",
    "EchoNumbers",
    # Where the phase of a breath is said in words alone ("Gated 20%").
    "SeriesDescription",
    "ImageComments",
)
# The same for the frames of an enhanced CT, in the sequence that says it.
_FRAME_MARKS = (
    (
        "FrameContentSequence",
        (
            "FrameAcquisitionNumber",
            "TemporalPositionIndex",
            "FrameAcquisitionDateTime",
            "StackID",
            "CardiacCyclePosition",
            "RespiratoryCyclePosition",
        ),
    ),
    ("CardiacSynchronizationSequence", _CARDIAC_PHASE),
    ("RespiratorySynchronizationSequence", _RESPIRATORY_PHASE),
    ("TemporalPositionSequence", ("TemporalPositionTimeOffset",)),
    ("IrradiationEventIdentificationSequence", ("IrradiationEventUID",)),
    ("CTXRayDetailsSequence", ("KVP",)),
)
_BINARY = ("FD", "FL", "SL", "SS", "UL", "US")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_KEYWORDS = (
    *_MARKS,
    *_FUNCTIONAL_GROUPS,
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
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ExtendedOffsetTable",
)
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
# Philips archives compress pixels by a method of their own and move them to this private group.
_PRIVATE_PIXELS = b"ELSCINT1"
_PRIVATE_CREATORS = [Tag(0x07A1, element) for element in range(0x10, 0x14)]
_ALL_TAGS = [*(tag_of(keyword) for keyword in _KEYWORDS), *_PRIVATE_CREATORS]


def series_key(series_uid: str) -> str:
    """What stands for a series where its UID must not."""
    return hashlib.sha256(series_uid.encode()).hexdigest()[:8]


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
            return replace(found, places=_places(file))
    return found


def _places(
    file: BinaryIO,
) -> tuple[Place, ...]:
    """Position and orientation of the frames of an enhanced CT; nothing when it is damaged."""
    file.seek(0)
    try:
        data, _ = parse(file, [tag_of(name) for name in _FUNCTIONAL_GROUPS], find_pixels=False)
        shared = items(data, "SharedFunctionalGroupsSequence")[:1]
        each = items(data, "PerFrameFunctionalGroupsSequence")[:MAX_FRAMES]
        return tuple(
            (
                _told(_group("PlanePositionSequence", item, *shared), "ImagePositionPatient", 3),
                _told(
                    _group("PlaneOrientationSequence", item, *shared), "ImageOrientationPatient", 6
                ),
            )
            for item in each
        )
    except (DamagedFileError, NotDicomError, *PARSE_ERRORS):
        # Reading tells; here it only says no place.
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


def _identity(data: Dataset) -> Identity:
    sop_class = _sop_class(data)
    if sop_class == DICOMDIR:
        raise NotDicomError("a directory of a medium")
    study = uid(data, "StudyInstanceUID")
    _check_end(data, study)
    return Identity(
        study_uid=study,
        series_uid=uid(data, "SeriesInstanceUID"),
        sop_class=sop_class,
        sop_uid=uid(data, "SOPInstanceUID"),
        frame_of_reference=uid(data, "FrameOfReferenceUID"),
        series_number=text(data, "SeriesNumber"),
        number=_said(data, "InstanceNumber"),
        position=_told(data, "ImagePositionPatient", 3),
        orientation=_told(data, "ImageOrientationPatient", 6),
        visit=visit_marks(data),
        minute=study_minute(data),
        is_slice=sop_class == CT_IMAGE and not LOCALIZER_TYPES & set(texts(data, "ImageType")),
    )


def _check_end(data: Dataset, study_uid: str) -> None:
    """Refuse a file that ends before it says where it belongs; one that leaves it out goes on."""
    behind = ("SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient", "FrameOfReferenceUID")
    if not study_uid and not any(tag_of(keyword) in data for keyword in behind):
        raise DamagedFileError("its header does not say where it belongs")


def _sop_class(data: Dataset) -> str:
    """The SOP class; anonymisers leave it to the file's meta group, or to the modality alone."""
    found = uid(data, "SOPClassUID") or meta_text(data, "MediaStorageSOPClassUID")
    return found or (CT_IMAGE if text(data, "Modality").upper() == "CT" else "")


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
    sop_class = _sop_class(data)
    _check_end(data, uid(data, "StudyInstanceUID"))
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
    pixels = _pixel_format(data, element) if is_ct else NO_PIXELS
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
        "exposure_mas": _said(data, "Exposure"),
        "has_table": bool(items(data, "ModalityLUTSequence")),
    }
    if not is_slice:
        return (replace(_bystander(data, common), picture=picture),)
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
            number=_said(data, "InstanceNumber"),
            image_type=texts(data, "ImageType"),
            position=numbers(data, "ImagePositionPatient", 3),
            orientation=numbers(data, "ImageOrientationPatient", 6),
            spacing=numbers(data, "PixelSpacing", 2),
            slope=number(data, "RescaleSlope"),
            intercept=number(data, "RescaleIntercept"),
            rescale_type=text(data, "RescaleType"),
            marks=tuple((keyword, _mark(data, keyword)) for keyword in _MARKS),
            kernel=text(data, "ConvolutionKernel"),
        ),
    )


def _bystander(data: Dataset, common: dict[str, Any]) -> Frame:
    """An object that is no CT image: where it lies, if it says so, and nothing of its pixels."""
    return Frame(
        **common,
        index=0,
        number=_said(data, "InstanceNumber"),
        image_type=texts(data, "ImageType"),
        position=_told(data, "ImagePositionPatient", 3),
        orientation=_told(data, "ImageOrientationPatient", 6),
        spacing=_told(data, "PixelSpacing", 2),
        slope=None,
        intercept=None,
        rescale_type="",
        marks=tuple((keyword, _mark(data, keyword)) for keyword in _MARKS),
        kernel=text(data, "ConvolutionKernel"),
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
    if _told(data, "ImagePositionPatient", 3) is not None:
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


def _told(data: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Numbers that no voxel depends on."""
    try:
        return numbers(data, keyword, count)
    except DamagedFileError:
        return None


def _said(data: Dataset, keyword: str) -> float | None:
    """A number that no voxel depends on: text that is none says nothing."""
    try:
        return number(data, keyword)
    except DamagedFileError:
        return None


def _mark(data: Dataset, keyword: str) -> str:
    """A value to compare: the bytes of a binary number are no text, and 20 and 30 would be one."""
    is_text = dictionary_VR(keyword) not in _BINARY
    return text(data, keyword) if is_text else comparable(data, keyword)


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
        return _group(sequence, item, *shared)

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
                        (keyword, _mark(group(item, sequence), keyword))
                        for sequence, keywords in _FRAME_MARKS
                        for keyword in keywords
                    ),
                    ("ConvolutionKernel", kernel),
                    ("FrameType", "\\".join(types)),
                ),
                kernel=kernel,
            )
        )
    return tuple(frames)


def _group(sequence: str, *sources: Dataset) -> Dataset:
    """The item of a sequence in the first of some data sets that has it; else an empty one."""
    for source in sources:
        if found := items(source, sequence):
            return found[0]
    return Dataset()


def _part(data: Dataset) -> Part | None:
    """Which part of a multi-frame image a file says to hold."""
    whole, total = uid(data, "ConcatenationUID"), binary(data, "InConcatenationTotalNumber")
    number = binary(data, "InConcatenationNumber", default=None)
    if number is None and not whole and total < 2:
        return None
    before = binary(data, "ConcatenationFrameOffsetNumber", default=None, size=4)
    return Part(whole, 1 if number is None else number, total, before)


def _pixel_format(data: Dataset, element: PixelElement | None) -> PixelFormat:
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
