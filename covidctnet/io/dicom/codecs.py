"""Compressed frames to numbers: one function a family of codecs, called without pydicom's layer.

pydicom's own decoding layer logs a traceback for a broken frame and tries the next plugin; here a
broken frame is a refusal, and each family has one decoder. Which one was decided by speed and by
damaged streams (docs/explanation/decisions.md).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from imagecodecs import jpeg2k_decode, jpeg8_decode, jpegls_decode, jpegsof3_decode

from covidctnet.io.dicom.elements import DamagedFileError
from covidctnet.io.dicom.frame import PixelFormat
from covidctnet.io.jpeg_end import jpeg_damage

__all__ = ["DECODERS", "Decoded"]


# Start of frame: 0xC0..0xCF without tables and extensions, and JPEG-LS.
_FRAME_MARKERS = (set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
# Coded data are as good as random: so many zeros in a row, and one for each packet that may be
# empty, are a hole that a broken copy left.
_HOLE = 24


@dataclass(frozen=True)
class Decoded:
    """What a codec gives.

    Attributes:
        content: Samples in little endian, in the smallest container of 1, 2 or 4 bytes.
        precision: Bits of a sample.
        is_signed: Whether the stream itself says that they are signed.
    """

    content: bytes
    precision: int
    is_signed: bool = False


def _lossy_jpeg(stream: bytes, pixels: PixelFormat) -> Decoded:
    precision = _jpeg_header(stream, pixels)
    image = jpeg8_decode(stream)
    if damage := jpeg_damage(stream, jpeg8_decode):
        raise DamagedFileError(f"its compressed image is damaged: {damage}")
    return Decoded(_bytes(image), precision)


def _lossless_jpeg(stream: bytes, pixels: PixelFormat) -> Decoded:
    precision = _jpeg_header(stream, pixels)
    image = jpegsof3_decode(stream)
    _expect_range(image, precision, pixels.is_signed)
    return Decoded(_bytes(image), precision)


def _expect_range(image: np.ndarray, precision: int, is_signed: bool) -> None:
    """Differences add up: behind a damaged one, numbers leave the range of the stream."""
    beyond = image >> precision if precision < image.dtype.itemsize * 8 else None
    if beyond is None or not beyond.any():
        return
    # Some writers extend the sign to the whole container.
    negative = np.iinfo(image.dtype).max >> precision
    is_lawful = is_signed and (image[beyond > 0] >> (precision - 1) == negative * 2 + 1).all()
    if not is_lawful:
        raise DamagedFileError(
            f"its compressed image says {precision} bits and has numbers of more: it is damaged"
        )


def _jpeg_ls(stream: bytes, pixels: PixelFormat) -> Decoded:
    precision = _jpeg_header(stream, pixels)
    return Decoded(_bytes(jpegls_decode(stream)), precision)


def _jpeg_2000(stream: bytes, pixels: PixelFormat) -> Decoded:
    """Source of the header: ITU-T T.800, annex A.5.1."""
    # Some writers wrap the codestream in a file format; it begins with these two markers.
    place = stream.find(b"\xff\x4f\xff\x51")
    if place < 0:
        raise DamagedFileError("its compressed image has no header")
    right, bottom, left, top = struct.unpack_from(">4I", stream, place + 8)
    components, depth = struct.unpack_from(">HB", stream, place + 40)
    _expect(pixels, bottom - top, right - left, components)
    _expect_end(stream)
    # The decoder takes zeros for packets that hold nothing, and leaves the rest of the stream.
    least = _HOLE + _packets(stream, place)
    if (hole := stream.find(bytes(least), stream.find(b"\xff\x93", place))) >= 0:
        raise DamagedFileError(
            f"its compressed image holds {least} zeros or more from byte {hole} on, which no "
            "encoder writes: a part of it is missing"
        )
    # The highest bit is the sign, the others hold the number of bits less one.
    return Decoded(_bytes(jpeg2k_decode(stream)), (depth & 0x7F) + 1, depth >= 0x80)


def _packets(stream: bytes, place: int) -> int:
    """The packets of a JPEG 2000 stream, each of which may be empty: one zero.

    Source: ITU-T T.800, annexes A.5.1, A.6.1 and B.
    """
    _, _, left, top, width, height = struct.unpack_from(">6I", stream, place + 8)
    right, bottom = struct.unpack_from(">2I", stream, place + 8)
    start = stream.find(b"\xff\x52", place)
    style, _, layers, _, levels = struct.unpack_from(">BBHBB", stream, start + 4)
    precincts = 0
    for level in range(levels + 1):
        # Without sizes of their own, precincts are as large as can be.
        across = down = 15
        if style & 1:
            size = stream[start + 14 + level]
            across, down = size & 15, size >> 4
        sides = (min(width, right - left), across), (min(height, bottom - top), down)
        counts = [(side >> (levels - level) >> power) + 2 for side, power in sides]
        precincts += counts[0] * counts[1] if style & 1 else 1
    tiles = -(-right // max(width, 1)) * -(-bottom // max(height, 1))
    return tiles * layers * precincts


def _bytes(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _rle(stream: bytes, pixels: PixelFormat) -> Decoded:
    """Source: DICOM PS3.5, annex G: one segment a byte of a sample, the highest first."""
    count = pixels.rows * pixels.columns
    width = pixels.bits_allocated // 8
    header = np.frombuffer(stream[:64].ljust(64, b"\0"), "<u4")
    segments = int(header[0])
    if segments != width:
        raise DamagedFileError(f"it has {segments} compressed segments, expected {width}")
    starts = [int(start) for start in header[1 : 1 + segments]]
    ends = [*starts[1:], len(stream)]
    planes = np.empty((count, width), dtype=np.uint8)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if not 64 <= start < end <= len(stream):
            raise DamagedFileError("its compressed segments overlap")
        planes[:, width - 1 - k] = np.frombuffer(_unpack_bits(stream[start:end], count), np.uint8)
    return Decoded(planes.tobytes(), pixels.bits_allocated)


def _unpack_bits(segment: bytes, count: int) -> bytes:
    """`count` bytes of a PackBits segment."""
    out = bytearray()
    place = 0
    while len(out) < count and place < len(segment):
        head = segment[place]
        if head < 128:
            out += segment[place + 1 : place + 2 + head]
            place += 2 + head
        elif head > 128:
            out += segment[place + 1 : place + 2] * (257 - head)
            place += 2
        else:
            place += 1
    if len(out) != count:
        raise DamagedFileError(f"a compressed segment holds {len(out)} of {count} bytes")
    return bytes(out)


def _jpeg_header(stream: bytes, pixels: PixelFormat) -> int:
    """Bits of a sample, from the frame header of a JPEG or JPEG-LS stream.

    The codecs' own functions scan the whole stream for it, which takes as long as decoding.
    Source: ITU-T T.81, annex B; T.87, annex C.
    """
    _expect_end(stream)
    place = 2
    while stream[:2] == b"\xff\xd8" and stream[place : place + 1] == b"\xff":
        marker = stream[place + 1]
        if marker in _FRAME_MARKERS:
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, place + 4)
            _expect(pixels, rows, columns, components)
            return int(precision)
        # 0xFF may be repeated to fill; every other segment before the frame tells its length.
        place += 1 if marker == 0xFF else 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    raise DamagedFileError("its compressed image has no frame header")


def _expect(pixels: PixelFormat, rows: object, columns: object, components: object) -> None:
    """Before anything is allocated: the stream is of the size that the header says."""
    if (rows, columns, components) != (pixels.rows, pixels.columns, 1):
        raise DamagedFileError(
            f"its compressed image is {rows} x {columns} x {components}, "
            f"its header says {pixels.rows} x {pixels.columns} x 1"
        )


def _expect_end(stream: bytes) -> None:
    """Decoders fill up a stream that was cut short; its end marker tells."""
    if b"\xff\xd9" not in stream[-10:]:
        raise DamagedFileError("its compressed image is cut short")


DECODERS: Mapping[str, Callable[[bytes, PixelFormat], Decoded]] = MappingProxyType(
    {
        "1.2.840.10008.1.2.4.50": _lossy_jpeg,
        "1.2.840.10008.1.2.4.51": _lossy_jpeg,
        "1.2.840.10008.1.2.4.57": _lossless_jpeg,
        "1.2.840.10008.1.2.4.70": _lossless_jpeg,
        "1.2.840.10008.1.2.4.80": _jpeg_ls,
        "1.2.840.10008.1.2.4.81": _jpeg_ls,
        "1.2.840.10008.1.2.4.90": _jpeg_2000,
        "1.2.840.10008.1.2.4.91": _jpeg_2000,
        "1.2.840.10008.1.2.4.201": _jpeg_2000,
        "1.2.840.10008.1.2.4.202": _jpeg_2000,
        "1.2.840.10008.1.2.4.203": _jpeg_2000,
        "1.2.840.10008.1.2.5": _rle,
    }
)
