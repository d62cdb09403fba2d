"""What stands in DICOM pixels above the bits that are declared as stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.stored import OpenFile, stored_values

__all__ = ["BITS_NOTES", "WIDER_NOTE", "beyond_bits"]

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


def beyond_bits(frames: Sequence[Frame], opened: OpenFile | None) -> str:
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
            (kept,) = stored_values([frame], opened=opened)
            (whole,) = stored_values([frame], whole=True, opened=opened)
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
