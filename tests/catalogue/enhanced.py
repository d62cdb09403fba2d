"""Multi-frame CT: in parts, of projections, in odd streams; and what is no slice beside a CT."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, LegacyConvertedEnhancedCTImageStorage

from covidctnet.io.dicom.objects import series_key
from tests.catalogue import encode
from tests.catalogue.cases import Case, Refusal, of, truth
from tests.catalogue.steps import enhanced, put, put_object, setting
from tests.io import series
from tests.io.series import Change

SCAN = series.a_scan()
LONG = series.a_scan((36, 20, 16))
BODY = series.a_body()
RIGHT = truth()
WHOLE = truth(LONG)
GAP = Refusal("SLICE_GAP")


def _told(**values: Any) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


# ---- parts of a concatenation ----


def _parts(*numbers: int, total: int | None = 3, **more: Any) -> tuple[Callable[..., None], ...]:
    """Steps that write some of three parts of a scan of 36 slices."""
    steps = []
    for number in numbers:
        values = {
            "ConcatenationUID": series.uid("whole"),
            "InConcatenationNumber": number,
            "ConcatenationFrameOffsetNumber": 12 * (number - 1),
            **({} if total is None else {"InConcatenationTotalNumber": total}),
            **more,
        }
        steps.append(
            enhanced(
                range(12 * (number - 1), 12 * number),
                scan=LONG,
                change=_told(**values),
                name=f"{number}.dcm",
                instance=f"part {number}",
            )
        )
    return tuple(steps)


CONCATENATIONS = tuple(
    Case(f"dicom-concatenation-{name}", "enhanced CT", what, of(expected, *steps), policy=policy)
    for name, what, expected, steps, policy in (
        ("whole", "a scan in three parts", WHOLE, _parts(1, 2, 3), False),
        ("without-first", "a scan in parts, the first is missing", GAP, _parts(2, 3), False),
        ("without-middle", "a scan in parts, the middle one is missing", GAP, _parts(1, 3), False),
        ("without-last", "a scan in parts, the last is missing", GAP, _parts(1, 2), False),
        ("one-part", "a scan in parts, only one is there", GAP, _parts(2), False),
        (
            "untold-total",
            "a scan in parts, the last is missing and none says how many there are",
            GAP,
            _parts(1, 2, total=None),
            False,
        ),
        (
            "without-uid",
            "a scan in parts without the UID of the concatenation, the last is missing",
            GAP,
            _parts(1, 2, ConcatenationUID=""),
            False,
        ),
        (
            "by-offset",
            "a part that calls itself the only one and says that frames lie before it",
            GAP,
            _parts(2, total=1, InConcatenationNumber=1),
            False,
        ),
    )
)


# ---- projections ----


def _projected(keep: Callable[..., np.ndarray], scan: np.ndarray) -> np.ndarray:
    """The highest or lowest of every slice and its neighbours."""
    return np.stack([keep(scan[max(0, k - 2) : k + 3], axis=0) for k in range(len(scan))])


MIP, MINIP = _projected(np.max, SCAN), _projected(np.min, SCAN)


def _typed(*types: str, **more: str) -> Callable[[Dataset], None]:
    """A change that says one frame type of all frames."""

    def change(ds: Dataset) -> None:
        kind = Dataset()
        kind.FrameType = list(types)
        for keyword, value in more.items():
            setattr(kind, keyword, value)
        ds.ImageType = list(types)
        ds.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence = Items([kind])

    return change


def _derived_by(code: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        item, derivation = Dataset(), Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", "projection"
        derivation.DerivationCodeSequence = Items([item])
        ds.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
        ds.SharedFunctionalGroupsSequence[0].DerivationImageSequence = Items([derivation])

    return change


_DERIVED = ("DERIVED", "PRIMARY", "VOLUME")
_TECHNIQUE = "VolumeBasedCalculationTechnique"
NOT_CT = Refusal("NOT_CT")
PROJECTIONS = (
    *(
        Case(
            f"dicom-enhanced-projection-{name}",
            "enhanced CT",
            f"frames that were calculated from others, {what}",
            of(NOT_CT, enhanced(scan=scan, change=change)),
        )
        for name, what, scan, change in (
            ("maximum", "frame type MAXIMUM", MIP, _typed(*_DERIVED, "MAXIMUM")),
            ("minimum", "frame type MINIMUM", MINIP, _typed(*_DERIVED, "MINIMUM")),
            (
                "image-type",
                "MAXIMUM in ImageType alone",
                MIP,
                _told(ImageType=[*_DERIVED, "MAXIMUM"]),
            ),
            (
                "technique",
                "technique MAX_IP, frame type NONE",
                MIP,
                _typed(*_DERIVED, "NONE", **{_TECHNIQUE: "MAX_IP"}),
            ),
            (
                "technique-of-all",
                "technique MIN_IP of the whole object",
                MINIP,
                _told(ImageType=[*_DERIVED, "NONE"], **{_TECHNIQUE: "MIN_IP"}),
            ),
            (
                "rendering",
                "technique VOLUME_RENDER",
                MIP,
                _typed(*_DERIVED, "NONE", **{_TECHNIQUE: "VOLUME_RENDER"}),
            ),
            (
                "distorted",
                "volumetric properties DISTORTED",
                MIP,
                _typed(*_DERIVED, "NONE", VolumetricProperties="DISTORTED"),
            ),
            ("subtraction", "SUBTRACTION", MIP, _typed(*_DERIVED, "SUBTRACTION")),
            ("code", "by the code of their derivation", MIP, _derived_by("113078")),
        )
    ),
    Case(
        "dicom-enhanced-reformatted",
        "enhanced CT",
        "frames that were resampled from others, technique MPR: HU all the same",
        of(RIGHT, enhanced(change=_typed(*_DERIVED, "RESAMPLED", **{_TECHNIQUE: "MPR"}))),
    ),
    *(
        Case(
            f"dicom-projection-{name}",
            "bystanders",
            f"a projection alone, its image type says {words[-1]}",
            of(NOT_CT, put(scan=MIP, change=setting(ImageType=["DERIVED", "SECONDARY", *words]))),
        )
        for name, words in (
            ("maximum", ("REFORMATTED", "MAXIMUM")),
            ("max-ip", ("MPR", "MAX IP")),
            ("mip-thin-in-brackets", ("PROCESSED", "MIP (THIN)")),
            ("mip-thin", ("MIP THIN",)),
            ("mip-of-a-maker", ("AXIAL", "CT_SOM5 MIP")),
            ("mips", ("MIPS",)),
            ("min-ip", ("REFORMATTED", "MIN IP")),
        )
    ),
    Case(
        "dicom-projection-by-description",
        "bystanders",
        "a derived series that only its description calls a projection",
        of(
            NOT_CT,
            put(
                scan=MIP,
                change=setting(
                    ImageType=["DERIVED", "SECONDARY", "AXIAL"], SeriesDescription="Thorax MIP 10/2"
                ),
            ),
        ),
    ),
    Case(
        "dicom-original-named-maximum",
        "bystanders",
        "an axial original whose type goes on with MAXIMUM",
        of(RIGHT, put(change=setting(ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "MAXIMUM INSP"]))),
    ),
    Case(
        "dicom-average-of-slices",
        "bystanders",
        "a derived series of averages: HU all the same",
        of(
            RIGHT, put(change=setting(ImageType=["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]))
        ),
    ),
)

# ---- compressed streams ----


def fragmented_frames(
    encoder: Callable[[np.ndarray], bytes],
    *,
    order: Sequence[int] | None = None,
    pieces: int = 1,
    has_table: bool = True,
    is_extended: bool = False,
) -> Callable[[Dataset], None]:
    """A change that compresses the frames of a multi-frame CT.

    Args:
        encoder: Of a frame.
        order: In which the frames lie in the file; the table says where each begins.
        pieces: Fragments of each frame.
        has_table: Whether there is a table at all.
        is_extended: Whether that is the extended one, of an element of its own.
    """

    def item(content: bytes) -> bytes:
        return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content

    def change(ds: Dataset) -> None:
        frames = np.frombuffer(ds.PixelData, "<u2").reshape(-1, ds.Rows, ds.Columns)
        offsets = [0] * len(frames)
        body = b""
        for k in order or range(len(frames)):
            stream = encoder(frames[k])
            stream += bytes(len(stream) % 2)
            size = len(stream) // pieces + 1
            size += size % 2
            offsets[k] = len(body)
            body += b"".join(item(stream[a : a + size]) for a in range(0, len(stream), size))
        table = struct.pack(f"<{len(offsets)}I", *offsets) if has_table else b""
        if is_extended:
            ds.ExtendedOffsetTable = struct.pack(f"<{len(offsets)}Q", *offsets)
            table = b""
        ds.PixelData = item(table) + body + b"\xfe\xff\xdd\xe0" + bytes(4)
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True

    return change


_EXCHANGED = [0, 1, 8, 3, 4, 5, 6, 7, 2, 9, 10, 11]
STREAMS = tuple(
    Case(
        f"dicom-enhanced-{name}",
        "enhanced CT",
        what,
        of(RIGHT, enhanced(change=change, syntax=syntax)),
    )
    for name, what, syntax, change in (
        (
            "table-of-another-order",
            "the offset table says that two frames are exchanged",
            JPEGLSLossless,
            fragmented_frames(encode.jpeg_ls, order=_EXCHANGED),
        ),
        (
            "extended-table-of-another-order",
            "the extended offset table says that two frames are exchanged",
            JPEGLSLossless,
            fragmented_frames(encode.jpeg_ls, order=_EXCHANGED, is_extended=True),
        ),
        (
            "table-of-fragments-in-another-order",
            "two fragments a frame, the offset table says that two frames are exchanged",
            JPEGLSLossless,
            fragmented_frames(encode.jpeg_ls, order=_EXCHANGED, pieces=2),
        ),
        (
            "fragments-untold",
            "two fragments of JPEG-LS a frame, no offset table",
            JPEGLSLossless,
            fragmented_frames(encode.jpeg_ls, pieces=2, has_table=False),
        ),
    )
)
JPEG_2000_STREAMS = (
    Case(
        "dicom-enhanced-fragments-of-jpeg-2000-untold",
        "enhanced CT",
        "two fragments of JPEG 2000 a frame, no offset table",
        of(
            truth(BODY),
            enhanced(
                range(32),
                scan=BODY,
                change=fragmented_frames(encode.jpeg_2000, pieces=2, has_table=False),
                syntax=JPEG2000Lossless,
            ),
        ),
    ),
)

# ---- times in turn ----


def _in_turn(keyword: str, values: Sequence[Any]) -> Callable[[Dataset, int], None]:
    def change(item: Dataset, number: int) -> None:
        setattr(item.FrameContentSequence[0], keyword, values[number % len(values)])

    return change


TIMES = (
    Case(
        "dicom-enhanced-times-in-turn",
        "enhanced CT",
        "the frames of one scan carry two times in turn",
        of(
            truth(BODY),
            enhanced(
                range(32),
                scan=BODY,
                frame=_in_turn("FrameAcquisitionDateTime", ["20200101101010", "20200101101011"]),
            ),
        ),
    ),
)

# ---- copies ----


def _legacy(ds: Dataset) -> None:
    ds.SOPClassUID = LegacyConvertedEnhancedCTImageStorage
    ds.SeriesInstanceUID = series.uid("converted")


def _numbered_legacy(ds: Dataset) -> None:
    _legacy(ds)
    ds.SeriesNumber = 2


COPIES = (
    Case(
        "dicom-legacy-beside-its-original",
        "copies",
        "a classic series and its legacy converted copy",
        of(RIGHT, put(), enhanced(change=_legacy, per_frame=False)),
    ),
    Case(
        "dicom-legacy-with-number-of-its-original",
        "copies",
        "a classic series and its legacy converted copy of one series number, in two folders",
        of(
            RIGHT,
            put("a", change=setting(SeriesNumber=2)),
            enhanced(
                change=_numbered_legacy,
                per_frame=False,
                name="b/converted.dcm",
            ),
        ),
    ),
)

# ---- objects of CT storage that are no slices ----


def _object(
    rows: int,
    columns: int,
    *,
    samples: int = 1,
    bits: int = 8,
    frames: int | None = None,
    photometric: str = "MONOCHROME2",
    is_placed: bool = False,
    has_pixels: bool = True,
) -> Change:
    """A change that makes a page, a movie or a presentation of a slice."""

    def change(ds: Dataset, index: int) -> None:
        ds.SeriesNumber = 99
        ds.ImageType = ["DERIVED", "SECONDARY"]
        if not is_placed:
            del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.PixelSpacing
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.Rows, ds.Columns, ds.SamplesPerPixel = rows, columns, samples
        ds.BitsAllocated = ds.BitsStored = bits
        ds.HighBit, ds.PhotometricInterpretation = bits - 1, photometric
        if samples > 1:
            ds.PlanarConfiguration = 0
        if frames:
            ds.NumberOfFrames = frames
        ds.PixelData = bytes(rows * columns * samples * bits // 8 * (frames or 1))
        if not has_pixels:
            del ds.PixelData

    return change


_RGB = {"samples": 3, "photometric": "RGB"}
OBJECTS = tuple(
    Case(
        f"dicom-bystander-{name}",
        "bystanders",
        f"beside the CT {what}, of CT storage and of a series of its own",
        of(RIGHT, put(), put_object("other.dcm", change)),
    )
    for name, what, change in (
        ("large-rgb-page", "a colour page larger than any slice", _object(4200, 10, **_RGB)),
        ("large-grey-page", "a grey page larger than any slice", _object(4200, 10)),
        ("large-radiograph", "a large picture of 16 bits", _object(4200, 10, bits=16)),
        ("rgb-movie", "a colour movie", _object(20, 16, frames=30, **_RGB)),
        ("grey-movie", "a grey movie", _object(20, 16, bits=16, frames=30)),
        ("grey-movie-of-8-bits", "a grey movie of 8 bits", _object(20, 16, frames=30)),
        ("long-rgb-movie", "a long colour movie", _object(2, 2, frames=5000, **_RGB)),
        ("without-pixels", "an object without pixels", _object(20, 16, bits=16, has_pixels=False)),
    )
)  # fmt: skip


def _one_item_less(ds: Dataset) -> None:
    ds.SeriesInstanceUID = series.uid("broken")
    ds.PerFrameFunctionalGroupsSequence.pop()


BROKEN = (
    Case(
        "dicom-broken-enhanced-of-the-same-places",
        "damaged files",
        "beside the scan a damaged multi-frame copy of it in a series of its own",
        of(truth(None, None, "stray_files"), put(), enhanced(change=_one_item_less)),
    ),
    Case(
        "dicom-broken-enhanced-of-other-places",
        "damaged files",
        "beside the scan a damaged multi-frame file, in a series of its own, where it goes on",
        of(
            Refusal("CORRUPT_SLICE"),
            put("", LONG[:24]),
            enhanced(range(24, 36), scan=LONG, change=_one_item_less),
        ),
    ),
    Case(
        "dicom-broken-object-and-chosen-series",
        "damaged files",
        "beside the chosen series a damaged slice of another series",
        of(
            truth(None, None),
            put(),
            put_object("other.dcm", lambda ds, i: setattr(ds, "NumberOfFrames", 30)),
        ),
        options={"series": series_key(series.uid("study/series"))},
    ),
    Case(
        "dicom-broken-object-unchosen",
        "damaged files",
        "a damaged slice of another series where the scan goes on",
        of(
            Refusal("CORRUPT_SLICE"),
            put(),
            put_object(
                "other.dcm",
                lambda ds, i: setattr(ds, "NumberOfFrames", 30),
                series.an_affine(origin=(-50.0, -60.0, 40.0)),
            ),
        ),
    ),
)


def _private_pixels(ds: Dataset, index: int) -> None:
    block = ds.private_block(0x07A1, "ELSCINT1", create=True)
    block.add_new(0x0A, "OB", bytes(64))
    block.add_new(0x11, "CS", "PMSCT_RLE1")
    del ds.PixelData


PRIVATE = (
    Case(
        "dicom-pixels-in-private-elements",
        "transfer syntaxes",
        "pixels compressed by a method of their maker, in private elements",
        of(Refusal("UNSUPPORTED_SYNTAX"), put(change=_private_pixels)),
    ),
)

# ---- one study UID over patients in multi-frame files ----


def _patient(number: int) -> Callable[[Dataset], None]:
    return _told(
        PatientID="ANON",
        SeriesNumber=2,
        SeriesInstanceUID=series.uid(f"patient {number}"),
        FrameOfReferenceUID=series.uid(f"frame of patient {number}"),
    )


PATIENTS = (
    Case(
        "dicom-patients-enhanced-chosen",
        "mixed patients and studies",
        "two patients under one study UID, each a multi-frame file: one chosen",
        of(
            truth(SCAN[:10] + np.int16(3)),
            enhanced(change=_patient(1), name="a/scan.dcm", instance="a"),
            enhanced(
                range(10),
                scan=SCAN + np.int16(3),
                change=_patient(2),
                name="b/scan.dcm",
                instance="b",
            ),
        ),
        options={"series": series_key(series.uid("patient 2"))},
    ),
)

CASES = (
    *CONCATENATIONS,
    *PROJECTIONS,
    *STREAMS,
    *JPEG_2000_STREAMS,
    *TIMES,
    *COPIES,
    *OBJECTS,
    *BROKEN,
    *PRIVATE,
    *PATIENTS,
)
