"""From Hounsfield units to what the networks eat: 1 mm, windowed to [0, 1], 240 x 240."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from covidctnet.errors import StudyError, UsageError
from covidctnet.preprocess.grid import antialias_matrix, grid_size, linear_matrix, linear_taps
from covidctnet.volume import Volume

__all__ = ["PreprocessSettings", "preprocess"]

# Larger than any chest at 1 mm (a whole body is some 2000 mm long): the geometry is wrong.
MAX_EXTENT_MM = 2500.0


@dataclass(frozen=True)
class PreprocessSettings:
    """How a scan becomes network input. Travels in the card of the weights.

    Attributes:
        spacing_mm: Distance of the isotropic grid that everything is resampled to.
        low_hu: Lower end of the window, becomes 0.
        high_hu: Upper end of the window, becomes 1.
        size: Rows and columns of a slice given to the networks, voxels.
        pad_square: Centre a slice that is not square in a square of air before resizing, so that
            rows and columns keep one scale. (No effect on the usual square matrix.)
    """

    spacing_mm: float = 1.0
    low_hu: float = -1000.0
    high_hu: float = 400.0
    size: int = 240
    pad_square: bool = True

    def __post_init__(self) -> None:
        if not 0.1 <= self.spacing_mm <= 10:
            raise UsageError(f"spacing_mm must lie in 0.1..10 mm, got {self.spacing_mm}")
        if not self.low_hu < self.high_hu:
            raise UsageError(f"low_hu ({self.low_hu}) must be < high_hu ({self.high_hu})")
        if self.size < 8 or self.size % 8:
            raise UsageError(f"size must be a positive multiple of 8, got {self.size}")

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with any setting."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def preprocess(volume: Volume, settings: PreprocessSettings | None = None) -> Volume:
    """Resample to an isotropic grid, window, and resize the slices.

    Linear interpolation to `spacing_mm` along all three axes from the first voxel centre on; clip
    to the window and map it to [0, 1]; antialiased linear resizing in the plane. All slices stay.

    Args:
        volume: In HU, canonical orientation, shape (slice, row, column).
        settings: What to do; the paper's values by default.

    Returns:
        float32 in [0, 1], shape (slices at `spacing_mm`, size, size), units ``unit``.

    Raises:
        StudyError: ``WRONG_UNITS``; ``ABSURD_EXTENT`` when the geometry spans metres.

    Source: CovidCTNet (Javaheri et al. 2020), preprocessing. Differs in: slices that are not
    square are padded with air instead of being stretched (`pad_square`).
    """
    settings = settings or PreprocessSettings()
    volume.expect("HU", by="preprocess")
    extents = [n * s for n, s in zip(volume.shape, volume.spacing, strict=True)]
    if max(extents) > MAX_EXTENT_MM:
        raise StudyError(
            "ABSURD_EXTENT",
            f"a chest CT is at most {MAX_EXTENT_MM:.0f} mm long, this one measures "
            f"{' x '.join(f'{e:.0f}' for e in extents)} mm. Check the spacing in the headers.",
            study=volume.source.study,
        )
    target = settings.spacing_mm
    ratios = [target / s for s in volume.spacing]
    counts = [grid_size(n, s, target) for n, s in zip(volume.shape, volume.spacing, strict=True)]
    positions = [np.arange(n) * ratio for n, ratio in zip(counts, ratios, strict=True)]

    rows = linear_matrix(volume.shape[1], positions[1])
    columns = linear_matrix(volume.shape[2], positions[2]).T.copy()
    square = max(counts[1:]) if settings.pad_square else 0
    resize_rows, first_row = _resize_matrix(counts[1], square, settings.size)
    resize_columns, first_column = _resize_matrix(counts[2], square, settings.size)
    resize_columns = resize_columns.T.copy()

    out = np.empty((counts[0], settings.size, settings.size), dtype=np.float32)
    scale = np.float32(1 / (settings.high_hu - settings.low_hu))
    for index, plane in enumerate(_isotropic_planes(volume.array, positions[0], rows, columns)):
        np.clip(plane, settings.low_hu, settings.high_hu, out=plane)
        plane -= np.float32(settings.low_hu)
        plane *= scale
        np.matmul(resize_rows @ plane, resize_columns, out=out[index])
    # Weights that sum to 1 only in float32 may leave the window by a last bit.
    np.clip(out, 0, 1, out=out)

    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, :3] / volume.spacing * target
    factors = [(square or n) / settings.size for n in counts[1:]]
    # Half-pixel centres: output voxel 0 covers input voxels first .. first + factor.
    start = [0.0, (factors[0] - 1) / 2 + first_row, (factors[1] - 1) / 2 + first_column]
    affine[:3, 3] += affine[:3, :3] @ start
    affine[:3, :3] *= [1.0, *factors]
    steps = (
        f"resampled {' x '.join(f'{s:.3g}' for s in volume.spacing)} mm "
        f"to {target:g} mm isotropic, linear",
        f"clipped to [{settings.low_hu:g}, {settings.high_hu:g}] HU and mapped to [0, 1]",
        f"resized {counts[1]} x {counts[2]} slices to {settings.size} x {settings.size}"
        + (", padded square" if square and counts[1] != counts[2] else "")
        + ", antialiased linear",
    )
    for step in steps[:-1]:
        volume = volume.then(step, volume.array)
    return volume.then(steps[-1], out, affine=affine, units="unit")


def _resize_matrix(count: int, square: int, size: int) -> tuple[np.ndarray, int]:
    """Matrix (size, count) that resizes an axis centred in `square` voxels of air, and its start.

    Air is 0 by then, so padding is leaving out the columns that would meet it.
    """
    padded = square or count
    before = (padded - count) // 2
    matrix = antialias_matrix(padded, size)[:, before : before + count]
    return np.ascontiguousarray(matrix), -before


def _isotropic_planes(
    array: np.ndarray, positions: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> Iterator[np.ndarray]:
    """Slices of the isotropic grid, feet to head, each a fresh array (row, column).

    Each input slice is resampled in its plane once and kept only while the next output slices
    still need it.
    """
    lower, weight = linear_taps(len(array), positions)
    planes: dict[int, np.ndarray] = {}
    for low, upper_weight in zip(lower, weight, strict=True):
        wanted = {low} if upper_weight == 0 else {low, low + 1}
        planes = {i: plane for i, plane in planes.items() if i >= low}
        for i in wanted - planes.keys():
            planes[i] = rows @ array[i].astype(np.float32) @ columns
        if upper_weight == 0:
            yield planes[low].copy()
        else:
            yield planes[low] + upper_weight * (planes[low + 1] - planes[low])
