"""From a picture of any size to a square one.

Source: fastai2 0.0.16 ``Resize``, for ``crop``; Keras' ``flow_from_directory``, for ``stretch``.
Differs in: ``stretch`` interpolates, where Keras takes the nearest pixel. ``pad`` is ours, as a
crop cuts off the sides of wide pictures.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from covidctnet.errors import UsageError

__all__ = ["Fit", "crop_box", "grid_of", "resize"]

Fit = Literal["crop", "pad", "stretch"]
CENTRE = (0.5, 0.5)


def crop_box(
    width: int, height: int, where: tuple[float, float] = CENTRE
) -> tuple[int, int, int, int]:
    """The largest square of a picture.

    Args:
        width: Columns of the picture.
        height: Rows of the picture.
        where: How far it is moved from the left and from the top, each a share of the room that
            there is; random for training, the centre for all else.

    Returns:
        Left, top, right and bottom, in pixels.
    """
    side = min(width, height)
    left, top = int(where[0] * (width - side)), int(where[1] * (height - side))
    return left, top, left + side, top + side


def grid_of(width: int, height: int, size: int, *, fit: Fit = "crop") -> np.ndarray:
    """Where the pixels of a square slice lie in the picture that it was made of.

    Args:
        width: Columns of the picture.
        height: Rows of the picture.
        size: Rows and columns of the square.
        fit: See `resize`; a crop is that of the centre.

    Returns:
        4 x 4, from (slice, row, column, 1) of the square to that of the picture.
    """
    if fit == "crop":
        left, top, right, _ = crop_box(width, height)
        scale = np.full(2, (right - left) / size)
        corner = np.array([top, left], np.float64)
    elif fit == "stretch":
        scale, corner = np.array([height, width]) / size, np.zeros(2)
    else:
        sides = np.array([height, width])
        inner = np.array(_inner(height, width, size))
        scale = sides / inner
        corner = -scale * ((size - inner) // 2)
    matrix = np.diag([1.0, *scale, 1.0])
    # Middles of pixels lie over middles.
    matrix[1:3, 3] = corner + (scale - 1) / 2
    return matrix


def resize(
    picture: np.ndarray, size: int, *, fit: Fit = "crop", where: tuple[float, float] = CENTRE
) -> np.ndarray:
    """A picture as a square of a given size.

    Args:
        picture: Grey values, uint8, shape (row, column).
        size: Rows and columns of the result.
        fit: ``crop`` takes the largest square; ``pad`` keeps the whole picture, with black at two
            sides; ``stretch`` makes it as wide as high.
        where: Of the square; see `crop_box`.

    Returns:
        Bilinear, antialiased where it shrinks; uint8, shape (size, size).

    Raises:
        UsageError: If the picture or the setting is of another kind.
    """
    if picture.ndim != 2 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise UsageError(
            "expected a grey picture of bytes, (row, column), got "
            f"{picture.dtype} {picture.shape}. Convert it with covidctnet.io first."
        )
    height, width = picture.shape
    image = Image.fromarray(np.ascontiguousarray(picture))
    how = Image.Resampling.BILINEAR
    if fit == "crop":
        # Cropped before it is resized, so that nothing from beyond the edge comes in.
        return np.array(image.crop(crop_box(width, height, where)).resize((size, size), how))
    if fit == "stretch":
        return np.array(image.resize((size, size), how))
    if fit != "pad":
        raise UsageError(f"expected crop, pad or stretch as fit, got {fit!r:.80}")
    inner = _inner(width, height, size)
    out = np.zeros((size, size), np.uint8)
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    out[top : top + inner[1], left : left + inner[0]] = np.array(image.resize(inner, how))
    return out


def _inner(first: int, second: int, size: int) -> tuple[int, int]:
    """Sides of a whole picture within a square."""
    scale = size / max(first, second)
    return max(1, round(first * scale)), max(1, round(second * scale))
