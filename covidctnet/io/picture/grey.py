"""Grey values in 8 bits, and what tells two pictures of the same values."""

from __future__ import annotations

import hashlib

import numpy as np

# Of numbers whose meaning is unknown, this share at each end becomes black or white.
_TAIL_PERCENT = 0.5


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers in 8 bits: 0 at and below the low one, 255 at and above the high one; uint8."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def grey_bytes(pixels: np.ndarray) -> np.ndarray:
    """Grey values in 8 bits, uint8 (row, column).

    Args:
        pixels: Bytes: as they are; other numbers, whose meaning is unknown: stretched between the
            percentiles 0.5 and 99.5.
    """
    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels, [_TAIL_PERCENT, 100 - _TAIL_PERCENT])
    if high <= low:
        low, high = float(pixels.min()), float(pixels.max())
    return stretched(pixels, float(low), float(high))


def grey_digest(grey: np.ndarray) -> str:
    """SHA-256 of a picture's grey values and its shape, hexadecimal.

    Args:
        grey: uint8, shape (row, column).
    """
    rows, columns = grey.shape
    content = np.ascontiguousarray(grey)
    head = f"{content.dtype.str} {rows} x {columns} ".encode()
    return hashlib.sha256(head + content.tobytes()).hexdigest()
