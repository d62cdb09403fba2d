"""NIfTI to a volume through nibabel; the only place that turns RAS into LPS.

nibabel reads what the header says and asks little; so every field that decides where a voxel lies
or what it means is asked here first.
"""

from __future__ import annotations

import gzip
import re
import warnings
import zlib
from typing import BinaryIO

import nibabel as nib
import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.canonical import check_geometry, check_size, volume_of
from covidctnet.io.dicom import MIN_SLICES
from covidctnet.io.filled import filler_of
from covidctnet.io.other_content import check_content
from covidctnet.volume import (
    MASK_MARK,
    PAINTED_INTO,
    PAINTED_MARK,
    PAINTED_NOTE,
    SAVED_MARK,
    SYNTHETIC_NOTE,
    Volume,
)

__all__ = ["is_our_mask", "looks_like_nifti", "ras_to_lps", "read_nifti"]

# Corners of the image may differ by this between qform and sform: float32 rounding, no more.
FORMS_TOLERANCE_MM = 0.1
SPACING_TOLERANCE = 1e-2
# Extensions of the header are smaller.
MAX_OFFSET = 2**24
# The header's code of unsigned bytes.
_UINT8 = 2
# Less than this behind the voxels is no slice.
LEAST_BEHIND = 512
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
Header = nib.Nifti1Header | nib.Nifti2Header


def ras_to_lps(affine: np.ndarray) -> np.ndarray:
    """An affine to RAS mm as one to LPS mm, and the other way round.

    Args:
        affine: 4 x 4.
    """
    return np.asarray(_FLIP @ affine)


def read_nifti(path: File, study: str) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 file that holds one volume in HU.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        study: Short id.

    Raises:
        StudyError: ``CORRUPT_FILE``, ``NO_GEOMETRY``, ``ABSURD_SIZE``, ``NOT_HU``, ``NO_RESCALE``,
            ``OVERLAPPING_ACQUISITIONS`` for several volumes, ``TOO_FEW_SLICES``.
    """
    header, content = _load(path)
    shape = _shape(header)
    affine, notes, flags = _affine(header, shape)
    notes = (*notes, *_painted(bytes(header["descrip"])))
    slope, intercept = _scaling(header)
    stored = _voxels(header, content, shape)
    if slope != 1 or intercept != 0:
        stored = stored.astype(np.float64) * slope + intercept
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise StudyError(
            "NOT_HU",
            "expected finite HU, the file holds NaN or Inf. Write -1024 for what is padding, or "
            "export it again.",
        )
    return volume_of(
        stored,
        ras_to_lps(affine),
        study=study,
        reader="nifti",
        notes=notes,
        flags=flags,
        filler=filler_of((intercept,), is_one_file=True),
    )


def _load(path: File) -> tuple[Header, bytes]:
    """The header, and the whole file, inflated within what the header allows."""
    try:
        with path.open("rb") as file:
            is_zipped = file.read(2) == b"\x1f\x8b"
        with path.open("rb") as file, _inflating(file, is_zipped) as stream:
            head = stream.read(540)
            header = _header(head)
            shape = _shape(header)
            _check_slices(shape)
            expected = _offset(header) + int(np.prod(shape)) * header.get_data_dtype().itemsize
            content = head + stream.read(max(0, expected - len(head)))
            # Reading on to the end makes gzip compare its checksum.
            behind = 0
            while len(content) >= expected and (rest := _more(stream)):
                behind += len(rest)
                if behind >= max(_slice_bytes(header, shape), LEAST_BEHIND):
                    raise StudyError(
                        "CORRUPT_FILE",
                        f"expected {expected} bytes, as the header says, the file holds more: it "
                        "may have more slices, or wider numbers. Export it again.",
                    )
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise StudyError(
            "CORRUPT_FILE", "expected a whole file, its compressed data break off. Export it again."
        ) from None
    except OSError as error:
        raise StudyError(
            "UNREADABLE",
            f"expected a file that can be read: {error.strerror}. Check its rights and the disk.",
        ) from None
    return header, content


def _more(stream: BinaryIO | gzip.GzipFile) -> bytes:
    """What stands behind; junk behind a compressed stream that is whole is none of it."""
    try:
        return stream.read(2**20)
    except gzip.BadGzipFile as error:
        # A wrong checksum is told otherwise.
        if "Not a gzipped file" not in str(error):
            raise
        return b""


def _check_slices(shape: tuple[int, int, int]) -> None:
    if min(shape) < MIN_SLICES:
        raise StudyError(
            "TOO_FEW_SLICES",
            f"expected at least {MIN_SLICES} voxels along every axis, got "
            f"{' x '.join(map(str, shape))}. Give the whole scan.",
        )


def _slice_bytes(header: Header, shape: tuple[int, int, int]) -> int:
    """Bytes of the smallest slice."""
    return int(np.prod(shape)) // max(shape) * int(header.get_data_dtype().itemsize)


def _inflating(file: BinaryIO, is_zipped: bool) -> BinaryIO | gzip.GzipFile:
    return gzip.GzipFile(fileobj=file) if is_zipped else file


def _header(head: bytes) -> Header:
    size = {348: 0, 540: 1}
    for order in ("little", "big"):
        kind = size.get(int.from_bytes(head[:4], order))
        if kind is None:
            continue
        cls = (nib.Nifti1Header, nib.Nifti2Header)[kind]
        length = (348, 540)[kind]
        magic = head[344:348] if kind == 0 else head[4:8]
        if len(head) >= length and magic[:3] in (b"ni1", b"ni2"):
            raise StudyError(
                "CORRUPT_FILE",
                "expected a NIfTI file in one part, got the header of a pair (.hdr and .img). "
                "Write both as one .nii file.",
            )
        if len(head) < length or magic[:3] not in (b"n+1", b"n+2"):
            break
        return cls(head[:length], endianness="<" if order == "little" else ">", check=False)
    check_content(head)
    raise StudyError(
        "CORRUPT_FILE", "expected a NIfTI file in one part, the header is none. Export it again."
    )


def _painted(descrip: bytes) -> tuple[str, ...]:
    """What a file says of lesions painted into it and of the scan that it was; or of a phantom."""
    text = descrip.decode("latin-1").rstrip("\0")
    if text == f"{SAVED_MARK} {SYNTHETIC_NOTE}":
        return (SYNTHETIC_NOTE,)
    if not text.startswith(PAINTED_MARK):
        return ()
    host = re.fullmatch(r" ([0-9a-f]{12})", text.removeprefix(PAINTED_MARK))
    return (PAINTED_NOTE, f"{PAINTED_INTO}{host[1]}") if host else (PAINTED_NOTE,)


def _shape(header: Header) -> tuple[int, int, int]:
    dim = [int(n) for n in header["dim"]]
    count = dim[0]
    if not 1 <= count <= 7 or any(n < 1 for n in dim[1 : count + 1]):
        raise StudyError("CORRUPT_FILE", f"expected three dimensions, got {dim}. Export it again.")
    shape = dim[1 : count + 1]
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise StudyError(
            "OVERLAPPING_ACQUISITIONS" if len(shape) > 3 else "TOO_FEW_SLICES",
            f"expected one volume, got an image of {' x '.join(map(str, shape))}. "
            "Give one three-dimensional image.",
        )
    check_size(tuple(shape[:3]))
    try:
        dtype = header.get_data_dtype()
    except (KeyError, nib.spatialimages.HeaderDataError):
        raise StudyError(
            "CORRUPT_FILE", "expected numbers, the type of the voxels is unknown. Export it again."
        ) from None
    if dtype.kind not in "iuf":
        raise StudyError(
            "NOT_HU", f"expected one real number a voxel, got {dtype}. Give a CT in HU."
        )
    if int(header["bitpix"]) not in (0, 8 * dtype.itemsize):
        raise StudyError(
            "CORRUPT_FILE",
            f"expected bitpix of {8 * dtype.itemsize} for voxels of {dtype}, got "
            f"{int(header['bitpix'])}. Correct the header, or export it again.",
        )
    return shape[0], shape[1], shape[2]


def _scaling(header: Header) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if np.isinf(slope) or not np.isfinite(intercept):
        raise StudyError(
            "NO_RESCALE",
            f"expected a finite scaling, got slope {slope:g} and intercept {intercept:g}. "
            "Export it again.",
        )
    return slope, intercept


def looks_like_nifti(head: bytes) -> bool:
    """Whether a file that begins with `head` (352 bytes or more) is NIfTI, in one part or two."""
    for order in ("little", "big"):
        size = int.from_bytes(head[:4], order)
        if size in (348, 540):
            magic = head[344:347] if size == 348 else head[4:7]
            return magic in (b"n+1", b"ni1", b"n+2", b"ni2")
    return False


def is_our_mask(head: bytes) -> bool:
    """Whether a file that begins with `head` is a mask that this package wrote, and no scan.

    By its own mark in the description, and by voxels of one byte, in which no Hounsfield units fit.
    """
    mark = MASK_MARK.encode()
    is_one_byte = int.from_bytes(head[70:72], "little") == _UINT8
    is_nifti1 = looks_like_nifti(head) and int.from_bytes(head[:4], "little") == 348
    return is_nifti1 and is_one_byte and head[148 : 148 + len(mark)] == mark


def _affine(
    header: Header, shape: tuple[int, ...]
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """The affine to RAS mm, notes, and flags."""
    q_code, s_code = int(header["qform_code"]), int(header["sform_code"])
    if q_code <= 0 and s_code <= 0:
        raise StudyError(
            "NO_GEOMETRY",
            "expected a qform or an sform, both codes are 0. Convert the scan again from DICOM.",
        )
    # The standard has 0 count as 1 in the place that says whether the axes are left-handed.
    header = header.copy()
    handed = float(header["pixdim"][0])
    if handed == 0:
        header["pixdim"][0] = 1
    elif q_code > 0 and handed not in (1, -1):
        raise StudyError(
            "NO_GEOMETRY",
            f"expected pixdim[0] of 1 or -1, which says how the qform is handed, got {handed:g}. "
            "Convert the scan again from DICOM.",
        )
    if q_code > 0 and min(header["pixdim"][1:4]) < 0:
        sizes = " x ".join(f"{n:.3g}" for n in header["pixdim"][1:4])
        raise StudyError(
            "NO_GEOMETRY",
            f"expected pixdim of more than 0 for the qform, got {sizes} mm. Convert the scan again "
            "from DICOM.",
        )
    forms = []
    try:
        # nibabel warns of odd quaternions and units; the matrix itself is judged below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if q_code > 0:
                forms.append(header.get_qform())
            if s_code > 0:
                forms.append(header.get_sform())
    except (ValueError, nib.spatialimages.HeaderDataError, np.linalg.LinAlgError):
        raise StudyError(
            "NO_GEOMETRY",
            "expected a rotation, the quaternion of its qform is none. Convert the scan again "
            "from DICOM.",
        ) from None
    corners = np.array(
        [
            [i, j, k, 1]
            for i in (0, shape[0] - 1)
            for j in (0, shape[1] - 1)
            for k in (0, shape[2] - 1)
        ]
    ).T
    if not all(np.isfinite(form).all() for form in forms):
        raise StudyError(
            "NO_GEOMETRY",
            "expected a finite affine, got NaN or Inf. Convert the scan again from DICOM.",
        )
    if len(forms) == 2:
        apart = np.abs((forms[0] - forms[1]) @ corners).max()
        if apart > FORMS_TOLERANCE_MM:
            raise StudyError(
                "NO_GEOMETRY",
                f"expected a qform and an sform that agree, they differ by up to {apart:.3g} mm. "
                "Decide which is right and write both alike, or convert the scan again from DICOM.",
            )
    affine = np.asarray(forms[-1], dtype=np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    zooms = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    is_ours = bytes(header["descrip"]).startswith(SAVED_MARK.encode())
    flags = check_geometry(affine, shape, is_ours=is_ours)
    if np.abs(spacing / np.maximum(zooms, 1e-6) - 1).max() > SPACING_TOLERANCE:
        raise StudyError(
            "NO_GEOMETRY",
            f"expected one spacing, pixdim says {' x '.join(f'{z:.3g}' for z in zooms)} mm, the "
            f"affine {' x '.join(f'{s:.3g}' for s in spacing)} mm. Convert the scan again from "
            "DICOM.",
        )
    if int(header["xyzt_units"]) & 7 not in (0, 2):
        raise StudyError(
            "NO_GEOMETRY",
            "expected millimetres, the file counts in other units. Convert its affine to mm, or "
            "convert the scan again from DICOM.",
        )
    note = "sform" if s_code > 0 else "qform"
    return affine, (f"geometry from the {note}",), flags


def _offset(header: Header) -> int:
    offset = float(header["vox_offset"])
    least = 352 if int(header["sizeof_hdr"]) == 348 else 544
    if not least <= offset <= MAX_OFFSET or not offset.is_integer():
        raise StudyError(
            "CORRUPT_FILE",
            f"expected voxels that begin behind the header of {least} bytes, got byte {offset:g}. "
            "Export it again.",
        )
    return int(offset)


def _voxels(header: Header, content: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    dtype = header.get_data_dtype()
    offset = _offset(header)
    count = int(np.prod(shape))
    if len(content) < offset + count * dtype.itemsize:
        raise StudyError(
            "CORRUPT_FILE",
            f"expected {count * dtype.itemsize} bytes of voxels, the file holds "
            f"{max(0, len(content) - offset)}. Export it again.",
        )
    array = np.frombuffer(content, dtype, count=count, offset=offset)
    return array.astype(dtype.newbyteorder("=")).reshape(shape, order="F")
