"""Hard NIfTI, MHA and NRRD files."""

from __future__ import annotations

import bz2
import gzip
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK

from covidctnet.io.nifti import ras_to_lps
from tests.catalogue.cases import Case, Expected, Refusal, Step, Truth, of, truth
from tests.catalogue.steps import file, rotated, turned
from tests.io import series

SCAN = series.a_scan()
RIGHT = truth()
TURNED = [2, 1, 0, 3]
Content = Callable[[bytes], bytes]


def nifti(
    name: str = "scan.nii",
    array: np.ndarray | None = None,
    affine: np.ndarray | None = None,
    *,
    change: Callable[[nib.Nifti1Image], None] | None = None,
    two: bool = False,
    big_endian: bool = False,
    edit: Content | None = None,
    **fields: Any,
) -> Step:
    """A step that writes the scan as NIfTI, column first, to RAS.

    Args:
        name: Of the file; `.gz` is compressed after everything else.
        array: HU, shape (slice, row, column) and perhaps more.
        affine: From (slice, row, column) to LPS mm.
        change: Of the image before it is written.
        two: NIfTI-2.
        big_endian: Bytes of header and voxels.
        edit: Of the file's bytes, before compression.
        **fields: Of the header, whatever nibabel thinks of them.
    """

    def step(folder: Path) -> None:
        scan = SCAN if array is None else array
        matrix = ras_to_lps(series.an_affine() if affine is None else affine)[:, TURNED]
        voxels = scan.transpose(2, 1, 0, *range(3, scan.ndim))
        kind = nib.Nifti2Image if two else nib.Nifti1Image
        header = (
            (nib.Nifti2Header if two else nib.Nifti1Header)(endianness=">") if big_endian else None
        )
        image = kind(voxels, matrix, header, dtype=scan.dtype)
        image.set_qform(matrix, code=1)
        image.set_sform(matrix, code=1)
        image.header.set_xyzt_units("mm")
        if change:
            change(image)
        plain = folder / "plain.nii"
        image.to_filename(plain)
        content = _with_fields(plain.read_bytes(), fields)
        plain.unlink()
        content = edit(content) if edit else content
        if name.endswith(".gz"):
            content = gzip.compress(content, 1)
        (folder / name).write_bytes(content)

    return step


def _with_fields(content: bytes, fields: dict[str, Any]) -> bytes:
    if not fields:
        return content
    header = nib.Nifti1Header(content[:348], check=False)
    for field, value in fields.items():
        header[field] = value
    return bytes(header.binaryblock) + content[348:]


def after(edit: Content, name: str = "scan.nii.gz") -> Step:
    """A step that edits a written file."""

    def step(folder: Path) -> None:
        (folder / name).write_bytes(edit((folder / name).read_bytes()))

    return step


def _nii(
    name: str,
    group: str,
    what: str,
    expected: Expected | str,
    *steps: Step,
    policy: bool = False,
    **fields: Any,
) -> Case:
    """A NIfTI case, from fields of the header or from steps."""
    outcome = Refusal(expected) if isinstance(expected, str) else expected
    return Case(f"nifti-{name}", group, what, of(outcome, *(steps or [nifti(**fields)])), policy)


def _typed(dtype: str) -> np.ndarray:
    return SCAN.astype(dtype)


def _kept(count: int) -> Content:
    return lambda content: content[:count]


def _with_voxel(value: float) -> np.ndarray:
    scan = SCAN.astype(np.float32)
    scan[3, 3, 3] = value
    return scan


def _scaled(slope: float, intercept: float) -> tuple[np.ndarray, Step]:
    """Stored numbers whose scaling gives HU; the HU that it gives."""
    raw = np.rint((SCAN - intercept) / slope).astype(np.int16)
    hu = raw * slope + intercept
    return hu, nifti(array=raw, scl_slope=slope, scl_inter=intercept)


def _one_turned(
    name: str, what: str, axes: tuple[int, int, int], flips: tuple[int, int, int]
) -> Case:
    array, affine = turned(axes, flips)
    return _nii(
        f"stored-{name}", "geometry of a file", what, RIGHT, nifti(array=array, affine=affine)
    )


HALF = _scaled(0.5, -24.0)
DOUBLE = _scaled(2.0, -100.0)
SHEARED = {"qform_code": 0, "srow_x": [-0.7, 0.3, 0, 50]}
WAYS = {
    "ras": ("as RAS: columns from left to right", (0, 1, 2), (1, -1, -1)),
    "las": ("as LAS: left-handed", (0, 1, 2), (1, -1, 1)),
    "rps": ("as RPS: rows from front to back", (0, 1, 2), (1, 1, -1)),
    "head-first": ("from head to feet", (0, 1, 2), (-1, 1, 1)),
    "coronal": ("coronal slices", (1, 0, 2), (1, -1, 1)),
    "sagittal": ("sagittal slices", (2, 0, 1), (-1, -1, 1)),
    "transposed": ("rows and columns exchanged", (0, 2, 1), (1, 1, 1)),
    "reversed": ("all axes reversed and exchanged", (2, 1, 0), (-1, -1, -1)),
}


def _extended(image: nib.Nifti1Image) -> None:
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a comment" * 9))


def _sform_alone(image: nib.Nifti1Image) -> None:
    image.set_qform(None, code=0)


def _qform_alone(image: nib.Nifti1Image) -> None:
    image.set_sform(None, code=0)


NIFTI = (
    _nii("plain", "volume file", "nothing odd", RIGHT),
    _nii("compressed", "volume file", "compressed", RIGHT, nifti("scan.nii.gz")),
    _nii("two", "volume file", "NIfTI-2", RIGHT, nifti(two=True)),
    _nii("big-endian", "volume file", "big endian", RIGHT, nifti(big_endian=True)),
    _nii(
        "two-big-endian",
        "volume file",
        "NIfTI-2, big endian",
        RIGHT,
        nifti(two=True, big_endian=True),
    ),
    _nii("extension", "volume file", "an extension of the header", RIGHT, nifti(change=_extended)),
    _nii("upper-case", "volume file", "a name in capitals", RIGHT, nifti("scan.NII")),
    *(
        _nii(dtype, "type of a file", f"voxels of {dtype}", RIGHT, nifti(array=_typed(dtype)))
        for dtype in ("int32", "float32", "float64", "int64")
    ),
    _nii(
        "uint16",
        "type of a file",
        "unsigned voxels, intercept -1024",
        RIGHT,
        nifti(array=(SCAN.astype(int) + 1024).astype(np.uint16), scl_slope=1, scl_inter=-1024),
    ),
    _nii("complex", "type of a file", "complex voxels", "NOT_HU", nifti(array=_typed("complex64"))),
    _nii("rgb", "type of a file", "colour", "NOT_HU", datatype=128, bitpix=24),
    _nii("rgba", "type of a file", "colour with transparency", "NOT_HU", datatype=2304, bitpix=32),
    _nii("type-unknown", "type of a file", "a type that nobody knows", "CORRUPT_FILE", datatype=77),
    _nii("type-none", "type of a file", "type 0", "NOT_HU", datatype=0),
    *(
        _nii(
            f"voxel-{word}",
            "type of a file",
            f"one voxel is {word}",
            "NOT_HU",
            nifti(array=_with_voxel(value)),
        )
        for word, value in (("nan", np.nan), ("infinite", np.inf), ("minus-infinite", -np.inf))
    ),
    _nii("scaling-2", "scaling of a file", "slope 2, intercept -100", truth(DOUBLE[0]), DOUBLE[1]),
    _nii("scaling-half", "scaling of a file", "slope 0.5, intercept -24", truth(HALF[0]), HALF[1]),
    _nii("slope-0", "scaling of a file", "slope 0: no scaling", RIGHT, scl_slope=0, scl_inter=0),
    _nii(
        "slope-0-intercept",
        "scaling of a file",
        "slope 0 and an intercept: no scaling",
        RIGHT,
        scl_slope=0,
        scl_inter=-1024,
    ),
    _nii("slope-nan", "scaling of a file", "slope NaN: no scaling", RIGHT, scl_slope=np.nan),
    _nii(
        "intercept-nan",
        "scaling of a file",
        "intercept NaN",
        "NO_RESCALE",
        scl_slope=1,
        scl_inter=np.nan,
    ),
    *(
        _nii(
            f"{field.replace('scl_inter', 'intercept').replace('scl_slope', 'slope')}-{word}",
            "scaling of a file",
            f"{'slope' if field == 'scl_slope' else 'intercept'} {value}",
            "NO_RESCALE",
            nifti(
                scl_slope=value if field == "scl_slope" else 1,
                scl_inter=value if field == "scl_inter" else 0,
            ),
        )
        for field in ("scl_slope", "scl_inter")
        for word, value in (("infinite", np.inf), ("minus-infinite", -np.inf))
    ),
    *(
        _one_turned(name, f"stored {what}", axes, flips)
        for name, (what, axes, flips) in WAYS.items()
    ),
    *(
        _nii(
            f"oblique-{name}",
            "geometry of a file",
            f"turned by degrees: {degrees}".replace("{", "").replace("}", "").replace("'", ""),
            truth(None, rotated(**degrees)),
            nifti(affine=rotated(**degrees)),
        )
        for name, degrees in (("one", {"x": 15}), ("all", {"x": 8, "y": -6, "z": 11}))
    ),
    _nii(
        "sform-alone",
        "geometry of a file",
        "an sform and no qform",
        RIGHT,
        nifti(change=_sform_alone),
    ),
    _nii(
        "qform-alone",
        "geometry of a file",
        "a qform and no sform",
        RIGHT,
        nifti(change=_qform_alone),
    ),
    *(
        _nii(name, "geometry of a file", what, "NO_GEOMETRY", nifti(**fields))
        for name, what, fields in (
            ("forms-none", "qform and sform codes are 0", {"qform_code": 0, "sform_code": 0}),
            ("forms-apart-12-mm", "qform and sform 12 mm apart", {"qoffset_x": 38}),
            ("forms-apart-1-mm", "qform and sform 1 mm apart", {"qoffset_z": 11}),
            ("forms-turned", "qform and sform turned against each other", {"quatern_b": 0.3}),
            (
                "forms-mirrored",
                "qform and sform mirrored: left is right",
                {"srow_x": [0.7, 0, 0, 39.5]},
            ),
            (
                "sform-identity",
                "the sform is the identity, the qform is real",
                {"srow_x": [1, 0, 0, 0], "srow_y": [0, 1, 0, 0], "srow_z": [0, 0, 1, 0]},
            ),
            (
                "qform-identity",
                "the qform is the identity, the sform is real",
                {
                    "quatern_b": 0,
                    "quatern_c": 0,
                    "quatern_d": 0,
                    "qoffset_x": 0,
                    "qoffset_y": 0,
                    "qoffset_z": 0,
                },
            ),
            (
                "qform-no-rotation",
                "the qform's quaternion is longer than 1",
                {"quatern_b": 0.9, "quatern_c": 0.9, "sform_code": 0},
            ),
            ("sheared", "a sheared sform", SHEARED),
            ("sform-flat", "a sform without columns", {"qform_code": 0, "srow_x": [0, 0, 0, 0]}),
            ("sform-nan", "NaN in the sform", {"qform_code": 0, "srow_x": [np.nan, 0, 0, 0]}),
            (
                "sform-infinite",
                "an infinite origin in the sform",
                {"qform_code": 0, "srow_x": [-0.7, 0, 0, np.inf]},
            ),
            (
                "pixdim-other",
                "pixdim says 5 mm, the sform 2.5 mm",
                {"pixdim": [1, 0.7, 0.8, 5, 1, 1, 1, 1], "qform_code": 0},
            ),
            (
                "pixdim-exchanged",
                "pixdim of rows and columns exchanged",
                {"pixdim": [1, 0.8, 0.7, 2.5, 1, 1, 1, 1], "qform_code": 0},
            ),
            (
                "pixdim-zero",
                "pixdim is 0",
                {"pixdim": [1, 0, 0, 0, 1, 1, 1, 1], "qform_code": 0},
            ),
            (
                "pixdim-zero-qform",
                "pixdim is 0, a qform alone",
                {"pixdim": [1, 0, 0, 0, 1, 1, 1, 1], "sform_code": 0},
            ),
            ("units-metres", "the file counts in metres", {"xyzt_units": 1}),
            ("units-microns", "the file counts in microns", {"xyzt_units": 3}),
        )
    ),
    _nii("units-untold", "geometry of a file", "no unit: millimetres", RIGHT, xyzt_units=0),
    _nii(
        "frames-one",
        "dimensions of a file",
        "four dimensions with one frame",
        RIGHT,
        nifti(array=SCAN[..., None]),
    ),
    _nii(
        "frames-one-of-seven",
        "dimensions of a file",
        "seven dimensions with one frame",
        RIGHT,
        dim=[7, 16, 20, 12, 1, 1, 1, 1],
    ),
    _nii(
        "frames-two",
        "dimensions of a file",
        "four dimensions with two frames",
        "OVERLAPPING_ACQUISITIONS",
        nifti(array=np.stack([SCAN, SCAN + np.int16(5)], axis=-1)),
    ),
    _nii(
        "vector",
        "dimensions of a file",
        "three numbers a voxel in the fifth dimension",
        "OVERLAPPING_ACQUISITIONS",
        nifti(array=np.stack([SCAN[..., None]] * 3, axis=-1)),
    ),
    _nii(
        "dim-zero",
        "dimensions of a file",
        "no rows",
        "CORRUPT_FILE",
        dim=[3, 16, 0, 12, 1, 1, 1, 1],
    ),
    _nii(
        "dim-negative",
        "dimensions of a file",
        "-20 rows",
        "CORRUPT_FILE",
        dim=[3, 16, -20, 12, 1, 1, 1, 1],
    ),
    _nii(
        "dim-nine",
        "dimensions of a file",
        "nine dimensions",
        "CORRUPT_FILE",
        dim=[9, 16, 20, 12, 1, 1, 1, 1],
    ),
    _nii(
        "dim-none",
        "dimensions of a file",
        "no dimensions",
        "CORRUPT_FILE",
        dim=[0, 16, 20, 12, 1, 1, 1, 1],
    ),
    _nii(
        "dim-two",
        "dimensions of a file",
        "a single image",
        "TOO_FEW_SLICES",
        dim=[2, 16, 20, 1, 1, 1, 1, 1],
    ),
    _nii(
        "dim-absurd",
        "dimensions of a file",
        "30,000 voxels along every axis",
        "ABSURD_SIZE",
        dim=[3, 30000, 30000, 30000, 1, 1, 1, 1],
    ),
    _nii(
        "dim-more-slices",
        "dimensions of a file",
        "13 slices claimed, 12 held",
        "CORRUPT_FILE",
        dim=[3, 16, 20, 13, 1, 1, 1, 1],
    ),
    _nii(
        "seven-slices",
        "dimensions of a file",
        "seven slices",
        Refusal("TOO_FEW_SLICES", (truth(SCAN[:7]),)),
        nifti(array=SCAN[:7]),
        policy=True,
    ),
    *(
        _nii(
            f"cut-{name}",
            "broken file",
            what,
            "CORRUPT_FILE",
            nifti(edit=_kept(keep)),
        )
        for name, what, keep in (
            ("empty", "an empty file", 0),
            ("in-header", "a file that ends amid its header", 100),
            ("behind-header", "a header and nothing else", 348),
            ("behind-extension", "a header, its extension flag and nothing else", 352),
            ("half", "half of the file", 4000),
            ("last-byte", "the last byte is missing", -1),
        )
    ),
    *(
        _nii(f"gz-{name}", "broken file", what, "CORRUPT_FILE", nifti("scan.nii.gz"), after(edit))
        for name, what, edit in (
            ("half", "half of a compressed file", lambda c: c[: len(c) // 2]),
            ("no-checksum", "a compressed file without its checksum", lambda c: c[:-8]),
            (
                "wrong-checksum",
                "a compressed file of another checksum",
                lambda c: c[:-8] + b"abcd" + c[-4:],
            ),
            ("wrong-length", "a compressed file of another length", lambda c: c[:-4] + b"abcd"),
            (
                "flipped",
                "a flipped byte in a compressed file",
                lambda c: c[:900] + bytes([c[900] ^ 255]) + c[901:],
            ),
            ("empty", "a compressed file of no bytes", lambda c: b""),
        )
    ),
    _nii(
        "gz-of-short",
        "broken file",
        "a sound compression of a file cut short",
        "CORRUPT_FILE",
        nifti("scan.nii.gz", edit=lambda c: c[:-100]),
    ),
    _nii(
        "gz-bomb",
        "broken file",
        "a compressed file of 100 MB behind the voxels",
        "CORRUPT_FILE",
        nifti("scan.nii.gz", edit=lambda c: c + bytes(100 * 2**20)),
    ),
    _nii(
        "offset-in-header",
        "broken file",
        "voxels begin inside the header",
        "CORRUPT_FILE",
        vox_offset=10,
    ),
    _nii("offset-zero", "broken file", "voxels begin at byte 0", "CORRUPT_FILE", vox_offset=0),
    _nii(
        "offset-nan", "broken file", "voxels begin at byte NaN", "CORRUPT_FILE", vox_offset=np.nan
    ),
    _nii(
        "offset-fraction",
        "broken file",
        "voxels begin at byte 352.5",
        "CORRUPT_FILE",
        vox_offset=352.5,
    ),
    _nii(
        "offset-beyond",
        "broken file",
        "voxels begin behind the file",
        "CORRUPT_FILE",
        vox_offset=9000,
    ),
    _nii("magic", "broken file", "no NIfTI by its magic number", "CORRUPT_FILE", magic=b"xx"),
    _nii("magic-pair", "broken file", "half of a pair of files", "CORRUPT_FILE", magic=b"ni1"),
    _nii("header-size", "broken file", "a header of 349 bytes", "CORRUPT_FILE", sizeof_hdr=349),
    *(
        _nii(name, "not HU", what, "NOT_HU", nifti(array=array))
        for name, what, array in (
            (
                "unit",
                "values from 0 to 1",
                ((np.clip(SCAN, -1000, 400) + 1000) / 1400).astype("f4"),
            ),
            (
                "windowed",
                "values from 0 to 255",
                ((np.clip(SCAN, -1000, 400).astype(int) + 1000) * 255 // 1400).astype("i2"),
            ),
            (
                "eight-bits",
                "8-bit voxels",
                ((np.clip(SCAN, -1000, 400).astype(int) + 1000) * 255 // 1400).astype("u1"),
            ),
            ("shifted-up", "everything 1024 too high", SCAN + np.int16(1024)),
            ("shifted-down", "everything 1024 too low", SCAN - np.int16(1024)),
            ("constant", "one value everywhere", np.full_like(SCAN, -1000)),
            ("mask", "a mask of 0 and 1", (SCAN < -500).astype("u1")),
        )
    ),
)


def itk(
    name: str,
    array: np.ndarray | None = None,
    *,
    affine: np.ndarray | None = None,
    compress: bool = False,
    is_vector: bool = False,
    edit: Content | None = None,
) -> Step:
    """A step that writes an MHA or NRRD file.

    Args:
        name: Of the file.
        array: HU, shape (slice, row, column).
        affine: From its indices to LPS mm.
        compress: Whether the voxels are compressed.
        is_vector: Whether the last axis of the array counts numbers of a voxel.
        edit: Of the file's bytes.
    """

    def step(folder: Path) -> None:
        matrix = series.an_affine() if affine is None else affine
        image = SimpleITK.GetImageFromArray(SCAN if array is None else array, isVector=is_vector)
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        if image.GetDimension() == 3:
            image.SetSpacing(spacing[::-1].tolist())
            image.SetOrigin(matrix[:3, 3].tolist())
            image.SetDirection((matrix[:3, :3] / spacing)[:, ::-1].ravel().tolist())
        SimpleITK.WriteImage(image, str(folder / name), useCompression=compress)
        if edit:
            after(edit, name)(folder)

    return step


def replaced(old: bytes, new: bytes) -> Content:
    """Replace a piece of a header that must be there."""

    def edit(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    return edit


def _line(start: bytes, new: bytes = b"") -> Content:
    """Replace a line of a header, or drop it."""

    def edit(content: bytes) -> bytes:
        place = content.index(start)
        end = content.index(b"\n", place) + 1
        return content[:place] + new + content[end:]

    return edit


def _big_endian(mark: bytes, new: bytes) -> Content:
    """Voxels in big endian, and the header says so."""

    def edit(content: bytes) -> bytes:
        size = SCAN.nbytes
        return replaced(mark, new)(content[:-size]) + SCAN.astype(">i2").tobytes()

    return edit


def _inflating(marker: bytes) -> Content:
    """Voxels that inflate to fifty times what the header says."""
    return lambda c: c[: c.index(marker) + len(marker)] + zlib.compress(bytes(50_000_000))


class _Words:
    """What a header of a format calls things."""

    def __init__(self, suffix: str) -> None:
        is_meta = suffix == "mha"
        self.type = (b"MET_SHORT", b"MET_OTHER") if is_meta else (b"type: short", b"type: block")
        self.sizes = b"DimSize = 16 20 12" if is_meta else b"sizes: 16 20 12"
        self.spacing = b"ElementSpacing" if is_meta else b"space directions"
        self.origin = b"Offset" if is_meta else b"space origin"
        self.elsewhere = (
            (b"ElementDataFile = LOCAL", b"ElementDataFile = ../a.raw")
            if is_meta
            else (b"encoding: ", b"data file: ../a.raw\nencoding: ")
        )
        self.order = (
            (b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = True")
            if is_meta
            else (b"endian: little", b"endian: big")
        )
        self.end = b"ElementDataFile = LOCAL\n" if is_meta else b"\n\n"


def _common(suffix: str) -> tuple[Case, ...]:
    """What MHA and NRRD have in common."""
    words, name = _Words(suffix), f"scan.{suffix}"

    def good(word: str, group: str, what: str, expected: Truth, **how: Any) -> Case:
        return Case(f"{suffix}-{word}", group, what, of(expected, itk(name, **how)))

    def bad(word: str, group: str, what: str, code: str, **how: Any) -> Case:
        return Case(f"{suffix}-{word}", group, what, of(Refusal(code), itk(name, **how)))

    def way(word: str, what: str, axes: tuple[int, int, int], flips: tuple[int, int, int]) -> Case:
        array, affine = turned(axes, flips)
        return good(
            f"stored-{word}",
            "geometry of a file",
            f"stored {what}",
            RIGHT,
            array=array,
            affine=affine,
        )

    broken = "broken file"
    return (
        good("plain", "volume file", "nothing odd", RIGHT),
        good("compressed", "volume file", "compressed", RIGHT, compress=True),
        good("big-endian", "volume file", "big endian", RIGHT, edit=_big_endian(*words.order)),
        *(
            good(dtype, "type of a file", f"voxels of {dtype}", RIGHT, array=_typed(dtype))
            for dtype in ("int32", "float32", "float64")
        ),
        *(way(word, *WAYS[word]) for word in ("ras", "las", "head-first", "coronal", "sagittal")),
        good(
            "oblique",
            "geometry of a file",
            "turned round all three axes",
            truth(None, rotated(x=8, y=-6, z=11)),
            affine=rotated(x=8, y=-6, z=11),
        ),
        bad("cut-empty", broken, "an empty file", "CORRUPT_FILE", edit=lambda c: b""),
        bad(
            "cut-in-header",
            broken,
            "a file that ends amid its header",
            "CORRUPT_FILE",
            edit=lambda c: c[:60],
        ),
        bad("cut-half", broken, "half of the file", "CORRUPT_FILE", edit=lambda c: c[:4000]),
        bad(
            "cut-last-byte",
            broken,
            "the last byte is missing",
            "CORRUPT_FILE",
            edit=lambda c: c[:-1],
        ),
        bad(
            "longer", broken, "more bytes than voxels", "CORRUPT_FILE", edit=lambda c: c + bytes(40)
        ),
        good(
            "line-end",
            "volume file",
            "the end of a line behind the voxels",
            RIGHT,
            edit=lambda c: c + b"\r\n",
        ),
        good(
            "filled-up",
            "volume file",
            "three zeros behind the voxels",
            RIGHT,
            edit=lambda c: c + bytes(3),
        ),
        bad("longer-word", broken, "two letters more", "CORRUPT_FILE", edit=lambda c: c + b"ab"),
        bad(
            "longer-four",
            broken,
            "four zeros more than voxels",
            "CORRUPT_FILE",
            edit=lambda c: c + bytes(4),
        ),
        bad(
            "compressed-half",
            broken,
            "half of a compressed file",
            "CORRUPT_FILE",
            compress=True,
            edit=lambda c: c[:3000],
        ),
        bad(
            "compressed-cut",
            broken,
            "the end of a compressed file is missing",
            "CORRUPT_FILE",
            compress=True,
            edit=lambda c: c[:-6],
        ),
        bad(
            "compressed-flipped",
            broken,
            "a flipped byte in a compressed file",
            "CORRUPT_FILE",
            compress=True,
            edit=lambda c: c[:-99] + bytes([c[-99] ^ 255]) + c[-98:],
        ),
        bad(
            "bomb",
            broken,
            "voxels that inflate to 50 MB",
            "CORRUPT_FILE",
            compress=True,
            edit=_inflating(words.end),
        ),
        bad(
            "elsewhere",
            broken,
            "voxels in another file",
            "CORRUPT_FILE",
            edit=replaced(*words.elsewhere),
        ),
        bad(
            "spacing-missing",
            "geometry of a file",
            "no spacing",
            "NO_GEOMETRY",
            edit=_line(words.spacing),
        ),
        bad(
            "origin-missing",
            "geometry of a file",
            "no origin",
            "NO_GEOMETRY",
            edit=_line(words.origin),
        ),
        bad(
            "type-unknown",
            "type of a file",
            "a type that nobody knows",
            "NOT_HU",
            edit=replaced(*words.type),
        ),
        bad(
            "vector",
            "type of a file",
            "three numbers a voxel",
            "NOT_HU",
            array=np.stack([SCAN] * 3, -1),
            is_vector=True,
        ),
        bad(
            "voxel-nan",
            "type of a file",
            "one voxel is not a number",
            "NOT_HU",
            array=_with_voxel(np.nan),
        ),
        bad(
            "absurd",
            "dimensions of a file",
            "9,999 columns",
            "ABSURD_SIZE",
            edit=replaced(words.sizes, words.sizes.replace(b"16", b"9999")),
        ),
        bad(
            "more-slices",
            "dimensions of a file",
            "13 slices claimed, 12 held",
            "CORRUPT_FILE",
            edit=replaced(words.sizes, words.sizes.replace(b"12", b"13")),
        ),
        bad(
            "fewer-slices",
            "dimensions of a file",
            "11 slices claimed, 12 held",
            "CORRUPT_FILE",
            edit=replaced(words.sizes, words.sizes.replace(b"12", b"11")),
        ),
        bad(
            "dim-zero",
            "dimensions of a file",
            "no rows",
            "CORRUPT_FILE",
            edit=replaced(words.sizes, words.sizes.replace(b"20", b"0")),
        ),
        bad(
            "dim-text",
            "dimensions of a file",
            "sizes that are no numbers",
            "CORRUPT_FILE",
            edit=replaced(words.sizes, words.sizes.replace(b"20", b"xx")),
        ),
        bad(
            "frames-two",
            "dimensions of a file",
            "four dimensions with two frames",
            "OVERLAPPING_ACQUISITIONS",
            array=np.stack([SCAN, SCAN + np.int16(5)]),
        ),
        Case(
            f"{suffix}-seven-slices",
            "dimensions of a file",
            "seven slices",
            of(Refusal("TOO_FEW_SLICES", (truth(SCAN[:7]),)), itk(name, SCAN[:7])),
            policy=True,
        ),
        bad(
            "shifted-up",
            "not HU",
            "everything 1024 too high",
            "NOT_HU",
            array=SCAN + np.int16(1024),
        ),
        bad(
            "eight-bits",
            "not HU",
            "8-bit voxels",
            "NOT_HU",
            array=((np.clip(SCAN, -1000, 400).astype(int) + 1000) * 255 // 1400).astype("u1"),
        ),
    )


def head_of(suffix: str, head: str, voxels: bytes | None = None) -> Step:
    """A file whose header is written by hand."""
    return file(f"scan.{suffix}", head.encode() + (SCAN.tobytes() if voxels is None else voxels))


META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = {matrix}
Offset = -50 -60 10
ElementSpacing = {spacing}
DimSize = 16 20 12
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
EYE = "1 0 0 0 1 0 0 0 1"
NRRD = """NRRD0004
type: short
dimension: 3
space: {space}
sizes: 16 20 12
space directions: {directions}
endian: little
encoding: {encoding}
space origin: {origin}

"""
MEMBERS = b"".join(gzip.compress(part.tobytes()) for part in (SCAN[:4], SCAN[4:9], SCAN[9:]))
STRAIGHT = "(0.7,0,0) (0,0.8,0) (0,0,2.5)"
ONLY_MHA = (
    *(
        Case(
            f"mha-{name}",
            "geometry of a file",
            what,
            of(Refusal("NO_GEOMETRY"), head_of("mha", META.format(matrix=matrix, spacing=spacing))),
        )
        for name, what, matrix, spacing in (
            ("sheared", "axes not at right angles", "1 0 0 0.4 0.916515 0 0 0 1", "0.7 0.8 2.5"),
        )
    ),
    *(
        Case(
            f"mha-{name}",
            "geometry of a file",
            what,
            of(
                Refusal("NO_GEOMETRY"),
                head_of("mha", META.format(matrix=matrix, spacing=spacing)),
            ),
        )
        for name, what, matrix, spacing in (
            ("flat", "a matrix without rows", "1 0 0 0 0 0 0 0 1", "0.7 0.8 2.5"),
            ("spacing-zero", "spacing 0", EYE, "0.7 0.8 0"),
            ("spacing-nan", "spacing NaN", EYE, "0.7 0.8 nan"),
        )
    ),
    Case(
        "mha-matrix-missing",
        "geometry of a file",
        "no directions",
        of(Refusal("NO_GEOMETRY"), itk("scan.mha", edit=_line(b"TransformMatrix"))),
    ),
    Case(
        "mha-by-hand",
        "volume file",
        "a header written by another program",
        of(RIGHT, head_of("mha", META.format(matrix=EYE, spacing="0.7 0.8 2.5"))),
    ),
    Case(
        "mha-channels",
        "type of a file",
        "three channels claimed",
        of(
            Refusal("NOT_HU"),
            itk(
                "scan.mha",
                edit=replaced(b"ElementType", b"ElementNumberOfChannels = 3\nElementType"),
            ),
        ),
    ),
    Case(
        "mha-header-of-its-own",
        "broken file",
        "a second header of 16 bytes in front of the voxels",
        of(
            Refusal("CORRUPT_FILE"),
            itk("scan.mha", edit=replaced(b"ElementType", b"HeaderSize = 16\nElementType")),
        ),
    ),
)


def nrrd_head(
    space: str = "left-posterior-superior",
    directions: str = STRAIGHT,
    origin: str = "(-50,-60,10)",
    encoding: str = "raw",
) -> str:
    return NRRD.format(space=space, directions=directions, origin=origin, encoding=encoding)


def _one_frame(folder: Path) -> None:
    """A step that writes the scan as the only frame of four axes."""
    frame = SimpleITK.GetImageFromArray(SCAN)
    frame.SetSpacing((0.7, 0.8, 2.5))
    frame.SetOrigin((-50.0, -60.0, 10.0))
    SimpleITK.WriteImage(SimpleITK.JoinSeries([frame], 7.0, 2.0), str(folder / "scan.nrrd"))


ONLY_NRRD = (
    Case(
        "nrrd-by-hand",
        "volume file",
        "a header written by another program",
        of(RIGHT, head_of("nrrd", nrrd_head())),
    ),
    Case(
        "nrrd-space-ras",
        "geometry of a file",
        "the header counts in RAS",
        of(
            RIGHT,
            head_of(
                "nrrd",
                nrrd_head(
                    "right-anterior-superior", "(-0.7,0,0) (0,-0.8,0) (0,0,2.5)", "(50,60,10)"
                ),
            ),
        ),
    ),
    Case(
        "nrrd-space-las",
        "geometry of a file",
        "the header counts in LAS",
        of(
            RIGHT,
            head_of(
                "nrrd",
                nrrd_head(
                    "left-anterior-superior", "(0.7,0,0) (0,-0.8,0) (0,0,2.5)", "(-50,60,10)"
                ),
            ),
        ),
    ),
    Case(
        "nrrd-frame-one-itk",
        "dimensions of a file",
        "four axes and one frame, written by SimpleITK, which names no space",
        of(RIGHT, _one_frame),
    ),
    Case(
        "nrrd-gzip",
        "volume file",
        "voxels compressed by gzip",
        of(RIGHT, head_of("nrrd", nrrd_head(encoding="gzip"), gzip.compress(SCAN.tobytes()))),
    ),
    *(
        Case(
            f"nrrd-{name}",
            "geometry of a file",
            what,
            of(Refusal("NO_GEOMETRY"), head_of("nrrd", head)),
        )
        for name, what, head in (
            (
                "sheared",
                "axes not at right angles",
                nrrd_head(directions="(0.7,0,0) (0.3,0.8,0) (0,0,2.5)"),
            ),
            (
                "space-untold",
                "directions in a space without a name",
                nrrd_head().replace("space: left-posterior-superior\n", "space dimension: 3\n"),
            ),
            (
                "spacings-alone",
                "spacings and no directions",
                nrrd_head()
                .replace("space: left-posterior-superior\n", "")
                .replace("space directions: " + STRAIGHT, "spacings: 0.7 0.8 2.5")
                .replace("space origin: (-50,-60,10)\n", ""),
            ),
        )
    ),
    *(
        Case(
            f"nrrd-{name}",
            "geometry of a file",
            what,
            of(Refusal("NO_GEOMETRY"), head_of("nrrd", nrrd_head(directions=directions))),
        )
        for name, what, directions in (
            ("flat", "two axes along one direction", "(0.7,0,0) (0.8,0,0) (0,0,2.5)"),
            ("directions-nan", "directions of NaN", "(nan,0,0) (0,0.8,0) (0,0,2.5)"),
        )
    ),
    Case(
        "nrrd-space-of-scanner",
        "geometry of a file",
        "directions in a space of the scanner, not the patient's",
        of(Refusal("NO_GEOMETRY"), head_of("nrrd", nrrd_head("scanner-xyz"))),
    ),
    Case(
        "nrrd-text",
        "broken file",
        "voxels as text",
        of(
            Refusal("CORRUPT_FILE", (RIGHT,)),
            head_of("nrrd", nrrd_head(encoding="ascii"), " ".join(map(str, SCAN.ravel())).encode()),
        ),
        policy=True,
    ),
    *(
        Case(f"nrrd-{name}", "volume file", what, of(RIGHT, head_of("nrrd", head, voxels)))
        for name, what, head, voxels in (
            (
                "byte-skip",
                "the header skips bytes in front of the voxels",
                nrrd_head().replace("endian", "byte skip: 8\nendian"),
                bytes(8) + SCAN.tobytes(),
            ),
            (
                "byte-skip-to-end",
                "the voxels are the last bytes of the file",
                nrrd_head().replace("endian", "byte skip: -1\nendian"),
                bytes(77) + SCAN.tobytes(),
            ),
            (
                "line-skip",
                "the header skips two lines in front of the voxels",
                nrrd_head().replace("endian", "line skip: 2\nendian"),
                b"one\ntwo\n" + SCAN.tobytes(),
            ),
            (
                "crlf",
                "lines end as those of DOS",
                nrrd_head().replace("\n", "\r\n"),
                SCAN.tobytes(),
            ),
            (
                "crlf-gzip",
                "lines end as those of DOS, voxels compressed",
                nrrd_head(encoding="gzip").replace("\n", "\r\n"),
                gzip.compress(SCAN.tobytes()),
            ),
            (
                "gzip-members",
                "voxels compressed by gzip in three members",
                nrrd_head(encoding="gzip"),
                MEMBERS,
            ),
            (
                "gzip-line-end",
                "voxels compressed by gzip, the end of a line behind them",
                nrrd_head(encoding="gzip"),
                gzip.compress(SCAN.tobytes()) + b"\n",
            ),
            (
                "bzip2",
                "voxels compressed by bzip2",
                nrrd_head(encoding="bzip2"),
                bz2.compress(SCAN.tobytes()),
            ),
            (
                "bzip2-streams",
                "voxels compressed by bzip2 in two streams",
                nrrd_head(encoding="bz2"),
                bz2.compress(SCAN[:5].tobytes()) + bz2.compress(SCAN[5:].tobytes()),
            ),
            (
                "frame-one-first",
                "four axes, the first with one frame and no direction",
                nrrd_head(directions="none " + STRAIGHT)
                .replace("dimension: 3", "dimension: 4")
                .replace("sizes: 16", "sizes: 1 16"),
                SCAN.tobytes(),
            ),
            (
                "frame-one-last",
                "four axes, the last with one frame and no direction",
                nrrd_head(directions=STRAIGHT + " none")
                .replace("dimension: 3", "dimension: 4")
                .replace("20 12", "20 12 1"),
                SCAN.tobytes(),
            ),
            (
                "frame-one-in-time",
                "four axes of a space with time, one frame",
                nrrd_head(
                    "right-anterior-superior-time",
                    "(-0.7,0,0,0) (0,-0.8,0,0) (0,0,2.5,0) (0,0,0,2)",
                    "(50,60,10,7)",
                )
                .replace("dimension: 3", "dimension: 4")
                .replace("20 12", "20 12 1"),
                SCAN.tobytes(),
            ),
            (
                "spacings-unknown",
                "directions, and spacings of NaN: not known",
                nrrd_head().replace("endian", "spacings: NaN NaN NaN\nendian"),
                SCAN.tobytes(),
            ),
            (
                "key-values",
                "keys of their own among the fields",
                nrrd_head()
                .replace("endian", "endian: little\nkey:=a value: of its own\n#x", 1)
                .replace("#x: little\n", "# a comment\n"),
                SCAN.tobytes(),
            ),
            (
                "units-mm",
                "space units of mm",
                nrrd_head().replace("endian", 'space units: "mm" "mm" "mm"\nendian'),
                SCAN.tobytes(),
            ),
        )
    ),
    *(
        Case(f"nrrd-{name}", group, what, of(Refusal(code), head_of("nrrd", head, voxels)))
        for name, group, what, code, head, voxels in (
            (
                "units-cm",
                "geometry of a file",
                "space units of cm",
                "NO_GEOMETRY",
                nrrd_head().replace("endian", 'space units: "cm" "cm" "cm"\nendian'),
                SCAN.tobytes(),
            ),
            (
                "units-mixed",
                "geometry of a file",
                "space units of mm, mm and m",
                "NO_GEOMETRY",
                nrrd_head().replace("endian", 'space units: "mm" "mm" "m"\nendian'),
                SCAN.tobytes(),
            ),
            (
                "field-twice",
                "broken file",
                "a header that says its sizes twice",
                "CORRUPT_FILE",
                nrrd_head().replace("endian", "sizes: 20 16 12\nendian"),
                SCAN.tobytes(),
            ),
            (
                "endian-untold",
                "broken file",
                "no byte order",
                "CORRUPT_FILE",
                nrrd_head().replace("endian: little\n", ""),
                SCAN.tobytes(),
            ),
            (
                "bzip2-cut",
                "broken file",
                "the end of voxels compressed by bzip2 is missing",
                "CORRUPT_FILE",
                nrrd_head(encoding="bzip2"),
                bz2.compress(SCAN.tobytes())[:-5],
            ),
            (
                "gzip-member-missing",
                "broken file",
                "the last of three gzip members is missing",
                "CORRUPT_FILE",
                nrrd_head(encoding="gzip"),
                MEMBERS[: MEMBERS.rindex(b"\x1f\x8b\x08")],
            ),
            (
                "encoding-hex",
                "broken file",
                "voxels as hexadecimal digits",
                "CORRUPT_FILE",
                nrrd_head(encoding="hex"),
                SCAN.tobytes().hex().encode(),
            ),
        )
    ),
)


def _defaults(array: np.ndarray, name: str, **geometry: Any) -> Step:
    """What SimpleITK writes of a bare array, with some of its geometry set."""

    def step(folder: Path) -> None:
        image = SimpleITK.GetImageFromArray(array)
        for what, value in geometry.items():
            getattr(image, f"Set{what}")(value)
        SimpleITK.WriteImage(image, str(folder / name))

    return step


def spaced(array: np.ndarray, affine: np.ndarray, name: str = "scan.nii") -> Step:
    """What nibabel writes of an array and an affine to RAS."""
    return lambda folder: nib.save(nib.Nifti1Image(array, affine), folder / name)


COLUMNS_FIRST = SCAN.transpose(2, 1, 0)
STRETCHED = np.diag([0.7, 0.8, 2.5, 1.0])
# The array as RAS from the origin 0, in LPS and canonical orientation.
AT_ZERO = np.array([[0, 0, 0.7, -0.7 * 15], [0, 0.8, 0, -0.8 * 19], [2.5, 0, 0, 0], [0, 0, 0, 1.0]])
CENTRED = np.eye(4)
CENTRED[:3, 3] = [-7.5, -9.5, -5.5]
DEFAULTS = (
    *(
        Case(f"{name}", "default geometry", what, of(Refusal("NO_GEOMETRY"), step))
        for name, what, step in (
            (
                "nifti-identity",
                "the affine is the identity",
                spaced(COLUMNS_FIRST, np.eye(4)),
            ),
            (
                "nifti-identity-slices-first",
                "the affine is the identity, slices are columns",
                spaced(SCAN, np.eye(4)),
            ),
            (
                "nifti-identity-lps",
                "the affine is the identity of LPS",
                spaced(COLUMNS_FIRST, np.diag([-1.0, -1, 1, 1])),
            ),
            (
                "nifti-identity-rounded",
                "the affine is the identity but for rounding",
                spaced(COLUMNS_FIRST, np.eye(4) + 1e-6 * np.eye(4, k=3)),
            ),
            (
                "nrrd-identity-rounded",
                "1 mm from 0 but for rounding",
                _defaults(SCAN, "scan.nrrd", Origin=(1e-7, 0, 0)),
            ),
            (
                "nrrd-units-bare",
                "space units of um without quotes",
                head_of("nrrd", nrrd_head().replace("sizes", "space units: um um um\nsizes")),
            ),
            (
                "nrrd-units-axes",
                "units of cm for every axis",
                head_of("nrrd", nrrd_head().replace("sizes", 'units: "cm" "cm" "cm"\nsizes')),
            ),
            (
                "nifti-identity-exchanged",
                "1 mm from 0, axes exchanged",
                spaced(COLUMNS_FIRST, np.eye(4)[[2, 1, 0, 3]]),
            ),
            (
                "nifti-identity-centred",
                "1 mm, the middle of the volume at 0",
                spaced(COLUMNS_FIRST, CENTRED),
            ),
            ("nifti-array-bare", "a bare array by SimpleITK", _defaults(SCAN, "scan.nii")),
            ("mha-array-bare", "a bare array by SimpleITK", _defaults(SCAN, "scan.mha")),
            ("nrrd-array-bare", "a bare array by SimpleITK", _defaults(SCAN, "scan.nrrd")),
            (
                "nifti-metres",
                "spacing in metres, no unit told",
                spaced(COLUMNS_FIRST, np.diag([7e-4, 8e-4, 2.5e-3, 1])),
            ),
            (
                "mha-metres",
                "spacing in metres",
                head_of("mha", META.format(matrix=EYE, spacing="0.0007 0.0008 0.0025")),
            ),
            (
                "mha-units-cm",
                "distances in cm",
                head_of(
                    "mha",
                    META.format(matrix=EYE, spacing="0.07 0.08 0.25").replace(
                        "DimSize", "DistanceUnits = cm\nDimSize"
                    ),
                ),
            ),
            (
                "mha-units-um",
                "distances in um",
                head_of(
                    "mha",
                    META.format(matrix=EYE, spacing="700 800 2500").replace(
                        "DimSize", "DistanceUnits = um\nDimSize"
                    ),
                ),
            ),
        )
    ),
    *(
        Case(
            name,
            "default geometry",
            f"spacing alone was set, the origin is 0: flagged ({what})",
            of(truth(None, affine, "default_geometry"), step),
        )
        for name, what, affine, step in (
            (
                "nifti-origin-zero",
                "nibabel",
                AT_ZERO,
                spaced(SCAN[:, ::-1, ::-1].transpose(2, 1, 0), STRETCHED),
            ),
            (
                "mha-origin-zero",
                "SimpleITK",
                series.an_affine(origin=(0, 0, 0)),
                _defaults(SCAN, "scan.mha", Spacing=(0.7, 0.8, 2.5)),
            ),
            (
                "nrrd-origin-zero",
                "SimpleITK",
                series.an_affine(origin=(0, 0, 0)),
                _defaults(SCAN, "scan.nrrd", Spacing=(0.7, 0.8, 2.5)),
            ),
        )
    ),
    Case(
        "nifti-isotropic-at-zero-crossing",
        "default geometry",
        "1 mm along every axis from a real origin: resampled",
        of(
            truth(None, series.an_affine((1.0, 1.0, 1.0))),
            nifti(affine=series.an_affine((1.0, 1.0, 1.0))),
        ),
    ),
)


def _handed(value: float, *, sform: int = 1) -> Step:
    """A NIfTI file with another first entry of pixdim."""
    return nifti(edit=lambda c: _patched_float(c, 76, value, sform))


def _patched_float(content: bytes, place: int, value: float, sform: int) -> bytes:
    edited = bytearray(content)
    struct.pack_into("<f", edited, place, value)
    struct.pack_into("<h", edited, 254, sform)
    return bytes(edited)


HANDED = (
    _nii(
        "qfac-zero",
        "geometry of a file",
        "pixdim[0] is 0: counts as 1",
        RIGHT,
        _handed(0.0, sform=1),
    ),
    _nii(
        "qfac-zero-qform",
        "geometry of a file",
        "pixdim[0] is 0, a qform alone",
        RIGHT,
        _handed(0.0, sform=0),
    ),
    _nii("qfac-two", "geometry of a file", "pixdim[0] is 2", "NO_GEOMETRY", _handed(2.0)),
    _nii("qfac-nan", "geometry of a file", "pixdim[0] is NaN", "NO_GEOMETRY", _handed(np.nan)),
)


def detached(name: str, head: str, voxels: bytes, data: str = "voxels.raw") -> Step:
    """A header and a file of voxels beside it."""

    def step(folder: Path) -> None:
        (folder / name).write_text(head)
        (folder / data).write_bytes(voxels)

    return step


def meta_of(data: str = "voxels.raw", **fields: str) -> str:
    text = META.format(matrix=EYE, spacing="0.7 0.8 2.5").replace("LOCAL", data)
    for name, value in fields.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
    return text


def nhdr_head(data: str = "voxels.raw", encoding: str = "raw") -> str:
    return nrrd_head(encoding=encoding).replace("endian", f"data file: {data}\nendian")


ZIPPED = zlib.compress(SCAN.tobytes())
DETACHED = (
    *(
        Case(name, "header and voxels apart", what, of(RIGHT, step))
        for name, what, step in (
            (
                "mhd-raw",
                "a header and its voxels",
                detached("scan.mhd", meta_of(), SCAN.tobytes()),
            ),
            (
                "mhd-dot-slash",
                "the header names ./voxels.raw",
                detached("scan.mhd", meta_of("./voxels.raw"), SCAN.tobytes()),
            ),
            (
                "mhd-dot-backslash",
                "the header names .\\\\voxels.raw",
                detached("scan.mhd", meta_of(".\\voxels.raw"), SCAN.tobytes()),
            ),
            (
                "mhd-quoted",
                "the header names its voxels in quotes",
                detached("scan.mhd", meta_of('"voxels.raw"'), SCAN.tobytes()),
            ),
            (
                "mhd-name-blanks",
                "the header names a file with blanks",
                detached("scan.mhd", meta_of("my voxels.raw"), SCAN.tobytes(), "my voxels.raw"),
            ),
            (
                "nhdr-dot-slash",
                "the header names ./voxels.raw",
                detached("scan.nhdr", nhdr_head("./voxels.raw"), SCAN.tobytes()),
            ),
            (
                "mhd-zraw",
                "a header and its compressed voxels",
                detached("scan.mhd", meta_of(CompressedData="True"), ZIPPED),
            ),
            (
                "mhd-gzip",
                "a header and its voxels compressed by gzip",
                detached("scan.mhd", meta_of(CompressedData="True"), MEMBERS),
            ),
            (
                "mhd-crlf",
                "a header with lines of DOS",
                detached("scan.mhd", meta_of().replace("\n", "\r\n"), SCAN.tobytes()),
            ),
            (
                "mhd-no-line-feed",
                "a header whose last line has no end",
                detached("scan.mhd", meta_of().rstrip("\n"), SCAN.tobytes()),
            ),
            (
                "mhd-skips",
                "bytes in front of the voxels are skipped",
                detached(
                    "scan.mhd",
                    meta_of().replace("DimSize", "HeaderSize = 32\nDimSize"),
                    bytes(32) + SCAN.tobytes(),
                ),
            ),
            (
                "mhd-skips-to-end",
                "the voxels are the last bytes of their file",
                detached(
                    "scan.mhd",
                    meta_of().replace("DimSize", "HeaderSize = -1\nDimSize"),
                    bytes(99) + SCAN.tobytes(),
                ),
            ),
            (
                "mhd-voxels-like-dicom",
                "voxels that begin as DICOM does",
                detached(
                    "scan.mhd",
                    meta_of().replace("DimSize", "HeaderSize = 132\nDimSize"),
                    bytes(128) + b"DICM" + SCAN.tobytes(),
                ),
            ),
            (
                "nhdr-raw",
                "a header and its voxels",
                detached("scan.nhdr", nhdr_head(), SCAN.tobytes()),
            ),
            (
                "nhdr-gzip",
                "a header and its voxels compressed by gzip",
                detached("scan.nhdr", nhdr_head(encoding="gzip"), MEMBERS),
            ),
            (
                "nhdr-bzip2",
                "a header and its voxels compressed by bzip2",
                detached("scan.nhdr", nhdr_head(encoding="bzip2"), bz2.compress(SCAN.tobytes())),
            ),
            (
                "nhdr-crlf",
                "a header with lines of DOS",
                detached("scan.nhdr", nhdr_head().replace("\n", "\r\n"), SCAN.tobytes()),
            ),
        )
    ),
    *(
        Case(name, "header and voxels apart", what, of(Refusal("CORRUPT_FILE"), step))
        for name, what, step in (
            ("mhd-alone", "a header without its voxels", file("scan.mhd", meta_of().encode())),
            (
                "mhd-raw-short",
                "a byte of the voxels is missing",
                detached("scan.mhd", meta_of(), SCAN.tobytes()[:-1]),
            ),
            (
                "mhd-raw-long",
                "more voxels than the header says",
                detached("scan.mhd", meta_of(), SCAN.tobytes() + bytes(2)),
            ),
            (
                "mhd-zraw-cut",
                "compressed voxels break off",
                detached("scan.mhd", meta_of(CompressedData="True"), ZIPPED[:-9]),
            ),
            (
                "mhd-elsewhere",
                "the header names a file in another folder",
                file("scan.mhd", meta_of("../voxels.raw").encode()),
            ),
            (
                "mhd-absolute",
                "the header names a device",
                file("scan.mhd", meta_of("/dev/zero").encode()),
            ),
            (
                "mhd-list",
                "the header names a list of files",
                file("scan.mhd", meta_of("LIST").encode() + b"a.raw\n"),
            ),
            (
                "mhd-pattern",
                "the header names numbered files",
                file("scan.mhd", meta_of("slice%03d.raw 1 12 1").encode()),
            ),
            ("nhdr-alone", "a header without its voxels", file("scan.nhdr", nhdr_head().encode())),
            (
                "nhdr-raw-short",
                "a byte of the voxels is missing",
                detached("scan.nhdr", nhdr_head(), SCAN.tobytes()[:-1]),
            ),
        )
    ),
)


def _renamed(step: Step, old: str, new: str) -> Step:
    """A step that writes a file and gives it another name."""

    def both(folder: Path) -> None:
        step(folder)
        (folder / old).rename(folder / new)

    return both


KINDS = (
    *(
        Case(
            f"{name.partition('-')[0]}-{name.partition('-')[2]}",
            "names of formats",
            what,
            of(RIGHT, step),
        )
        for name, what, step in (
            ("nifti-no-suffix", "no suffix", _renamed(nifti(), "scan.nii", "scan.")),
            (
                "nifti-no-suffix-compressed",
                "compressed, no suffix",
                _renamed(nifti("scan.nii.gz"), "scan.nii.gz", "scan.blob"),
            ),
            (
                "nifti-called-gz",
                "not compressed, called .nii.gz",
                _renamed(nifti(), "scan.nii", "scan.nii.gz"),
            ),
            (
                "nifti-called-nii",
                "compressed, called .nii",
                _renamed(nifti("scan.nii.gz"), "scan.nii.gz", "scan.nii"),
            ),
            ("nifti-called-dcm", "called .dcm", _renamed(nifti(), "scan.nii", "scan.dcm")),
            ("mha-no-suffix", "no suffix", _renamed(itk("scan.mha"), "scan.mha", "scan.")),
            ("mha-called-nrrd", "called .nrrd", _renamed(itk("scan.mha"), "scan.mha", "scan.nrrd")),
            ("nrrd-no-suffix", "no suffix", _renamed(itk("scan.nrrd"), "scan.nrrd", "scan.")),
            ("nrrd-called-nii", "called .nii", _renamed(itk("scan.nrrd"), "scan.nrrd", "scan.nii")),
            (
                "mha-zipped-whole",
                "the whole file compressed by gzip",
                _renamed(itk("scan.mha", edit=gzip.compress), "scan.mha", "scan.mha.gz"),
            ),
            (
                "nifti-gzip-members",
                "compressed in two members",
                _renamed(
                    nifti(edit=lambda c: gzip.compress(c[:3000]) + gzip.compress(c[3000:])),
                    "scan.nii",
                    "scan.nii.gz",
                ),
            ),
        )
    ),
    *(
        Case(
            f"{suffix}-{dtype}",
            "type of a file",
            f"voxels of {dtype}",
            of(RIGHT, itk(f"scan.{suffix}", _typed(dtype))),
        )
        for suffix in ("mha", "nrrd")
        for dtype in ("int64",)
    ),
    *(
        Case(
            f"{suffix}-frame-one",
            "dimensions of a file",
            "four dimensions with one frame",
            of(RIGHT, step),
        )
        for suffix, step in (
            (
                "mha",
                head_of(
                    "mha",
                    META.format(matrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", spacing="0.7 0.8 2.5 1")
                    .replace("NDims = 3", "NDims = 4")
                    .replace("-50 -60 10", "-50 -60 10 0")
                    .replace("16 20 12", "16 20 12 1"),
                ),
            ),
        )
    ),
    Case(
        "mha-slope",
        "scaling of a file",
        "the header gives a slope of its own",
        of(
            Refusal("NO_RESCALE"),
            itk(
                "scan.mha",
                edit=replaced(b"ElementType", b"ElementToIntensityFunctionSlope = 2\nElementType"),
            ),
        ),
    ),
)

CASES: tuple[Case, ...] = (
    *NIFTI,
    *HANDED,
    *_common("mha"),
    *ONLY_MHA,
    *_common("nrrd"),
    *ONLY_NRRD,
    *DETACHED,
    *DEFAULTS,
    *KINDS,
)
