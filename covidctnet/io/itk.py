"""MetaImage and NRRD to a volume: the text header says all, and nothing is assumed.

Headers and voxels may lie in one file or in two; other names of the header than one in its own
folder are not followed.
"""

from __future__ import annotations

import bz2
import gzip
import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.canonical import check_geometry, check_size, volume_of
from covidctnet.io.dicom import MIN_SLICES
from covidctnet.volume import Volume

__all__ = ["data_file_of", "folded", "looks_like_itk", "read_itk"]

MAX_HEADER_BYTES = 65536
_META_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_NRRD_TYPES = {
    **dict.fromkeys(["signed char", "int8", "int8_t"], "i1"),
    **dict.fromkeys(["uchar", "unsigned char", "uint8", "uint8_t"], "u1"),
    **dict.fromkeys(
        ["short", "short int", "signed short", "signed short int", "int16", "int16_t"], "i2"
    ),
    **dict.fromkeys(["ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"], "u2"),
    **dict.fromkeys(["int", "signed int", "int32", "int32_t"], "i4"),
    **dict.fromkeys(["uint", "unsigned int", "uint32", "uint32_t"], "u4"),
    **dict.fromkeys(
        ["longlong", "long long", "long long int", "signed long long", "signed long long int"],
        "i8",
    ),
    **dict.fromkeys(
        ["int64", "int64_t"],
        "i8",
    ),
    **dict.fromkeys(
        ["ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"], "u8"
    ),
    "float": "f4",
    "double": "f8",
}
# What turns the axes of a space into those of LPS.
_NRRD_SPACES = {
    **dict.fromkeys(["left-posterior-superior", "lps"], (1.0, 1.0, 1.0)),
    **dict.fromkeys(["right-anterior-superior", "ras"], (-1.0, -1.0, 1.0)),
    **dict.fromkeys(["left-anterior-superior", "las"], (1.0, -1.0, 1.0)),
}
# The same with a fourth axis that counts time.
_NRRD_TIMED = {f"{name}-time" if "-" in name else f"{name}t": name for name in _NRRD_SPACES}
_MILLIMETRES = {"", "mm", "millimeter", "millimetre", "millimeters", "millimetres", "?", "???"}
_ZIPPED, _BZIPPED, _RAW = "gzip", "bzip2", "raw"
# A MetaImage header begins with a field, and has fields that no other text has.
_META_START = re.compile(rb"\s*[A-Za-z]{2,30}[ \t]*=")
_META_AXES = re.compile(rb"^[ \t]*NDims[ \t]*=[ \t]*\d", re.MULTILINE)
_META_IMAGE = re.compile(
    rb"^[ \t]*(?:ObjectType[ \t]*=[ \t]*Image\b|DimSize[ \t]*=|ElementType[ \t]*=[ \t]*MET_|"
    rb"ElementSpacing[ \t]*=|TransformMatrix[ \t]*=|BinaryData\w*[ \t]*=|CompressedData[ \t]*=)",
    re.MULTILINE,
)
# Fields that mean the same; a header may hold several, and then they must agree.
_META_MATRIX = ("transformmatrix", "orientation", "rotation")
_META_ORIGIN = ("offset", "position", "origin")
_META_ORDER = ("binarydatabyteordermsb", "elementbyteordermsb")
# Numbers of a header that were written with fewer digits may differ by this.
AGREE = 1e-4
# What stands in front of the voxels must differ from their first row so many times as much as the
# first rows do from each other.
FRONT_ROWS = 8
FRONT_UNLIKE = 4.0
# So many bytes stand behind the voxels of whole files: the end of a line, or zeros that fill up
# and are no voxels.
MAX_BEHIND = 3
_LINE_END = b"\r\n\x1a"
# Directions are unit vectors within this.
UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class _Layout:
    """What a header says.

    Attributes:
        shape: Voxels, the fastest axis first.
        dtype: Of a voxel, with its byte order.
        affine: From (index on the slowest, middle, fastest axis) to LPS mm.
        encoding: ``raw``, ``gzip`` (zlib streams too) or ``bzip2``.
        data: Name of the file that holds the voxels; None for the header's own.
        lines: Lines in front of the voxels.
        skip: Bytes in front of them; -1 when the voxels are the last bytes of the file.
        notes: What was decided about the header.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    affine: np.ndarray
    encoding: str
    data: str | None
    lines: int = 0
    skip: int = 0
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Of all voxels."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def looks_like_itk(head: bytes) -> bool:
    """Whether a file that begins with `head` is MetaImage or NRRD."""
    is_meta = _META_START.match(head) and _META_AXES.search(head) and _META_IMAGE.search(head)
    return head.startswith(b"NRRD0") or bool(is_meta)


def data_file_of(path: File) -> str | None:
    """The name of the file next to a header that holds its voxels; None when there is none.

    Raises:
        OSError: If the header cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    # Within a line: blanks that may span lines cost the square of their number.
    pattern = (
        rb"^data ?file:[ \t]*(.*?)[ \t\r]*$"
        if head.startswith(b"NRRD")
        else rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*(.*?)[ \t\r]*$"
    )
    match = re.search(pattern, head, re.MULTILINE | re.IGNORECASE)
    name = _bare_name(match[1].decode("utf-8", errors="surrogateescape") if match else "LOCAL")
    return None if name.upper() == "LOCAL" or not _is_plain(name) else name


def _bare_name(name: str) -> str:
    """A name without what says that the file lies next to the header."""
    return re.sub(r"^(?:\./|\.\\)+", "", name.strip().strip('"'))


def folded(name: str) -> str:
    """The name of a file as a system has it that does not tell letter case and accents apart."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_plain(name: str) -> bool:
    """Whether a name leads to a file in the same folder."""
    return bool(name) and not re.search(r"[/\\\0:]|%\d*d|^\.+$", name) and name.upper() != "LIST"


def read_itk(files: Sequence[File], study: str) -> Volume:
    """Read a MetaImage or NRRD file that holds one volume in HU.

    Args:
        files: The file, or a header and the file next to it that holds its voxels.
        study: Short id.

    Raises:
        StudyError: ``CORRUPT_FILE``, ``NO_GEOMETRY``, ``ABSURD_SIZE``, ``NOT_HU``,
            ``TOO_FEW_SLICES``, ``OVERLAPPING_ACQUISITIONS``, ``NO_RESCALE``.
    """
    try:
        with files[0].open("rb") as raw, _inflating(cast(BinaryIO, raw)) as file:
            head = file.read(MAX_HEADER_BYTES)
            layout, end = (_nrrd if head.startswith(b"NRRD") else _meta)(head)
            if layout.data is None:
                file.seek(end)
                content, behind = _voxels(file, layout)
        if layout.data is not None:
            raw_files = [file for file in files[1:] if folded(file.name) == folded(layout.data)]
            if not _is_plain(layout.data):
                raise _corrupt(
                    "its header names voxels in several files, or in another folder", _TOGETHER
                )
            if not raw_files:
                raise _corrupt("the file that holds its voxels is not next to it", _TOGETHER)
            with raw_files[0].open("rb") as raw:
                content, behind = _voxels(cast(BinaryIO, raw), layout)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise _corrupt("its compressed data break off") from None
    except OSError as error:
        raise StudyError(
            "UNREADABLE",
            f"expected a file that can be read: {error.strerror}. Check its rights and the disk.",
        ) from None
    array = np.frombuffer(content, layout.dtype).reshape(layout.shape[::-1])
    array = array.astype(layout.dtype.newbyteorder("="))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise StudyError(
            "NOT_HU",
            "expected finite HU, the file holds NaN or Inf. Write -1024 for what is padding, or "
            "export it again.",
        )
    flags = check_geometry(layout.affine, array.shape)
    notes = layout.notes
    if behind:
        notes += (f"{behind} bytes behind the voxels, zeros or the end of a line, passed over",)
    return volume_of(array, layout.affine, study=study, reader="itk", notes=notes, flags=flags)


def _inflating(file: BinaryIO) -> BinaryIO:
    """The file, or what it inflates to when it was compressed as a whole."""
    head = file.read(2)
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if head == b"\x1f\x8b" else file


def _voxels(file: BinaryIO, layout: _Layout) -> tuple[bytes, int]:
    """The bytes of the voxels, from where their file stands, and how many are passed over."""
    for _ in range(layout.lines):
        if not file.readline(MAX_HEADER_BYTES).endswith(b"\n"):
            raise _corrupt("it has fewer lines than its header skips")
    expected = layout.bytes
    if layout.encoding == _RAW:
        if layout.skip < 0:
            content = file.read(expected + 2**24)
            held = len(content)
            if held > expected:
                _check_front(content, layout)
            content, behind = content[-expected:], b""
        else:
            file.seek(layout.skip, 1)
            content = file.read(expected + MAX_BEHIND + 1)
            held = len(content)
            behind = content[expected:]
            if _is_harmless(behind, layout):
                content, held = content[:expected], min(held, expected)
            # How much more there is, without reading it.
            while held > expected and (more := len(file.read(2**20))):
                held += more
        if held < expected or (layout.skip >= 0 and held != expected):
            raise _corrupt(f"expected {expected} bytes of voxels, the file holds {held}")
        return content, len(behind)
    start = max(0, layout.skip)
    content = _inflated(file, layout.encoding, start + expected)[start:]
    if len(content) != expected:
        count = "more" if len(content) > expected else str(len(content))
        raise _corrupt(f"expected {expected} bytes of voxels, the file holds {count}")
    return content, 0


def _is_harmless(behind: bytes, layout: _Layout) -> bool:
    """Whether what stands behind the voxels tells nothing against the header."""
    is_voxels = len(behind) % layout.dtype.itemsize == 0
    is_filling = not behind.strip(b"\0") and not is_voxels
    return len(behind) <= MAX_BEHIND and (not behind.strip(_LINE_END) or is_filling)


def _check_front(content: bytes, layout: _Layout) -> None:
    """Refuse what stands in front of the voxels, where voxels are the last bytes, if it is voxels.

    Then something else stands behind them, and all of them would be read at another place.
    """
    width = layout.dtype.itemsize
    row = layout.shape[0]
    front = len(content) - layout.bytes
    count = min(front // width, row)
    if not count:
        return
    numbers = np.frombuffer(content, layout.dtype, offset=front - count * width)
    numbers = numbers[: count + (FRONT_ROWS + 1) * row].astype(np.float64)
    apart = np.abs(numbers[row:] - numbers[:-row])
    # A header of another format, taken for voxels, is far from the row that follows.
    if np.median(apart[:count]) <= FRONT_UNLIKE * np.median(apart[count:]):
        raise _corrupt(
            f"its voxels should be its last {layout.bytes} bytes, and voxels stand in front of "
            "them: something stands behind",
            "Write into the header how many bytes stand in front, or export it again",
        )


def _inflated(file: BinaryIO, encoding: str, expected: int) -> bytes:
    """Compressed members, one behind the other; at most one byte beyond what is needed."""
    rest = file.read()
    content = b""
    while rest and len(content) <= expected:
        room = expected + 1 - len(content)
        try:
            part, is_whole, behind = _member(rest, encoding, room)
        except (zlib.error, OSError, EOFError):
            if content and not rest.startswith((b"\x1f\x8b", b"BZh")):
                break  # what stands behind the last member is no matter
            raise _corrupt("its compressed voxels are broken") from None
        content += part
        if not is_whole and len(content) <= expected:
            raise _corrupt("its compressed voxels break off")
        rest = behind if is_whole else b""
    return content


def _member(packed: bytes, encoding: str, room: int) -> tuple[bytes, bool, bytes]:
    """The first compressed member: its content, up to `room` bytes; whether it ends; the rest.

    Asked for one byte more than it should hold, a member that is whole comes to its end, and its
    checksum is compared.
    """
    if encoding == _BZIPPED:
        bunzip = bz2.BZ2Decompressor()
        return bunzip.decompress(packed, room), bunzip.eof, bunzip.unused_data
    # MetaImage holds a zlib stream, NRRD gzip streams; 32 lets zlib find out.
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    return inflater.decompress(packed, room), inflater.eof, inflater.unused_data


def _meta(head: bytes) -> tuple[_Layout, int]:
    """What a MetaImage header says, and where it ends."""
    fields: dict[str, str] = {}
    place = 0
    while True:
        end = head.find(b"\n", place)
        if end < 0 and head[place:].partition(b"=")[0].strip() == b"ElementDataFile":
            end = len(head)  # a header alone may end without a line feed
        if end < 0:
            raise _corrupt("its header has no end")
        name_, _, value = head[place:end].decode("utf-8", errors="replace").partition("=")
        key = name_.strip().lower()
        if key in fields and key != "comment":
            raise _corrupt(f"its header says {name_.strip()} twice")
        fields[key] = value.strip()
        place = end + 1
        if key == "elementdatafile":
            break
    if fields.get("elementnumberofchannels", "1") != "1" or "elementtype" not in fields:
        raise _not_a_number()
    kind = _META_TYPES.get(fields["elementtype"].upper())
    if kind is None:
        raise _not_a_number()
    scaling = (
        fields.get("elementtointensityfunctionslope", "1"),
        fields.get("elementtointensityfunctionoffset", "0"),
    )
    if _floats(scaling[0]) != (1.0,) or _floats(scaling[1]) != (0.0,):
        raise StudyError(
            "NO_RESCALE",
            "expected voxels in HU, the header gives a slope or an offset of its own. "
            "Apply it and write the file again.",
        )
    # A file without ElementSpacing means its ElementSize; with both, the spacing counts.
    if "elementsize" in fields:
        fields.setdefault("elementspacing", fields["elementsize"])
    axes, start = _agreed(fields, _META_MATRIX), _agreed(fields, _META_ORIGIN)
    if "elementspacing" not in fields or axes is None:
        raise _lost("ElementSpacing or TransformMatrix is missing")
    if start is None:
        raise _lost("Offset is missing")
    _check_units(fields.get("distanceunits", ""))
    sizes = _sizes(fields.get("dimsize", ""))
    count = len(sizes)
    if fields.get("ndims", str(count)) != str(count):
        raise _corrupt(f"it says {fields['ndims'][:9]} axes and gives the size of {count}")
    spacing = _floats(fields["elementspacing"])
    if (len(axes), len(spacing), len(start)) != (count**2, count, count):
        raise _lost("its directions, spacing or origin are not of as many axes as its voxels")
    if min(spacing) <= 0:
        raise _lost("its ElementSpacing is not above 0")
    # The direction of each axis stands in a row.
    rows = np.reshape(axes, (count, count))
    if count > 3 and np.abs(rows[:3, 3:]).max() > AGREE:
        raise _lost("its TransformMatrix turns axes of the patient into others")
    lengths = np.linalg.norm(rows[:3, :3], axis=1)
    if np.abs(lengths - 1).max() > UNIT_TOLERANCE:
        raise _lost(
            "the directions of its TransformMatrix have lengths of "
            f"{', '.join(f'{n:.3g}' for n in lengths)} where each should have 1"
        )
    directions = rows[:3, :3] / lengths[:, None] * np.array(spacing[:3])[:, None]
    is_detached = fields["elementdatafile"].upper() != "LOCAL"
    skip = _whole(fields.get("headersize") or "0")
    if skip and not is_detached:
        raise _corrupt("it has a second header")
    orders = {_is_true(fields[name]) for name in _META_ORDER if name in fields}
    if len(orders) > 1:
        raise _corrupt("its fields about the order of bytes contradict each other")
    is_big = orders == {True}
    if not _is_true(fields.get("binarydata", "True")):
        raise _corrupt("its voxels are written as text")
    layout = _Layout(
        shape=_shape(sizes),
        dtype=np.dtype(kind).newbyteorder(">" if is_big else "<"),
        affine=_affine(directions, start[:3]),
        encoding=_ZIPPED if _is_true(fields.get("compresseddata", "")) else _RAW,
        data=_bare_name(fields["elementdatafile"]) if is_detached else None,
        skip=skip,
    )
    return layout, place


def _is_true(text: str) -> bool:
    """What the library of the format takes for true."""
    return text[:1] in ("T", "t", "1")


def _nrrd(head: bytes) -> tuple[_Layout, int]:
    """What an NRRD header says, and where it ends."""
    blank = re.search(rb"\r?\n\r?\n", head)
    is_alone = blank is None and len(head) < MAX_HEADER_BYTES
    if blank is None and not (is_alone and re.search(rb"^data ?file:", head, re.MULTILINE)):
        raise _corrupt("its header has no end")
    fields: dict[str, str] = {}
    text = head[: blank.start() if blank else len(head)].decode("utf-8", errors="replace")
    for line in text.splitlines()[1:]:
        name, colon, value = line.partition(": ")
        if line.startswith("#") or not colon or ":=" in name:
            continue
        key = name.strip().lower().replace(" ", "")
        if key in fields:
            raise _corrupt(f"its header says {name.strip()!r} twice")
        fields[key] = value.strip()
    if not {"spacedirections", "spaceorigin"} <= fields.keys():
        raise _lost("space directions or space origin is missing")
    notes: tuple[str, ...] = ()
    space = fields.get("space", "").lower()
    is_timed = space in _NRRD_TIMED
    if not space and fields.get("spacedimension") == "4":
        # ITK names the space of three axes; of four it writes the same axes without the name.
        space, is_timed = "lpst", True
        notes = ("the header names no space: four axes are taken as ITK writes them, in LPS",)
    flips = _NRRD_SPACES.get(_NRRD_TIMED.get(space, space))
    if not space:
        raise _lost("space is missing")
    if flips is None:
        raise _lost("the space is not the patient's")
    for unit in _units(fields.get("spaceunits", ""))[: 3 if is_timed else None]:
        _check_units(unit)
    encoding = {
        "raw": _RAW,
        "gzip": _ZIPPED,
        "gz": _ZIPPED,
        "bzip2": _BZIPPED,
        "bz2": _BZIPPED,
    }.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise _corrupt(f"encoding {fields.get('encoding', '')[:20]!r} is not read")
    kind = _NRRD_TYPES.get(fields.get("type", "").lower())
    if kind is None:
        raise _not_a_number()
    if np.dtype(kind).itemsize > 1 and fields.get("endian", "").lower() not in ("little", "big"):
        raise _corrupt("it does not say its byte order")
    sizes = _sizes(fields.get("sizes", ""))
    if fields.get("dimension", str(len(sizes))) != str(len(sizes)):
        raise _corrupt(f"it says {fields['dimension'][:9]} axes and gives {len(sizes)} sizes")
    vectors = re.findall(r"none|\([^)]*\)", fields["spacedirections"])
    start = _floats(fields["spaceorigin"].strip("()").replace(",", " "))
    if is_timed:
        vectors, start = _without_time(vectors, start)
    if len(vectors) != len(sizes) or len(start) != 3:
        raise _lost("its directions or origin are not of as many axes as its voxels")
    # An axis without direction counts frames, or numbers of a voxel.
    if sizes[0] > 1 and vectors[0] == "none":
        raise _not_a_number()
    if any(size > 1 and vector == "none" for size, vector in zip(sizes, vectors, strict=True)):
        raise _several(sizes)
    spatial = [k for k, vector in enumerate(vectors) if vector != "none"]
    axis_units = _units(fields.get("units", ""))
    for k in spatial:
        if k < len(axis_units):
            _check_units(axis_units[k])
    directions = [_floats(vectors[k].strip("()").replace(",", " ")) for k in spatial]
    if len(spatial) != 3 or any(len(direction) != 3 for direction in directions):
        raise _lost("expected three directions of three numbers")
    if "spacings" in fields:
        lengths = [float(np.linalg.norm(direction)) for direction in directions]
        spacings = fields["spacings"].split()
        said = np.array(_floats(" ".join(spacings[k] for k in spatial if k < len(spacings))))
        # NaN is how the format says that a spacing is not known.
        is_known = ~np.isnan(said)
        if len(said) != 3 or not np.allclose(
            said[is_known], np.array(lengths)[is_known], rtol=AGREE
        ):
            raise _lost("its spacings and space directions contradict each other")
    layout = _Layout(
        shape=_shape([sizes[k] for k in spatial]),
        dtype=np.dtype(kind).newbyteorder(
            ">" if fields.get("endian", "").lower() == "big" else "<"
        ),
        affine=_affine(np.array(directions) * flips, np.array(start) * flips),
        encoding=encoding,
        data=_bare_name(fields["datafile"]) if "datafile" in fields else None,
        lines=_whole(fields.get("lineskip", "0")),
        skip=_whole(fields.get("byteskip", "0")),
        notes=notes,
    )
    return layout, blank.end() if blank else len(head)


def _without_time(
    vectors: Sequence[str], start: tuple[float, ...]
) -> tuple[list[str], tuple[float, ...]]:
    """Directions and origin in a space of four axes, as in one without time."""
    out: list[str] = []
    for vector in vectors:
        direction = (0.0,) * 4 if vector == "none" else _floats(vector[1:-1].replace(",", " "))
        if len(direction) != 4 or len(start) != 4:
            raise _lost("its directions or origin are not of as many axes as its space")
        if not any(direction[:3]):
            out.append("none")
        elif direction[3]:
            raise _lost("its directions turn axes of the patient into time")
        else:
            out.append(f"({','.join(map(repr, direction[:3]))})")
    return out, start[:3]


def _affine(directions: np.ndarray, origin: Sequence[float] | np.ndarray) -> np.ndarray:
    """From (slowest, middle, fastest) to LPS mm; rows of `directions` are axes, fastest first."""
    affine = np.eye(4)
    affine[:3, :3] = directions[::-1].T
    affine[:3, 3] = origin
    return affine


def _agreed(fields: Mapping[str, str], names: Sequence[str]) -> tuple[float, ...] | None:
    """The numbers of fields that mean the same; None without any."""
    present = [(name, _floats(fields[name])) for name in names if name in fields]
    if not present:
        return None
    first, numbers = present[0]
    for name, others in present[1:]:
        if len(others) != len(numbers) or not np.allclose(others, numbers, rtol=0, atol=AGREE):
            raise _lost(f"its fields {first} and {name} contradict each other")
    return numbers


def _floats(text: str) -> tuple[float, ...]:
    try:
        # Python takes 3_5 for 35.
        if "_" in text:
            raise ValueError
        return tuple(float(part) for part in text.split())
    except ValueError:
        raise _lost("a number in its header is none") from None


def _whole(text: str) -> int:
    if not re.fullmatch(r"-1|\d{1,9}", text.strip()):
        raise _corrupt("what its header skips is no number")
    return int(text)


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(n) for n in text.split()]
    except ValueError:
        raise _corrupt("its size is no number") from None
    if not sizes or min(sizes) < 1:
        raise _corrupt("expected three axes of one voxel or more")
    return sizes


def _shape(sizes: Sequence[int]) -> tuple[int, int, int]:
    if len(sizes) < 3:
        raise _corrupt(f"expected three axes, got {len(sizes)}")
    if any(size > 1 for size in sizes[3:]):
        raise _several(sizes)
    shape = (sizes[0], sizes[1], sizes[2])
    check_size(shape)
    if min(shape) < MIN_SLICES:
        raise StudyError(
            "TOO_FEW_SLICES",
            f"expected at least {MIN_SLICES} voxels along every axis, got "
            f"{' x '.join(map(str, shape))}. Give the whole scan.",
        )
    return shape


def _units(text: str) -> list[str]:
    """What NRRD says axes are counted in; some programs leave the quotes out."""
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([^\s"]+)', text)]


def _check_units(unit: str) -> None:
    if unit.strip().lower() not in _MILLIMETRES:
        raise _lost(f"it counts in {unit.strip()[:20]!r}, not in mm")


_TOGETHER = "Put the header and one file of voxels into one folder, or write both as one file"


def _corrupt(what: str, advice: str = "Export it again") -> StudyError:
    return StudyError("CORRUPT_FILE", f"expected a whole MHA, MHD or NRRD file: {what}. {advice}.")


def _several(sizes: Sequence[int]) -> StudyError:
    return StudyError(
        "OVERLAPPING_ACQUISITIONS",
        f"expected one volume, got an image of {' x '.join(map(str, sizes))}. "
        "Give one three-dimensional image.",
    )


def _not_a_number() -> StudyError:
    return StudyError("NOT_HU", "expected one real number a voxel. Give a CT in HU.")


def _lost(what: str) -> StudyError:
    return StudyError(
        "NO_GEOMETRY",
        f"expected spacing in mm, directions and origin: {what}. "
        "Convert the scan again from DICOM.",
    )
