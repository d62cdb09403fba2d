"""One image of a DICOM file: what its header says, as values; nothing about whom."""

from __future__ import annotations

from dataclasses import dataclass

from covidctnet.io.archive import File

__all__ = ["Entry", "Frame", "Identity", "Part", "PixelFormat", "Place"]


# Position and orientation of an image.
Place = tuple[tuple[float, ...] | None, tuple[float, ...] | None]


@dataclass(frozen=True, slots=True)
class Identity:
    """What a file says of where it belongs.

    Attributes:
        study_uid: StudyInstanceUID, or empty.
        series_uid: SeriesInstanceUID, or empty.
        sop_uid: SOPInstanceUID, or empty.
        sop_class: SOP class UID.
        frame_of_reference: UID, or empty.
        series_number: SeriesNumber as it is written.
        number: InstanceNumber, if it is one.
        position: Of the first voxel, LPS mm, or None.
        orientation: Direction cosines, or None.
        visit: What is alike in all files of one patient's visit, see
            `covidctnet.io.dicom.visit_marks`.
        minute: Of the study's time, from midnight; or None.
        is_slice: Whether it may be a single slice of a scan: CT storage, or an enhanced CT of one
            frame, no localizer.
        places: Position and orientation of every frame of an enhanced CT of several that is no
            localizer, each None where it is not said.
    """

    study_uid: str
    series_uid: str
    sop_class: str
    sop_uid: str = ""
    frame_of_reference: str = ""
    series_number: str = ""
    number: float | None = None
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    visit: tuple[str, ...] = ()
    minute: int | None = None
    is_slice: bool = False
    places: tuple[Place, ...] = ()


# A file and what it says of where it belongs.
Entry = tuple[File, Identity]


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels of a file are stored.

    Attributes:
        syntax: Transfer syntax UID.
        tag: Of the element that holds the pixels, or 0 when there is none.
        start: Byte where its value begins, in the file (in the inflated data set when deflated).
        length: Bytes of its value; `ENCAPSULATED_LENGTH` when it is made of fragments.
        is_big_endian: Of native pixels.
        rows: Of a frame.
        columns: Of a frame.
        frames: In the file.
        samples: A pixel; 3 is colour.
        bits_allocated: Container of a sample.
        bits_stored: Bits that mean something.
        high_bit: Place of the highest of them.
        is_signed: Two's complement.
        photometric: MONOCHROME1 and 2 are grey.
        padding: Lowest and highest stored value that mean no measurement.
        offsets: Where the first fragment of each frame lies, by the extended offset table; empty
            without one.
    """

    syntax: str
    tag: int
    start: int
    length: int
    is_big_endian: bool
    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric: str
    padding: tuple[int, int] | None
    offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of a multi-frame image a file holds, where several files hold it.

    Attributes:
        whole: UID of the concatenation, or empty.
        number: Of the part, from 1.
        total: How many parts there are; 0 when the header does not say.
        before: Frames in the parts before it, or None.
    """

    whole: str
    number: int
    total: int = 0
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a file.

    Attributes:
        file: Where it is.
        index: Which frame of the file, from 0.
        pixels: How the file stores them.
        study_uid: StudyInstanceUID, or empty.
        series_uid: SeriesInstanceUID, or empty; `covidctnet.io.dicom.single_uids` takes those away
            that say nothing.
        sop_uid: SOPInstanceUID.
        sop_class: SOP class UID.
        series_number: SeriesNumber as it is written.
        number: InstanceNumber; None when missing and of frames that share a file.
        patient: Digests of id and name, each empty when the header has none.
        frame_of_reference: UID, or empty.
        image_type: ORIGINAL, PRIMARY, AXIAL and the like.
        position: Of the centre of the first voxel, LPS mm, or None.
        orientation: Direction cosines of growing column and growing row index, or None.
        spacing: Between rows and between columns, mm, or None.
        slope: Of the rescaling to HU, or None.
        intercept: Of the rescaling to HU, or None.
        rescale_type: Unit that the header claims; empty means HU.
        marks: What may tell two images of one place apart, by name.
        kernel: Reconstruction kernel as the header spells it.
        has_contrast: Whether an agent is named.
        is_lossy: Whether some step on the way was lossy.
        is_synthetic: Whether the phantom of this package made it.
        scanner: Maker and model; no serial number, no place.
        exposure_mas: Of the slice, mAs, if the header tells it.
        has_table: Whether a table turns stored numbers into others, a Modality LUT.
        visit: What is alike in all files of one patient's visit, see
            `covidctnet.io.dicom.visit_marks`.
        minute: Of the study's time, from midnight; or None.
        picture: What it says to be when it is no slice, one of
            `covidctnet.io.dicom.pictures.PICTURES`, or empty.
        part: Which part of a multi-frame image its file holds; None when that is no part.
        spacing_between: SpacingBetweenSlices, mm, or None.
        location: SliceLocation, mm, or None.
    """

    file: File
    index: int
    pixels: PixelFormat
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    series_number: str
    number: float | None
    patient: tuple[str, str]
    frame_of_reference: str
    image_type: tuple[str, ...]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    marks: tuple[tuple[str, str], ...]
    kernel: str
    has_contrast: bool
    is_lossy: bool
    is_synthetic: bool
    scanner: str = ""
    exposure_mas: float | None = None
    has_table: bool = False
    visit: tuple[str, ...] = ()
    minute: int | None = None
    picture: str = ""
    part: Part | None = None
    spacing_between: float | None = None
    location: float | None = None
