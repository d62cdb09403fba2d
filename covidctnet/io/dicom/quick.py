"""Elements of an ordinary header, without a parser for all that there is.

Most of the time that studies are looked for goes into headers. What is written as the standard has
it, tags in order, known types, all within the first kilobytes, is read here in a fraction of the
time; of anything else nothing is said, and the parser looks at it.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import NamedTuple

from pydicom.datadict import dictionary_VR

__all__ = ["Elements", "quick_elements"]

# After the preamble: the mark, and the length of the meta group as one number.
_BEGINNING = b"DICM\x02\x00\x00\x00UL\x04\x00"
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_EXPLICIT = struct.Struct("<HH2sH").unpack_from
_IMPLICIT = struct.Struct("<HHL").unpack_from
_TAG = struct.Struct("<HH").unpack_from
_LENGTH = struct.Struct("<L").unpack_from
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_META, _FIRST_OF_DATA = 0x00020000, 0x00080000
_MEDIA_CLASS, _SYNTAX, _CHARACTER_SET = 0x00020002, 0x00020010, 0x00080005
_IMPLICIT_SYNTAX, _EXPLICIT_SYNTAX = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
_ENCAPSULATED = (b"1.2.840.10008.1.2.4.", b"1.2.840.10008.1.2.5")
# Those that cannot change how anything else is read.
_CHARACTER_SETS = (b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 101", b"ISO_IR 192")
# Tag, type and length of an element; the parser leaves so much as well.
_LONGEST_HEAD = 12
_DEEPEST = 8


class _UnusualError(Exception):
    """Not for here."""


class _Element(NamedTuple):
    value: bytes


class Elements(dict[int, _Element]):
    """Elements by tag, as `covidctnet.io.dicom.values` asks a data set for them."""

    file_meta: Elements | None = None

    def get_item(self, tag: int) -> _Element | None:
        """The element with a tag; None when missing."""
        return self.get(tag)


def quick_elements(head: bytes, tags: Collection[int]) -> Elements | None:
    """The elements with these tags.

    Args:
        head: Beginning of a file.
        tags: Of the data set; none of a sequence.

    Returns:
        What the parser would read; None where that is not certain.
    """
    if head[128:140] != _BEGINNING:
        return None
    try:
        meta = Elements()
        place = _read(head, 132, meta, (_SYNTAX, _MEDIA_CLASS), _META, _FIRST_OF_DATA - 1, False)
        if not all(_is_plain_uid(element.value) for element in meta.values()):
            return None
        syntax = meta[_SYNTAX].value.strip(b" \0")
        is_implicit = syntax == _IMPLICIT_SYNTAX
        if not (is_implicit or syntax == _EXPLICIT_SYNTAX or syntax.startswith(_ENCAPSULATED)):
            return None
        if is_implicit == head[place + 4 : place + 6].isupper():
            return None
        found = Elements()
        _read(head, place, found, tags, _FIRST_OF_DATA, max(tags), is_implicit)
    except (_UnusualError, struct.error, KeyError):
        return None
    found.file_meta = meta
    return found


def _is_plain_uid(value: bytes) -> bool:
    return value.rstrip(b" \0").replace(b".", b"").isdigit()


def _read(
    head: bytes,
    place: int,
    into: Elements,
    tags: Collection[int],
    first: int,
    last: int,
    is_implicit: bool,
) -> int:
    """Read elements from `first` to `last`; gives the place of the first one behind."""
    before = first - 1
    while True:
        if place + _LONGEST_HEAD > len(head):
            raise _UnusualError
        group, number = _TAG(head, place)
        if group << 16 | number > last:
            # The meta group and the data set may be written in two ways.
            return place
        tag, length, start = _head(head, place, is_implicit)
        if tag <= before:
            raise _UnusualError
        before = tag
        if length == _UNDEFINED:
            place = _behind_sequence(head, start, tag, is_implicit, 0)
            continue
        place = start + length
        if place > len(head):
            raise _UnusualError
        if tag == _CHARACTER_SET:
            _check_character_set(head[start:place])
        if tag in tags:
            into[tag] = _Element(head[start:place])


def _head(head: bytes, place: int, is_implicit: bool) -> tuple[int, int, int]:
    """Tag and length of an element, and where its value starts."""
    if is_implicit:
        group, number, length = _IMPLICIT(head, place)
        return group << 16 | number, length, place + 8
    group, number, vr, length = _EXPLICIT(head, place)
    if vr in _SHORT_VRS:
        return group << 16 | number, length, place + 8
    if vr not in _LONG_VRS:
        raise _UnusualError
    (length,) = _LENGTH(head, place + 8)
    if length == _UNDEFINED and vr != b"SQ":
        raise _UnusualError
    return group << 16 | number, length, place + 12


def _check_character_set(value: bytes) -> None:
    if value.strip(b" \0") not in _CHARACTER_SETS:
        raise _UnusualError


def _behind_sequence(head: bytes, place: int, tag: int, is_implicit: bool, depth: int) -> int:
    """The place behind a sequence of undefined length."""
    if depth > _DEEPEST or (is_implicit and dictionary_VR(tag) != "SQ"):
        raise _UnusualError
    while True:
        group, number, length = _IMPLICIT(head, place)
        place += 8
        kind = group << 16 | number
        if kind == _SEQUENCE_END and length == 0:
            return place
        if kind != _ITEM:
            raise _UnusualError
        end = None if length == _UNDEFINED else place + length
        place = _behind_item(head, place, end, is_implicit, depth)


def _behind_item(head: bytes, place: int, end: int | None, is_implicit: bool, depth: int) -> int:
    """The place behind an item of a sequence, of a length or up to its end mark."""
    before = 0
    while place != end:
        group, number, length = _IMPLICIT(head, place)
        if group << 16 | number == _ITEM_END:
            if end is not None or length != 0:
                raise _UnusualError
            return place + 8
        tag, length, start = _head(head, place, is_implicit)
        if tag <= before:
            raise _UnusualError
        before = tag
        if length == _UNDEFINED:
            place = _behind_sequence(head, start, tag, is_implicit, depth + 1)
        else:
            place = start + length
            if tag == _CHARACTER_SET:
                _check_character_set(head[start:place])
        if place > (len(head) if end is None else end):
            raise _UnusualError
    return place
