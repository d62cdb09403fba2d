"""DICOM pixels to Hounsfield units, bit by bit."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO, cast

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.dicom.codecs import DECODERS
from covidctnet.io.dicom.elements import DEFLATED, PIXELS, DamagedFileError, inflated
from covidctnet.io.dicom.frame import Frame, PixelFormat
from covidctnet.io.dicom.headers import ENCAPSULATED_LENGTH
from covidctnet.io.hu import AIR_HU, PADDING_BELOW_HU

__all__ = ["BITS_NOTES", "SYNTAXES", "OpenFile", "all_same_pixels", "read_hu", "same_pixels"]

# Files are read and native pixels converted by this many threads: both release the lock.
THREADS = 2
# A declared padding value that is this close to air, or above everything, needs no second look.
CREDIBLE_PADDING_HU = (-900.0, 3000.0)
# A range of padding amid the tissues that is wider covers tissue.
MAX_PADDING_NOISE_HU = 2.0

# Where more stands in pixels than BitsStored says: marks above the bits leave the tissue as it is,
# a number that was cut makes jumps of this size at its border.
MARK_JUMP_HU = 200.0
# Metal reaches this; what is beyond is no number that was meant.
MAX_METAL_HU = 31743.0
MIN_NEGATIVE = 1e-3
# Bits that cannot hold this hold no chest.
MIN_REACH_HU = 300.0
# Noise of air does not reach below this; what does is padding, of so few values.
NO_TISSUE_HU = -1150.0
PADDING_VALUES = 4
# One reading fits better than the other when its jumps are so many times smaller.
CLEARLY = 1.5
WIDER_NOTE = "pixels hold numbers of more bits than BitsStored says: they were read whole"
MARKS_NOTE = "marks above the stored bits were left out"
BITS_NOTES = (WIDER_NOTE, MARKS_NOTE)

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
_INT16 = np.iinfo(np.int16)
_SHORT = (np.dtype(np.int16), np.dtype(np.uint16))


def read_hu(
    frames: Sequence[Frame], *, opened: OpenFile | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode frames and rescale each with its own slope and intercept.

    Args:
        frames: Of one matrix, in the order of the output.
        opened: Keeps the file open for the frames that are read next; for frames of one file.

    Returns:
        HU, shape (frame, row, column), int16 when exact and float32 else; notes.

    Raises:
        StudyError: ``CORRUPT_SLICE`` with the number of the slice; ``NOT_HU`` where the pixels
            contradict their header.
    """
    first = frames[0].pixels
    shape = (len(frames), first.rows, first.columns)
    is_whole = all(
        float(f.slope or 0).is_integer() and float(f.intercept or 0).is_integer() for f in frames
    ) and all(f.pixels.tag == PIXELS for f in frames)
    out = np.empty(shape, dtype=np.int16 if is_whole else np.float32)
    padding = _padding_of(frames, opened)
    # Where slices store their numbers in different ways, no bit may go unused: one whose way was
    # changed would lose some.
    strict = len({_layout(f.pixels) for f in frames}) > 1
    places: dict[File, list[int]] = {}
    for i, frame in enumerate(frames):
        places.setdefault(frame.file, []).append(i)

    odd: list[File] = []
    whole = False

    def fill(place: list[int]) -> int:
        try:
            stored = _decode(
                [frames[i] for i in place], strict=strict, odd=odd, whole=whole, opened=opened
            )
        except DamagedFileError as error:
            # A file name may carry a patient's name; the number and the place do not.
            where = frames[place[0]].position
            height = f" (z = {where[2]:.1f})" if where else ""
            raise StudyError(
                "CORRUPT_SLICE",
                f"expected whole slices, slice {place[0] + 1} of {len(frames)}{height} is damaged: "
                f"{error}. Export the series again.",
            ) from None
        return sum(
            _rescale(raw, frames[i], padding, out[i]) for i, raw in zip(place, stored, strict=True)
        )

    def fill_all() -> int:
        nonlocal out
        with ThreadPoolExecutor(THREADS) as pool:
            try:
                return sum(pool.map(fill, places.values()))
            except OverflowError:
                out = np.empty(shape, dtype=np.float32)
                return sum(pool.map(fill, places.values()))

    padded = fill_all()
    notes: tuple[str, ...] = ()
    if odd:
        found = set(odd)
        note = _beyond_bits([f for f in frames if f.file in found], opened)
        notes = (note,) if note else ()
        if note == WIDER_NOTE:
            whole = True
            padded = fill_all()
    return out, (*notes, *((f"{padded} padding voxels set to -1024 HU",) if padded else ()))


def _beyond_bits(frames: Sequence[Frame], opened: OpenFile | None) -> str:
    """What stands above the stored bits: nothing that matters, marks, or the rest of numbers.

    By the standard anything may stand there, and the stored bits are the truth. Exporters that
    write other numbers and leave BitsStored as it was need the bits above. Which is right shows
    where pixels with something above lie beside pixels without: the wrong reading jumps there.

    Args:
        frames: Those with pixels that do not fit.
        opened: Keeps their file open, if they are of one.

    Returns:
        A note; empty when the stored bits alone are meant.

    Raises:
        StudyError: ``NOT_HU`` when neither reading makes sense, or both do.
    """
    kept_jumps: list[np.ndarray] = []
    whole_jumps: list[np.ndarray] = []
    is_constant = is_extended = is_possible = True
    fallen = _Fallen()
    for frame, kept, whole in _both_readings(frames, opened):
        more = kept != whole
        slope, intercept = float(frame.slope or 1), float(frame.intercept or 0)
        # Without a negative number the sign was never extended.
        is_extended &= not frame.pixels.is_signed or float((whole < 0).mean()) >= MIN_NEGATIVE
        is_constant &= bool(more.all())
        is_possible &= _highest(whole[more], slope, intercept) <= MAX_METAL_HU
        if _reach(frame) < MIN_REACH_HU:
            raise _too_few_bits(frames, "which end below soft tissue")
        hu = kept.astype(np.float32) * np.float32(slope)
        other = whole.astype(np.float32) * np.float32(slope)
        fallen.add(more, more & (hu + intercept < NO_TISSUE_HU), kept)
        for axis in (0, 1):
            border = np.diff(more.astype(np.int8), axis=axis) != 0
            kept_jumps.append(np.abs(np.diff(hu, axis=axis))[border])
            whole_jumps.append(np.abs(np.diff(other, axis=axis))[border])
    if is_constant or not sum(map(len, kept_jumps)):
        return ""
    kept_jump, whole_jump = (
        float(np.median(np.concatenate(jumps))) for jumps in (kept_jumps, whole_jumps)
    )
    if not is_extended:
        # A sign that was not extended is lawful.
        is_clear = kept_jump * CLEARLY < whole_jump and not fallen.is_tissue
        if kept_jump < MARK_JUMP_HU or is_clear:
            return ""
        if not fallen.is_tissue:
            raise _too_few_bits(frames, "which may be dense bone or padding")
    if kept_jump < MARK_JUMP_HU and not fallen.is_tissue:
        return MARKS_NOTE
    if is_possible:
        return WIDER_NOTE
    raise _too_few_bits(frames, "which are beyond any HU")


def _both_readings(
    frames: Sequence[Frame], opened: OpenFile | None
) -> Iterator[tuple[Frame, np.ndarray, np.ndarray]]:
    """Frames, each with its stored bits alone and with the bits above."""
    with contextlib.ExitStack() as stack:
        opened = opened or stack.enter_context(OpenFile())
        for frame in frames:
            (kept,) = _decode([frame], opened=opened)
            (whole,) = _decode([frame], whole=True, opened=opened)
            yield frame, kept, whole


class _Fallen:
    """Pixels that the stored bits alone put below all tissue: padding, or bone that was cut.

    Padding has one or two values and lies at the edge of an image. Where a sign was not extended,
    most pixels with something above are air, and few lie below it.
    """

    def __init__(self) -> None:
        self._of = 0
        self._count = 0
        self._at_edge = 0
        self._values: set[int] = set()

    def add(self, more: np.ndarray, fallen: np.ndarray, values: np.ndarray) -> None:
        self._of += int(more.sum())
        self._count += int(fallen.sum())
        edge = [fallen[0], fallen[-1], fallen[:, 0], fallen[:, -1]]
        self._at_edge += sum(int(line.sum()) for line in edge)
        self._values |= set(np.unique(values[fallen]).tolist())

    @property
    def is_tissue(self) -> bool:
        """Whether they can be no padding."""
        is_most = self._count > self._of / 2
        return is_most and (self._at_edge == 0 or len(self._values) > PADDING_VALUES)


def _highest(numbers: np.ndarray, slope: float, intercept: float) -> float:
    """The highest HU of stored numbers."""
    if not numbers.size:
        return float(-np.inf)
    return max(float(n) * slope for n in (numbers.min(), numbers.max())) + intercept


def _reach(frame: Frame) -> float:
    """The highest HU that the stored bits can hold."""
    bits, is_signed = frame.pixels.bits_stored, frame.pixels.is_signed
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    slope, intercept = float(frame.slope or 1), float(frame.intercept or 0)
    return max(low * slope, high * slope) + intercept


def _too_few_bits(frames: Sequence[Frame], what: str) -> StudyError:
    return StudyError(
        "NOT_HU",
        f"expected pixels of {frames[0].pixels.bits_stored} bits, as BitsStored says, got numbers "
        f"that need more in {len(frames)} slices, {what}. Export the original series, or correct "
        "BitsStored.",
    )


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
                (a,) = _decode([one], opened=opened)
                (b,) = _decode([other], opened=its_opened)
            except DamagedFileError:
                # A damaged slice is no copy; reading its stack will tell.
                return False
            if a.shape != b.shape or not (a == b).all():
                return False
    return True


class _Padding(Enum):
    """Which of the declared padding values are believed."""

    NONE = 0
    ALL = 1
    # The same values occur in tissue: only what reaches the edge of an image is padding.
    AT_EDGE = 2


def _padding_of(frames: Sequence[Frame], opened: OpenFile | None = None) -> _Padding:
    """Whether the declared padding value is to be believed.

    A value amid the tissues that no corner shows is a header's default, not padding.

    Raises:
        StudyError: ``NOT_HU`` where a range of padding covers what a chest consists of.
    """
    declared = [f for f in frames if f.pixels.padding is not None and f.pixels.tag == PIXELS]
    if not declared:
        return _Padding.NONE
    low, high = CREDIBLE_PADDING_HU
    doubtful = []
    for frame in declared:
        ends = sorted(n * float(frame.slope or 1) for n in frame.pixels.padding or ())
        first, last = (end + float(frame.intercept or 0) for end in ends)
        if first < high and last > low:
            doubtful.append(frame)
            if last - first > MAX_PADDING_NOISE_HU:
                raise StudyError(
                    "NOT_HU",
                    "expected padding values beyond all tissue, the header says that "
                    f"{first:.0f} to {last:.0f} HU are padding. Export the original series, or "
                    "correct PixelPaddingValue and PixelPaddingRangeLimit.",
                )
    if not doubtful:
        return _Padding.ALL
    frame = doubtful[len(doubtful) // 2]
    try:
        (stored,) = _decode([frame], opened=opened)
    except DamagedFileError:
        # It is refused when its turn comes.
        return _Padding.NONE
    first, last = frame.pixels.padding or (0, 0)
    corners = stored[[0, 0, -1, -1], [0, -1, 0, -1]]
    is_shown = bool(((corners >= first) & (corners <= last)).any())
    return _Padding.AT_EDGE if is_shown else _Padding.NONE


def _at_edge(chosen: np.ndarray) -> np.ndarray:
    """The part of a mask that is connected to the edge of the image."""
    from scipy import ndimage  # slow to import, and seldom needed

    names, _ = ndimage.label(chosen)
    edge = np.unique(np.concatenate([names[0], names[-1], names[:, 0], names[:, -1]]))
    return np.isin(names, edge[edge > 0])


def _rescale(raw: np.ndarray, frame: Frame, believed: _Padding, out: np.ndarray) -> int:
    """Stored values to HU into `out`; returns how many voxels were padding."""
    slope, intercept = frame.slope, frame.intercept
    if slope is None or intercept is None:
        # Its series is refused; other series may ask what it shows.
        raise StudyError(
            "NO_RESCALE",
            "expected slices with a slope and an intercept, got one without. Export the original "
            "series.",
        )
    low, high = sorted((float(raw.min()) * slope, float(raw.max()) * slope))
    limits = frame.pixels.padding if believed is not _Padding.NONE else None
    has_low = low + intercept < PADDING_BELOW_HU
    padding = None
    if limits is not None:
        padding = (raw >= limits[0]) & (raw <= limits[1])
        if believed is _Padding.AT_EDGE:
            padding = _at_edge(padding)
    if has_low:
        thin = raw * slope + intercept < PADDING_BELOW_HU
        padding = thin if padding is None else padding | thin
    if out.dtype == np.int16:
        if low + intercept < _INT16.min or high + intercept > _INT16.max:
            if padding is None or not padding.any():
                raise OverflowError
            measured = raw[~padding]
            if measured.size and measured.max() * slope + intercept > _INT16.max:
                raise OverflowError
        # Wrapping is harmless: what is in range comes out right, the rest is padding.
        if slope == 1 and raw.dtype in _SHORT and _INT16.min <= intercept <= _INT16.max:
            np.add(raw.view(np.int16), np.int16(intercept), out=out)
        elif slope == 1:
            np.add(raw, np.int64(intercept), out=out, casting="unsafe", dtype=np.int64)
        else:
            out[...] = raw.astype(np.int64) * int(slope) + int(intercept)
    else:
        out[...] = raw.astype(np.float64) * slope + intercept
    if padding is None:
        return 0
    out[padding] = AIR_HU
    return int(padding.sum())


def _layout(pixels: PixelFormat) -> tuple[int, int, bool]:
    return pixels.bits_stored, pixels.high_bit, pixels.is_signed


def _decode(
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
            self._encoded = _encapsulated_frames(file, pixels)
            return
        if pixels.syntax not in _NATIVE:
            raise DamagedFileError("its pixels are not in the syntax that the header names")
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
        kind = {16: "u2", 32: "u4"}.get(pixels.bits_allocated)
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
