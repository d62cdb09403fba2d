"""What a file is: by its content, and by its name only where the content says nothing."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from covidctnet.io.archive import (
    BadArchiveError,
    File,
    begins_as_zip,
    is_archive,
    looks_packed,
    members,
    packing_of,
)
from covidctnet.io.dicom import looks_like_dicom
from covidctnet.io.itk import looks_like_itk
from covidctnet.io.names import DICOM_NAMES, packed_suffix
from covidctnet.io.nifti import is_our_mask, looks_like_nifti

__all__ = ["Format", "Kind", "is_analyze", "is_picture", "is_volume", "kinds_of"]

Format = Literal["dicom", "nifti", "itk", "picture", "archive", "closed", "packed", "other"]
Kind = Format | Literal["damaged", "unknown", "unreadable", "junk", "zip", "link", "mask"]

# So much of a file says what it is.
_HEAD_BYTES = 1024
# A larger archive within another is not looked into.
_MAX_INNER_BYTES = 2**28

_NIFTI_NAMES = (".nii", ".nii.gz")
_ITK_NAMES = (".mha", ".mhd", ".nrrd", ".nhdr")
# Volumes of formats that are not read: FreeSurfer, MINC, GIPL.
_OTHER_VOLUMES = (".mgz", ".mgh", ".mnc", ".gipl", ".gipl.gz")
# Documents, by how they begin: JPEG, PNG, PDF, zip, TIFF, GIF.
_DOCUMENTS = (b"\xff\xd8\xff", b"\x89PNG", b"%PDF", b"PK\x03\x04", b"II*\0", b"MM\0*", b"GIF8")
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*")
# Of gzip, XML and HTML: a server's page of an error is saved under the name of what was asked for.
_PAGES = (b"\x1f\x8b", b"<")
_PRINTABLE = frozenset(range(32, 256)) | frozenset(b"\t\n\r\f")


def is_picture(path: File) -> bool:
    """Whether a file begins as PNG, JPEG or TIFF."""
    with path.open("rb") as file:
        return file.read(4).startswith(_PICTURES)


def kinds_of(files: Sequence[File]) -> Iterator[tuple[File, Kind]]:
    """What files are; a zip archive by its content alone is replaced by what it holds.

    Other programs keep their files as zip archives too: one that holds no scan is none.
    """
    for path in files:
        kind = kind_of(path)
        if kind != "zip":
            yield path, kind
        elif isinstance(path, Path):
            yield from _inside(path)
        else:
            yield path, _within(path)


def _inside(path: Path) -> list[tuple[File, Kind]]:
    """What a zip archive that is not called one holds."""
    nothing: list[tuple[File, Kind]] = [(path, "junk")]
    try:
        found = [(member, kind_of(member)) for member in members(path)]
    except (BadArchiveError, OSError):
        return nothing if path.suffix else [(path, "archive")]
    if not any(kind in ("dicom", "nifti", "itk") for _, kind in found):
        return nothing
    return [(member, _within(member) if kind == "zip" else kind) for member, kind in found]


def _within(member: File) -> Kind:
    """What a zip archive within another is: documents have a suffix of their own."""
    is_named = is_archive(member) or not member.suffix
    return "archive" if is_named and _may_hold_scan(member) else "junk"


def _may_hold_scan(archive: File) -> bool:
    """Whether an archive within another holds a scan, or may hold one."""
    if archive.stat().st_size > _MAX_INNER_BYTES:
        return True
    try:
        with archive.open("rb") as file, zipfile.ZipFile(file) as inner:
            for entry in inner.infolist():
                with inner.open(entry) as content:
                    head = content.read(_HEAD_BYTES)
                is_scan = looks_like_dicom(head) or looks_like_nifti(head) or looks_like_itk(head)
                if is_scan or head.startswith((b"\x1f\x8b", b"PK\x03\x04")):
                    return True
    # A broken or closed archive fails in any of these ways.
    except (zipfile.BadZipFile, ValueError, LookupError, RuntimeError, OSError, EOFError):
        return True
    except (zlib.error, OverflowError, BadArchiveError):
        return True
    return False


def kind_of(path: File) -> Kind:
    """What a file is: by its content, and by its name only where the content is silent."""
    name = path.name.lower()
    if name.startswith("."):
        return "junk"
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            packed = head
            if head.startswith(b"\x1f\x8b"):
                head = _unzipped(head)
    except (OSError, BadArchiveError):
        # Reading its study will say so.
        return _by_name(name) or "unreadable"
    if looks_like_nifti(head):
        return "mask" if is_our_mask(head) else "nifti"
    if looks_like_itk(head):
        return "itk"
    if looks_like_dicom(head):
        # One that is compressed is not read; reading its study says what to do.
        return "dicom" if head is packed else "damaged"
    by_name = _by_name(name)
    if by_name in ("nifti", "itk", "packed", "other"):
        # Broken, or none: reading it says so.
        return by_name
    if name.endswith(".hdr") and is_analyze(head):
        return "other"
    if begins_as_zip(head):
        return "zip"
    if looks_packed(packed) and _is_packed(path):
        return "archive"
    if head.startswith(_DOCUMENTS):
        return "junk"
    if by_name is not None:
        return by_name
    if head.startswith(_PAGES):
        return "junk"
    return "junk" if head and _PRINTABLE.issuperset(head[:512]) else "unknown"


def is_volume(path: File) -> bool:
    """Whether a file begins as NIfTI, MHA or NRRD, compressed or not.

    Raises:
        OSError: If it cannot be read.
        BadArchiveError: If it lies in an archive and is broken.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    head = _unzipped(head) if head.startswith(b"\x1f\x8b") else head
    return looks_like_nifti(head) or looks_like_itk(head)


def _is_packed(path: File) -> bool:
    try:
        return packing_of(path) is not None
    except (OSError, BadArchiveError):
        return False


def _by_name(name: str) -> Kind | None:
    """What a name claims."""
    if name.endswith(_NIFTI_NAMES):
        return "nifti"
    if name.endswith(_ITK_NAMES):
        return "itk"
    if name.endswith(_OTHER_VOLUMES):
        return "other"
    if name.endswith(DICOM_NAMES):
        return "damaged"
    suffix = packed_suffix(name)
    inner = _by_name(name.removesuffix(suffix)) if suffix else None
    return "packed" if inner in ("nifti", "itk") else inner


def is_analyze(head: bytes) -> bool:
    """Whether a file that begins with `head` is the header of an Analyze 7.5 pair."""
    is_header = 348 in (int.from_bytes(head[:4], order) for order in ("little", "big"))
    return is_header and head[38:39] == b"r"


def _unzipped(head: bytes) -> bytes:
    """The beginning of what a gzip file holds; itself when that is not known."""
    try:
        found = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return head
    is_known = looks_like_nifti(found) or looks_like_itk(found) or looks_like_dicom(found)
    return found if is_known else head
