"""The linear way to the networks' input where they run: dense products, many slices at once.

A GPU multiplies by zeros faster than it looks for what is none, so the matrices that the CPU takes
sparse are dense here. The window lies between the two products, as everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from covidctnet.preprocess.grid import linear_matrix, linear_taps
from covidctnet.preprocess.isotropic import linear_positions
from covidctnet.preprocess.settings import PreprocessSettings
from covidctnet.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = ["preprocessed_on"]

# Slices of 512 x 512 in float32 that are on the device at once: some 70 MB, and as much between.
CHUNK = 64


def preprocessed_on(
    device: torch.device,
    volume: Volume,
    settings: PreprocessSettings,
    resize_rows: np.ndarray,
    resize_columns: np.ndarray,
) -> np.ndarray:
    """Resample, window and resize.

    Args:
        device: Where.
        volume: In HU.
        settings: With linear interpolation.
        resize_rows: Matrix (size, rows of the isotropic grid).
        resize_columns: Matrix (size, columns of the isotropic grid).

    Returns:
        float32, shape (slices of the isotropic grid, size, size); within [0, 1] but for rounding.
    """
    import torch  # only here: reading and preprocessing on the CPU do without

    along, *in_plane = linear_positions(volume, settings.spacing_mm)
    to_grid = [linear_matrix(n, p) for n, p in zip(volume.shape[1:], in_plane, strict=True)]
    down, across, rows, columns = (
        torch.from_numpy(matrix).to(device) for matrix in (*to_grid, resize_rows, resize_columns)
    )
    lower, weight = linear_taps(len(volume.array), along)
    upper = np.minimum(lower + 1, len(volume.array) - 1)
    low, high = settings.low_hu, settings.high_hu
    out = np.empty((len(along), settings.size, settings.size), dtype=np.float32)
    for start in range(0, len(along), CHUNK):
        part = slice(start, start + CHUNK)
        first, last = lower[part][0], upper[part][-1] + 1
        # A copy of its own: volumes are read-only, and torch must be able to write.
        planes = torch.from_numpy(volume.array[first:last].copy()).to(device).float()
        planes = down @ planes @ across.T
        below = torch.from_numpy(lower[part] - first).to(device)
        above = torch.from_numpy(upper[part] - first).to(device)
        share = torch.from_numpy(weight[part]).to(device)[:, None, None]
        grid = torch.lerp(planes[below], planes[above], share)
        if settings.above_window == "air":
            grid[grid > high] = low
        grid = (grid.clamp_(low, high) - low) * (1 / (high - low))
        out[part] = (rows @ grid @ columns.T).cpu().numpy()
    return out
