"""One small picture a study, one kind of slices a row; and the colours of what is no grey."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

__all__ = [
    "OUTLINE",
    "RESIDUAL_LIMIT",
    "TILE",
    "Row",
    "attention_stops",
    "canvas_of",
    "colour_attention",
    "colour_residual",
    "fitted",
    "grey",
    "paste",
    "residual_stops",
]

OUTLINE = (255, 176, 0)
"""Colour of the line around what counts as lesion, red, green and blue."""
TILE = 200
"""Pixels along each side of one slice."""
RESIDUAL_LIMIT = 0.25
"""The residual that gets the strongest colour, the same for all studies so that they compare."""

_GAP = 2
_QUALITY = 80
# Blue, black, orange: distinct with every kind of colour vision, and black where nothing was
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
        residual: Input minus output, any shape, 1.0 = the width of the HU window.

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


class Row(NamedTuple):
    """One row of a picture.

    Attributes:
        kind: What it shows, in a word or two.
        tiles: A slice each, uint8 (row, column, 3), no side longer than `TILE`.
        heights_mm: Of the slices; empty where they are not known.
    """

    kind: str
    tiles: tuple[np.ndarray, ...]
    heights_mm: tuple[float, ...] = ()


def paste(rows: Sequence[Row]) -> bytes:
    """A WebP file's content: see `canvas_of`."""
    file = io.BytesIO()
    canvas_of(rows).save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()


def canvas_of(rows: Sequence[Row]) -> Image.Image:
    """The rows below one another, `TILE` pixels a slice."""
    step, count = TILE + _GAP, max(len(row.tiles) for row in rows)
    canvas = Image.new("RGB", (count * step - _GAP, len(rows) * step - _GAP), (70, 74, 80))
    for number, row in enumerate(rows):
        for column, coloured in enumerate(row.tiles):
            high, wide = coloured.shape[:2]
            tile = Image.new("RGB", (TILE, TILE))
            tile.paste(Image.fromarray(coloured), ((TILE - wide) // 2, (TILE - high) // 2))
            canvas.paste(tile, (column * step, number * step))
    return canvas


def fitted(plane: np.ndarray) -> np.ndarray:
    """A slice as float32 at the size of a tile, without distortion."""
    # Resized as numbers, not as colours: between blue and orange lies zero, not grey.
    rows, columns = plane.shape
    scale = TILE / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    image = Image.fromarray(np.asarray(plane, dtype=np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def grey(plane: np.ndarray) -> np.ndarray:
    """Three equal channels, uint8, of what is in [0, 1]."""
    return np.rint(_grey(plane)).astype(np.uint8)


def _grey(plane: np.ndarray) -> np.ndarray:
    """Three equal channels from 0 to 255 of what is in [0, 1]."""
    shades = np.clip(np.nan_to_num(plane), 0.0, 1.0) * 255
    return np.repeat(shades[..., None], 3, axis=-1)


def _ramp(share: np.ndarray, stops: _Stops) -> np.ndarray:
    """Colours between the stops, uint8."""
    positions = [position for position, _ in stops]
    channels = [np.interp(share, positions, [c[i] for _, c in stops]) for i in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _css(stops: _Stops) -> tuple[str, ...]:
    return tuple(f"rgb({red} {green} {blue})" for _, (red, green, blue) in stops)
