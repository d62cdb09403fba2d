"""What is wrong in a lung: a plan of findings drawn for a label, and the fields it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from covidctnet.phantom.fields import SmoothField, coverage, smoothstep
from covidctnet.phantom.thorax import LEFT, LOBES, LOWER_LOBES, RIGHT, LungFields, Thorax
from covidctnet.results import Label

Kind = Literal["patch", "lobar", "nodule", "band", "emphysema", "dependent", "effusion", "buds"]
# Codes of the lesion mask.
NO_LESION, GROUND_GLASS, CONSOLIDATION, OTHER_LESION = 0, 1, 2, 3
GROUND_GLASS_FROM, CONSOLIDATION_FROM = 0.07, 0.72


@dataclass(frozen=True)
class Lesion:
    """One finding.

    Attributes:
        kind: What it is.
        centre: Patient frame, (slice, row, column) in mm.
        radius_mm: Its reach from the centre.
        lobe: Lobe it started in, a key of `thorax.LOBES`.
        density: Part of the air it replaces, 0 to 1.
        core: Part of a patch that is consolidated, 0 to 1.
        paving: Strength of septal lines within a patch (crazy paving), 0 to 1.
        hugging: How much a patch keeps to the pleura, 0 (round) to 1 (a shell).
        crosses: Whether it crosses fissures.
    """

    kind: Kind
    centre: tuple[float, float, float]
    radius_mm: float
    lobe: int
    density: float
    core: float = 0.0
    paving: float = 0.0
    hugging: float = 0.0
    crosses: bool = False


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


def plan_lesions(
    label: Label, thorax: Thorax, rng: np.random.Generator
) -> tuple[tuple[Lesion, ...], str]:
    """Findings of a random patient with `label`, and the pattern's name.

    The classes overlap on purpose: some Covid-19 is one-sided or consolidated, some CAP is ground
    glass on both sides, and some controls lie on dense, dependent lung.
    """
    draw = {Label.CONTROL: _control, Label.COVID19: _covid19, Label.CAP: _cap}[label]
    lesions, pattern = draw(thorax, rng)
    if label is not Label.CONTROL and rng.random() < 0.35:  # the sick have scars as well
        lesions += _incidental(thorax, rng)
    return tuple(lesions), pattern


def _control(thorax: Thorax, rng: np.random.Generator) -> tuple[list[Lesion], str]:
    pattern = str(
        rng.choice(
            ["healthy", "nodules", "emphysema", "bands", "dependent", "scar"],
            p=[0.34, 0.16, 0.14, 0.12, 0.15, 0.09],
        )
    )
    lesions: list[Lesion] = []
    if pattern == "nodules":
        lesions += [_nodule(thorax, rng) for _ in range(rng.integers(1, 7))]
    elif pattern == "emphysema":
        lesions.append(_emphysema(thorax, rng))
    elif pattern == "bands":
        lesions += [_band(thorax, rng) for _ in range(rng.integers(1, 4))]
    elif pattern == "dependent":
        lesions.append(_dependent(thorax, rng, rng.uniform(0.10, 0.42)))
    elif pattern == "scar":  # a little old scarring: dense, small, ragged
        for _ in range(rng.integers(1, 3)):
            where = _pick(thorax, rng, thorax.wall_mm < 16.0)
            lesions.append(
                _patch(thorax, where, rng.uniform(6, 13), rng.uniform(0.25, 0.7), rng, core=0.2)
            )
    if pattern != "healthy" and rng.random() < 0.3:
        lesions += _incidental(thorax, rng)
    return lesions, pattern


def _covid19(thorax: Thorax, rng: np.random.Generator) -> tuple[list[Lesion], str]:
    pattern = str(
        rng.choice(
            ["early", "typical", "advanced", "one-sided", "consolidating"],
            p=[0.17, 0.46, 0.15, 0.10, 0.12],
        )
    )
    count, low, high, density = {
        "early": (rng.integers(1, 4), 9.0, 19.0, (0.16, 0.38)),
        "typical": (rng.integers(4, 13), 11.0, 32.0, (0.22, 0.52)),
        "advanced": (rng.integers(12, 24), 18.0, 46.0, (0.28, 0.62)),
        "one-sided": (rng.integers(2, 6), 12.0, 30.0, (0.20, 0.50)),
        "consolidating": (rng.integers(4, 12), 12.0, 32.0, (0.40, 0.75)),
    }[pattern]
    allowed = np.ones(len(thorax.lobes), dtype=bool)
    if pattern == "one-sided":
        allowed = np.sign(thorax.points[:, 2]) == rng.choice([RIGHT, LEFT])
    edge = np.exp(-np.maximum(thorax.wall_mm - 4.0, 0.0) / rng.uniform(6.0, 14.0))
    low_lobe = np.where(np.isin(thorax.lobes, LOWER_LOBES), rng.uniform(1.5, 4.0), 1.0)
    behind = np.exp(thorax.points[:, 1] / 60.0)
    paving = rng.uniform(0.4, 1.0) if rng.random() < 0.4 else 0.0
    core = rng.uniform(0.3, 0.7) if pattern == "consolidating" else rng.choice([0.0, 0.12, 0.3])
    lesions = []
    for _ in range(int(count)):
        where = _pick(thorax, rng, allowed, edge * low_lobe * behind)
        lesions.append(
            _patch(
                thorax,
                where,
                rng.uniform(low, high),
                rng.uniform(*density),
                rng,
                core=float(core) * rng.uniform(0.5, 1.3),
                paving=paving * rng.uniform(0.6, 1.0),
                hugging=rng.uniform(0.3, 1.0),
                crosses=True,
            )
        )
    return lesions, pattern


def _cap(thorax: Thorax, rng: np.random.Generator) -> tuple[list[Lesion], str]:
    pattern = str(
        rng.choice(
            ["lobar", "segmental", "small", "bronchopneumonia", "ground-glass"],
            p=[0.30, 0.30, 0.14, 0.17, 0.09],
        )
    )
    weight = np.choose(thorax.lobes, [0.0, 0.8, 1.2, 1.6, 0.7, 1.4])
    first = _pick(thorax, rng, thorax.surface_mm > 5.0, weight)
    lobe = int(thorax.lobes[first])
    lesions: list[Lesion] = []
    if pattern in ("lobar", "segmental", "small"):
        low, high = {"lobar": (48, 85), "segmental": (26, 48), "small": (12, 24)}[pattern]
        radius = rng.uniform(low, high)
        lesions.append(_lobar(thorax, first, radius, rng))
        if rng.random() < 0.25:  # a second focus, any lobe
            other = _pick(thorax, rng, thorax.surface_mm > 5.0, weight)
            lesions.append(_lobar(thorax, other, rng.uniform(0.3, 0.7) * radius, rng))
        if rng.random() < 0.45:
            lesions.append(_buds(thorax, lobe, rng))
        if rng.random() < 0.3:  # spill-over ground glass in the same lung
            same = np.sign(thorax.points[:, 2]) == np.sign(thorax.points[first, 2])
            where = _pick(thorax, rng, same)
            lesions.append(_patch(thorax, where, rng.uniform(10, 25), rng.uniform(0.15, 0.4), rng))
    elif pattern == "bronchopneumonia":
        for _ in range(rng.integers(3, 9)):
            where = _pick(thorax, rng, thorax.surface_mm > 4.0, weight)
            lesions.append(
                _patch(
                    thorax,
                    where,
                    rng.uniform(9, 26),
                    rng.uniform(0.35, 0.8),
                    rng,
                    core=rng.uniform(0.2, 0.7),
                )
            )
        lesions.append(_buds(thorax, lobe, rng))
        if rng.random() < 0.5:
            lesions.append(_buds(thorax, int(rng.integers(1, 6)), rng))
    else:  # atypical: ground glass, central as often as not
        for _ in range(rng.integers(2, 8)):
            where = _pick(thorax, rng, np.ones(len(thorax.lobes), dtype=bool), weight)
            lesions.append(
                _patch(
                    thorax,
                    where,
                    rng.uniform(14, 38),
                    rng.uniform(0.2, 0.5),
                    rng,
                    hugging=rng.uniform(0.0, 0.3),
                    crosses=rng.random() < 0.3,
                )
            )
    if pattern != "small" and rng.random() < 0.32:
        lesions.append(_effusion(thorax, lobe, rng))
    return lesions, pattern


def _incidental(thorax: Thorax, rng: np.random.Generator) -> list[Lesion]:
    """A finding that says nothing of the class."""
    kind = rng.choice(["nodule", "band", "dependent", "emphysema"], p=[0.3, 0.25, 0.3, 0.15])
    if kind == "nodule":
        return [_nodule(thorax, rng)]
    if kind == "band":
        return [_band(thorax, rng)]
    if kind == "dependent":
        return [_dependent(thorax, rng, rng.uniform(0.08, 0.3))]
    return [_emphysema(thorax, rng)]


def _pick(
    thorax: Thorax,
    rng: np.random.Generator,
    allowed: np.ndarray,
    weight: np.ndarray | float = 1.0,
) -> int:
    """Index of a random point of the lungs, of those allowed (of all, where none is)."""
    chance = allowed * np.broadcast_to(weight, allowed.shape).astype(float)
    if chance.sum() <= 0:
        chance = np.ones(len(allowed))
    return int(rng.choice(len(chance), p=chance / chance.sum()))


def _centre(thorax: Thorax, where: int) -> tuple[float, float, float]:
    z, y, x = thorax.points[where]
    return float(z), float(y), float(x)


def _patch(
    thorax: Thorax,
    where: int,
    radius_mm: float,
    density: float,
    rng: np.random.Generator,
    *,
    core: float = 0.0,
    paving: float = 0.0,
    hugging: float = 0.0,
    crosses: bool = False,
) -> Lesion:
    return Lesion(
        "patch",
        _centre(thorax, where),
        float(radius_mm),
        int(thorax.lobes[where]),
        float(density * rng.uniform(0.9, 1.1)),
        core=float(core),
        paving=float(paving),
        hugging=float(hugging),
        crosses=bool(crosses),
    )


def _lobar(thorax: Thorax, where: int, radius_mm: float, rng: np.random.Generator) -> Lesion:
    return Lesion(
        "lobar",
        _centre(thorax, where),
        float(radius_mm),
        int(thorax.lobes[where]),
        float(rng.uniform(0.84, 1.0)),
        core=float(rng.uniform(0.45, 0.95)),
    )


def _nodule(thorax: Thorax, rng: np.random.Generator) -> Lesion:
    where = _pick(thorax, rng, thorax.surface_mm > 5.0)
    radius = float(np.clip(rng.lognormal(np.log(3.0), 0.45), 1.6, 11.0))
    density = 0.45 if rng.random() < 0.15 else rng.uniform(0.85, 1.05)
    return Lesion(
        "nodule", _centre(thorax, where), radius, int(thorax.lobes[where]), float(min(density, 1))
    )


def _band(thorax: Thorax, rng: np.random.Generator) -> Lesion:
    low = (thorax.floor_mm < 55.0) & (thorax.wall_mm < 30.0)
    where = _pick(thorax, rng, low)
    return Lesion(
        "band",
        _centre(thorax, where),
        float(rng.uniform(18.0, 42.0)),
        int(thorax.lobes[where]),
        float(rng.uniform(0.45, 0.9)),
        core=float(rng.uniform(0.8, 2.0)),  # half the thickness in mm
    )


def _emphysema(thorax: Thorax, rng: np.random.Generator) -> Lesion:
    top = float(thorax.points[:, 0].max())
    return Lesion("emphysema", (top, 0.0, 0.0), 400.0, 1, float(rng.uniform(0.3, 1.0)))


def _dependent(thorax: Thorax, rng: np.random.Generator, density: float) -> Lesion:
    depth = float(rng.uniform(7.0, 20.0))
    return Lesion("dependent", (-60.0, 80.0, 0.0), depth, 3, float(density))


def _effusion(thorax: Thorax, lobe: int, rng: np.random.Generator) -> Lesion:
    side = float(LEFT if LOBES[lobe].startswith("left") else RIGHT)
    return Lesion("effusion", (0.0, 0.0, side), float(rng.uniform(6.0, 32.0)), lobe, 1.0)


def _buds(thorax: Thorax, lobe: int, rng: np.random.Generator) -> Lesion:
    where = _pick(thorax, rng, thorax.lobes == lobe)
    return Lesion(
        "buds",
        _centre(thorax, where),
        float(rng.uniform(22.0, 50.0)),
        lobe,
        float(rng.uniform(0.4, 0.9)),
    )


def lesion_fields(lesions: tuple[Lesion, ...], thorax: Thorax, lungs: LungFields) -> LesionFields:
    """Draw a plan on a grid."""
    shape = lungs.distance.shape
    fields = LesionFields(*(np.zeros(shape, dtype=np.float32) for _ in range(5)))
    if not lesions:
        return fields
    seed = thorax.build.seed + 100
    noise = {pitch: SmoothField(seed + pitch, float(pitch)).on(lungs.grid) for pitch in (3, 6, 13)}
    for lesion in lesions:
        _DRAW[lesion.kind](lesion, thorax, lungs, noise, fields)
    fields.dense[...] *= lungs.distance < 0.0
    fields.dense[...] *= 1.0 - fields.fluid
    fields.other[...] *= (lungs.distance < 0.0) | (fields.fluid > 0)
    return fields


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
    y = lungs.y[window] if lungs.y.shape[0] > 1 else lungs.y[:, window[1], window[2]]
    x = lungs.x[window] if lungs.x.shape[0] > 1 else lungs.x[:, window[1], window[2]]
    y, x = y - np.float32(lesion.centre[1]), x - np.float32(lesion.centre[2])
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
    coarse, middle, fine = (noise[pitch][near.window] for pitch in (13, 6, 3))
    depth = float(
        thorax.wall_mm[np.argmin(((thorax.points - np.array(lesion.centre)) ** 2).sum(axis=1))]
    )
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
