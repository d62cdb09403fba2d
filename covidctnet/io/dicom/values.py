"""Values of DICOM elements, converted by hand, one at a time: conversion would warn, or guess."""

from __future__ import annotations

import hashlib
import math
import re
from functools import cache
from typing import overload

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from covidctnet.io.dicom.elements import DamagedFileError, quiet

__all__ = [
    "binary",
    "comparable",
    "digest",
    "items",
    "meta_text",
    "number",
    "number_or_none",
    "numbers",
    "numbers_or_none",
    "raw",
    "raw_at",
    "tag_of",
    "text",
    "texts",
    "uid",
]

# Anonymisers write words, GUIDs in braces and letters of any alphabet for a UID.
_UID = re.compile(rb"[^\0-\x1f\x7f]*")


@cache
def tag_of(keyword: str) -> BaseTag:
    """The tag that a keyword of the standard names."""
    return Tag(tag_for_keyword(keyword) or 0)


def meta_text(data: Dataset, keyword: str) -> str:
    """A UID of the file's meta group; empty when missing."""
    meta = getattr(data, "file_meta", None)
    item = None if meta is None else meta.get_item(tag_of(keyword))
    value = None if item is None else item.value
    if isinstance(value, bytes):
        return value.decode("ascii", errors="replace").strip(" \0")
    return str(value or "")


def raw(data: Dataset, keyword: str, *, strip: bool = True) -> bytes:
    """The value as it stands in the file: conversion would validate, warn, or guess a charset.

    Args:
        data: Of the file.
        keyword: Of the element.
        strip: Take off the blanks and zeros around it.
    """
    value = raw_at(data, tag_of(keyword))
    return value.strip(b" \0") if strip else value


def raw_at(data: Dataset, tag: BaseTag) -> bytes:
    """The bytes of the element with a tag; empty when missing."""
    item = data.get_item(tag)
    value = None if item is None else item.value
    return value if isinstance(value, bytes) else b""


def text(data: Dataset, keyword: str) -> str:
    """A value as plain text; empty when missing."""
    return raw(data, keyword).decode("ascii", errors="replace").strip()


def texts(data: Dataset, keyword: str) -> tuple[str, ...]:
    """The parts of a value, in capitals, empty ones left out."""
    return tuple(part.strip().upper() for part in text(data, keyword).split("\\") if part.strip())


def digest(data: Dataset, keyword: str) -> str:
    """Digest of a value that must not be kept itself; empty when missing."""
    value = raw(data, keyword).strip(b" ^=").upper()
    return hashlib.sha256(value).hexdigest()[:16] if value else ""


def number(data: Dataset, keyword: str) -> float | None:
    """A single decimal number; None when missing, empty or several.

    Raises:
        DamagedFileError: If it is no number.
    """
    found = numbers(data, keyword, 1)
    return found[0] if found else None


def numbers(data: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Decimal text as finite numbers; None when missing, empty, not finite or of another count.

    Raises:
        DamagedFileError: If it is no number: bytes were changed, and who knows which else.
    """
    content = text(data, keyword)
    if not content:
        return None
    try:
        # Python takes 3_5 for 35.
        if "_" in content:
            raise ValueError
        values = tuple(float(part) for part in content.split("\\") if part.strip())
    except ValueError:
        raise DamagedFileError(f"its {keyword} is no number") from None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def uid(data: Dataset, keyword: str) -> str:
    """A UID, or what an anonymiser wrote for it; empty when missing.

    Raises:
        DamagedFileError: If it holds what no text does.
    """
    if not _UID.fullmatch(raw(data, keyword)):
        raise DamagedFileError(f"its {keyword} is no UID")
    return raw(data, keyword).decode("latin-1").strip()


@overload
def binary(
    data: Dataset, keyword: str, *, default: int = ..., signed: bool = ..., size: int = ...
) -> int: ...
@overload
def binary(
    data: Dataset, keyword: str, *, default: int | None, signed: bool = ..., size: int = ...
) -> int | None: ...
def binary(
    data: Dataset,
    keyword: str,
    *,
    default: int | None = 0,
    signed: bool = False,
    size: int = 2,
) -> int | None:
    """A binary value of `size` bytes, in the byte order of its file."""
    item = data.get_item(tag_of(keyword))
    value = None if item is None else item.value
    if not isinstance(value, bytes) or len(value) < size:
        return default
    is_little_endian = getattr(item, "is_little_endian", True)
    return int.from_bytes(value[:size], "little" if is_little_endian else "big", signed=signed)


def comparable(data: Dataset, keyword: str) -> str:
    """Text or number, as something to compare."""
    item = data.get_item(tag_of(keyword))
    value = None if item is None else item.value
    return value.hex() if isinstance(value, bytes) else ""


def items(data: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; none when missing."""
    tag = tag_of(keyword)
    if tag not in data:
        return []
    with quiet():
        value = data[tag].value
    return list(value) if isinstance(value, Sequence) else []


def numbers_or_none(data: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Numbers that no voxel depends on."""
    try:
        return numbers(data, keyword, count)
    except DamagedFileError:
        return None


def number_or_none(data: Dataset, keyword: str) -> float | None:
    """A number that no voxel depends on: text that is none says nothing."""
    try:
        return number(data, keyword)
    except DamagedFileError:
        return None
