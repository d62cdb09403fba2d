"""The isotropic grid, two ways: linear, a slice at a time, and the published code's splines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from covidctnet.errors import StudyError
from covidctnet.preprocess.grid import PlaneResampling, grid_size, linear_matrix, linear_taps
from covidctnet.volume import Volume

__all__ = ["Isotropic", "cubic", "linear", "linear_positions"]

# A thousand litres at 1 mm, the room of ten patients. The splines want the whole grid in memory.
MAX_CUBIC_VOXELS = 10**9


@dataclass(frozen=True, eq=False)
class Isotropic:
    """A scan on its isotropic grid, whose first voxel centre is the scan's.

    Attributes:
        shape: Voxels along (slice, row, column).
        spacing_mm: Between their centres, along each axis.
        turned: The slices, feet to head, each a fresh float32 array in HU, turned: (column, row).
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    turned: Iterator[np.ndarray]


def linear(volume: Volume, target_mm: float) -> Isotropic:
    """Linear interpolation at every `target_mm` from the first voxel centre on.

    Args:
        volume: In HU.
        target_mm: Target distance.
    """
    along, down, across = linear_positions(volume, target_mm)
    shape = (len(along), len(down), len(across))
    plane = PlaneResampling(
        *(linear_matrix(n, p) for n, p in zip(volume.shape[1:], (down, across), strict=True))
    )
    return Isotropic(shape, (target_mm,) * 3, _linear_planes(volume.array, along, plane))


def linear_positions(volume: Volume, target_mm: float) -> list[np.ndarray]:
    """Where `linear` interpolates along each axis, in voxels."""
    return [
        np.arange(grid_size(n, s, target_mm)) * (target_mm / s)
        for n, s in zip(volume.shape, volume.spacing, strict=True)
    ]


def cubic(volume: Volume, target_mm: float) -> Isotropic:
    """Cubic splines as in the published code: `scipy.ndimage.zoom` of whole Hounsfield units.

    The zoom rounds the number of voxels and lays the first and the last centre on those of the
    scan, so that the spacing comes out near `target_mm`, not at it: 130 slices of 2.5 mm become 325
    of 0.995 mm. Values overshoot at edges and are rounded to whole HU.

    Args:
        volume: In HU; float voxels are rounded first, the published code knows int16 only.
        target_mm: Target distance.

    Raises:
        StudyError: ``ABSURD_EXTENT`` when the grid would not fit into memory.

    The whole grid is made at once, in double precision within: it takes a hundred times as long as
    linear interpolation (docs/performance.md) and a gigabyte or so.
    """
    factors = [s / target_mm for s in volume.spacing]
    slices, rows, columns = (
        max(1, round(n * f)) for n, f in zip(volume.shape, factors, strict=True)
    )
    shape = (slices, rows, columns)
    if slices * rows * columns > MAX_CUBIC_VOXELS:
        raise StudyError(
            "ABSURD_EXTENT",
            f"{slices} x {rows} x {columns} voxels at {target_mm:g} mm are too many for a chest CT "
            f"and for cubic interpolation (at most {MAX_CUBIC_VOXELS:.0e}). Check the spacing in "
            "the headers, or use linear interpolation.",
            study=volume.source.study,
        )
    array = volume.array
    if array.dtype != np.int16:
        array = np.rint(array).clip(-(2**15), 2**15 - 1).astype(np.int16)
    # The shape decides; factors made of it survive the rounding that scipy does once more.
    exact = [m / n for m, n in zip(shape, volume.shape, strict=True)]
    zoomed = ndimage.zoom(array, exact, order=3, mode="nearest")
    first, second, third = (
        # One voxel alone has no last centre to reach.
        (n - 1) / (m - 1) * s if n > 1 and m > 1 else target_mm
        for n, m, s in zip(volume.shape, shape, volume.spacing, strict=True)
    )
    turned = (plane.T.astype(np.float32, order="C") for plane in zoomed)
    return Isotropic(shape, (first, second, third), turned)


def _linear_planes(
    array: np.ndarray, positions: np.ndarray, plane: PlaneResampling
) -> Iterator[np.ndarray]:
    """Slices of the isotropic grid, feet to head, each a fresh array (column, row).

    Each input slice is resampled in its plane once and kept only while the next output slices
    still need it.
    """
    lower, weight = linear_taps(len(array), positions)
    planes: dict[int, np.ndarray] = {}
    for low, upper_weight in zip(lower, weight, strict=True):
        needed = {low} if upper_weight == 0 else {low, low + 1}
        planes = {i: values for i, values in planes.items() if i >= low}
        for i in needed - planes.keys():
            planes[i] = plane.turned(array[i])
        if upper_weight == 0:
            yield planes[low].copy()
        else:
            mixed = planes[low + 1] - planes[low]
            mixed *= upper_weight
            mixed += planes[low]
            yield mixed
