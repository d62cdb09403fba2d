"""The numbers that DICOM files store for pixels, bit by bit."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np

from covidctnet.io.archive import File
from covidctnet.io.dicom.codecs import DECODERS
from covidctnet.io.dicom.elements import DEFLATED, PIXELS, DamagedFileError, inflated
from covidctnet.io.dicom.frame import Frame, PixelFormat
from covidctnet.io.dicom.headers import ENCAPSULATED_LENGTH

__all__ = [
    "SYNTAXES",
    "OpenFile",
    "all_same_pixels",
    "same_pixels",
    "stored_image",
    "stored_values",
]

_NATIVE = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    DEFLATED,
)
ENCAPSULATED_NATIVE = "1.2.840.10008.1.2.1.98"
SYNTAXES = frozenset({*_NATIVE, ENCAPSULATED_NATIVE, *DECODERS})
# Start and end of a stream of JPEG and JPEG-LS, and of JPEG 2000.
_FRAME_BEGINS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
_FRAME_ENDS = b"\xff\xd9"


def stored_values(
    frames: Sequence[Frame],
    *,
    strict: bool = False,
    odd: list[File] | None = None,
    whole: bool = False,
    opened: OpenFile | None = None,
) -> list[np.ndarray]:
    """Stored values of frames of one file, as signed or unsigned numbers, shape (row, column).

    Args:
        frames: Of one file.
        strict: Nothing may stand beside the stored bits.
        odd: Gets the file when something does.
        whole: Take the bits above the stored ones for a part of the number.
        opened: Keeps the file open for the frames that are asked for next.

    Raises:
        DamagedFileError: If they cannot be read.
    """
    bits = _Bits(strict, whole)
    try:
        with contextlib.ExitStack() as stack:
            if opened is None:
                opened = stack.enter_context(OpenFile())
            content = opened.content(frames[0])
            arrays = [content.stored(frame.index, bits) for frame in frames]
    except OSError as error:
        raise DamagedFileError(error.strerror or type(error).__name__) from None
    if odd is not None and bits.are_odd:
        odd.append(frames[0].file)
    return arrays


@dataclass
class _Bits:
    """How bits beside the stored ones are taken, and whether some were set."""

    strict: bool
    whole: bool
    are_odd: bool = False


class _Content:
    """The pixels of an open file: inflated, and compressed frames put together, once.

    Args:
        file: At any place.
        pixels: How it stores them.

    Raises:
        DamagedFileError: If they are not what the header says.
    """

    def __init__(self, file: BinaryIO, pixels: PixelFormat) -> None:
        self._pixels = pixels
        self._file = file
        self._encoded: list[bytes] | None = None
        if pixels.tag == 0:
            raise DamagedFileError("it has no pixels")
        if pixels.length == ENCAPSULATED_LENGTH:
            if pixels.syntax in _NATIVE:
                raise DamagedFileError(
                    "its pixels are compressed, its TransferSyntaxUID says that they are not"
                )
            self._encoded = _encapsulated_frames(file, pixels)
            return
        if pixels.syntax not in _NATIVE:
            raise DamagedFileError(
                "its pixels are not compressed, its TransferSyntaxUID says that they are"
            )
        if pixels.syntax == DEFLATED:
            self._file = inflated(file)
        self._size = pixels.rows * pixels.columns * (pixels.bits_allocated // 8)
        needed, row = self._size * pixels.frames, self._size // pixels.rows
        # Some bytes behind the last row are harmless; a whole row tells of another matrix.
        if not needed <= pixels.length < needed + row:
            raise DamagedFileError(
                f"it declares {pixels.length} bytes of pixels, its matrix needs {needed}"
            )

    def stored(self, index: int, bits: _Bits) -> np.ndarray:
        """The stored values of a frame."""
        pixels = self._pixels
        if self._encoded is None:
            self._file.seek(pixels.start + index * self._size)
            return _native(self._file.read(self._size), pixels, bits)
        if pixels.syntax == ENCAPSULATED_NATIVE:
            return _native(self._encoded[index], pixels, bits)
        return _decompressed(self._encoded[index], pixels, bits)


class OpenFile:
    """The file of the frame that was read last, kept open for its other frames.

    A file in an archive, or a deflated one, is inflated as a whole each time it is opened.
    """

    def __init__(self) -> None:
        self._path: File | None = None
        self._content: _Content | DamagedFileError | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._content = None
        self._stack.close()

    def content(self, frame: Frame) -> _Content:
        """The pixels of the file that a frame is of.

        Raises:
            DamagedFileError: If they are not what the header says.
            OSError: If it cannot be read.
        """
        if self._content is None or self._path != frame.file:
            self._content = None
            self._stack.close()
            file = cast(BinaryIO, self._stack.enter_context(frame.file.open("rb")))
            self._path = frame.file
            try:
                self._content = _Content(file, frame.pixels)
            except DamagedFileError as error:
                self._content = error
        if isinstance(self._content, DamagedFileError):
            raise self._content
        return self._content


def _native(content: bytes, pixels: PixelFormat, bits: _Bits) -> np.ndarray:
    """Uncompressed bytes as numbers."""
    if pixels.tag != PIXELS:
        kind = {32: "f4", 64: "f8"}.get(pixels.bits_allocated)
    else:
        kind = {8: "u1", 16: "u2", 32: "u4"}.get(pixels.bits_allocated)
    if kind is None:
        raise DamagedFileError(f"{pixels.bits_allocated} bits a pixel are not read")
    dtype = np.dtype(kind).newbyteorder(">" if pixels.is_big_endian else "<")
    size = pixels.rows * pixels.columns * dtype.itemsize
    if len(content) < size:
        raise DamagedFileError(f"it ends after {len(content)} of {size} bytes of pixels")
    array = np.frombuffer(content, dtype, count=pixels.rows * pixels.columns)
    array = array.reshape(pixels.rows, pixels.columns)
    if pixels.is_big_endian:
        array = array.astype(dtype.newbyteorder("="))
    if pixels.tag != PIXELS:
        if not np.isfinite(array).all():
            raise DamagedFileError("it holds numbers that are not finite")
        return array
    return _significant(array, pixels, pixels.bits_stored, pixels.high_bit, bits)


def _significant(
    array: np.ndarray, pixels: PixelFormat, bits: int, high_bit: int, taken: _Bits
) -> np.ndarray:
    """The stored bits alone, sign extended: above them anything may stand."""
    container = array.dtype.itemsize * 8
    if not 0 < bits <= container or not bits - 1 <= high_bit < container:
        raise DamagedFileError(f"{bits} bits up to bit {high_bit} do not fit in {container}")
    if pixels.is_signed:
        array = array.view(f"i{array.dtype.itemsize}")
    if bits == container or (taken.whole and high_bit == bits - 1):
        return array
    kept = np.right_shift(np.left_shift(array, container - 1 - high_bit), container - bits)
    if high_bit == bits - 1 and not (kept == array).all():
        taken.are_odd = True
    if taken.strict and not (kept == array).all():
        raise DamagedFileError(
            f"it says {bits} bits up to bit {high_bit}, other slices of the series differ, and "
            "more stands in its pixels"
        )
    return kept


def _encapsulated_frames(file: BinaryIO, pixels: PixelFormat) -> list[bytes]:
    """The compressed stream of every frame, put together from its fragments.

    Source: DICOM PS3.5, A.4.
    """
    file.seek(pixels.start)
    fragments: list[bytes] = []
    starts: list[int] = []
    offset = 0
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise DamagedFileError("it ends amid its pixels")
        if head[:4] == b"\xfe\xff\xdd\xe0":
            break
        length = int.from_bytes(head[4:], "little")
        if head[:4] != b"\xfe\xff\x00\xe0" or length == ENCAPSULATED_LENGTH:
            raise DamagedFileError("its compressed pixels are broken")
        content = file.read(length)
        if len(content) < length:
            raise DamagedFileError("it ends amid its pixels")
        fragments.append(content)
        starts.append(offset)
        offset += 8 + length
    if len(fragments) < 2:
        raise DamagedFileError("its compressed pixels are empty")
    table, fragments = fragments[0], fragments[1:]
    if pixels.frames == 1:
        return [b"".join(fragments)]
    offsets = pixels.offsets or np.frombuffer(table[: len(table) // 4 * 4], "<u4").tolist()
    places = {start - starts[1]: k for k, start in enumerate(starts[1:])}
    firsts = [places[offset] for offset in offsets if offset in places]
    if len(firsts) != len(offsets) or len(set(firsts)) != pixels.frames or 0 not in firsts:
        if len(fragments) == pixels.frames:
            return fragments
        firsts = [] if offsets else _beginnings(fragments)
        if len(firsts) != pixels.frames:
            raise DamagedFileError(
                f"{len(fragments)} fragments for {pixels.frames} frames, no table"
            )
    # Frames may lie in another order than theirs: the table says which is which.
    following = [*sorted(firsts)[1:], len(fragments)]
    end_of = dict(zip(sorted(firsts), following, strict=True))
    return [b"".join(fragments[first : end_of[first]]) for first in firsts]


def _beginnings(fragments: Sequence[bytes]) -> list[int]:
    """Fragments that begin a frame, by the markers of JPEG, JPEG-LS and JPEG 2000.

    Empty when a frame does not begin with the first, or one does not end where the next begins.
    """
    firsts = [k for k, part in enumerate(fragments) if part.startswith(_FRAME_BEGINS)]
    if not firsts or firsts[0] != 0:
        return []
    ends = [*firsts[1:], len(fragments)]
    streams = (b"".join(fragments[a:b]) for a, b in zip(firsts, ends, strict=True))
    is_whole = all(stream.rstrip(b"\0").endswith(_FRAME_ENDS) for stream in streams)
    return firsts if is_whole else []


def _decompressed(stream: bytes, pixels: PixelFormat, taken: _Bits) -> np.ndarray:
    try:
        decoded = DECODERS[pixels.syntax](stream, pixels)
    # The codecs tell of broken streams with these.
    except (RuntimeError, ValueError, LookupError, TypeError, MemoryError, struct.error) as e:
        raise DamagedFileError(
            f"its compressed pixels cannot be decoded ({type(e).__name__})"
        ) from None
    count = pixels.rows * pixels.columns
    width = len(decoded.content) // count
    if width not in (1, 2, 4) or len(decoded.content) != width * count:
        raise DamagedFileError(
            f"its compressed pixels are {len(decoded.content)} bytes, expected {count} numbers"
        )
    if decoded.is_signed and not pixels.is_signed:
        raise DamagedFileError("its compressed pixels are signed, its header says unsigned")
    array = np.frombuffer(decoded.content, f"<u{width}").reshape(pixels.rows, pixels.columns)
    bits = min(pixels.bits_stored, decoded.precision)
    return _significant(array, pixels, bits, bits - 1, taken)


def stored_image(path: File, pixels: PixelFormat) -> np.ndarray:
    """The stored values of a file of one image, signed or unsigned, shape (row, column).

    Args:
        path: The file.
        pixels: How it stores them.

    Raises:
        DamagedFileError: If they cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _Content(cast(BinaryIO, file), pixels).stored(0, _Bits(False, False))
    except OSError as error:
        raise DamagedFileError(error.strerror or type(error).__name__) from None


def same_pixels(one: Frame, other: Frame) -> bool:
    """Whether two frames hold the same stored values, whatever their transfer syntax."""
    return all_same_pixels([one], [other])


def all_same_pixels(ones: Sequence[Frame], others: Sequence[Frame]) -> bool:
    """Whether frames hold the same stored values as those of another sequence, one by one."""
    with OpenFile() as opened, OpenFile() as its_opened:
        for one, other in zip(ones, others, strict=True):
            if (one.slope, one.intercept) != (other.slope, other.intercept):
                return False
            try:
                (a,) = stored_values([one], opened=opened)
                (b,) = stored_values([other], opened=its_opened)
            except DamagedFileError:
                # A damaged slice is no copy; reading its stack will tell.
                return False
            if a.shape != b.shape or not (a == b).all():
                return False
    return True
