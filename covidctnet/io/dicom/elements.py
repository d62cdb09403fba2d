"""A DICOM file as elements: parsed by pydicom, without a word, and where its pixels lie."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, cast

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID

from covidctnet.io.archive import DamagedFileError

__all__ = [
    "DEFLATED",
    "PARSE_ERRORS",
    "PIXELS",
    "AbsurdFileError",
    "DamagedFileError",
    "NotDicomError",
    "PackedFileError",
    "PixelElement",
    "PrivatePixelsError",
    "inflated",
    "looks_like_dicom",
    "parse",
    "quiet",
]

# A header is looked for in so much of a file first; 2048 bytes or more, for its transfer syntax.
HEAD_BYTES = 16 * 2**10
# A deflated data set may inflate to this much: a large enhanced series, no more. CT shrinks to a
# third, so what grows far more is no scan; small files may be as empty as they like.
MAX_INFLATED_BYTES = 512 * 2**20
MAX_INFLATION = 50
FREE_INFLATED_BYTES = 64 * 2**20
UNDEFINED_LENGTH = 0xFFFFFFFF
DEFLATED = "1.2.840.10008.1.2.1.99"
FLOAT_PIXELS, DOUBLE_PIXELS, PIXELS = PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_PIXEL_GROUP_START = FLOAT_PIXELS
_VRS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN"
    b" UR US UT UV".split()
)
# Tag, type and length of an element.
_LONGEST_ELEMENT_HEAD = 12
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT"}
# A broken file makes the parser fail in any of these ways; RecursionError is deep nesting.
PARSE_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    NotImplementedError,
    BytesLengthException,
    RecursionError,
    struct.error,
    zlib.error,
)
_LOCK = threading.RLock()


class NotDicomError(Exception):
    """The content is something else."""


class AbsurdFileError(DamagedFileError):
    """The content is DICOM, and claims what no scanner makes."""

    code = "ABSURD_SIZE"


class PackedFileError(DamagedFileError):
    """The content is a whole file, compressed once more."""


class PrivatePixelsError(DamagedFileError):
    """The content is a whole file whose pixels are where only its maker's programs find them."""

    code = "UNSUPPORTED_SYNTAX"


@dataclass(frozen=True)
class PixelElement:
    """The element that holds the pixels: its tag, where its value begins, its bytes."""

    tag: int
    start: int
    length: int
    is_big_endian: bool


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file that begins with `head` (132 bytes or more) is DICOM, with preamble or not."""
    if head[128:132] == b"DICM":
        return True
    if head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and head[4:6] in _VRS:
        return True
    is_implicit = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00"
    return is_implicit and 0 < int.from_bytes(head[4:8], "little") <= 256


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom of odd values (length, character set) in this thread; all are judged here.

    It also logs what it warns of, and cites the header: a patient's name would reach the terminal.
    """
    thread = threading.get_ident()

    def is_from_elsewhere(_: logging.LogRecord) -> bool:
        return threading.get_ident() != thread

    logger = logging.getLogger("pydicom")
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.addFilter(is_from_elsewhere)
        try:
            yield
        finally:
            logger.removeFilter(is_from_elsewhere)


class _Capped:
    """A file that is never asked for more than it has: a length field may claim gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        place = file.tell()
        self._size = file.seek(0, io.SEEK_END)
        file.seek(place)
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if count < 0 else min(count, left))


class _Window(io.BytesIO):
    """The beginning of a file, whose end is an error: the parser would take it for the file's."""

    def read(self, count: int | None = -1) -> bytes:
        found = super().read(count)
        if count is None or count < 0 or len(found) < count:
            raise ValueError("the window is shorter than the header")
        return found


def parse(
    file: BinaryIO, tags: list[BaseTag], *, find_pixels: bool = True
) -> tuple[Dataset, PixelElement | None]:
    """The elements with these tags, and where the pixels lie; nothing behind is read.

    Args:
        file: At its beginning.
        tags: Wanted.
        find_pixels: Go on to the pixels, and not only behind the last of `tags`.

    Raises:
        NotDicomError: If the file holds something else.
        PackedFileError: If it is compressed as a whole.
        DamagedFileError: If it cannot be parsed.
    """
    head = file.read(HEAD_BYTES)
    if not looks_like_dicom(head):
        if head.startswith(b"\x1f\x8b"):
            raise PackedFileError("it is compressed by gzip")
        raise NotDicomError("no DICOM content")
    try:
        with quiet():
            if DEFLATED.encode() in head[:2048]:
                file = inflated(file)
                data = _inflated_dataset(file, tags)
            else:
                file, data = _partial(file, head, tags, find_pixels)
            _check_lengths(data)
            if not find_pixels:
                return data, None
            return data, _pixel_element(file)
    except PARSE_ERRORS as e:
        raise DamagedFileError(f"its header cannot be parsed ({type(e).__name__})") from None
    except OSError as e:
        if e.errno is None:  # the parser's way to say that a sequence breaks off
            raise DamagedFileError("its header breaks off") from None
        raise


def _partial(
    file: BinaryIO, head: bytes, tags: list[BaseTag], find_pixels: bool
) -> tuple[BinaryIO, Dataset]:
    """The elements with these tags, and the file that was read, where the parser stopped."""
    stop = _at_pixels if find_pixels else _behind(max(tags))
    # Most headers are short, and from memory the parser reads them in two thirds of the time. What
    # is longer, or breaks, is parsed from the file itself.
    window = _Window(head)
    with contextlib.suppress(*PARSE_ERRORS, OSError):
        data = read_partial(cast(BinaryIO, window), stop, specific_tags=list(tags), force=True)
        if window.tell() + _LONGEST_ELEMENT_HEAD <= len(head):
            return window, data
    file.seek(0)
    capped = cast(BinaryIO, _Capped(file))
    return file, read_partial(capped, stop, specific_tags=list(tags), force=True)


def _at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag in PIXEL_TAGS


def _behind(last: BaseTag) -> Callable[[BaseTag, str | None, int], bool]:
    return lambda tag, _vr, _length: tag > last


def inflated(file: BinaryIO) -> BinaryIO:
    """The data set of a deflated file, inflated, without the file's meta group.

    Raises:
        DamagedFileError: If it inflates beyond any image, or is cut short.
    """
    file.seek(0)
    head = file.read(144)
    if head[132:138] != b"\x02\x00\x00\x00UL":
        raise DamagedFileError("a deflated file without the length of its meta group")
    file.seek(144 + int.from_bytes(head[140:144], "little"))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    packed = file.read()
    limit = min(MAX_INFLATED_BYTES, max(FREE_INFLATED_BYTES, MAX_INFLATION * len(packed)))
    try:
        content = inflater.decompress(packed, limit)
    except zlib.error:
        raise DamagedFileError("its deflated data set is broken") from None
    if not inflater.eof:
        kind = AbsurdFileError if inflater.unconsumed_tail else DamagedFileError
        raise kind("its deflated data set is cut short or inflates beyond any image")
    return io.BytesIO(content)


def _inflated_dataset(file: BinaryIO, tags: list[BaseTag]) -> Dataset:
    data = read_dataset(
        file,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, _vr, _length: tag >= _PIXEL_GROUP_START,
        specific_tags=list(tags),
    )
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = UID(DEFLATED)
    return data


def _check_lengths(data: Dataset) -> None:
    """The parser hands on what is left of a value when the file ends within it."""
    for item in data.elements():
        value = item.value
        if not isinstance(item, RawDataElement) or item.length == UNDEFINED_LENGTH:
            continue
        if isinstance(value, bytes) and len(value) != item.length:
            raise DamagedFileError("it ends amid its header")


def _pixel_element(file: BinaryIO) -> PixelElement | None:
    """Where the pixels lie: the parser stopped in front of their element, or at the end."""
    place = file.tell()
    size = file.seek(0, io.SEEK_END)
    if place > size:
        raise DamagedFileError("it ends amid its header")
    file.seek(place)
    head = file.read(_LONGEST_ELEMENT_HEAD)
    if len(head) < 8:
        if head.strip(b"\0"):
            raise DamagedFileError("it ends amid its header")
        return None
    is_big_endian = head[:2] == b"\x7f\xe0"
    order: Literal["big", "little"] = "big" if is_big_endian else "little"
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
    if tag not in PIXEL_TAGS:
        raise DamagedFileError("its header breaks off before the pixels")
    if head[4:6] in _LONG_VRS:
        return PixelElement(tag, place + 12, int.from_bytes(head[8:12], order), is_big_endian)
    if head[4:6] in _VRS:
        raise DamagedFileError("its pixels have an impossible type")
    return PixelElement(tag, place + 8, int.from_bytes(head[4:8], order), is_big_endian)
