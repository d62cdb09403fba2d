"""From a slice to a square of lung: cropped to the lungs, and what is not lung filled.

Source: Song et al. 2021 and the published code (SY575/COVID19-CT). Differs in: the crop is a
square, where the published code stretches the lungs' box; copies are rotated as the paper says,
where the code only shifts 40 of them; copies are drawn by a seed from the slice's own pixels, the
same in training and in use, where the code draws each time; lungs that touch the border count as
cut off.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from scipy import ndimage

from covidctnet.errors import UsageError

__all__ = ["Fill", "Square", "crop_lungs", "fill_blanks", "lungs_of_picture", "what_is_cut_off"]

Fill = Literal["none", "black", "paper"]

COPIES = 10
# Lungs below this share of a slice are no whole lungs.
MIN_SHARE = 0.04
# The published recipe for pictures: darker than this grey is air, -600 HU where grey * 3 - 1000 is
# taken as HU; then the sides of the erosion and the closing, in pixels.
AIR_GREY, EROSION, CLOSING = 133, 2, 10


@dataclass(frozen=True)
class Square:
    """A square around the lungs of a slice.

    Attributes:
        top: First row; may be negative.
        left: First column; may be negative.
        side: Rows and columns.
    """

    top: int
    left: int
    side: int

    @classmethod
    def around(cls, lungs: np.ndarray) -> Square:
        """The smallest square around a mask, bool (row, column), its middle over that of the box.

        Raises:
            ValueError: If the mask is empty.
        """
        rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
        if not len(rows):
            raise ValueError("expected lungs in the slice, got none")
        height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
        side = max(height, width)
        return cls(int(rows[0]) - (side - height) // 2, int(columns[0]) - (side - width) // 2, side)

    def cut(self, slice_: np.ndarray) -> np.ndarray:
        """The square of an array (row, column); 0 beyond its border."""
        out = np.zeros((self.side, self.side), slice_.dtype)
        height, width = slice_.shape
        top, left = max(0, self.top), max(0, self.left)
        end, right = min(height, self.top + self.side), min(width, self.left + self.side)
        out[top - self.top : end - self.top, left - self.left : right - self.left] = slice_[
            top:end, left:right
        ]
        return out

    def grid(self, size: int) -> np.ndarray:
        """From (slice, row, column, 1) of the square, brought to `size`, to that of the slice."""
        scale = self.side / size
        matrix = np.diag([1.0, scale, scale, 1.0])
        # Middles of pixels lie over middles.
        matrix[1:3, 3] = np.array([self.top, self.left]) + (scale - 1) / 2
        return matrix


def crop_lungs(grey: np.ndarray, lungs: np.ndarray, size: int, fill: Fill) -> np.ndarray:
    """A slice cropped to its lungs.

    Args:
        grey: uint8, shape (row, column).
        lungs: Mask of the same shape, bool, not empty.
        size: Rows and columns of the result.
        fill: What lies outside the lungs: ``none`` leaves what is there, ``black`` makes it 0,
            ``paper`` fills it with copies of the lungs.

    Returns:
        uint8, shape (size, size); bilinear, antialiased where it shrinks. The same for the same
        arguments.

    Raises:
        UsageError: If `fill` is unknown.
    """
    if fill not in ("none", "black", "paper"):
        raise UsageError(f"expected none, black or paper as fill, got {fill!r:.80}")
    square = Square.around(lungs)
    # Masked first: where the size changes, pixels of the wall would mix into the rim of the lungs.
    shown = grey if fill == "none" else grey * lungs
    pixels = _resized(square.cut(shown), size, Image.Resampling.BILINEAR)
    if fill == "none":
        return pixels
    inside = _resized(square.cut(lungs.astype(np.uint8)), size, Image.Resampling.NEAREST) > 0
    pixels = pixels * inside
    return pixels if fill == "black" else fill_blanks(pixels, inside)


def fill_blanks(pixels: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """Fill what is not lung with shifted and rotated copies of the lungs, later over earlier.

    Args:
        pixels: uint8, square; what is not lung is not looked at.
        lungs: Mask of the same shape, bool.

    Returns:
        uint8, the same shape: the same pixels within the lungs, whatever was drawn outside. The
        copies are drawn by a digest of the lungs' pixels.
    """
    source = pixels * lungs
    digest = hashlib.sha256(np.ascontiguousarray(source).tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    size = len(pixels)
    image, mask = Image.fromarray(source), Image.fromarray(lungs.astype(np.uint8))
    out = source.copy()
    for _ in range(COPIES):
        angle, (down, right) = rng.uniform(0, 2 * math.pi), rng.uniform(-0.5, 0.5, 2) * size
        matrix = _turned(angle, down, right, size)
        moved = np.array(
            image.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        )
        there = np.array(mask.transform((size, size), Image.Transform.AFFINE, matrix)) > 0
        # Rims of a copy mix with the black around it: they are left out.
        there = ndimage.binary_erosion(there) & ~lungs
        out[there] = moved[there]
    return out


def what_is_cut_off(lungs: np.ndarray) -> str:
    """Why a slice shows no whole lungs; empty where it does.

    Args:
        lungs: Mask of a slice, bool, shape (row, column).
    """
    share = lungs.mean()
    if share < MIN_SHARE:
        return f"lungs are {share:.1%} of the slice, expected {MIN_SHARE:.0%} or more"
    edges = (lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1])
    if any(edge.any() for edge in edges):
        return "lungs touch the border"
    return ""


def lungs_of_picture(grey: np.ndarray) -> np.ndarray:
    """The lungs of a picture whose HU are unknown, as published.

    Args:
        grey: uint8, shape (row, column), through a lung window.

    Returns:
        bool, the same shape: the two largest dark regions that do not touch the border, eroded,
        closed and filled. Empty where there are none.
    """
    # A frame of air lets everything that touches the border be one region with it.
    air = np.pad(grey < AIR_GREY, 1, constant_values=True)
    labels, count = ndimage.label(air)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[[0, labels[0, 0]]] = 0
    largest = np.argsort(-sizes, kind="stable")[:2]
    both = np.isin(labels, largest[sizes[largest] > 0])[1:-1, 1:-1]
    both = ndimage.binary_erosion(both, _disc(EROSION))
    # Closed on a larger field: a disc that reaches beyond the picture would take the border away.
    wide = np.pad(both, CLOSING)
    wide = ndimage.binary_closing(wide, _disc(CLOSING))
    return np.asarray(ndimage.binary_fill_holes(wide)[CLOSING:-CLOSING, CLOSING:-CLOSING])


def _disc(radius: int) -> np.ndarray:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(y * y + x * x <= radius * radius)


def _resized(square: np.ndarray, size: int, how: Image.Resampling) -> np.ndarray:
    return np.array(Image.fromarray(square).resize((size, size), how))


def _turned(
    angle: float, down: float, right: float, size: int
) -> tuple[float, float, float, float, float, float]:
    """From columns and rows of a copy to those of its source: turned about the middle, shifted."""
    cosine, sine, middle = math.cos(angle), math.sin(angle), size / 2
    x, y = middle + right, middle + down
    return (
        cosine,
        sine,
        middle - cosine * x - sine * y,
        -sine,
        cosine,
        middle + sine * x - cosine * y,
    )
