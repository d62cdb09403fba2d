"""DICOM pixels to Hounsfield units."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.archive import File
from covidctnet.io.dicom.bits import WIDER_NOTE, beyond_bits
from covidctnet.io.dicom.elements import PIXELS, DamagedFileError
from covidctnet.io.dicom.frame import Frame, PixelFormat
from covidctnet.io.dicom.stored import OpenFile, stored_values
from covidctnet.io.hu import AIR_HU, PADDING_BELOW_HU

__all__ = ["read_hu"]

# Files are read and native pixels converted by this many threads: both release the lock.
THREADS = 2
# A declared padding value that is this close to air, or above everything, needs no second look.
CREDIBLE_PADDING_HU = (-900.0, 3000.0)
# A range of padding amid the tissues that is wider covers tissue.
MAX_PADDING_NOISE_HU = 2.0

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
            stored = stored_values(
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
        note = beyond_bits([f for f in frames if f.file in found], opened)
        notes = (note,) if note else ()
        if note == WIDER_NOTE:
            whole = True
            padded = fill_all()
    return out, (*notes, *((f"{padded} padding voxels set to -1024 HU",) if padded else ()))


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
        (stored,) = stored_values([frame], opened=opened)
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
