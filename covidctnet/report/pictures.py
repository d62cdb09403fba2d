"""One small picture a study: input, denoised and residual slices, one kind a row.

Where they are known, what counts as lesion is outlined on the input, and a last row shows which
places speak for the label.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import cast

import numpy as np
from PIL import Image
from scipy import ndimage

__all__ = [
    "ATTENTION",
    "HU_PER_UNIT",
    "KINDS",
    "OUTLINE",
    "RESIDUAL_LIMIT",
    "TILE",
    "attention_stops",
    "colour_attention",
    "colour_residual",
    "draw_picture",
    "kinds_of",
    "residual_stops",
]

KINDS = ("input", "denoised", "residual")
ATTENTION = "attention"
"""The kind that not every picture has: Grad-CAM over the input."""
OUTLINE = (255, 176, 0)
"""Colour of the line around what counts as lesion, red, green and blue."""
TILE = 200
"""Pixels along each side of one slice."""
HU_PER_UNIT = 1400.0
"""A difference of 1.0 in a volume in unit, in HU: the window is [-1000, 400]."""
RESIDUAL_LIMIT = 0.25
"""The residual that gets the strongest colour, the same for all studies so that they compare."""

_GAP = 2
_QUALITY = 80
# Blue, black, orange: told apart with every kind of colour vision, and black where nothing was
# found, as air is in the slices above. Positions are residuals in shares of the limit.
_RESIDUAL_STOPS = (
    (-1.0, (158, 216, 255)),
    (-0.5, (36, 128, 214)),
    (0.0, (8, 8, 10)),
    (0.5, (214, 92, 14)),
    (1.0, (255, 222, 130)),
)
# Violet, blue-green, yellow: ever lighter, so that it reads in grey and with every colour vision.
_ATTENTION_STOPS = (
    (0.0, (52, 16, 96)),
    (0.25, (40, 76, 150)),
    (0.5, (20, 140, 140)),
    (0.75, (120, 196, 80)),
    (1.0, (252, 236, 70)),
)
# Over the input attention is painted this densely at most, and less where there is little of it.
_DENSEST = 0.7
_Stops = tuple[tuple[float, tuple[int, int, int]], ...]


def residual_stops() -> tuple[str, ...]:
    """The colours of the residual from least to most, evenly apart, for CSS."""
    return _css(_RESIDUAL_STOPS)


def attention_stops() -> tuple[str, ...]:
    """The colours of attention from least to most, evenly apart, for CSS."""
    return _css(_ATTENTION_STOPS)


def colour_residual(residual: np.ndarray) -> np.ndarray:
    """Colours of a residual, centred on zero.

    Args:
        residual: Input minus output, any shape, 1.0 = `HU_PER_UNIT`.

    Returns:
        uint8 of that shape with three channels behind: blue where the input is darker than its
        denoised version, black at zero, orange where it is denser.
    """
    return _ramp(np.nan_to_num(residual / RESIDUAL_LIMIT, nan=0.0), _RESIDUAL_STOPS)


def colour_attention(attention: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Colours of attention, laid over a slice.

    Args:
        attention: In [0, 1], any shape.
        grey: What lies below, in [0, 1], the same shape.

    Returns:
        uint8 of that shape with three channels behind: the slice alone where there is no
        attention, from violet over blue-green to yellow where there is.
    """
    share = np.clip(np.nan_to_num(attention), 0.0, 1.0)
    # The square root lets half of the attention be seen at two thirds of the density.
    density = _DENSEST * np.sqrt(share)[..., None]
    mixed = density * _ramp(share, _ATTENTION_STOPS) + (1 - density) * _grey(grey)
    return np.rint(mixed).astype(np.uint8)


def kinds_of(images: Mapping[str, object]) -> tuple[str, ...]:
    """The rows of the picture that `draw_picture` makes of these images, from above."""
    return KINDS if images.get(ATTENTION) is None else (*KINDS, ATTENTION)


def draw_picture(images: Mapping[str, object]) -> bytes | None:
    """A WebP of the slices in `images`, or None when there are none.

    Args:
        images: `Prediction.images`: ``input``, ``denoised`` in [0, 1] and ``residual``, each
            (slice, row, column), rows from front to back, columns from the patient's right. If
            there, ``lesions``, bool, outlined on the input, and ``attention`` in [0, 1], of the
            same shape.

    Returns:
        A file's content: one row a kind of `kinds_of`, one column a slice, `TILE` pixels a slice.

    Raises:
        ValueError: If the kinds differ in shape.
    """
    kinds = kinds_of(images)
    stacks = {kind: images.get(kind) for kind in kinds}
    if any(stack is None or len(cast(np.ndarray, stack)) == 0 for stack in stacks.values()):
        return None
    if images.get("lesions") is not None:
        stacks["lesions"] = images["lesions"]
    arrays = {kind: np.asarray(stack, dtype=np.float32) for kind, stack in stacks.items()}
    if len({array.shape for array in arrays.values()}) != 1 or arrays["input"].ndim != 3:
        shapes = {kind: array.shape for kind, array in arrays.items()}
        raise ValueError(
            f"a picture wants three stacks of slices of one shape, others alike, got {shapes}"
        )
    count = len(arrays["input"])
    step = TILE + _GAP
    canvas = Image.new("RGB", (count * step - _GAP, len(kinds) * step - _GAP), (70, 74, 80))
    for column in range(count):
        planes = {kind: _fitted(array[column]) for kind, array in arrays.items()}
        for row, kind in enumerate(kinds):
            canvas.paste(_tile(kind, planes), (column * step, row * step))
    file = io.BytesIO()
    canvas.save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()


def _tile(kind: str, planes: Mapping[str, np.ndarray]) -> Image.Image:
    """One slice of a kind, in the middle of a square."""
    plane = planes[kind]
    if kind == "residual":
        coloured = colour_residual(plane)
    elif kind == ATTENTION:
        coloured = colour_attention(plane, planes["input"])
    else:
        coloured = np.rint(_grey(plane)).astype(np.uint8)
    if kind == "input" and "lesions" in planes:
        lesions = planes["lesions"] > 0.5
        coloured[lesions & ~ndimage.binary_erosion(lesions)] = OUTLINE
    rows, columns = plane.shape
    tile = Image.new("RGB", (TILE, TILE))
    tile.paste(Image.fromarray(coloured), ((TILE - columns) // 2, (TILE - rows) // 2))
    return tile


def _fitted(plane: np.ndarray) -> np.ndarray:
    """The slice at the size of a tile, without distortion."""
    # Resized as numbers, not as colours: between blue and orange lies zero, not grey.
    rows, columns = plane.shape
    scale = TILE / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))


def _grey(plane: np.ndarray) -> np.ndarray:
    """Three equal channels from 0 to 255 of what is in [0, 1]."""
    grey = np.clip(np.nan_to_num(plane), 0.0, 1.0) * 255
    return np.repeat(grey[..., None], 3, axis=-1)


def _ramp(share: np.ndarray, stops: _Stops) -> np.ndarray:
    """Colours between the stops, uint8."""
    positions = [position for position, _ in stops]
    channels = [np.interp(share, positions, [c[i] for _, c in stops]) for i in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _css(stops: _Stops) -> tuple[str, ...]:
    return tuple(f"rgb({red} {green} {blue})" for _, (red, green, blue) in stops)
