"""Perlin noise, a field at a time instead of a point at a time.

The lattice under a field is a grid, so whatever depends on one axis only (lattice index, fraction,
fade) is computed once a row and once a column, and gradients are looked up once a lattice row.

`fields` makes a batch on any device. Its noise is that of `pnoise2` and `pnoise3` of the package
``noise`` 1.2.2 up to rounding: Ken Perlin's permutation, 16 gradients, quintic fade, octaves
divided by the sum of their amplitudes. It interpolates along the columns at the lattice rows only,
then along the rows, which is less work than the package does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["fields"]

# The hash knows this many lattice points an axis; the gradients repeat behind them.
LATTICE = 256

# The reference permutation of Perlin's "Improving noise" (2002).
_PERMUTATION = np.array(
    [
        151, 160, 137, 91, 90, 15, 131, 13, 201, 95, 96, 53, 194, 233, 7, 225, 140, 36, 103, 30,
        69, 142, 8, 99, 37, 240, 21, 10, 23, 190, 6, 148, 247, 120, 234, 75, 0, 26, 197, 62, 94,
        252, 219, 203, 117, 35, 11, 32, 57, 177, 33, 88, 237, 149, 56, 87, 174, 20, 125, 136, 171,
        168, 68, 175, 74, 165, 71, 134, 139, 48, 27, 166, 77, 146, 158, 231, 83, 111, 229, 122, 60,
        211, 133, 230, 220, 105, 92, 41, 55, 46, 245, 40, 244, 102, 143, 54, 65, 25, 63, 161, 1,
        216, 80, 73, 209, 76, 132, 187, 208, 89, 18, 169, 200, 196, 135, 130, 116, 188, 159, 86,
        164, 100, 109, 198, 173, 186, 3, 64, 52, 217, 226, 250, 124, 123, 5, 202, 38, 147, 118, 126,
        255, 82, 85, 212, 207, 206, 59, 227, 47, 16, 58, 17, 182, 189, 28, 42, 223, 183, 170, 213,
        119, 248, 152, 2, 44, 154, 163, 70, 221, 153, 101, 155, 167, 43, 172, 9, 129, 22, 39, 253,
        19, 98, 108, 110, 79, 113, 224, 232, 178, 185, 112, 104, 218, 246, 97, 228, 251, 34, 242,
        193, 238, 210, 144, 12, 191, 179, 162, 241, 81, 51, 145, 235, 249, 14, 239, 107, 49, 192,
        214, 31, 181, 199, 106, 157, 184, 84, 204, 176, 115, 121, 50, 45, 127, 4, 150, 254, 138,
        236, 205, 93, 222, 114, 67, 29, 24, 72, 243, 141, 128, 195, 78, 66, 215, 61, 156, 180,
    ]
)  # fmt: skip
# The 16 gradients; in two dimensions the third component is not read.
_GRADIENT_ROW = np.array([1, -1, 1, -1, 1, -1, 1, -1, 0, 0, 0, 0, 1, -1, 0, 0], np.float32)
_GRADIENT_COLUMN = np.array([1, 1, -1, -1, 0, 0, 0, 0, 1, -1, 1, -1, 0, 0, -1, 1], np.float32)
_GRADIENT_SLICE = np.array([0, 0, 0, 0, 1, 1, -1, -1, 1, 1, -1, -1, -1, -1, 1, 1], np.float32)
# Twice over, so that index plus index needs no wrapping, and once more for a shift of one.
_HASH = np.tile(_PERMUTATION, 3)
# From the sum of a row's hash and a column's index straight to the gradient.
_ALONG_ROWS = _GRADIENT_ROW[_HASH[_HASH] & 15]
_ALONG_COLUMNS = _GRADIENT_COLUMN[_HASH[_HASH] & 15]
# In three dimensions one more index comes between.
_BY_HASH = np.stack([t[_HASH & 15] for t in (_GRADIENT_ROW, _GRADIENT_COLUMN, _GRADIENT_SLICE)])


def fields(
    height: int,
    width: int,
    *,
    scale: torch.Tensor,
    octaves: int,
    persistence: torch.Tensor,
    offsets: torch.Tensor,
    lacunarity: float = 2.0,
) -> torch.Tensor:
    """A batch of fields, each with a scale, a persistence and a place of its own.

    The batch is made on the device of `offsets`, without a loop over its samples.

    Args:
        height: Rows.
        width: Columns.
        scale: Size of a cell of the first octave, voxels, shape (batch,).
        octaves: Fields added up.
        persistence: Amplitude of an octave over that of the one before, shape (batch,).
        offsets: Place on the lattice, cells, drawn afresh from [0, 256) for every field. Shape
            (batch, 2) for (row, column); or (batch, 3) for (row, column, slice): then each field
            is a slice through a field of three dimensions, and slices of one volume have offsets
            that differ by their distance over the scale.
        lacunarity: Frequency of an octave over that of the one before.

    Returns:
        float32, (batch, height, width): to 1e-5 ``pnoise2`` of the package at (row, column), or
        ``pnoise3`` at (row, column, slice).

    Raises:
        ValueError: If `octaves` or a scale is out of range, shapes disagree, or the amplitudes
            of a field sum to 0.
    """
    import torch

    device = offsets.device
    batch, axes = len(offsets), offsets.shape[-1]
    are_offsets = offsets.ndim == 2 and axes in (2, 3)
    if not are_offsets or scale.shape != (batch,) or persistence.shape != (batch,):
        raise ValueError(
            "expected scale (batch,), persistence (batch,) and offsets (batch, 2) or (batch, 3), "
            f"got {tuple(scale.shape)}, {tuple(persistence.shape)} and {tuple(offsets.shape)}"
        )
    scale, offsets = scale.to(device, torch.float32), offsets.float()
    persistence = persistence.to(device, torch.float32)
    amplitudes = persistence[:, None] ** torch.arange(octaves, device=device)  # (B, octaves)
    norm = amplitudes.sum(1)
    # One wait for the device: sizes below depend on the finest field, and the offsets are
    # multiplied in float64, which some devices lack.
    host = torch.cat([scale[:, None], norm[:, None], offsets], dim=1).cpu().double()
    finest = host[:, 0].amin().item()
    _check(octaves, finest)
    if (host[:, 1] == 0).any():
        raise ValueError(f"{octaves} octaves of a given persistence sum to amplitude 0")
    frequencies = _frequencies(octaves, lacunarity)
    moved = host[:, 2:].T * torch.from_numpy(frequencies).double()[:, None, None]  # (octaves, 2, B)
    whole = moved.floor()
    rest = (moved - whole).to(device, torch.float32)
    whole = whole.remainder(LATTICE).to(device, torch.int64)
    amplitudes = (amplitudes / norm[:, None])[:, :, None, None]
    hashed = torch.from_numpy(_HASH).to(device)
    flat = torch.from_numpy(np.stack([_ALONG_ROWS, _ALONG_COLUMNS])).to(device)
    by_hash = torch.from_numpy(_BY_HASH).to(device)

    total = torch.zeros((batch, height, width), device=device)
    # Fresh memory in every octave would cost as much as the arithmetic.
    memory = torch.empty((4, batch, height, width), device=device)
    for octave, frequency in enumerate(frequencies.tolist()):
        rows = _batch_axis(height, scale, whole[octave, 0], rest[octave, 0], frequency, finest)
        columns = _batch_axis(width, scale, whole[octave, 1], rest[octave, 1], frequency, finest)
        # Columns come first here, so that one read of an index copies a whole lattice column.
        place = columns.lattice[:, :, None] + hashed[rows.lattice][:, None, :]  # (B, m, n)
        if axes == 2:
            layer = _layer(rows, columns, flat[0][place], flat[1][place], memory)
            total.addcmul_(layer, amplitudes[:, octave])
            continue
        step = rest[octave, 2][:, None, None]
        for end, cell in ((0, whole[octave, 2]), (1, whole[octave, 2] + 1)):
            index = hashed[place] + (cell % LATTICE)[:, None, None]
            along_rows, along_columns, along_slices = by_hash[:, index]
            layer = _layer(
                rows, columns, along_rows, along_columns, memory, along_slices * (step - end)
            )
            weight = _fade(step) if end else 1 - _fade(step)
            total.addcmul_(layer, amplitudes[:, octave] * weight)
    return total


def _layer(
    rows: _BatchAxis,
    columns: _BatchAxis,
    along_rows: torch.Tensor,
    along_columns: torch.Tensor,
    memory: torch.Tensor,
    more: torch.Tensor | None = None,
) -> torch.Tensor:
    """One octave in one layer of the lattice, (B, H, W), in `memory`.

    Args:
        rows: Lattice along the rows, n points.
        columns: Along the columns, m points.
        along_rows: Component of the gradients along the rows, (B, m, n).
        along_columns: Along the columns.
        memory: float32, (4, B, H, W), written over.
        more: What every lattice point adds besides, (B, m, n).
    """
    step, fade = columns.step, columns.fade  # (B, W, 1) each
    before, behind = columns.read(along_rows)  # (B, W, n) each
    row_part = before.lerp_(behind, fade).transpose(1, 2)  # (B, n, W)
    before, behind = columns.read(along_columns)
    before, behind = before * step, behind * (step - 1)
    if more is not None:
        more_before, more_behind = columns.read(more)
        before, behind = before.add_(more_before), behind.add_(more_behind)
    column_part = before.lerp_(behind, fade).transpose(1, 2)

    step, fade = rows.step, rows.fade  # (B, H, 1) each
    before, behind = rows.read(column_part, out=memory[:2])  # (B, H, W) each
    slope_before, slope_behind = rows.read(row_part, out=memory[2:])
    return before.addcmul_(slope_before, step).lerp_(behind.addcmul_(slope_behind, step - 1), fade)


@dataclass(frozen=True)
class _BatchAxis:
    """One axis of one octave of a batch: the lattice points that are read, and by which voxels.

    Every sample has the same count of lattice points, n.
    """

    lattice: torch.Tensor  # (batch, n)
    lower: torch.Tensor  # (batch, size)
    upper: torch.Tensor  # (batch, size)
    step: torch.Tensor  # (batch, size, 1)
    fade: torch.Tensor  # (batch, size, 1)

    def read(
        self, values: torch.Tensor, *, out: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`values` (batch, n, m) at the points before and behind each voxel, (batch, size, m)."""
        import torch

        batch, size = self.lower.shape
        width = values.shape[2]
        flat = values.reshape(-1, width)
        if out is None:
            out = flat.new_empty((2, batch, size, width))
        for index, part in ((self.lower, out[0]), (self.upper, out[1])):
            torch.index_select(flat, 0, index.flatten(), out=part.view(-1, width))
        return out[0], out[1]


def _batch_axis(
    size: int,
    scale: torch.Tensor,
    whole: torch.Tensor,
    rest: torch.Tensor,
    frequency: float,
    finest: float,
) -> _BatchAxis:
    import torch

    device = scale.device
    place = torch.arange(size, device=device) / scale[:, None] * frequency + rest[:, None]
    cell = place.floor()
    step = place - cell
    fade = _fade(step)
    # The last cell's far end, one more for the rest of the offset, and one for rounding.
    count = min(LATTICE, int((size - 1) / finest * frequency) + 4)
    lattice = (whole[:, None] + torch.arange(count, device=device)) % LATTICE
    lower = cell.long() % LATTICE
    upper = (lower + 1) % LATTICE
    first = torch.arange(len(scale), device=device)[:, None] * count
    return _BatchAxis(lattice, lower + first, upper + first, step[:, :, None], fade[:, :, None])


def _fade(step: torch.Tensor) -> torch.Tensor:
    """Quintic weight of the far end at a distance from the near one, both in 0..1."""
    return step * step * step * (step * (step * 6 - 15) + 10)


def _frequencies(octaves: int, lacunarity: float) -> np.ndarray:
    """Frequency of every octave, multiplied up in float32 as the package does."""
    factors = np.full(octaves, lacunarity, np.float32)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.float32)


def _check(octaves: int, scale: float) -> None:
    if octaves < 1 or not scale > 0:
        raise ValueError(f"expected octaves >= 1 and scale > 0, got {octaves} and {scale}")
