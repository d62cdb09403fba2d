"""Files that were damaged on their way, and headers whose sizes do not fit their voxels."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGExtended12Bit, JPEGLosslessSV1

from tests.catalogue import encode
from tests.catalogue.cases import Case, Refusal, of, truth
from tests.catalogue.files import (
    EYE,
    META,
    SCAN,
    ZIPPED,
    after,
    detached,
    head_of,
    meta_of,
    nhdr_head,
    nifti,
    nrrd_head,
)
from tests.catalogue.steps import both, compressed, on, put, stored
from tests.io import series
from tests.io.series import Change

BODY = series.a_body()
RIGHT = truth()

# ---- sizes of which one took a factor of another ----


def _longer_rows(ds: Dataset, index: int) -> None:
    ds.Rows, ds.Columns = ds.Rows // 2, ds.Columns * 2


def _shorter_rows(ds: Dataset, index: int) -> None:
    ds.Rows, ds.Columns = ds.Rows * 2, ds.Columns // 2


# Columns, rows, slices, of which 36, 40, 32 are right.
FACTORS = (
    ("rows-twice-as-long", "rows twice as long, half as many", (72, 20, 32)),
    ("rows-half-as-long", "rows half as long, twice as many", (18, 80, 32)),
    ("rows-a-third", "rows of a third, three times as many slices", (12, 40, 96)),
    ("slices-twice-as-large", "half as many slices, twice as many rows", (36, 80, 16)),
    ("slices-half-as-large", "twice as many slices, half as many rows", (36, 20, 64)),
    ("slices-a-quarter", "four times as many slices, rows and columns halved", (18, 20, 128)),
)
MHA = META.format(matrix=EYE, spacing="0.7 0.8 2.5")
SIZES = (
    *(
        Case(
            f"nifti-{name}",
            "dimensions of a file",
            f"the header says {what}",
            of(Refusal("NO_GEOMETRY"), nifti(array=BODY, dim=[3, *sizes, 1, 1, 1, 1])),
        )
        for name, what, sizes in FACTORS
    ),
    *(
        Case(
            f"{form}-{name}",
            "dimensions of a file",
            f"the header says {what}",
            of(
                Refusal("NO_GEOMETRY"),
                head_of(form, head.replace("16 20 12", " ".join(map(str, sizes))), BODY.tobytes()),
            ),
        )
        for form, head in (("mha", MHA), ("nrrd", nrrd_head()))
        for name, what, sizes in FACTORS[::2]
    ),
    *(
        Case(
            f"dicom-{name}",
            "damaged files",
            f"every header says {what}",
            of(Refusal("NO_GEOMETRY"), put(scan=BODY, change=change)),
        )
        for name, what, change in (
            ("rows-twice-as-long", "rows twice as long, half as many", _longer_rows),
            ("rows-half-as-long", "rows half as long, twice as many", _shorter_rows),
        )
    ),
)

# ---- words of MetaImage headers, and voxels that are not the last bytes ----

BIG_ENDIAN = SCAN.astype(">i2").tobytes()
TO_END = meta_of().replace("DimSize", "HeaderSize = -1\nDimSize")
SHIFTED = "the voxels should be the last bytes, and others stand behind them"
META_WORDS = (
    *(
        Case(
            f"mha-order-{word.lower()}",
            "names of formats",
            f"big endian, which the header says by {word}",
            of(
                RIGHT,
                head_of(
                    "mha",
                    MHA.replace(
                        "BinaryDataByteOrderMSB = False",
                        f"BinaryDataByteOrderMSB = {word}\nElementByteOrderMSB = True",
                    ),
                    BIG_ENDIAN,
                ),
            ),
        )
        for word in ("T", "TRUE", "1")
    ),
    Case(
        "mha-order-false-and-f",
        "names of formats",
        "two fields about the order of bytes, False and F",
        of(RIGHT, head_of("mha", MHA.replace("DimSize", "ElementByteOrderMSB = F\nDimSize"))),
    ),
    Case(
        "mhd-compressed-t",
        "names of formats",
        "compressed voxels, which the header says by T",
        of(RIGHT, detached("scan.mhd", meta_of(CompressedData="T"), ZIPPED)),
    ),
    Case(
        "mha-text-f",
        "broken file",
        "a header that says by F that its voxels are no bytes",
        of(
            Refusal("CORRUPT_FILE"),
            head_of("mha", MHA.replace("BinaryData = True", "BinaryData = F")),
        ),
    ),
    Case(
        "mha-element-size-alone",
        "geometry of a file",
        "ElementSize in place of ElementSpacing",
        of(RIGHT, head_of("mha", MHA.replace("ElementSpacing", "ElementSize"))),
    ),
    Case(
        "mhd-junk-behind-last",
        "header and voxels apart",
        SHIFTED,
        of(Refusal("CORRUPT_FILE"), detached("scan.mhd", TO_END, SCAN.tobytes() + bytes(10))),
    ),
    Case(
        "nhdr-junk-behind-last",
        "header and voxels apart",
        SHIFTED,
        of(
            Refusal("CORRUPT_FILE"),
            detached(
                "scan.nhdr",
                nhdr_head().replace("endian", "byte skip: -1\nendian"),
                SCAN.tobytes() + bytes(200),
            ),
        ),
    ),
)

# ---- holes within compressed slices ----


def _stream_of(ds: Dataset) -> bytes:
    return next(generate_frames(ds.PixelData, number_of_frames=1))


def _with_stream(ds: Dataset, stream: bytes) -> None:
    ds.PixelData = encode.fragmented(stream + bytes(len(stream) % 2))


def _holed(size: int) -> Change:
    """Zeros in the middle of the compressed stream."""

    def change(ds: Dataset, index: int) -> None:
        stream = _stream_of(ds)
        middle = len(stream) // 2
        _with_stream(ds, stream[:middle] + bytes(size) + stream[middle + size :])

    return change


def _zeros_to_end(ds: Dataset, index: int) -> None:
    """Zeros from the middle on, and an end marker."""
    stream = _stream_of(ds).rstrip(b"\0")
    middle = len(stream) // 2
    _with_stream(ds, stream[:middle] + bytes(len(stream) - middle - 2) + stream[-2:])


def _beyond(ds: Dataset, index: int) -> None:
    """A lossless stream that says 12 bits, and whose sum of differences leaves them."""
    stream = encode.jpeg_lossless(np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, -1) + 4000)
    frame = stream.index(b"\xff\xc3")
    _with_stream(ds, stream[: frame + 4] + bytes([12]) + stream[frame + 5 :])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


OTHERS = [index for index in range(len(BODY)) if index != 9]
TWELVE = stored("<u2", bits=12)
HOLES = tuple(
    Case(
        f"dicom-{name}",
        "damaged files",
        what,
        of(Refusal("CORRUPT_SLICE"), put(scan=BODY, syntax=syntax, change=change)),
    )
    for name, what, syntax, change in (
        (
            "jpeg-2000-hole",
            "zeros within one slice in JPEG 2000",
            JPEG2000Lossless,
            both(compressed(JPEG2000Lossless), on(9, _holed(300))),
        ),
        (
            "jpeg-2000-half",
            "zeros in the second half of every slice in JPEG 2000, and an end marker",
            JPEG2000Lossless,
            both(compressed(JPEG2000Lossless), _zeros_to_end),
        ),
        (
            "jpeg-2000-lossy-hole",
            "zeros within one slice in lossy JPEG 2000",
            JPEG2000,
            both(compressed(JPEG2000), on(9, _holed(200))),
        ),
        (
            "jpeg-12-bits-hole",
            "zeros within one slice in lossy JPEG of 12 bits",
            JPEGExtended12Bit,
            both(TWELVE, compressed(JPEGExtended12Bit), on(9, _holed(64))),
        ),
        (
            "jpeg-lossless-beyond",
            "a lossless JPEG slice of 12 bits with numbers of more",
            JPEGLosslessSV1,
            both(TWELVE, on(9, _beyond), on(OTHERS, compressed(JPEGLosslessSV1))),
        ),
    )
)

# ---- parts of a slice that no other slice goes on in ----


def _with(rows: slice, value: int | None = None, *, slices: slice = slice(9, 10)) -> np.ndarray:
    """The body with rows of some slices set to a value, or 600 HU denser."""
    hu = BODY.copy()
    if value is None:
        hu[slices, rows] += 600
    else:
        hu[slices, rows] = value
    return hu


ROWS = slice(18, 22)
LOWER = slice(20, None)
ZEROS = "four rows of stored zeros within a slice"
DENSER = (
    ("lower-half-denser", "the lower half of a slice 600 HU too dense", _with(LOWER)),
    (
        "three-halves-denser",
        "the lower halves of three slices 600 HU too dense",
        _with(LOWER, slices=slice(9, 12)),
    ),
)
PARTS = (
    Case(
        "dicom-rows-zero",
        "damaged files",
        ZEROS,
        of(Refusal("CORRUPT_SLICE"), put(scan=_with(ROWS, -1024))),
    ),
    Case(
        "nifti-rows-zero",
        "broken file",
        ZEROS,
        of(Refusal("CORRUPT_FILE"), nifti(array=_with(ROWS, 0))),
    ),
    *(
        case
        for name, what, hu in DENSER
        for case in (
            Case(
                f"dicom-{name}",
                "damaged files",
                f"{what}, of compressed slices",
                of(
                    Refusal("CORRUPT_SLICE"),
                    put(
                        scan=hu,
                        syntax=JPEG2000Lossless,
                        change=compressed(JPEG2000Lossless),
                    ),
                ),
            ),
            Case(
                f"nifti-{name}",
                "broken file",
                what,
                of(Refusal("CORRUPT_FILE"), nifti(array=hu)),
            ),
        )
    ),
)

# ---- what NIfTI files say oddly ----

NIFTI = (
    Case(
        "nifti-gz-junk-behind",
        "broken file",
        "junk behind a compressed file that is whole",
        of(RIGHT, nifti("scan.nii.gz"), after(lambda content: content + b"junk" * 9)),
    ),
    Case(
        "nifti-gz-wrong-checksum-and-junk",
        "broken file",
        "a compressed file of another checksum, and junk behind it",
        of(
            Refusal("CORRUPT_FILE"),
            nifti("scan.nii.gz"),
            after(lambda content: content[:-8] + b"abcd" + content[-4:] + b"junk" * 9),
        ),
    ),
    Case(
        "nifti-pixdim-below-zero",
        "geometry of a file",
        "a qform with a pixdim below 0",
        of(Refusal("NO_GEOMETRY"), nifti(pixdim=[1, -0.7, 0.8, 2.5, 0, 0, 0, 0])),
    ),
)

CASES: tuple[Case, ...] = (*NIFTI, *SIZES, *META_WORDS, *HOLES, *PARTS)
