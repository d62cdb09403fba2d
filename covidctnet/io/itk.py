"""MHA and NRRD to a volume through SimpleITK, after a look at the header.

SimpleITK fills up files that are cut short, follows names of other files, and assumes a geometry
where none is given; the text header tells of all three.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.canonical import check_size, is_sheared, volume_of
from covidctnet.io.geometry import MIN_SLICES
from covidctnet.volume import Volume

__all__ = ["read_itk"]

MAX_HEADER_BYTES = 65536
_META_TYPES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
_NRRD_TYPES = {
    **dict.fromkeys(["signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8"], 1),
    **dict.fromkeys(["short", "signed short", "int16", "int16_t", "short int"], 2),
    **dict.fromkeys(["ushort", "unsigned short", "uint16", "uint16_t"], 2),
    **dict.fromkeys(["int", "signed int", "int32", "int32_t", "uint", "uint32", "unsigned int"], 4),
    "float": 4,
    "double": 8,
}


# Those that ITK turns into LPS; in any other it leaves the numbers as they are.
_NRRD_SPACES = {
    *("left-posterior-superior", "right-anterior-superior", "left-anterior-superior"),
    *("lps", "ras", "las"),
}


def read_itk(path: File, study: str) -> Volume:
    """Read an MHA or NRRD file that holds one volume in HU.

    Args:
        path: ``.mha`` or ``.nrrd``, header and voxels in one file.
        study: Short id.

    Raises:
        StudyError: ``CORRUPT_FILE``, ``NO_GEOMETRY``, ``ABSURD_SIZE``, ``NOT_HU``,
            ``TOO_FEW_SLICES``.
    """
    try:
        with path.open("rb") as file:
            head = file.read(MAX_HEADER_BYTES)
            check = _check_nrrd if head.startswith(b"NRRD") else _check_meta
            offset, wanted, is_zipped = check(head)
            file.seek(offset)
            held = _length(file.read(), wanted, is_zipped)
    except OSError as error:
        raise StudyError(
            "UNREADABLE", f"the file cannot be read ({error.strerror}). Check its rights."
        ) from None
    if held != wanted:
        raise _corrupt(f"wanted {wanted} bytes of voxels, the file holds {held}")
    try:
        with _on_disk(path) as here:
            image = SimpleITK.ReadImage(str(here))
    except RuntimeError:
        raise _corrupt("its content cannot be read") from None
    array = SimpleITK.GetArrayFromImage(image)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise StudyError("NOT_HU", "wanted finite HU, the file holds NaN or Inf. Export it again.")
    directions = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.eye(4)
    # SimpleITK counts column, row, slice; the array slice, row, column.
    affine[:3, :3] = directions[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise _lost("its matrix is flat")
    if is_sheared(affine):
        raise _lost("its axes are not at right angles")
    return volume_of(array, affine, study=study, reader="itk")


@contextmanager
def _on_disk(path: File) -> Iterator[Path]:
    """SimpleITK opens files by name; a member of an archive gets one of ours for a moment."""
    if isinstance(path, Path):
        yield path
        return
    with TemporaryDirectory() as folder, path.open("rb") as content:
        head = content.read(4)
        copy = Path(folder) / ("scan.nrrd" if head == b"NRRD" else "scan.mha")
        copy.write_bytes(head + content.read())
        yield copy


def _check_meta(head: bytes) -> tuple[int, int, bool]:
    """Where the voxels begin, their bytes, and whether they are compressed."""
    fields: dict[str, str] = {}
    place = 0
    while True:
        end = head.find(b"\n", place)
        if end < 0:
            raise _corrupt("its header has no end")
        name, _, value = head[place:end].decode("ascii", errors="replace").partition("=")
        fields[name.strip().lower()] = value.strip()
        place = end + 1
        if name.strip().lower() == "elementdatafile":
            break
    if fields["elementdatafile"].upper() != "LOCAL":
        raise _corrupt("its voxels lie in another file")
    if fields.get("elementnumberofchannels", "1") != "1" or "elementtype" not in fields:
        raise StudyError("NOT_HU", "wanted one number a voxel. Give a CT in HU.")
    if "elementspacing" not in fields or not {"transformmatrix", "orientation"} & fields.keys():
        raise _lost("ElementSpacing or TransformMatrix is missing")
    if not {"offset", "position", "origin"} & fields.keys():
        raise _lost("Offset is missing")
    if fields.get("headersize", "0") not in ("0", ""):
        raise _corrupt("it has a second header")
    size = _META_TYPES.get(fields["elementtype"].upper())
    shape = _shape(fields.get("dimsize", ""))
    if size is None:
        raise StudyError("NOT_HU", "wanted one real number a voxel. Give a CT in HU.")
    return place, _product(shape) * size, fields.get("compresseddata", "").lower() == "true"


def _check_nrrd(head: bytes) -> tuple[int, int, bool]:
    text = head.replace(b"\r\n", b"\n\n") if b"\r\n\r\n" in head else head
    end = text.find(b"\n\n")
    if end < 0 or text is not head:
        raise _corrupt("its header has no end")
    fields: dict[str, str] = {}
    for line in head[:end].decode("ascii", errors="replace").splitlines()[1:]:
        if not line.startswith("#") and ": " in line:
            name, _, value = line.partition(": ")
            fields[name.strip().lower()] = value.strip()
    if {"data file", "datafile"} & fields.keys():
        raise _corrupt("its voxels lie in another file")
    if {"line skip", "lineskip", "byte skip", "byteskip"} & fields.keys():
        raise _corrupt("it skips parts of itself")
    if not {"space directions", "space origin"} <= fields.keys() or "space" not in fields:
        raise _lost("space, space directions or space origin is missing")
    if fields["space"].lower() not in _NRRD_SPACES:
        raise _lost("the space is not the patient's")
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise _corrupt(f"encoding {encoding!r} is not read")
    size = _NRRD_TYPES.get(fields.get("type", "").lower())
    if size is None:
        raise StudyError("NOT_HU", "wanted one real number a voxel. Give a CT in HU.")
    return end + 2, _product(_shape(fields.get("sizes", ""))) * size, encoding != "raw"


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(n) for n in text.split())
    except ValueError:
        raise _corrupt("its size is no number") from None
    if len(shape) != 3 or min(shape) < 1:
        raise _corrupt(f"wanted three axes, got {len(shape)}")
    check_size(shape)
    if min(shape) < MIN_SLICES:
        raise StudyError(
            "TOO_FEW_SLICES",
            f"wanted at least {MIN_SLICES} voxels along every axis, got "
            f"{' x '.join(map(str, shape))}. Give the whole scan.",
        )
    return shape


def _product(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _length(content: bytes, wanted: int, is_zipped: bool) -> int:
    """Bytes of voxels, inflated at most one byte beyond what is wanted."""
    if not is_zipped:
        return len(content)
    # MetaImage holds a zlib stream, NRRD a gzip stream; 32 lets zlib find out.
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        length = len(inflater.decompress(content, wanted + 1))
    except (zlib.error, gzip.BadGzipFile):
        raise _corrupt("its compressed voxels are broken") from None
    if length == wanted and not inflater.eof:
        raise _corrupt("its compressed voxels break off")
    return length


def _corrupt(what: str) -> StudyError:
    return StudyError("CORRUPT_FILE", f"wanted a whole MHA or NRRD file: {what}. Export it again.")


def _lost(what: str) -> StudyError:
    return StudyError(
        "NO_GEOMETRY",
        f"wanted spacing, directions and origin: {what}. Convert the scan again from DICOM.",
    )
