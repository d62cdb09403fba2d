"""The voxels behind a header: as many as it says, inflated with a limit."""

from __future__ import annotations

import bz2
import gzip
import zlib
from typing import BinaryIO, cast

import numpy as np

from covidctnet.io.itk.data_file import MAX_HEADER_BYTES
from covidctnet.io.itk.layout import BZIPPED, RAW, Layout, corrupt

# What stands in front of the voxels must differ from their first row so many times as much as the
# first rows do from each other.
FRONT_ROWS = 8
FRONT_UNLIKE = 4.0
# So many bytes stand behind the voxels of whole files: the end of a line, or zeros that fill up
# and are no voxels.
MAX_BEHIND = 3
# How compressed members begin: gzip, bzip2, zlib.
_MEMBERS = (b"\x1f\x8b", b"BZh", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_LINE_END = b"\r\n\x1a"


def inflating(file: BinaryIO) -> BinaryIO:
    """The file, or what it inflates to when it was compressed as a whole."""
    head = file.read(2)
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if head == b"\x1f\x8b" else file


def read_voxels(file: BinaryIO, layout: Layout) -> tuple[bytes, int]:
    """The bytes of the voxels, from where their file stands, and how many are passed over."""
    for _ in range(layout.lines):
        if not file.readline(MAX_HEADER_BYTES).endswith(b"\n"):
            raise corrupt("it has fewer lines than its header skips")
    expected = layout.bytes
    if layout.encoding == RAW:
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
            raise corrupt(f"expected {expected} bytes of voxels, the file holds {held}")
        return content, len(behind)
    start = max(0, layout.skip)
    content = _inflated(file, layout.encoding, start + expected)[start:]
    if len(content) != expected:
        count = "more" if len(content) > expected else str(len(content))
        raise corrupt(f"expected {expected} bytes of voxels, the file holds {count}")
    return content, 0


def _is_harmless(behind: bytes, layout: Layout) -> bool:
    """Whether what stands behind the voxels tells nothing against the header."""
    is_voxels = len(behind) % layout.dtype.itemsize == 0
    is_filling = not behind.strip(b"\0") and not is_voxels
    return len(behind) <= MAX_BEHIND and (not behind.strip(_LINE_END) or is_filling)


def _check_front(content: bytes, layout: Layout) -> None:
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
        raise corrupt(
            f"its voxels should be its last {layout.bytes} bytes, and voxels stand in front of "
            "them: something stands behind",
            "Write into the header how many bytes stand in front, or export it again",
        )


def _inflated(file: BinaryIO, encoding: str, expected: int) -> bytes:
    """Compressed members, one behind the other; at most one byte beyond what is needed."""
    rest = file.read()
    content = b""
    while rest and len(content) <= expected:
        if len(content) == expected and not rest.startswith(_MEMBERS):
            break  # what stands behind the last member is no matter
        room = expected + 1 - len(content)
        try:
            part, is_whole, behind = _member(rest, encoding, room)
        except (zlib.error, OSError, EOFError):
            if content and not rest.startswith(_MEMBERS):
                break
            raise corrupt("its compressed voxels are broken") from None
        content += part
        if not is_whole and len(content) <= expected:
            raise corrupt("its compressed voxels break off")
        rest = behind if is_whole else b""
    return content


def _member(packed: bytes, encoding: str, room: int) -> tuple[bytes, bool, bytes]:
    """The first compressed member: its content, up to `room` bytes; whether it ends; the rest.

    Asked for one byte more than it should hold, a member that is whole comes to its end, and its
    checksum is compared.
    """
    if encoding == BZIPPED:
        bunzip = bz2.BZ2Decompressor()
        return bunzip.decompress(packed, room), bunzip.eof, bunzip.unused_data
    # MetaImage holds a zlib stream, NRRD gzip streams; 32 lets zlib find out.
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    return inflater.decompress(packed, room), inflater.eof, inflater.unused_data
