"""Lesions painted into the lungs of any chest CT: real lungs with a known, drawn disease.

The plan of findings and the fields that draw them are those of the phantoms; what the phantom's
anatomy tells there is measured here on a lung mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.morphology import convex_hull_image

from covidctnet.chest.lungs import lung_mask, lungs_apart
from covidctnet.classes import Label
from covidctnet.errors import StudyError
from covidctnet.phantom.build import Build
from covidctnet.phantom.fields import Grid, SlabSampler
from covidctnet.phantom.findings import plan_lesions
from covidctnet.phantom.lesions import LesionFields, lesion_codes, lesion_fields, summary
from covidctnet.phantom.patient import SLAB_VOXELS
from covidctnet.phantom.thorax import PLAN_PITCH_MM, LungFields, Thorax
from covidctnet.phantom.tissue import CONSOLIDATED_HU, WATER_HU
from covidctnet.phantom.trees import Tubes
from covidctnet.preprocess.grid import linear_matrix
from covidctnet.volume import PAINTED_INTO, PAINTED_NOTE, Volume

__all__ = ["Painted", "paint_lesions"]

# Distances are worked out on a grid of about this size; they are smooth.
GRID_MM = 2.5
# Lungs of the phantoms' frame reach from the apices, so far above the carina, so far down.
APEX_MM, HEIGHT_MM = 98.0, 255.0
# Emphysema thins lung, not vessels; nothing gets thinner than air in a bulla.
PARENCHYMA_BELOW_HU, BULLA_HU = -600.0, -985.0
# Soft tissue whose spread from voxel to voxel is the scan's noise.
SOFT_TISSUE_HU = (0.0, 100.0)


@dataclass(frozen=True, eq=False)
class Painted:
    """A scan with lesions painted into it, and their truth.

    Attributes:
        volume: HU, int16, the geometry of the scan it came from.
        lungs: Where lesions could go, bool.
        lesions: Codes as in `Phantom.lesions`, uint8.
        label: The class that was painted.
        findings: As in `Phantom.findings`.
        seed: Of the plan.
    """

    volume: Volume
    lungs: np.ndarray
    lesions: np.ndarray
    label: Label
    findings: Mapping[str, Any]
    seed: int


def paint_lesions(
    volume: Volume, label: Label, seed: int, *, lungs: np.ndarray | None = None
) -> Painted:
    """Paint the findings of a random patient with `label` into a scan.

    Inside the lungs, a lesion replaces air by tissue: vessels stay visible in ground glass, and
    the scan's own noise is kept up where tissue takes the place of lung. Nothing else changes.

    Args:
        volume: In HU, canonical orientation, with healthy lungs.
        label: What to paint; Control gets findings that Controls have (nodules, bands, dependent
            lung, emphysema) or none.
        seed: Of everything random.
        lungs: bool, the volume's shape; by default what `lung_mask` finds.

    Raises:
        StudyError: ``WRONG_UNITS``; ``NOT_CHEST`` when there are no two lungs to paint in.
    """
    volume.expect("HU", by="paint_lesions")
    if lungs is None:
        lungs = lung_mask(volume)
    plan_rng, grain_rng = (np.random.default_rng([seed, int(label), part]) for part in (1, 2))
    host = _Host.of(volume, lungs, seed)
    plan, pattern = plan_lesions(label, host.thorax, plan_rng)
    array = volume.array.astype(np.int16)
    codes = np.zeros(volume.shape, dtype=np.uint8)
    if plan:
        noise_hu = _noise_hu(volume.array)
        sample = SlabSampler(host.grid)
        for slices, slab in host.grid.slabs(SLAB_VOXELS):
            start = host.box[0].start
            there = (slice(start + slices.start, start + slices.stop), *host.box[1:])
            fields = lesion_fields(plan, host.thorax, host.fields(slices, slab), sample)
            inside = host.lungs[slices]
            array[there] = _blend(volume.array[there], fields, inside, noise_hu, grain_rng)
            codes[there] = lesion_codes(fields.dense, fields.other, fields.fluid, inside)
    for part in (array, codes):
        part.setflags(write=False)
    notes = (PAINTED_NOTE, *([f"{PAINTED_INTO}{volume.source.mark}"] if volume.source.mark else []))
    source = replace(volume.source, notes=(*volume.source.notes, *notes))
    return Painted(
        volume=volume.then(f"painted findings: {pattern}", array, source=source),
        lungs=lungs,
        lesions=codes,
        label=label,
        findings=summary(plan, pattern, lungs, codes, volume.affine),
        seed=seed,
    )


@dataclass(frozen=True, eq=False)
class _Host:
    """The lungs of a scan in the frame that plans are made in, lungs' box only."""

    grid: Grid
    box: tuple[slice, slice, slice]
    lungs: np.ndarray
    thorax: Thorax
    depth: np.ndarray  # to the lungs' surface, positive inside, on the coarse grid
    wall: np.ndarray  # below the chest wall, on the coarse grid
    floor: np.ndarray  # height above the lowest lung of the column, on the coarse grid
    steps: tuple[int, int, int]

    @classmethod
    def of(cls, volume: Volume, lungs: np.ndarray, seed: int) -> _Host:
        if not lungs.any():
            raise _no_lungs(volume)
        # A voxel around, so that surfaces lie within the box.
        box = tuple(
            slice(max(0, part.start - 2), part.stop + 2)
            for part in ndimage.find_objects(lungs.view(np.uint8))[0]
        )
        inside = lungs[box]
        spacing = np.array(volume.spacing)
        steps = tuple(np.maximum(1, np.round(GRID_MM / spacing)).astype(int).tolist())
        coarse = inside[:: steps[0], :: steps[1], :: steps[2]]
        coarse_mm = spacing * steps
        parts = lungs_apart(coarse, coarse_mm)
        if len(parts) != 2:
            raise _no_lungs(volume)
        parts.sort(key=lambda part: float(np.nonzero(part)[2].mean()))
        hull = np.stack([convex_hull_image(p) if p.any() else p for p in coarse])
        depth = ndimage.distance_transform_edt(coarse, sampling=coarse_mm)
        depth -= ndimage.distance_transform_edt(~coarse, sampling=coarse_mm)
        wall = np.stack([_inside_mm(plane, coarse_mm[1:]) for plane in hull])
        build, grid = _measure(parts, hull, inside.shape, spacing, coarse_mm, volume, lungs, seed)
        heights = grid.z[:: steps[0]]
        lowest = np.where(coarse.any(axis=0), heights[coarse.argmax(axis=0)], heights[-1])
        floor = heights[:, None, None] - lowest[None]
        return cls(
            grid=grid,
            box=(box[0], box[1], box[2]),
            lungs=inside,
            thorax=_thorax(build, grid, steps, coarse_mm, depth, wall, floor),
            depth=depth.astype(np.float32),
            wall=wall.astype(np.float32),
            floor=floor.astype(np.float32),
            steps=(steps[0], steps[1], steps[2]),
        )

    def fields(self, slices: slice, slab: Grid) -> LungFields:
        """What `lung_fields` tells of a phantom, for some slices of this scan."""
        z, y, x = (part.astype(np.float32) for part in slab.open())
        depth, wall, floor = (
            self._fine(values, slices) for values in (self.depth, self.wall, self.floor)
        )
        inside = self.lungs[slices]
        # The mask has the last word on what is lung.
        distance = np.where(inside, np.minimum(-depth, -0.3), np.maximum(-depth, 0.3))
        shape = distance.shape
        return LungFields(
            grid=slab,
            z=z,
            y=np.broadcast_to(y, shape),
            x=np.broadcast_to(x, shape),
            distance=distance,
            wall=wall,
            cavity=-wall,
            diaphragm=floor,
            mediastinum=np.full(shape, 100.0, dtype=np.float32),
        )

    def _fine(self, coarse: np.ndarray, slices: slice) -> np.ndarray:
        along_z, along_y, along_x = (
            linear_matrix(count, np.arange(size) / step)
            for count, size, step in zip(coarse.shape, self.lungs.shape, self.steps, strict=True)
        )
        planes = np.tensordot(along_z[slices], coarse, axes=1)
        fine: np.ndarray = (along_y @ planes) @ along_x.T
        return fine


def _measure(
    parts: list[np.ndarray],
    hull: np.ndarray,
    shape: tuple[int, ...],
    spacing: np.ndarray,
    coarse_mm: np.ndarray,
    volume: Volume,
    lungs: np.ndarray,
    seed: int,
) -> tuple[Build, Grid]:
    """Sizes of a chest from its lungs (right, left), and the box as a grid of its frame."""
    tops, bottoms, domes = [], [], []
    for part in parts:
        slices = np.flatnonzero(part.any(axis=(1, 2))) * coarse_mm[0]
        tops.append(slices[-1])
        bottoms.append(slices[0])
        lowest = part.argmax(axis=0)[part.any(axis=0)] * coarse_mm[0]
        domes.append(np.percentile(lowest, 70))
    size = (np.mean(tops) - np.mean(bottoms)) / HEIGHT_MM
    carina = float(max(tops) - APEX_MM * size)
    _, rows, columns = np.nonzero(hull)
    middle = np.mean([np.nonzero(part)[2].mean() for part in parts]) * coarse_mm[2]
    depth = (np.percentile(rows, 99) - np.percentile(rows, 1)) * coarse_mm[1]
    front = np.percentile(rows, 1) * coarse_mm[1]
    width = (np.percentile(columns, 99) - np.percentile(columns, 1)) * coarse_mm[2]
    build = Build(
        seed=int(np.random.default_rng([seed, 0]).integers(2**31)),
        half_width=float(width / 2),
        half_depth=float(depth / 2),
        apex=(tops[0] - carina, tops[1] - carina),
        dome=(domes[0] - carina, domes[1] - carina),
        fat=0.0,
        muscle=0.0,
        has_breasts=False,
        heart=1.0,
        base_hu=float(np.median(volume.array[lungs])),
        gravity_hu=0.0,
        blood_hu=0.0,
        turn=0.0,
        tilt=0.0,
        lean=0.0,
        shift=(0.0, 0.0, 0.0),
        kyphosis=0.0,
    )
    origin = (carina, front + depth / 2, middle)
    z, y, x = (
        (np.arange(n) * step - start).astype(np.float32)
        for n, step, start in zip(shape, spacing, origin, strict=True)
    )
    return build, Grid(z, y, x)


def _thorax(
    build: Build,
    grid: Grid,
    steps: tuple[int, ...],
    coarse_mm: np.ndarray,
    depth: np.ndarray,
    wall: np.ndarray,
    floor: np.ndarray,
) -> Thorax:
    """The points that findings are placed at, about as far apart as in a phantom."""
    skip = np.maximum(1, np.round(PLAN_PITCH_MM / coarse_mm)).astype(int)
    every = tuple(slice(None, None, int(n)) for n in skip)
    inside = depth[every] > 1.0
    axes = [
        axis[::step][::n] for axis, step, n in zip(grid.axes, steps, skip.tolist(), strict=True)
    ]
    z, y, x = (
        np.broadcast_to(part, inside.shape)[inside].astype(float)
        for part in (axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])
    )
    nothing = Tubes(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    return Thorax(
        build=build,
        vessels=nothing,
        airways=nothing,
        points=np.column_stack([z, y, x]),
        lobes=build.lobe(z, y, x),
        wall_mm=wall[every][inside],
        floor_mm=floor[every][inside],
        surface_mm=depth[every][inside],
    )


def _inside_mm(plane: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Depth below the border of a mask in a slice, 0 outside."""
    # The box may end at the border: what lies beyond it is outside.
    padded = np.pad(plane, 1)
    depth: np.ndarray = ndimage.distance_transform_edt(padded, sampling=spacing)[1:-1, 1:-1]
    return depth


def _blend(
    hu: np.ndarray,
    fields: LesionFields,
    inside: np.ndarray,
    noise_hu: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Lesions over a slab, int16."""
    hu = hu.astype(np.float32)
    thinned = np.maximum(hu + fields.air, np.minimum(hu, BULLA_HU))
    out = np.where(hu < PARENCHYMA_BELOW_HU, thinned, hu)
    for cover, value in ((fields.dense, CONSOLIDATED_HU), (fields.fluid, WATER_HU)):
        out += cover * np.maximum(value - out, 0)
    # Blending with a constant takes noise away with the lung; as much comes back.
    lost = 1 - (1 - np.maximum(fields.dense, fields.fluid)) ** 2
    grain = ndimage.gaussian_filter(rng.standard_normal(hu.shape, np.float32), (0, 0.6, 0.6))
    grain *= noise_hu / max(float(grain.std()), 1e-6)
    out += np.sqrt(lost) * grain
    touched = inside & ((fields.dense > 0) | (fields.fluid > 0) | (fields.air < 0))
    return np.where(touched, np.round(out), hu).astype(np.int16)


def _noise_hu(array: np.ndarray) -> float:
    """Spread of soft tissue from one voxel to the next, robust against its borders."""
    middle = array[len(array) // 2].astype(np.float32)
    low, high = SOFT_TISSUE_HU
    tissue = (middle > low) & (middle < high)
    steps = np.diff(middle, axis=1)[tissue[:, 1:] & tissue[:, :-1]]
    if steps.size < 100:
        return 0.0
    return float(np.median(np.abs(steps)) / 0.6745 / np.sqrt(2))


def _no_lungs(volume: Volume) -> StudyError:
    return StudyError(
        "NOT_CHEST",
        "lesions are painted into two lungs, found fewer. Give a chest CT.",
        study=volume.source.study,
    )
