"""One small picture a study: input, denoised and residual slices, one kind a row."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import cast

import numpy as np
from PIL import Image

__all__ = [
    "HU_PER_UNIT",
    "KINDS",
    "RESIDUAL_LIMIT",
    "TILE",
    "colour_residual",
    "draw_picture",
    "residual_stops",
]

KINDS = ("input", "denoised", "residual")
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
_STOPS = (
    (-1.0, (158, 216, 255)),
    (-0.5, (36, 128, 214)),
    (0.0, (8, 8, 10)),
    (0.5, (214, 92, 14)),
    (1.0, (255, 222, 130)),
)


def residual_stops() -> tuple[str, ...]:
    """The colours of the residual from least to most, evenly apart, for CSS."""
    return tuple(f"rgb({red} {green} {blue})" for _, (red, green, blue) in _STOPS)


def colour_residual(residual: np.ndarray) -> np.ndarray:
    """Colours of a residual, centred on zero.

    Args:
        residual: Input minus output, any shape, 1.0 = `HU_PER_UNIT`.

    Returns:
        uint8 of that shape with three channels behind: blue where the input is darker than its
        denoised version, black at zero, orange where it is denser.
    """
    share = np.nan_to_num(residual / RESIDUAL_LIMIT, nan=0.0)
    positions = [position for position, _ in _STOPS]
    channels = [np.interp(share, positions, [c[i] for _, c in _STOPS]) for i in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def draw_picture(images: Mapping[str, object]) -> bytes | None:
    """A WebP of the slices in `images`, or None when there are none.

    Args:
        images: `Prediction.images`: ``input``, ``denoised`` in [0, 1] and ``residual``, each
            (slice, row, column), rows from front to back, columns from the patient's right.

    Returns:
        A file's content: one row a kind, one column a slice, `TILE` pixels a slice.

    Raises:
        ValueError: If the three kinds differ in shape.
    """
    stacks = {kind: images.get(kind) for kind in KINDS}
    if any(stack is None or len(cast(np.ndarray, stack)) == 0 for stack in stacks.values()):
        return None
    arrays = {kind: np.asarray(stack, dtype=np.float32) for kind, stack in stacks.items()}
    if len({array.shape for array in arrays.values()}) != 1 or arrays["input"].ndim != 3:
        shapes = {kind: array.shape for kind, array in arrays.items()}
        raise ValueError(f"a picture wants three stacks of slices of one shape, got {shapes}")
    count = len(arrays["input"])
    step = TILE + _GAP
    canvas = Image.new("RGB", (count * step - _GAP, len(KINDS) * step - _GAP), (70, 74, 80))
    for row, kind in enumerate(KINDS):
        for column, plane in enumerate(arrays[kind]):
            canvas.paste(_tile(plane, kind), (column * step, row * step))
    file = io.BytesIO()
    canvas.save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue()


def _tile(plane: np.ndarray, kind: str) -> Image.Image:
    """One slice, fitted into a square without distortion."""
    # Resized as numbers, not as colours: between blue and orange lies zero, not grey.
    rows, columns = plane.shape
    scale = TILE / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    fitted = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
    if kind == "residual":
        coloured = colour_residual(fitted)
    else:
        grey = np.rint(np.clip(np.nan_to_num(fitted), 0.0, 1.0) * 255).astype(np.uint8)
        coloured = np.repeat(grey[..., None], 3, axis=-1)
    tile = Image.new("RGB", (TILE, TILE))
    tile.paste(Image.fromarray(coloured), ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile
