"""A plan of findings as fields on a grid: where air is replaced, and by how much."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from covidctnet.evidence import CONSOLIDATION, GROUND_GLASS, OTHER_LESION
from covidctnet.phantom.fields import Sampler, SmoothField, coverage, smoothstep
from covidctnet.phantom.findings import Lesion
from covidctnet.phantom.thorax import LOBES, LOWER_LOBES, LungFields, Thorax

NO_LESION = 0
GROUND_GLASS_FROM, CONSOLIDATION_FROM = 0.07, 0.72


class LesionFields(NamedTuple):
    """Lesions on one grid, each array float32 with the grid's shape.

    Attributes:
        dense: Part of the alveolar air replaced, 0 to 1.
        other: Coverage of nodules, bands, emphysema and fluid, 0 to 1.
        air: Change of the parenchyma's HU by emphysema, at most 0.
        fluid: Coverage of pleural fluid.
        plugged: Part of an airway's lumen that is filled.
    """

    dense: np.ndarray
    other: np.ndarray
    air: np.ndarray
    fluid: np.ndarray
    plugged: np.ndarray


def lesion_fields(
    lesions: tuple[Lesion, ...],
    thorax: Thorax,
    lungs: LungFields,
    sample: Sampler = SmoothField.on,
) -> LesionFields:
    """Draw a plan on the grid of `lungs`; `sample` says how smooth fields are looked up."""
    shape = lungs.distance.shape
    fields = LesionFields(*(np.zeros(shape, dtype=np.float32) for _ in range(5)))
    if not lesions:
        return fields
    seed = thorax.build.seed + 100
    noise = {
        pitch: sample(SmoothField(seed + pitch, float(pitch)), lungs.grid) for pitch in (3, 6, 13)
    }
    for lesion in lesions:
        _DRAW[lesion.kind](lesion, thorax, lungs, noise, fields)
    fields.dense[...] *= lungs.distance < 0.0
    fields.dense[...] *= 1.0 - fields.fluid
    fields.other[...] *= (lungs.distance < 0.0) | (fields.fluid > 0)
    return fields


def lesion_codes(
    dense: np.ndarray, other: np.ndarray, fluid: np.ndarray, lungs: np.ndarray
) -> np.ndarray:
    """The lesion mask that fields of a plan amount to.

    Args:
        dense: See `LesionFields`, at the target voxels.
        other: The same.
        fluid: The same.
        lungs: bool, the same shape.

    Returns:
        uint8, the same shape.
    """
    codes = np.zeros(lungs.shape, dtype=np.uint8)
    codes[dense > GROUND_GLASS_FROM] = GROUND_GLASS
    codes[dense > CONSOLIDATION_FROM] = CONSOLIDATION
    codes[other > 0.3] = OTHER_LESION
    codes[~lungs & (fluid <= 0.5)] = NO_LESION
    return codes


def summary(
    plan: tuple[Lesion, ...],
    pattern: str,
    lungs: np.ndarray,
    codes: np.ndarray,
    affine: np.ndarray,
) -> Mapping[str, Any]:
    """What was drawn, for tables (see `Phantom.findings`)."""
    voxels = max(int(np.count_nonzero(lungs)), 1)
    kinds = [lesion.kind for lesion in plan]
    placed = [lesion for lesion in plan if lesion.kind not in ("emphysema", "dependent")]
    return MappingProxyType(
        {
            "pattern": pattern,
            "count": len(plan),
            "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
            "lobes": sorted({LOBES[lesion.lobe] for lesion in placed}),
            "sides": sorted({LOBES[lesion.lobe].split()[0] for lesion in placed}),
            "lung_ml": round(voxels * abs(float(np.linalg.det(affine[:3, :3]))) / 1000.0, 1),
            "ground_glass_percent": round(
                100.0 * float(np.count_nonzero(codes == GROUND_GLASS)) / voxels, 3
            ),
            "consolidation_percent": round(
                100.0 * float(np.count_nonzero(codes == CONSOLIDATION)) / voxels, 3
            ),
        }
    )


class _Local(NamedTuple):
    """The surroundings of one lesion."""

    window: tuple[slice, slice, slice]
    z: np.ndarray
    y: np.ndarray
    x: np.ndarray
    away: np.ndarray
    wall: np.ndarray


def _around(lesion: Lesion, thorax: Thorax, lungs: LungFields, reach_mm: float) -> _Local:
    """Coordinates relative to the lesion's centre, within `reach_mm` of it."""
    centre = np.array([lesion.centre])
    window = lungs.grid.window(thorax.build.to_table(centre)[0], reach_mm)
    z = lungs.z[window[0]] - np.float32(lesion.centre[0])
    y = lungs.y[window] - np.float32(lesion.centre[1])
    x = lungs.x[window] - np.float32(lesion.centre[2])
    return _Local(window, z, y, x, np.sqrt(z * z + y * y + x * x), lungs.wall[window])


def _same_lobe(lesion: Lesion, thorax: Thorax, near: _Local, soft_mm: float) -> np.ndarray:
    """1 within the lesion's lobe, falling to 0 over the fissure."""
    z, y, x = (
        part + np.float32(at)
        for part, at in zip((near.z, near.y, near.x), lesion.centre, strict=True)
    )
    major, minor = thorax.build.fissures(z, y, x)
    side = coverage(-np.sign(lesion.centre[2]) * x, 2.0)
    major_side = -1.0 if lesion.lobe in LOWER_LOBES else 1.0
    inside = side * coverage(-major_side * major, soft_mm)
    if lesion.lobe == 1:
        inside *= coverage(-minor, soft_mm)
    elif lesion.lobe == 2:
        inside *= coverage(minor, soft_mm)
    return inside


def _draw_patch(
    lesion: Lesion,
    thorax: Thorax,
    lungs: LungFields,
    noise: dict[int, np.ndarray],
    fields: LesionFields,
) -> None:
    """Ragged blob, flattened against the pleura when it hugs it; septal lines; dense core."""
    radius = lesion.radius_mm
    near = _around(lesion, thorax, lungs, 1.7 * radius)
    if not near.away.size:
        return
    coarse, middle, fine = (noise[pitch][near.window] for pitch in (13, 6, 3))
    depth = thorax.wall_depth(lesion.centre)
    beneath = (near.wall - np.float32(depth)) / (radius * (1.0 - 0.62 * lesion.hugging))
    reach = near.away / radius
    reach = reach * (1.0 - 0.45 * lesion.hugging) + 0.45 * lesion.hugging * np.abs(beneath)
    reach += 0.22 * coarse + 0.13 * middle
    inside = smoothstep(reach, 1.05, 0.72)
    if lesion.crosses is False:
        inside *= _same_lobe(lesion, thorax, near, 2.0)
    dense = lesion.density * (1.0 + 0.16 * middle + 0.10 * fine)
    if lesion.paving:
        lines = np.maximum(smoothstep(np.abs(middle), 0.22, 0.05), 0.7 * (np.abs(fine) < 0.2))
        dense = dense + 0.26 * lesion.paving * lines
    if lesion.core:
        heart = smoothstep(reach + 0.35 * middle, lesion.core + 0.15, lesion.core - 0.15)
        dense = dense + heart * (0.95 - dense)
    np.maximum(
        fields.dense[near.window],
        inside * np.clip(dense, 0.05, 1.0),
        out=fields.dense[near.window],
    )


def _draw_lobar(
    lesion: Lesion,
    thorax: Thorax,
    lungs: LungFields,
    noise: dict[int, np.ndarray],
    fields: LesionFields,
) -> None:
    """Dense lung within one lobe, patchy at its free edge, a halo of ground glass."""
    radius = lesion.radius_mm
    near = _around(lesion, thorax, lungs, 1.6 * radius)
    if not near.away.size:
        return
    coarse, middle, fine = (noise[pitch][near.window] for pitch in (13, 6, 3))
    reach = near.away / radius + 0.24 * coarse + 0.10 * middle
    lobe = _same_lobe(lesion, thorax, near, 1.5)
    core = smoothstep(reach, lesion.core + 0.12, lesion.core - 0.08)
    halo = smoothstep(reach, 1.08, lesion.core) * (0.30 + 0.12 * middle)
    dense = np.maximum(core * lesion.density * (1.0 + 0.03 * fine), halo) * lobe
    np.maximum(fields.dense[near.window], np.clip(dense, 0.0, 1.0), out=fields.dense[near.window])


def _draw_nodule(
    lesion: Lesion,
    thorax: Thorax,
    lungs: LungFields,
    noise: dict[int, np.ndarray],
    fields: LesionFields,
) -> None:
    near = _around(lesion, thorax, lungs, lesion.radius_mm + 6.0)
    soft = float(np.cbrt(np.prod(lungs.grid.pitch)))
    inside = coverage(near.away - lesion.radius_mm * (1.0 + 0.1 * noise[6][near.window]), soft)
    _other(fields, near.window, inside, lesion.density)


def _draw_band(
    lesion: Lesion,
    thorax: Thorax,
    lungs: LungFields,
    noise: dict[int, np.ndarray],
    fields: LesionFields,
) -> None:
    """A plate of collapsed lung, nearly level, thickest at the pleura."""
    near = _around(lesion, thorax, lungs, lesion.radius_mm * 1.3)
    soft = float(np.cbrt(np.prod(lungs.grid.pitch)))
    # The plate's own slant comes from its place, so that the plan need not say it.
    slant_y, slant_x = np.sin(lesion.centre[0]), np.sin(lesion.centre[1])
    level = (near.z + slant_y * 0.7 * near.y + slant_x * 0.7 * near.x) / 1.4
    level = level + 1.2 * noise[13][near.window]
    plate = coverage(np.abs(level) - lesion.core, soft)
    plate *= smoothstep(near.away / lesion.radius_mm + 0.2 * noise[13][near.window], 1.0, 0.75)
    _other(fields, near.window, plate, lesion.density)


def _draw_dependent(
    lesion: Lesion,
    thorax: Thorax,
    lungs: LungFields,
    noise: dict[int, np.ndarray],
    fields: LesionFields,
) -> None:
    """Hazy lung along the back wall, both sides, fading to the front."""
    behind = smoothstep(lungs.y, 22.0, 0.8 * thorax.build.half_depth)
    haze = behind * smoothstep(
        lungs.wall + 3.0 * noise[13], lesion.radius_mm, 0.25 * lesion.radius_mm
    )
    _other(fields, (slice(None),) * 3, haze * (1.0 + 0.1 * noise[6]), lesion.density)


def _draw_emphysema(
    lesion: Lesion,
    thorax: Thorax,
    lungs: LungFields,
    noise: dict[int, np.ndarray],
    fields: LesionFields,
) -> None:
    """Centrilobular holes, more of them higher up, and bullae under the pleura."""
    high = smoothstep(lungs.z, -130.0, 70.0)
    holes = smoothstep(noise[6] + 0.9 * high * lesion.density, 1.35, 1.75)
    bullae = smoothstep(noise[13] + high * lesion.density, 1.9, 2.2) * (lungs.wall < 14.0)
    holes = np.maximum(holes, bullae) * (lungs.distance < -1.5)
    np.minimum(fields.air, (-960.0 - thorax.build.base_hu) * holes * 0.95, out=fields.air)
    np.maximum(fields.other, holes, out=fields.other)


def _draw_effusion(
    lesion: Lesion,
    thorax: Thorax,
    lungs: LungFields,
    noise: dict[int, np.ndarray],
    fields: LesionFields,
) -> None:
    """Fluid along the back wall of one side: a crescent, thicker lower down."""
    side = np.sign(lungs.x) == lesion.centre[2]
    thick = lesion.radius_mm * smoothstep(lungs.y, 5.0, 0.85 * thorax.build.half_depth)
    thick = thick * smoothstep(lungs.z, 40.0, -90.0)
    gap = lungs.wall - thick + noise[13]
    fluid = coverage(gap, 1.8) * side * coverage(lungs.distance, 1.5) * (thick > 1.0)
    np.maximum(fields.fluid, fluid, out=fields.fluid)
    np.maximum(fields.other, fluid, out=fields.other)


def _draw_buds(
    lesion: Lesion,
    thorax: Thorax,
    lungs: LungFields,
    noise: dict[int, np.ndarray],
    fields: LesionFields,
) -> None:
    """Tree in bud: many small dense spots around the small airways of one lobe."""
    near = _around(lesion, thorax, lungs, 1.3 * lesion.radius_mm)
    zone = smoothstep(near.away / lesion.radius_mm + 0.2 * noise[13][near.window], 1.0, 0.7)
    zone *= _same_lobe(lesion, thorax, near, 2.0)
    spots = smoothstep(noise[3][near.window] + 0.5 * noise[6][near.window], 1.35, 1.9)
    dense = zone * np.maximum(spots * lesion.density, 0.10 * zone)
    np.maximum(fields.dense[near.window], dense, out=fields.dense[near.window])


def _other(
    fields: LesionFields,
    window: tuple[slice, slice, slice],
    cover: np.ndarray,
    density: float,
) -> None:
    np.maximum(fields.dense[window], cover * density, out=fields.dense[window])
    np.maximum(fields.other[window], cover, out=fields.other[window])


_DRAW = {
    "patch": _draw_patch,
    "lobar": _draw_lobar,
    "nodule": _draw_nodule,
    "band": _draw_band,
    "emphysema": _draw_emphysema,
    "dependent": _draw_dependent,
    "effusion": _draw_effusion,
    "buds": _draw_buds,
}
