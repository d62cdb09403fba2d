"""Damage that decoders do not notice: they fill the rest, or read it as something else."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from PIL import Image, JpegImagePlugin

from covidctnet.errors import StudyError
from covidctnet.io.jpeg_end import jpeg_damage

_Result = TypeVar("_Result")
# So much of a picture is inflated at a time.
_PIECE = 2**20
PNG_BEGINNING = b"\x89PNG\r\n\x1a\n"
# Channels of a pixel by the colour type of a PNG, and where each pass of an interlaced one begins
# and how far it goes on: row, column, step of rows, step of columns.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_PASSES = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
# A broken file makes the decoders fail in any of these ways.
DECODE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    AssertionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def check_pixels(content: bytes, kind: str) -> None:
    """Refuse damage that decoders go on through: they fill the rest, or read it as something else.

    No pixel tells of it; the data do: they must be as long as the picture.
    """
    if kind == "PNG":
        _check_png_length(content)
    elif kind == "JPEG" and (damage := decoded(lambda: jpeg_damage(content, _jpeg_pixels))):
        raise corrupt(damage)


def _jpeg_pixels(content: bytes) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(JpegImagePlugin.JpegImageFile(io.BytesIO(content)))


def _check_png_length(content: bytes) -> None:
    """Refuse a PNG whose data hold fewer rows than its header says.

    Source: PNG specification (ISO/IEC 15948), 8.2 and 10.
    """
    columns, rows, depth, colour, _, _, is_interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    bits = depth * _PNG_CHANNELS.get(colour, 1)
    expected = 0
    for row, column, down, right in _PNG_PASSES if is_interlaced else ((0, 0, 1, 1),):
        lines, pixels = -(-(rows - row) // down), -(-(columns - column) // right)
        if lines > 0 and pixels > 0:
            expected += lines * (1 + (pixels * bits + 7) // 8)
    inflater, held = zlib.decompressobj(), 0
    place = len(PNG_BEGINNING)
    try:
        while held < expected and place + 8 <= len(content):
            length, kind = (
                int.from_bytes(content[place : place + 4], "big"),
                content[place + 4 : place + 8],
            )
            packed = content[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
            while packed and held < expected:
                held += len(inflater.decompress(packed, _PIECE))
                packed = inflater.unconsumed_tail
            place += 12 + length
        while held < expected and (more := len(inflater.flush())):
            held += more
    except zlib.error:
        raise corrupt("its data are broken") from None
    if held < expected:
        raise corrupt(f"its data are {held} bytes, its size needs {expected}")


def check_png(content: bytes) -> None:
    """Refuse a PNG of which a part is missing or changed: Pillow does not check all of it.

    Source: PNG specification (ISO/IEC 15948), 5.3.
    """
    place = len(PNG_BEGINNING)
    kind = b""
    while kind != b"IEND":
        head = content[place : place + 8]
        if len(head) < 8:
            raise corrupt("the file ends too early")
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        body = memoryview(content)[place + 4 : place + 8 + length]
        checksum = content[place + 8 + length : place + 12 + length]
        if len(checksum) < 4:
            raise corrupt("the file ends too early")
        # Parts whose name begins with a small letter are not needed for the pixels.
        if kind[:1].isupper() and zlib.crc32(body) != int.from_bytes(checksum, "big"):
            raise corrupt("a checksum is wrong")
        place += 12 + length


def corrupt(why: str) -> StudyError:
    """The error of a damaged picture."""
    return StudyError(
        "CORRUPT_FILE",
        f"expected a whole picture, got a damaged one ({why}). Copy or export it again.",
    )


def decoded(decode: Callable[[], _Result]) -> _Result:
    """What a decoder gives; whatever it fails with is one error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return decode()
    except DECODE_ERRORS as error:
        raise corrupt(type(error).__name__) from None
