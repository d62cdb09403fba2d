"""Inputs that contradict themselves, or say what no chest CT has: values, sizes, places, names."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from tests.catalogue.archives import packed
from tests.catalogue.cases import Case, Refusal, Step, of, truth
from tests.catalogue.files import (
    COLUMNS_FIRST,
    EYE,
    META,
    SCAN,
    detached,
    head_of,
    itk,
    meta_of,
    nhdr_head,
    nifti,
    nrrd_head,
    spaced,
)
from tests.catalogue.steps import enhanced, file, on, put, stored
from tests.io import series
from tests.io.series import Change

RIGHT = truth()
LONG = series.a_scan((24, 20, 16))
Chosen = Callable[[int], bool]


# ---- many slices of a scan with a rescaling that is not theirs ----


def _rescaled(chosen: Chosen, *, by: float = 0.0, slope: float = 1.0) -> Change:
    """Another rescaling for some slices, whose pixels stay as they were."""

    def change(ds: Dataset, index: int) -> None:
        if chosen(index):
            ds.RescaleIntercept, ds.RescaleSlope = -1024 + by, slope

    return change


def _honest(ds: Dataset, index: int) -> None:
    """An intercept of its own, and pixels that belong to it."""
    stored("<i2", intercept=-1024 - 7 * index)(ds, index)


def _on_top(chosen: Chosen, by: float) -> Change:
    """Slices with a rescaling each, some of which were changed."""

    def change(ds: Dataset, index: int) -> None:
        _honest(ds, index)
        if chosen(index):
            ds.RescaleIntercept = float(ds.RescaleIntercept) + by

    return change


SHARES: tuple[tuple[str, str, Chosen], ...] = (
    ("quarter", "every fourth slice", lambda i: i % 4 == 1),
    ("third", "every third slice", lambda i: i % 3 == 1),
    ("half", "every second slice", lambda i: i % 2 == 1),
    ("upper-half", "the upper half", lambda i: i >= 12),
    ("pairs", "two slices in turn with two", lambda i: i % 4 > 1),
    ("drawn", "eleven slices, drawn", lambda i: i in (0, 2, 3, 7, 8, 11, 12, 14, 17, 20, 23)),
)
MANY = (
    *(
        Case(
            f"dicom-rescale-{name}-{word}",
            "rescale missing or wrong",
            f"{which}: {what}",
            of(Refusal("NO_RESCALE"), put("", LONG, change=_rescaled(chosen, **how))),
        )
        for name, which, chosen in SHARES
        for word, what, how in (
            ("100-up", "intercept 100 too high", {"by": 100}),
            ("40-down", "intercept 40 too low", {"by": -40}),
            ("1024-up", "intercept 0 instead of -1024", {"by": 1024}),
            ("slope", "slope 1.2 instead of 1", {"slope": 1.2}),
        )
    ),
    *(
        Case(
            f"dicom-rescale-own-{name}-changed",
            "rescale missing or wrong",
            f"every slice has an intercept of its own, those of {which} are 150 too high",
            of(Refusal("NO_RESCALE"), put("", LONG, change=_on_top(chosen, 150))),
        )
        for name, which, chosen in SHARES
    ),
    Case(
        "dicom-rescale-drift",
        "rescale missing or wrong",
        "intercepts that rise by 8 from slice to slice, pixels that do not",
        of(
            Refusal("NO_RESCALE"),
            put("", LONG, change=lambda ds, i: setattr(ds, "RescaleIntercept", -1024 + 8 * i)),
        ),
    ),
    Case(
        "dicom-rescale-enhanced-half",
        "rescale missing or wrong",
        "a multi-frame CT, the intercept of every second frame is 80 too high",
        of(
            Refusal("NO_RESCALE"),
            enhanced(range(24), scan=LONG, frame=lambda item, k: _raise_intercept(item, k % 2)),
        ),
    ),
    *(
        Case(
            f"dicom-rescale-right-{name}",
            "rescale per slice",
            f"{which}: an intercept of its own, and it is right",
            of(
                truth(LONG),
                put(
                    "",
                    LONG,
                    change=lambda ds, i, chosen=chosen: (
                        stored("<i2", intercept=-900)(ds, i) if chosen(i) else None
                    ),
                ),
            ),
        )
        for name, which, chosen in SHARES
    ),
    Case(
        "dicom-rescale-one-near",
        "rescale missing or wrong",
        "one slice with an intercept of -1020 where the others have -1024: it may be right",
        of(
            Refusal("NO_RESCALE", (RIGHT,)),
            put(change=on(5, stored("<u2", intercept=-1020))),
        ),
        policy=True,
    ),
)


def _raise_intercept(item: Dataset, is_chosen: int) -> None:
    value = item.PixelValueTransformationSequence[0]
    value.RescaleIntercept = float(value.RescaleIntercept) + 80 * is_chosen


# ---- bits and padding that contradict the pixels ----

BONE = SCAN.copy()
BONE[:, 8:11, 5:8] = 1500
BONE[:, 9, 6] = 1900
SPECK = SCAN.copy()
SPECK[5, 9, 6] = 1200
RISING = SCAN.copy()
RISING[:, 7:12, 4:9] = 900 + 40 * np.arange(25).reshape(5, 5)


def _bits(bits: int, *, intercept: int = -1024, signed: bool = True) -> Change:
    """16-bit numbers whose header says fewer bits."""
    return stored("<i2" if signed else "<u2", intercept=intercept, bits=bits)


def _unextended(intercept: int) -> Change:
    """12 bits, signed, with zeros above the sign."""

    def change(ds: Dataset, index: int) -> None:
        stored("<i2", intercept=intercept, bits=12)(ds, index)
        raw = np.frombuffer(ds.PixelData, "<i2").astype(np.int32) & 0xFFF
        ds.PixelData = raw.astype("<u2").tobytes()

    return change


def _padded(value: int, last: int | None = None, *, scan: np.ndarray = SCAN) -> Change:
    """Signed pixels in HU and a declared padding value, or a range of them."""

    def change(ds: Dataset, index: int) -> None:
        ds.PixelRepresentation, ds.RescaleIntercept = 1, 0
        ds.PixelData = scan[index].astype("<i2").tobytes()
        ds.add_new("PixelPaddingValue", "SS", value)
        if last is not None:
            ds.add_new("PixelPaddingRangeLimit", "SS", last)

    return change


FRAMED = SCAN.copy()
FRAMED[:, :, -2:] = -2000
# Padding with the number of water, and water amid the tissue.
WATERED = SCAN.copy()
WATERED[:, 0, :], WATERED[:, :, -2:] = 0, 0
WATERED[:, 8, 3] = 0
DRIED = WATERED.copy()
DRIED[:, 0, :], DRIED[:, :, -2:] = -1024, -1024

BITS = (
    *(
        Case(
            f"dicom-bits-{name}",
            "stored bits",
            what,
            of(truth(scan, None, "stored_bits"), put("", scan, change=change)),
        )
        for name, what, scan, change in (
            ("bone-signed", "bone of 1500 HU in signed pixels of 12 bits from -1024", BONE,
             _bits(12)),
            ("bone-one-voxel", "one voxel of 1200 HU in signed pixels of 12 bits from -1024", SPECK,
             _bits(12)),
            ("bone-rising", "bone of many values in signed pixels of 12 bits from -1024", RISING,
             _bits(12)),
            ("bone-unsigned", "bone of 1500 HU in unsigned pixels of 11 bits", BONE,
             _bits(11, signed=False)),
        )
    ),
    *(
        Case(f"dicom-bits-{name}", "stored bits", what, of(Refusal("NOT_HU"), put(change=change)))
        for name, what, change in (
            ("eleven-signed", "signed pixels of 11 bits from -1024, which end at -1 HU", _bits(11)),
            ("ten-unsigned", "unsigned pixels of 10 bits, which end at -1 HU",
             _bits(10, signed=False)),
        )
    ),
    Case(
        "dicom-bits-unextended-padding",
        "stored bits",
        "padding of -2000 in signed pixels of 12 bits, the sign is not extended",
        of(
            truth(np.maximum(FRAMED, np.int16(-1024))),
            put("", FRAMED, change=_unextended(0)),
        ),
    ),
    *(
        Case(
            f"dicom-padding-{name}",
            "padding",
            what,
            of(Refusal("NOT_HU"), put("", FRAMED, change=_padded(first, last, scan=FRAMED))),
        )
        for name, what, first, last in (
            ("range-over-lung", "a range of padding from -2000 to -724", -2000, -724),
            ("range-over-all", "a range of padding from -2000 to 26", -2000, 26),
            ("range-backwards", "a range of padding from 200 down to -2000", 200, -2000),
            ("range-over-tissue", "a range of padding from 0 to 100", 0, 100),
        )
    ),
    Case(
        "dicom-padding-like-water",
        "padding",
        "padding of 0 HU round the image, and water of 0 HU in the body",
        of(truth(DRIED), put("", WATERED, change=_padded(0, scan=WATERED))),
    ),
)  # fmt: skip


# ---- sizes and places that no chest CT has ----

UNIT = series.an_affine((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
Spacing = tuple[float, float, float]


def _sized(spacing: Spacing) -> np.ndarray:
    return series.an_affine(spacing, series.ORIGIN)


def _meta(spacing: Spacing, *, matrix: str = EYE, **fields: str) -> str:
    head = META.format(matrix=matrix, spacing=" ".join(map(str, spacing[::-1])))
    more = "".join(f"{name} = {value}\n" for name, value in fields.items())
    return head.replace("DimSize", f"{more}DimSize")


def _turned_default(*axes: int) -> Step:
    """The identity, with some axes turned round as `nibabel` and others do."""

    def step(folder: Path) -> None:
        affine = np.eye(4)
        for axis in axes:
            affine[axis, axis] = -1
            affine[axis, 3] = COLUMNS_FIRST.shape[axis] - 1
        nib.save(nib.Nifti1Image(COLUMNS_FIRST, affine), folder / "scan.nii")

    return step


def _canonical(affine: np.ndarray) -> Step:
    """An array and an affine, turned to RAS by nibabel."""

    def step(folder: Path) -> None:
        image = nib.as_closest_canonical(nib.Nifti1Image(COLUMNS_FIRST, affine))
        nib.save(image, folder / "scan.nii")

    return step


def _placed(*origin: float) -> Step:
    affine = np.eye(4)
    affine[:3, 3] = origin
    return spaced(COLUMNS_FIRST, affine)


SIZES: tuple[tuple[str, str, Spacing], ...] = (
    ("pixels-wide", "pixels of 9 mm", (2.5, 9.0, 9.0)),
    ("step-wide", "slices 50 mm apart", (50.0, 0.8, 0.7)),
    ("microns", "spacing in micrometres", (2500.0, 800.0, 700.0)),
)
EXTENTS = (
    *(
        Case(
            f"{form}-{name}",
            "geometry of a file" if form != "dicom" else "missing geometry",
            what,
            of(Refusal("ABSURD_EXTENT"), step(spacing)),
        )
        for name, what, spacing in SIZES
        for form, step in (
            ("dicom", lambda spacing: put(affine=_sized(spacing))),
            ("nifti", lambda spacing: nifti(affine=_sized(spacing), xyzt_units=0)),
            ("mha", lambda spacing: head_of("mha", _meta(spacing))),
            ("nrrd", lambda spacing: itk("scan.nrrd", affine=_sized(spacing))),
        )
    ),
    Case(
        "dicom-field-wide",
        "missing geometry",
        "480 columns of 4 mm: 2 m wide",
        of(
            Refusal("ABSURD_EXTENT"),
            put("", np.tile(SCAN, (1, 24, 30)), affine=_sized((2.5, 4.0, 4.0))),
        ),
    ),
    Case(
        "nifti-long",
        "geometry of a file",
        "140 slices 20 mm apart: 2.8 m long",
        of(
            Refusal("ABSURD_EXTENT"),
            nifti(array=np.tile(SCAN, (12, 1, 1)), affine=_sized((20.0, 0.8, 0.7))),
        ),
    ),
    Case(
        "dicom-step-20",
        "plain series",
        "slices 20 mm apart, as of scans of single slices: flagged",
        of(
            truth(None, _sized((20.0, 0.8, 0.7)), "thick_slices"),
            put(affine=_sized((20.0, 0.8, 0.7))),
        ),
    ),
    *(
        Case(f"nifti-{name}", "default geometry", what, of(Refusal("NO_GEOMETRY"), step))
        for name, what, step in (
            ("identity-turned-x", "the identity, columns turned round", _turned_default(0)),
            ("identity-turned-xy", "the identity, rows and columns turned", _turned_default(0, 1)),
            ("identity-turned-z", "the identity, slices turned round", _turned_default(2)),
            ("identity-canonical", "the identity of LPS, turned to RAS by nibabel",
             _canonical(np.diag([-1.0, -1, 1, 1]))),
            ("identity-half", "1 mm, from minus half of the size", _placed(-8, -10, -6)),
            ("identity-mixed", "1 mm, the middle of two axes at 0, the third from 0",
             _placed(-7.5, -10, 0)),
        )
    ),
    Case(
        "mha-identity-turned",
        "default geometry",
        "1 mm, turned round two axes by SimpleITK",
        of(
            Refusal("NO_GEOMETRY"),
            head_of(
                "mha",
                _meta((1.0, 1.0, 1.0), matrix="-1 0 0 0 -1 0 0 0 1").replace(
                    "-50 -60 10", "15 19 0"
                ),
            ),
        ),
    ),
    Case(
        "nrrd-identity-ras",
        "default geometry",
        "1 mm from 0 in RAS",
        of(
            Refusal("NO_GEOMETRY"),
            head_of(
                "nrrd",
                nrrd_head("right-anterior-superior", "(1,0,0) (0,1,0) (0,0,1)", "(0,0,0)"),
            ),
        ),
    ),
    Case(
        "nifti-origin-zero-turned",
        "default geometry",
        "spacing alone was set, then turned to RAS: flagged",
        of(
            truth(None, series.an_affine(origin=(0.0, 0.0, 0.0)), "default_geometry"),
            _canonical(np.diag([-0.7, -0.8, 2.5, 1.0])),
        ),
    ),
    Case(
        "dicom-identity",
        "missing geometry",
        "1 x 1 x 1 mm from 0, as converters write that were given no geometry",
        of(Refusal("NO_GEOMETRY"), put(affine=UNIT)),
    ),
    Case(
        "dicom-identity-elsewhere",
        "plain series",
        "1 x 1 x 1 mm at a real place",
        of(
            truth(None, series.an_affine((1.0, 1.0, 1.0))),
            put(affine=series.an_affine((1.0, 1.0, 1.0))),
        ),
    ),
)  # fmt: skip


# ---- fields of a header that contradict each other ----

BOTH_ORDERS = {"ElementByteOrderMSB": "True"}
FIELDS = (
    *(
        Case(
            f"mha-{name}",
            "geometry of a file",
            what,
            of(Refusal("NO_GEOMETRY"), head_of("mha", head)),
        )
        for name, what, head in (
            ("matrix-scaled", "directions of length 2",
             _meta(series.SPACING, matrix="2 0 0 0 2 0 0 0 2")),
            ("matrix-with-spacing", "directions that hold the spacing once more",
             _meta(series.SPACING, matrix="0.7 0 0 0 0.8 0 0 0 2.5")),
            ("matrix-one-longer", "one direction of length 1.1",
             _meta(series.SPACING, matrix="1 0 0 0 1 0 0 0 1.1")),
            ("spacing-negative", "a spacing of -2.5", _meta((-2.5, 0.8, 0.7))),
            ("places-apart", "Offset and Position differ",
             _meta(series.SPACING, Position="5 5 5")),
            ("origins-apart", "Offset and Origin differ by 1 mm",
             _meta(series.SPACING, Origin="-50 -60 11")),
            ("directions-apart", "TransformMatrix and Orientation differ",
             _meta(series.SPACING, Orientation="-1 0 0 0 -1 0 0 0 1")),
            ("rotation-apart", "TransformMatrix and Rotation differ",
             _meta(series.SPACING, Rotation="0 1 0 1 0 0 0 0 1")),
        )
    ),
    *(
        Case(f"mha-{name}", "broken file", what, of(Refusal("CORRUPT_FILE"), head_of("mha", head)))
        for name, what, head in (
            ("spacing-twice", "a header that says its spacing twice",
             _meta(series.SPACING, ElementSpacing="1 1 1")),
            ("size-twice", "a header that says its size twice",
             _meta(series.SPACING, dimsize="20 16 12")),
            ("axes-other", "four axes said, sizes of three",
             _meta(series.SPACING).replace("NDims = 3", "NDims = 4")),
            ("order-apart", "two fields that contradict each other about the order of bytes",
             _meta(series.SPACING, **BOTH_ORDERS)),
        )
    ),
    Case(
        "mha-fields-agree",
        "geometry of a file",
        "Offset, Position and Origin, and two matrices, all alike",
        of(
            RIGHT,
            head_of(
                "mha",
                _meta(
                    series.SPACING,
                    Position="-50 -60 10.0",
                    Origin="-50.0 -60 10",
                    Orientation=EYE,
                    ElementByteOrderMSB="False",
                ),
            ),
        ),
    ),
    Case(
        "nrrd-spacings-apart",
        "geometry of a file",
        "spacings that the directions contradict",
        of(
            Refusal("NO_GEOMETRY"),
            head_of("nrrd", nrrd_head().replace("endian", "spacings: 1 1 1\nendian")),
        ),
    ),
    Case(
        "nrrd-spacings-agree",
        "geometry of a file",
        "spacings beside directions, alike",
        of(
            RIGHT,
            head_of("nrrd", nrrd_head().replace("endian", "spacings: 0.7 0.8 2.5\nendian")),
        ),
    ),
    Case(
        "nrrd-axes-other",
        "broken file",
        "four axes said, sizes of three",
        of(
            Refusal("CORRUPT_FILE"),
            head_of("nrrd", nrrd_head().replace("dimension: 3", "dimension: 4")),
        ),
    ),
)  # fmt: skip


# ---- names of files, and what else lies beside a scan ----


def _zipped_from(first: int) -> Step:
    """Slices compressed by gzip, one by one, from one on."""

    def step(folder: Path) -> None:
        put(name="IM{:04d}.dcm")(folder)
        for path in sorted(folder.glob("*.dcm"))[first:]:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
            path.unlink()

    return step


NAMES = (
    *(
        Case(
            f"dicom-text-{name}",
            "junk beside",
            f"a text beside the slices that begins with {text.splitlines()[0]!r}",
            of(RIGHT, put(), file(path, text.encode())),
        )
        for name, path, text in (
            ("name", "info.txt", "Name = chest\nComment = exported by a program\n"),
            ("comment", "LICENSE", "Comment = none\n"),
            ("id", "series.ini", "ID=3\nAge=40\n"),
            ("axes", "notes", "NDims = 3\nthe scan has three axes\n"),
            ("transform", "transform.txt", "TransformType = Euler\nNDims = 3\n"),
        )
    ),
    *(
        Case(
            f"dicom-gzipped-{name}",
            "damaged files",
            what,
            of(Refusal("CORRUPT_SLICE"), _zipped_from(first)),
        )
        for name, what, first in (
            ("all", "every slice is compressed by gzip", 0),
            ("half", "the last four slices are compressed by gzip", 8),
            ("last", "the last slice is compressed by gzip", 11),
        )
    ),
    *(
        Case(f"mhd-{name}", "header and voxels apart", what, of(RIGHT, step))
        for name, what, step in (
            ("raw-capitals", "the header writes the name of its voxels in small letters",
             detached("scan.mhd", meta_of("voxels.raw"), SCAN.tobytes(), "VOXELS.RAW")),
            ("raw-small", "the header writes the name of its voxels in capitals",
             detached("scan.mhd", meta_of("VOXELS.RAW"), SCAN.tobytes())),
            ("raw-accents", "the name of the voxels is composed otherwise than in the header",
             detached("scan.mhd", meta_of("Zo\u00eb.raw"), SCAN.tobytes(), "Zoe\u0308.raw")),
        )
    ),
    Case(
        "nhdr-raw-capitals",
        "header and voxels apart",
        "the header writes the name of its voxels in small letters",
        of(RIGHT, detached("scan.nhdr", nhdr_head(), SCAN.tobytes(), "Voxels.RAW")),
    ),
    Case(
        "mhd-raw-two-spellings",
        "header and voxels apart",
        "two files of voxels that differ in letter case, neither spelt as in the header",
        of(
            Refusal("CORRUPT_FILE"),
            detached("scan.mhd", meta_of("voxels.raw"), SCAN.tobytes(), "VOXELS.raw"),
            file("Voxels.raw", (SCAN + np.int16(3)).tobytes()),
        ),
    ),
    *(
        Case(f"zip-{name}", "archive", what, of(RIGHT, packed(*steps, prefix=prefix)))
        for name, what, prefix, steps in (
            ("names-times", "folders named by a time of day", "12:30:00/", (put(),)),
            ("names-colons", "colons in the names of files", "", (put("scan:1", name="{}:1.dcm"),)),
            ("raw-capitals", "an MHD file whose voxels are named in capitals", "",
             (detached("scan.mhd", meta_of("voxels.raw"), SCAN.tobytes(), "VOXELS.RAW"),)),
        )
    ),
    Case(
        "zip-path-drive-alone",
        "hostile archive",
        "a name that begins with a drive",
        of(Refusal("BAD_ARCHIVE"), packed(put(), more=[("d:a.dcm", b"text")])),
    ),
)  # fmt: skip

# ---- headers of values and sizes that their voxels contradict ----


def _table(ds: Dataset, index: int) -> None:
    """A table of values beside slope and intercept."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.ModalityLUTType = "HU"
    item.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    ds.ModalityLUTSequence = Items([item])


def _exchanged(ds: Dataset, index: int) -> None:
    ds.Rows, ds.Columns = ds.Columns, ds.Rows


WIDER = SCAN.astype("<i4")
SIZES_EXCHANGED: tuple[tuple[str, str, Step], ...] = (
    ("nifti", "columns and rows", nifti(dim=[3, 20, 16, 12, 1, 1, 1, 1])),
    (
        "mha",
        "columns and rows",
        head_of(
            "mha", META.format(matrix=EYE, spacing="0.7 0.8 2.5").replace("16 20 12", "20 16 12")
        ),
    ),
    ("nrrd", "columns and rows", head_of("nrrd", nrrd_head().replace("16 20 12", "20 16 12"))),
)
UNLIKE = (
    *(
        Case(f"{form}-sizes-exchanged", "dimensions of a file", f"the header exchanges {what}",
             of(Refusal("NO_GEOMETRY"), step))
        for form, what, step in SIZES_EXCHANGED
    ),
    Case(
        "nifti-sizes-slices-first",
        "dimensions of a file",
        "the header gives slices, rows and columns, the voxels lie the other way round",
        of(Refusal("NO_GEOMETRY"), nifti(dim=[3, 12, 20, 16, 1, 1, 1, 1])),
    ),
    Case(
        "dicom-rows-exchanged",
        "damaged files",
        "Rows and Columns exchanged in every header",
        of(Refusal("NO_GEOMETRY"), put(change=_exchanged)),
    ),
    Case(
        "nifti-wider-numbers",
        "type of a file",
        "32-bit voxels, 16 bits said",
        of(Refusal("CORRUPT_FILE"), nifti(array=WIDER, datatype=4, bitpix=16)),
    ),
    Case(
        "nifti-bitpix-other",
        "type of a file",
        "bitpix says 32, the type 16 bits",
        of(Refusal("CORRUPT_FILE"), nifti(bitpix=32)),
    ),
    Case(
        "nifti-fewer-slices",
        "dimensions of a file",
        "11 slices claimed, 12 held",
        of(Refusal("CORRUPT_FILE"), nifti(dim=[3, 16, 20, 11, 1, 1, 1, 1])),
    ),
    Case(
        "nifti-fewer-slices-zipped",
        "dimensions of a file",
        "11 slices claimed, 12 held, compressed",
        of(Refusal("CORRUPT_FILE"), nifti("scan.nii.gz", dim=[3, 16, 20, 11, 1, 1, 1, 1])),
    ),
    Case(
        "nifti-frames-hidden",
        "dimensions of a file",
        "two frames held, three dimensions said",
        of(
            Refusal("CORRUPT_FILE"),
            nifti(array=np.stack([SCAN, SCAN + np.int16(5)], axis=-1),
                  dim=[3, 16, 20, 12, 2, 1, 1, 1]),
        ),
    ),
    Case(
        "mha-wider-numbers",
        "type of a file",
        "32-bit voxels, twice as many of 16 bits said",
        of(
            Refusal("NO_GEOMETRY"),
            head_of("mha", META.format(matrix=EYE, spacing="0.7 0.8 2.5")
                    .replace("16 20 12", "16 20 24"), WIDER.tobytes()),
        ),
    ),
    *(
        Case(f"nifti-{name}", "not HU", what, of(Refusal("NOT_HU"), nifti(array=array)))
        for name, what, array in (
            ("sign-turned", "the sign of every value turned", -BONE),
            ("slope-half-more", "every value from -1024 on times 1.5",
             ((SCAN + 1024.0) * 1.5 - 1024).astype(np.float32)),
        )
    ),
    Case(
        "nifti-slope-negative",
        "not HU",
        "a slope of -1 over values that are HU",
        of(Refusal("NOT_HU"), nifti(array=BONE, scl_slope=-1, scl_inter=0)),
    ),
    Case(
        "dicom-slope-of-all",
        "rescale missing or wrong",
        "slope 1.5 on every slice, pixels that have slope 1",
        of(Refusal("NOT_HU"), put(change=lambda ds, i: setattr(ds, "RescaleSlope", 1.5))),
    ),
    Case(
        "dicom-table-beside-slope",
        "rescale missing or wrong",
        "a table of values beside slope and intercept",
        of(Refusal("NO_RESCALE"), put(change=_table)),
    ),
    Case(
        "dicom-table-beside-slope-one",
        "rescale missing or wrong",
        "a table of values beside slope and intercept of one slice",
        of(Refusal("NO_RESCALE"), put(change=on(4, _table))),
    ),
    Case(
        "dicom-palette-wide",
        "colour and pictures",
        "numbers of colours in 16 bits",
        of(
            Refusal("NOT_HU"),
            put(change=lambda ds, i: setattr(ds, "PhotometricInterpretation", "PALETTE COLOR")),
        ),
    ),
    Case(
        "dicom-pixels-oblong",
        "missing geometry",
        "pixels of 0.8 x 7 mm",
        of(Refusal("NO_GEOMETRY"), put(affine=_sized((2.5, 0.8, 7.0)))),
    ),
    Case(
        "nifti-centimetres",
        "geometry of a file",
        "spacing in cm, no unit said",
        of(Refusal("NO_GEOMETRY"), nifti(affine=_sized((0.25, 0.08, 0.07)), xyzt_units=0)),
    ),
)  # fmt: skip

# ---- copies that broke off and were filled up ----


def _filled(first: int) -> Change:
    """The pixels from one byte on are zeros."""

    def change(ds: Dataset, index: int) -> None:
        ds.PixelData = ds.PixelData[:first].ljust(len(ds.PixelData), b"\0")

    return change


def _zeros_from(share: float) -> Callable[[bytes], bytes]:
    """A file whose last part is zeros."""
    return lambda content: content[: int(len(content) * share)].ljust(len(content), b"\0")


PADDED = SCAN.copy()
PADDED[:2], PADDED[-1] = -1024, -1024
FILLED = (
    *(
        Case(f"dicom-filled-{name}", "damaged files", what, of(Refusal("CORRUPT_SLICE"),
             put(change=on(which, _filled(first)))))
        for name, what, which, first in (
            ("slice", "all pixels of a slice are zeros", 4, 0),
            ("slices", "all pixels of two slices are zeros", (4, 5), 0),
            ("half", "the lower half of a slice is zeros", 4, 320),
            ("part", "the last six rows of a slice are zeros", 7, 448),
            ("last-half", "the lower half of the last slice is zeros", 11, 320),
            ("first-half", "the lower half of the first slice is zeros", 0, 320),
        )
    ),
    *(
        Case(f"{form}-filled", "broken file", "the last third of the file is zeros",
             of(Refusal("CORRUPT_FILE"), step))
        for form, step in (
            ("nifti", nifti(edit=_zeros_from(0.66))),
            ("mha", itk("scan.mha", edit=_zeros_from(0.66))),
            ("nrrd", itk("scan.nrrd", edit=_zeros_from(0.66))),
        )
    ),
    Case(
        "nifti-filled-amid-slice",
        "broken file",
        "the last slice ends in zeros",
        of(Refusal("CORRUPT_FILE"), nifti(edit=_zeros_from(0.96))),
    ),
    Case(
        "nifti-padded-ends",
        "volume file",
        "slices of -1024 in front of the scan and behind it, as of one that was resampled",
        of(truth(PADDED), nifti(array=PADDED)),
    ),
)  # fmt: skip

CASES: tuple[Case, ...] = (*MANY, *BITS, *EXTENTS, *FIELDS, *NAMES, *UNLIKE, *FILLED)
