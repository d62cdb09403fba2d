"""What a file is by its content, and how its format is opened."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.dicom import (
    looks_like_dicom,
)
from covidctnet.io.picture.colours import TIFF_BITS, check_colours
from covidctnet.io.picture.damage import PNG_BEGINNING, check_png, decoded
from covidctnet.io.picture.values import Format
from covidctnet.io.picture_size import check_shape

MAX_FILE_BYTES = 256 * 2**20
_HEAD_BYTES = 1024
_Opening = Callable[[io.BytesIO], Image.Image]
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (PNG_BEGINNING, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"RIFF", "a WebP picture or another RIFF file"),
    (b"%PDF", "a PDF file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"<", "text"),
)


def content_of(path: File) -> tuple[bytes, Format]:
    """The bytes of a file, and what they are."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            kind = _kind(head)
            if kind == "DICOM":
                return b"", kind
            if size > MAX_FILE_BYTES:
                raise StudyError(
                    "ABSURD_SIZE",
                    f"expected a picture file of at most {MAX_FILE_BYTES // 2**20} MiB, got "
                    f"{size // 2**20} MiB. Check the file.",
                )
            return head + file.read(MAX_FILE_BYTES), kind
    except OSError as error:
        raise StudyError(
            "UNREADABLE",
            f"expected a picture that can be read: {error.strerror}. "
            "Check its rights and the disk.",
        ) from None


def _kind(head: bytes) -> Format:
    if head[128:132] == b"DICM":  # a preamble may begin like a TIFF
        return "DICOM"
    known = next((name for begin, name in _BEGINNINGS if head.startswith(begin)), None)
    if known in _FORMATS:
        return known  # type: ignore[return-value]
    if known is None and looks_like_dicom(head):
        return "DICOM"
    if known is None:
        is_text = head.isascii() and b"\0" not in head
        known = "an empty file" if not head else "text" if is_text else "an unknown kind of file"
    raise StudyError(
        "NOT_PICTURE",
        f"expected PNG, JPEG, TIFF or DICOM, got {known}. Save the picture as PNG.",
    )


def open_checked(content: bytes, kind: str) -> tuple[Image.Image, int]:
    """A picture that may be decoded, and its bits for a channel; nothing is decoded yet."""
    if kind == "PNG":
        check_png(content)
    open_format, bits_of = _FORMATS[kind]
    # Image.open would refuse a large picture in words of its own.
    image = decoded(lambda: _opened(open_format, content))
    columns, rows = image.size
    check_shape(rows, columns)
    if decoded(lambda: getattr(image, "is_animated", False)):
        raise StudyError(
            "SEVERAL_PICTURES",
            f"expected one picture, got {kind} with several (an animation, or pages). "
            "Save the one that is meant alone.",
        )
    bits = decoded(lambda: bits_of(image, content))
    check_colours(image)
    return image, bits


def _opened(open_format: _Opening, content: bytes) -> Image.Image:
    try:
        return open_format(io.BytesIO(content))
    except SyntaxError as error:
        if "pixel mode" not in str(error):
            raise
        raise StudyError(
            "COLOUR_MODEL",
            "expected grey or RGB of 8 bits, or grey of 16 or 32 bits, got a TIFF of other "
            "numbers, which are not read. Save the picture as PNG.",
        ) from None


def _png_bits(image: Image.Image, content: bytes) -> int:
    return content[24]


def _jpeg_bits(image: Image.Image, content: bytes) -> int:
    return int(image.bits)  # type: ignore[attr-defined]


def _tiff_bits(image: Image.Image, content: bytes) -> int:
    return int(np.max(image.tag_v2.get(TIFF_BITS, 1)))  # type: ignore[attr-defined]


_FORMATS: Mapping[str, tuple[_Opening, Callable[[Image.Image, bytes], int]]] = MappingProxyType(
    {
        "PNG": (PngImagePlugin.PngImageFile, _png_bits),
        "JPEG": (JpegImagePlugin.JpegImageFile, _jpeg_bits),
        "TIFF": (TiffImagePlugin.TiffImageFile, _tiff_bits),
    }
)
