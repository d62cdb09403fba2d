"""Where the lungs are, from density and shape alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from covidctnet.preprocess.grid import linear_taps
from covidctnet.volume import Volume

__all__ = [
    "CoarseScan",
    "box_around",
    "close_lungs",
    "coarse_scan",
    "lung_mask",
    "lungs_apart",
]

# Halfway between lung (-850 HU) and soft tissue (50 HU): the border lies where partial volume is
# one half. Denser lesions come back by closing.
AIR_BELOW_HU = -400.0
# Blocks of lung are denser, even with emphysema; the trachea and the main bronchi hold gas alone.
GAS_BELOW_HU = -925.0
# A trachea is smaller; what is larger is lung after all, and stays.
MAX_AIRWAY_ML = 120.0
TRACHEA_MM2 = (40.0, 700.0)
# It enters from above, within this share of the scan's slices and of the body's width.
TRACHEA_TOP = 0.2
TRACHEA_MIDDLE = 0.25
# The work is done on a grid of about this size; a lung border is smooth on that scale.
GRID_MM = 3.0
# Airways out of the mediastinum and loops of bowel hang on by bridges thinner than this.
BRIDGE_MM = 5.0
# Vessels and small consolidations that the threshold cut out; larger ones stay out (stated limit).
CLOSING_MM = 12.5
# A second lung smaller than this share of the first is bowel, stomach or a piece of airway.
MIN_SHARE_OF_LARGEST = 0.12

# A larger hole in a slice is the dome of the liver or the heart.
MAX_HOLE_MM2 = 600.0
# Lungs that touch part when this much is taken off their surface.
JUNCTION_RADII_MM = (0.0, 2.6, 5.1, 7.6, 10.1, 12.6, 15.1)

# A smaller mask is a gas bubble, no lung.
MIN_LUNGS_ML = 50.0

_IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
_IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, eq=False)
class CoarseScan:
    """A whole scan as means over blocks of some 3 mm, with the lungs found on that grid.

    Attributes:
        unit: The means, units ``unit``; its affine leads from blocks to mm.
        lungs: bool, one voxel a block.
    """

    unit: Volume
    lungs: np.ndarray

    def box(self, volume: Volume, margin_mm: float) -> tuple[slice, ...]:
        """Voxels of the scan around the lungs, with a margin.

        Args:
            volume: The scan that this one was made from.
            margin_mm: On every side, as far as the scan goes.
        """
        box = []
        for axis, part in enumerate(box_around(self.lungs)):
            step = round(self.unit.spacing[axis] / volume.spacing[axis])
            extra = math.ceil(margin_mm / volume.spacing[axis])
            stop = min(part.stop * step + extra, volume.shape[axis])
            box.append(slice(max(0, part.start * step - extra), stop))
        return tuple(box)

    def lungs_in(self, volume: Volume) -> np.ndarray:
        """The lungs on another grid: linear between voxel centres, cut at one half.

        Args:
            volume: With the target grid; both grids have the same axes.

        Returns:
            bool, the shape of `volume`.
        """
        # With the same axes, a place in the mask is a scale and an offset along each of them.
        to_mask = np.linalg.solve(self.unit.affine, volume.affine)
        places = [to_mask[k, k] * np.arange(n) + to_mask[k, 3] for k, n in enumerate(volume.shape)]
        return _interpolated(self.lungs, places)


def lung_mask(volume: Volume) -> np.ndarray:
    """Both lungs with their vessels and smaller lesions, without the large airways' trunk.

    Args:
        volume: In HU or ``unit``, canonical orientation.

    Returns:
        bool, the shape of `volume.array`; all False when there is no lung.

    Differs from a learned segmentation in: a consolidation that reaches the pleura over more than
    about a centimetre is left out.
    """
    _, mask, zoom = _find(volume)
    out = np.zeros(volume.shape, dtype=bool)
    if not mask.any():
        return out
    box = box_around(mask, (1, 1, 1))
    fine = tuple(
        slice(part.start * step, min(part.stop * step, size))
        for part, step, size in zip(box, zoom, volume.shape, strict=True)
    )
    out[fine] = _enlarge(mask[box], zoom, out[fine].shape)
    return out


def coarse_scan(volume: Volume, window_hu: tuple[float, float]) -> CoarseScan:
    """A scan on a grid of some 3 mm, with the lungs that `lung_mask` finds there.

    Args:
        volume: In HU, canonical orientation.
        window_hu: What 0 and 1 of the coarse scan are.

    Returns:
        The scan; its mask is all False when there is no lung.

    Raises:
        StudyError: ``WRONG_UNITS``.
    """
    means, lungs, zoom = _find(volume.expect("HU", by="coarse_scan"))
    low, high = window_hu
    means = (means - np.float32(low)) / np.float32(high - low)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [(step - 1) / 2 for step in zoom]
    affine[:3, :3] *= zoom
    unit = volume.then(
        f"means over blocks of {' x '.join(map(str, zoom))} voxels",
        np.clip(means, 0, 1, dtype=np.float32),
        affine=affine,
        units="unit",
        window_hu=window_hu,
    )
    return CoarseScan(unit, lungs)


def _find(volume: Volume) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int]]:
    """Means over blocks in the volume's units, the lungs among them, and voxels of a block."""
    if volume.units == "residual":
        volume.expect("HU", by="lung_mask")
    low, high = volume.scale_hu

    def scaled(hu: float) -> float:
        return (hu - low) / (high - low)

    spacing = np.array(volume.spacing)
    a, b, c = np.maximum(1, np.round(GRID_MM / spacing)).astype(int).tolist()
    zoom = (a, b, c)
    coarse = _block_mean(volume.array, zoom)
    grid_mm = spacing * zoom
    inside = _inside(coarse < scaled(AIR_BELOW_HU))
    inside &= ~_airway(inside & (coarse < scaled(GAS_BELOW_HU)), grid_mm)
    mask = _coarse_lungs(inside, grid_mm)
    if mask.sum() * grid_mm.prod() / 1000 < MIN_LUNGS_ML:
        mask = np.zeros_like(mask)
    return coarse, mask, zoom


def _inside(air: np.ndarray) -> np.ndarray:
    """Air that does not reach the sides of its slice."""
    labels, _ = ndimage.label(air, structure=_IN_PLANE)
    is_inside = np.ones(labels.max() + 1, dtype=bool)
    is_inside[0] = False
    for end in (0, -1):
        is_inside[labels[:, end, :]] = False
        is_inside[labels[:, :, end]] = False
    return is_inside[labels]


def _airway(gas: np.ndarray, grid_mm: np.ndarray) -> np.ndarray:
    """The trachea and the main bronchi with their walls: gas that enters the chest from above.

    Nothing when no gas looks like it, or when it leaks into lungs that hold little else.
    """
    labels, _ = ndimage.label(gas)
    top = labels[-max(1, round(TRACHEA_TOP * len(gas))) :]
    middle = (gas.shape[2] - 1) / 2
    areas_mm2 = grid_mm[1] * grid_mm[2]
    best, most = 0, 0
    for label in np.unique(top[top > 0]).tolist():
        where = top == label
        areas = where.sum(axis=(1, 2))
        areas = areas[areas > 0] * areas_mm2
        columns = np.nonzero(where)[2]
        is_central = abs(columns.mean() - middle) < TRACHEA_MIDDLE * gas.shape[2]
        if is_central and TRACHEA_MM2[0] <= np.median(areas) <= TRACHEA_MM2[1]:
            size = int((labels == label).sum())
            if size > most and size * grid_mm.prod() / 1000 <= MAX_AIRWAY_ML:
                best, most = label, size
    if not best:
        return np.zeros_like(gas)
    # One block around it: wall, and the gas that shares blocks with it.
    return ndimage.binary_dilation(labels == best, ndimage.generate_binary_structure(3, 1))


def _coarse_lungs(inside: np.ndarray, grid_mm: np.ndarray) -> np.ndarray:
    core = ndimage.binary_erosion(inside, _ball(BRIDGE_MM / 2, grid_mm), border_value=1)
    labels, count = ndimage.label(core)
    if count == 0:
        return core
    sizes = np.bincount(labels.ravel())[1:]
    keep = np.flatnonzero(sizes >= MIN_SHARE_OF_LARGEST * sizes.max()) + 1
    keep = keep[np.argsort(sizes[keep - 1])[::-1][:2]]
    core = np.isin(labels, keep)
    lungs = ndimage.binary_dilation(core, _ball(BRIDGE_MM, grid_mm)) & inside

    box = box_around(lungs, (1, 1, 1))
    parts = lungs_apart(lungs[box], grid_mm)
    # scipy lets go of the interpreter while it measures distances.
    with ThreadPoolExecutor(len(parts)) as pool:
        closed = list(pool.map(lambda part: _without_vessels(part, grid_mm), parts))
    whole = np.zeros_like(lungs)
    whole[box] = np.logical_or.reduce(closed)
    return whole


def close_lungs(air: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The air of lungs with the vessels and small lesions in it, slice by slice.

    Args:
        air: bool, shape (slice, row, column).
        spacing_mm: Along each axis.

    Returns:
        bool, the same shape: closed within each slice, and small holes filled.
    """
    steps = np.maximum(1, np.round(GRID_MM / np.array(spacing_mm[1:]))).astype(int).tolist()
    zoom = (1, *steps)
    coarse = _block_mean(air.astype(np.float32), zoom) > 0.5
    grid_mm = np.array(spacing_mm) * zoom
    # Slices are distinguished by a distance that no closing bridges.
    apart_mm = np.array([4 * CLOSING_MM, *grid_mm[1:]])
    closed = _close(coarse, CLOSING_MM, apart_mm)
    closed |= _small_holes(closed, grid_mm)
    return _enlarge(closed, zoom, air.shape) | air


def _without_vessels(lung: np.ndarray, grid_mm: np.ndarray) -> np.ndarray:
    """One lung with what the threshold cut out of it."""
    whole = np.zeros_like(lung)
    # Distances cost by the voxel: what lies further off than the radius cannot matter.
    margin = np.ceil(CLOSING_MM / grid_mm).astype(int) + 1
    near = box_around(lung, margin.tolist())
    closed = _close(lung[near], CLOSING_MM, grid_mm)
    whole[near] = closed | _small_holes(closed, grid_mm)
    return whole


def box_around(mask: np.ndarray, margin: Sequence[int] = (0, 0, 0)) -> tuple[slice, ...]:
    """Where the mask is, not empty, and `margin` voxels around, within the array."""
    box = []
    for axis, extra in enumerate(margin):
        rest = tuple(a for a in range(mask.ndim) if a != axis)
        there = np.flatnonzero(mask.any(axis=rest))
        box.append(slice(max(0, there[0] - extra), there[-1] + 1 + extra))
    return tuple(box)


def lungs_apart(lungs: np.ndarray, grid_mm: np.ndarray) -> list[np.ndarray]:
    """Right and left lung, also where they touch in front of the heart.

    Closing both at once would bridge the mediastinum, and filling holes would then take the heart.

    Args:
        lungs: bool, shape (slice, row, column); costs by the voxel, so on a coarse grid.
        grid_mm: Spacing along each axis.

    Returns:
        Two masks, or one when there are no two parts of a size.
    """
    depth = None
    for radius_mm in JUNCTION_RADII_MM:
        if radius_mm and depth is None:  # lungs that lie apart need no distances
            depth = ndimage.distance_transform_edt(lungs, sampling=grid_mm)
        seeds, count = ndimage.label(lungs if depth is None else depth > radius_mm)
        sizes = np.bincount(seeds.ravel(), minlength=2)[1:]
        large = np.flatnonzero(sizes >= MIN_SHARE_OF_LARGEST * max(sizes.max(), 1)) + 1
        if count and len(large) == 2:
            if sizes[large - 1].sum() == np.count_nonzero(lungs):
                return [seeds == label for label in large]
            nearest = ndimage.distance_transform_edt(
                ~np.isin(seeds, large),
                sampling=grid_mm,
                return_distances=False,
                return_indices=True,
            )
            owner = seeds[tuple(nearest)]
            return [lungs & (owner == label) for label in large]
    return [lungs]


def _small_holes(mask: np.ndarray, grid_mm: np.ndarray) -> np.ndarray:
    """Holes in the slices of the mask: vessels, nodules, consolidation; not the liver's dome."""
    holes = _inside(~mask)
    labels, _ = ndimage.label(holes, structure=_IN_PLANE)
    area_mm2 = np.bincount(labels.ravel()) * grid_mm[1] * grid_mm[2]
    return holes & (area_mm2 <= MAX_HOLE_MM2)[labels]


def _close(mask: np.ndarray, radius_mm: float, grid_mm: np.ndarray) -> np.ndarray:
    """Closing with a ball by distances: the cost does not grow with the radius."""
    margin = np.ceil(radius_mm / grid_mm).astype(int) + 1
    padded = np.pad(mask, [(m, m) for m in margin], mode="edge")
    grown = ndimage.distance_transform_edt(~padded, sampling=grid_mm) <= radius_mm
    closed = ndimage.distance_transform_edt(grown, sampling=grid_mm) > radius_mm
    inner = tuple(slice(m, -m) for m in margin)
    return closed[inner] | mask


def _ball(radius_mm: float, grid_mm: np.ndarray) -> np.ndarray:
    reach = np.maximum(1, np.round(radius_mm / grid_mm)).astype(int)
    axes = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    squared = sum(((a / r) ** 2 for a, r in zip(axes, reach, strict=True)), np.zeros(()))
    return np.asarray(squared <= 1)


def _block_mean(array: np.ndarray, zoom: tuple[int, int, int]) -> np.ndarray:
    """Mean over blocks of `zoom` voxels; the last block of an axis may be smaller."""
    out = array
    for axis, step in enumerate(zoom):
        if step == 1:
            continue
        size = out.shape[axis]
        along = np.moveaxis(out, axis, 0)
        sums = along[::step].astype(np.float32)
        for further in range(1, step):
            part = along[further::step]
            sums[: len(part)] += part
        counts = np.minimum(step, size - step * np.arange(len(sums))).astype(np.float32)
        out = np.moveaxis(sums / counts[:, None, None], 0, axis)
    return np.ascontiguousarray(out)


def _enlarge(mask: np.ndarray, zoom: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    """A mask of blocks on the fine grid."""
    steps = zip(zoom, shape, strict=True)
    return _interpolated(mask, [(np.arange(size) + 0.5) / step - 0.5 for step, size in steps])


def _interpolated(mask: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
    """A mask at some places along each axis: linear between its voxels, cut at one half."""
    soft = mask.astype(np.float32)
    for axis, along in enumerate(places):
        lower, weight = linear_taps(soft.shape[axis], along)
        upper = np.minimum(lower + 1, soft.shape[axis] - 1)
        weight = weight.reshape([-1 if a == axis else 1 for a in range(3)])
        soft = soft.take(lower, axis) * (1 - weight) + soft.take(upper, axis) * weight
    return soft > 0.5
