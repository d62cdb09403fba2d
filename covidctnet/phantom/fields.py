"""Grids in millimetres, and smooth random fields that do not depend on the grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

# Box that every lattice covers, (slice, row, column) in mm; beyond it a field repeats its edge.
_BOX_MM = ((-260.0, 220.0), (-190.0, 190.0), (-230.0, 230.0))
# Mean square of a cubic B-spline summed over its lattice, for one axis: 151 / 315.
_SPLINE_POWER = 151.0 / 315.0


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel centres along three axes, patient millimetres, each ascending and evenly spaced.

    Attributes:
        z: Slices, feet to head.
        y: Rows, front to back.
        x: Columns, patient's right to left.
        whole: The grid this one is a slab of, if it is.
    """

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray
    whole: Grid | None = None

    @classmethod
    def over(cls, low: tuple[float, ...], high: tuple[float, ...], pitch_mm: float) -> Grid:
        """An isotropic grid from corner `low` to corner `high`, (slice, row, column) in mm."""
        z, y, x = (
            np.arange(a, b + pitch_mm / 2, pitch_mm, dtype=np.float32)
            for a, b in zip(low, high, strict=True)
        )
        return cls(z, y, x)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three axes, (slice, row, column)."""
        return self.z, self.y, self.x

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (slice, row, column)."""
        return len(self.z), len(self.y), len(self.x)

    @property
    def pitch(self) -> tuple[float, float, float]:
        """Millimetres between voxel centres along (slice, row, column)."""
        if self.whole is not None:  # the same rounding in every slab
            return self.whole.pitch
        slices, rows, columns = (
            float(axis[1] - axis[0]) if len(axis) > 1 else 1.0 for axis in self.axes
        )
        return slices, rows, columns

    def window(self, centre: np.ndarray, reach: np.ndarray | float) -> tuple[slice, slice, slice]:
        """Index ranges of the voxels within `reach` mm of `centre`, both (slice, row, column)."""
        low, high = np.asarray(centre) - reach, np.asarray(centre) + reach
        ranges = (
            slice(int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b, side="right")))
            for axis, a, b in zip(self.axes, low, high, strict=True)
        )
        slices, rows, columns = ranges
        return slices, rows, columns

    def slabs(self, voxels: int) -> Iterator[tuple[slice, Grid]]:
        """The grid in slabs of whole slices, `voxels` or a slice at most, with their slices."""
        thick = max(1, voxels // (len(self.y) * len(self.x)))
        for start in range(0, len(self.z), thick):
            slices = slice(start, min(start + thick, len(self.z)))
            yield slices, Grid(self.z[slices], self.y, self.x, self)

    def open(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The axes shaped to broadcast against a field."""
        return self.z[:, None, None], self.y[None, :, None], self.x[None, None, :]


@dataclass(frozen=True)
class SmoothField:
    """Gaussian random field of unit variance: cubic B-splines on a random lattice.

    The lattice belongs to the field, not to the grid, so that a patient looks alike at every
    matrix and slice spacing.

    Attributes:
        seed: Of the lattice.
        pitch_mm: Between lattice points; the field's features are about twice as large.
    """

    seed: int
    pitch_mm: float

    def on(self, grid: Grid) -> np.ndarray:
        """Values at the voxels of `grid`, float32, shape (slice, row, column)."""
        return self.sheets(grid).at(slice(None))

    def sheets(self, grid: Grid) -> _Sheets:
        """The field with its slices worked out for `grid`, its rows and columns not yet."""
        counts = [int((high - low) / self.pitch_mm) + 4 for low, high in _BOX_MM]
        lattice = np.random.default_rng(self.seed).standard_normal(counts, dtype=np.float32)
        weights, parts = [], []
        for axis, (low, high), count in zip(grid.axes, _BOX_MM, counts, strict=True):
            matrix = _spline_weights(np.clip(axis, low, high) - low, self.pitch_mm, count)
            used = np.flatnonzero(matrix.any(axis=0))
            part = slice(int(used[0]), int(used[-1]) + 1)
            weights.append(matrix[:, part])
            parts.append(part)
        along_z, along_y, along_x = weights
        used_lattice = np.ascontiguousarray(lattice[tuple(parts)])
        slices, rows, columns = used_lattice.shape
        values = (along_z @ used_lattice.reshape(slices, -1)).reshape(-1, rows, columns)
        return _Sheets(values, along_y, along_x)


# How a smooth field is looked up on a grid.
Sampler = Callable[[SmoothField, Grid], np.ndarray]


@dataclass(frozen=True, eq=False)
class _Sheets:
    """A smooth field on a grid's slices and on its own lattice within them."""

    values: np.ndarray
    along_y: np.ndarray
    along_x: np.ndarray

    def at(self, slices: slice) -> np.ndarray:
        """The field on some of the slices, float32, shape (slice, row, column)."""
        shown = (self.along_y @ self.values[slices]) @ self.along_x.T
        shown *= np.float32(_SPLINE_POWER**-1.5)
        return shown


class SlabSampler:
    """Smooth fields on slabs of one grid: the same values as on the whole of it, lattices once.

    Args:
        grid: The whole.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._sheets: dict[SmoothField, _Sheets] = {}

    def __call__(self, smooth: SmoothField, slab: Grid) -> np.ndarray:
        """Values of `smooth` at the voxels of `slab`, float32, shape (slice, row, column)."""
        if smooth not in self._sheets:
            self._sheets[smooth] = smooth.sheets(self._grid)
        start = int(np.searchsorted(self._grid.z, slab.z[0]))
        return self._sheets[smooth].at(slice(start, start + len(slab.z)))


def _spline_weights(offset_mm: np.ndarray, pitch_mm: float, count: int) -> np.ndarray:
    """Cubic B-spline weights of `count` lattice points at each offset, shape (offset, point)."""
    place = offset_mm / pitch_mm + 1.0
    distance = np.abs(place[:, None] - np.arange(count)[None, :])
    near = 2.0 / 3.0 - distance**2 * (1.0 - distance / 2.0)
    far = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
    return np.where(distance < 1.0, near, far).astype(np.float32)


def smoothstep(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between (they may be given the other way round)."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def coverage(distance_mm: np.ndarray, soft_mm: float) -> np.ndarray:
    """Part of a voxel inside a surface: 1 deep inside (negative distance), 0 outside."""
    return np.clip(0.5 - distance_mm / np.float32(soft_mm), 0.0, 1.0)


def paint(hu: np.ndarray, cover: np.ndarray, value: np.ndarray | float) -> None:
    """Blend `value` over `hu` in place where `cover` is above 0."""
    mixed = np.subtract(value, hu, dtype=np.float32)
    mixed *= cover
    hu += mixed


def linear_weights(
    source: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower index, upper index and upper weight that carry even axis `source` to `target`."""
    if len(source) == 1:
        zeros = np.zeros(len(target), dtype=np.intp)
        return zeros, zeros, np.zeros(len(target), dtype=np.float32)
    place = (target - source[0]) / (source[1] - source[0])
    place = np.clip(place, 0.0, len(source) - 1.0)
    low = np.minimum(place.astype(np.intp), len(source) - 2)
    return low, low + 1, (place - low).astype(np.float32)
