"""Zip archives as folders: members are read from memory, within caps, and nothing is unpacked.

The directory of an archive is parsed by the standard library; members are inflated here, so that
none gives more than it declares, whatever the stream holds. Names only group and sort: no file is
ever made with one.
"""

from __future__ import annotations

import bz2
import errno
import io
import lzma
import re
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

__all__ = [
    "BadArchiveError",
    "DamagedFileError",
    "File",
    "Link",
    "Member",
    "begins_as_zip",
    "is_archive",
    "looks_packed",
    "members",
    "packing_of",
]

MAX_ENTRIES = 200_000
MAX_MEMBER_BYTES = 2 * 2**30
MAX_BYTES = 64 * 2**30
# Slices of a CT shrink to a third; zeros to a thousandth. Small archives may be as empty as they
# like.
MAX_RATIO = 200
RATIO_FREE_BYTES = 64 * 2**20
_LOCAL_HEADER = 30
_ENCRYPTED = 1
# Ways to compress entries that are not read, by their numbers.
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
_DRIVE = re.compile(r"[A-Za-z]:")
# Archives that are not opened, by how they begin.
_CLOSED = ((b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07", "RAR"))
_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"))
_TAR_MARK = slice(257, 262)
# bzip2 gives nothing before a block of 900 kB.
_FIRST_BYTES = 2**20
_MAX_MEMORY = 2**28


class DamagedFileError(Exception):
    """A file, or an archive of files, is broken.

    Attributes:
        code: Of the refusal.
        advice: What to do about an archive of which this is said.
    """

    code = "CORRUPT_SLICE"
    advice = "Pack or copy it again, or unpack it yourself"


class BadArchiveError(DamagedFileError):
    """An archive that is broken, made to do harm, or packed in a way that is not read."""

    code = "BAD_ARCHIVE"

    def __init__(self, what: str, advice: str = DamagedFileError.advice) -> None:
        super().__init__(what)
        self.advice = advice


class _State(NamedTuple):
    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True)
class Member:
    """A file in a zip archive; opened like a path.

    Attributes:
        archive: The zip file.
        inner: Name within it; may be a patient's, so never shown.
        offset: Byte where its local header begins.
        packed_bytes: Of its content in the archive.
        size: Bytes of its content.
        crc: Checksum of its content.
        is_deflated: Otherwise it is stored as it is.
    """

    archive: Path
    inner: str
    offset: int
    packed_bytes: int
    size: int
    crc: int
    is_deflated: bool

    def __str__(self) -> str:
        return str(self.archive / self.inner)

    @property
    def name(self) -> str:
        """Last part of its name."""
        return PurePosixPath(self.inner).name

    @property
    def suffix(self) -> str:
        """What its name ends in."""
        return PurePosixPath(self.inner).suffix

    @property
    def parent(self) -> Path:
        """The archive, or the folder within."""
        return (self.archive / self.inner).parent

    def stat(self) -> _State:
        """Size of its content, and when the archive was changed."""
        return _State(self.size, self.archive.stat().st_mtime_ns)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Its content, inflated and checked.

        Raises:
            BadArchiveError: If it is not what the archive's directory says.
            OSError: If the archive cannot be read.
        """
        assert mode == "rb"
        with self.archive.open("rb") as file:
            file.seek(self.offset)
            head = file.read(_LOCAL_HEADER)
            if len(head) < _LOCAL_HEADER or head[:4] != b"PK\x03\x04":
                raise BadArchiveError("the archive's directory points to no file")
            names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            file.seek(names, io.SEEK_CUR)
            content = file.read(self.packed_bytes)
        if self.is_deflated:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                content = inflater.decompress(content, self.size + 1)
            except zlib.error:
                raise BadArchiveError("its compressed content is broken") from None
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise BadArchiveError("its content is not what the archive's directory says")
        return io.BytesIO(content)


@dataclass(frozen=True)
class Link:
    """A link that was found in a folder, where its name is one of a file of the study.

    It is never followed: it may lead anywhere. Opening it fails.

    Attributes:
        path: Where it lies.
    """

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Last part of its name."""
        return self.path.name

    @property
    def suffix(self) -> str:
        """What its name ends in."""
        return self.path.suffix

    @property
    def parent(self) -> Path:
        """Its folder."""
        return self.path.parent

    def stat(self) -> _State:
        """Of the link itself."""
        found = self.path.lstat()
        return _State(found.st_size, found.st_mtime_ns)

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Never.

        Raises:
            OSError: Always.
        """
        raise OSError(errno.ELOOP, "it is a link, and links found in folders are not followed")


File = Path | Member | Link


def is_archive(path: File) -> bool:
    """Whether a file is called a zip archive."""
    return path.suffix.lower() == ".zip"


def begins_as_zip(head: bytes) -> bool:
    """Whether a file that begins with `head` is a zip archive, whatever its name."""
    return head.startswith(b"PK\x03\x04")


def looks_packed(head: bytes) -> bool:
    """Whether a file that begins with `head` may be an archive that is not opened."""
    begins = tuple(begin for begin, _ in (*_CLOSED, *_COMPRESSED))
    return head.startswith(begins) or head[_TAR_MARK] == b"ustar"


def packing_of(path: File) -> str | None:
    """What kind of archive that is not opened a file is, by its content; None for none.

    Raises:
        OSError: If it cannot be read.
        BadArchiveError: If it lies in an archive and is broken.
    """
    with path.open("rb") as file:
        head = file.read(512)
        for begin, name in _CLOSED:
            if head.startswith(begin):
                return name
        if head[_TAR_MARK] == b"ustar":
            return "tar"
        for begin, name in _COMPRESSED:
            if head.startswith(begin):
                inner = _inflated(name, head + file.read(_FIRST_BYTES))
                return f"tar, compressed by {name}" if inner[_TAR_MARK] == b"ustar" else None
    return None


def _inflated(name: str, packed: bytes) -> bytes:
    """The first bytes of a compressed file, as far as they can be unpacked."""
    try:
        if name == "gzip":
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(packed, 512)
        if name == "bzip2":
            return bz2.BZ2Decompressor().decompress(packed, 512)
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_MEMORY).decompress(packed, 512)
    except (zlib.error, OSError, EOFError, lzma.LZMAError):
        return b""


def members(path: Path) -> tuple[Member, ...]:
    """The files in an archive, in the order of their names.

    Raises:
        BadArchiveError: If it is broken, encrypted, larger than any archive of scans, or if a name
            leaves it.
        OSError: If it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    # A directory that contradicts itself fails in any of these ways.
    except (zipfile.BadZipFile, ValueError, LookupError, NotImplementedError, OverflowError):
        raise BadArchiveError("its directory cannot be read") from None
    if len(entries) > MAX_ENTRIES:
        raise BadArchiveError(f"it claims {len(entries)} entries, {MAX_ENTRIES} are the most")
    inside = [_member(path, entry) for entry in entries if not entry.is_dir()]
    _check_sizes(path, inside)
    if len({member.inner for member in inside}) < len(inside):
        raise BadArchiveError("two of its entries have one name")
    return tuple(sorted(inside, key=lambda member: member.inner))


def _member(path: Path, entry: zipfile.ZipInfo) -> Member:
    name = entry.orig_filename.replace("\\", "/")
    parts = name.split("/")
    # Times of day are names too; only a drive leads elsewhere.
    if name.startswith("/") or ".." in parts or _DRIVE.match(name) or "\0" in name:
        raise BadArchiveError("the name of an entry leads out of it")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BadArchiveError("it holds a link or a device")
    if entry.volume or entry.header_offset < 0:
        raise BadArchiveError(
            "it is one part of an archive that was split",
            "Unpack all parts and give the folder, or join them to one archive",
        )
    if entry.flag_bits & _ENCRYPTED:
        raise BadArchiveError("it is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        method = _METHODS.get(entry.compress_type, f"method {entry.compress_type}")
        raise BadArchiveError(
            f"its entries are compressed by {method}, and only Deflate is read",
            "Unpack it and give the folder, or pack it again with Deflate",
        )
    is_deflated = entry.compress_type == zipfile.ZIP_DEFLATED
    if not is_deflated and entry.compress_size != entry.file_size:
        raise BadArchiveError("its directory contradicts itself")
    return Member(
        path,
        name,
        entry.header_offset,
        entry.compress_size,
        entry.file_size,
        entry.CRC,
        is_deflated,
    )


def _check_sizes(path: Path, inside: Sequence[Member]) -> None:
    """No entry and no sum of entries is absurd, and no byte is counted twice."""
    total = sum(member.size for member in inside)
    largest = max((member.size for member in inside), default=0)
    if largest > MAX_MEMBER_BYTES or total > MAX_BYTES:
        raise BadArchiveError(f"it inflates to {total} bytes, more than is read")
    if total > RATIO_FREE_BYTES and total > MAX_RATIO * path.stat().st_size:
        raise BadArchiveError(f"it inflates to {total} bytes, as no scan does")
    places = sorted((m.offset, m.offset + _LOCAL_HEADER + m.packed_bytes) for m in inside)
    if any(end > start for (_, end), (start, _) in pairwise(places)):
        raise BadArchiveError("its entries overlap")
