"""A thorax and its lesions as HU: body, bones, organs, lungs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from covidctnet.phantom.build import Build
from covidctnet.phantom.fields import Grid, Sampler, SmoothField, coverage, paint, smoothstep
from covidctnet.phantom.lesions import LesionFields
from covidctnet.phantom.thorax import LungFields, Thorax
from covidctnet.phantom.trees import Tubes, draw_tubes

AIR_HU, FAT_HU, MUSCLE_HU, SKIN_HU = -1000.0, -102.0, 52.0, 15.0
LIVER_HU, SPLEEN_HU, WATER_HU = 58.0, 50.0, 8.0
CORTEX_HU, MARROW_HU, CARTILAGE_HU = 620.0, 190.0, 105.0
CONSOLIDATED_HU = 38.0
TABLE_SHELL_HU, TABLE_FOAM_HU = -80.0, -940.0


class Tissue(NamedTuple):
    """HU and lungs on one grid.

    Attributes:
        hu: float32, shape (slice, row, column).
        lungs: Part of each voxel that is lung, lesions and vessels included, float32.
    """

    hu: np.ndarray
    lungs: np.ndarray


def render(
    thorax: Thorax,
    lungs: LungFields,
    lesions: LesionFields,
    sample: Sampler = SmoothField.on,
    *,
    has_couch: bool = True,
) -> Tissue:
    """Paint the patient from the outside in.

    Args:
        thorax: Whom to paint.
        lungs: Of that patient on the target grid.
        lesions: On the same grid.
        sample: How smooth fields are looked up.
        has_couch: Whether the couch of a CT lies under the patient.
    """
    build, grid = thorax.build, lungs.grid
    soft = float(np.cbrt(np.prod(grid.pitch)))
    flesh = sample(SmoothField(build.seed + 1, 9.0), grid)
    hu = _body(build, lungs, flesh, soft)
    _bones(build, lungs, hu)
    _organs(build, lungs, flesh, hu, soft)
    cover = _lungs(thorax, lungs, lesions, flesh, hu, soft, sample)
    if has_couch:
        _table(grid, hu)
    return Tissue(hu, cover)


def _body(build: Build, lungs: LungFields, flesh: np.ndarray, soft: float) -> np.ndarray:
    """Air, skin, fat and the muscles of the chest wall; the cavity is left as muscle."""
    y, x, z = lungs.y, lungs.x, lungs.z
    wide = np.float32(build.half_width + build.muscle)
    deep = np.float32(build.half_depth + build.muscle * 0.95)
    shoulders = 1.0 + 0.17 * np.clip((z - 25.0) / 70.0, 0.0, 1.0)  # arms up: the girdle widens
    across = np.abs(x) / (wide * shoulders)
    back = np.abs(y - 6.0) / (deep * (1.0 - 0.10 * np.clip((z - 40.0) / 70.0, 0.0, 1.0)))
    rho = (across**2.3 + back**2.3) ** np.float32(1 / 2.3)
    reach = np.sqrt(x * x + (y - 6.0) ** 2)
    wall = reach * (1.0 - 1.0 / np.maximum(rho, 1e-3))
    # Fat gathers in front and at the flanks, little over the spine.
    thickness = build.fat * (0.85 - 0.25 * y / deep + 0.35 * across)
    skin = wall - thickness - 1.5 * flesh
    if build.has_breasts:
        for side in (-1.0, 1.0):
            away = np.sqrt(
                ((z + 55.0) / 62.0) ** 2
                + ((y + deep) / (26.0 + build.fat)) ** 2
                + ((x - side * 74.0) / 62.0) ** 2
            )
            skin = np.minimum(skin, (away - 1.0) * 38.0)
    hu = np.full(lungs.distance.shape, AIR_HU, dtype=np.float32)
    paint(hu, coverage(skin, soft), SKIN_HU)
    paint(hu, coverage(skin + 2.0, soft), FAT_HU + 6.0 * flesh)
    # Muscle lies in sheets with fat between them.
    sheets = wall + 3.0 + 5.0 * np.maximum(flesh, -1.0)
    paint(hu, coverage(sheets, soft), MUSCLE_HU)
    seams = smoothstep(np.abs(flesh + 0.25), 0.28, 0.08) * coverage(8.0 - lungs.cavity, 4.0)
    paint(hu, seams * coverage(skin + 3.0, soft), FAT_HU)
    paint(hu, coverage(np.abs(lungs.cavity - 1.5) - 1.5, soft), 0.4 * FAT_HU)
    return hu


def _bones(build: Build, lungs: LungFields, hu: np.ndarray) -> None:
    """Vertebrae, ribs, sternum and shoulder blades."""
    grid = lungs.grid
    ribs, cartilage = _ribs(build)
    cortex = np.zeros(hu.shape, dtype=np.float32)
    draw_tubes(build.tubes_to_table(cartilage), grid, cortex)
    paint(hu, cortex, CARTILAGE_HU)
    cortex[...] = 0.0
    ribs = build.tubes_to_table(ribs)
    draw_tubes(ribs, grid, cortex)
    spine = _spine_tubes(build)
    draw_tubes(build.tubes_to_table(spine), grid, cortex)
    paint(hu, cortex, CORTEX_HU)
    marrow = np.zeros(hu.shape, dtype=np.float32)
    draw_tubes(ribs.widened(-1.9), grid, marrow)
    draw_tubes(build.tubes_to_table(spine).widened(-2.0), grid, marrow)
    paint(hu, marrow, MARROW_HU)
    centre = np.array([0.0, build.half_depth * 0.8, 0.0]) + np.array(build.shift)
    window = grid.window(centre, np.array([500.0, 60.0, 60.0]))
    z, y, x = (_cut(axis, window) for axis in (lungs.z, lungs.y, lungs.x))
    part = hu[window]
    spine_y = build.spine_y(z)
    body = np.sqrt(((y - spine_y) / 16.0) ** 2 + (x / 19.5) ** 2) - 1.0
    between = np.abs((z % 24.0) - 12.0)  # a disc of 5 mm every 24 mm
    body = (body + 0.08 * smoothstep(between, 7.0, 11.0)) * 17.0
    is_bone = smoothstep(between, 10.6, 9.0)
    paint(part, coverage(body, 1.6), 70.0 + is_bone * (CORTEX_HU - 120.0))
    paint(part, coverage(body + 2.2, 1.8), 80.0 + is_bone * (MARROW_HU - 60.0))
    canal = np.sqrt((y - spine_y - 24.0) ** 2 + x**2) - 8.0
    paint(part, coverage(np.abs(canal) - 2.0, 1.6), 0.6 * CORTEX_HU)
    paint(part, coverage(canal, 1.6), 28.0)
    _sternum(build, lungs, hu)


def _sternum(build: Build, lungs: LungFields, hu: np.ndarray) -> None:
    y = -build.half_depth - 6.0
    centre = build.to_table(np.array([[-45.0, y, 0.0]]))[0]
    window = lungs.grid.window(centre, np.array([85.0, 30.0, 32.0]))
    z, row, x = (_cut(axis, window) for axis in (lungs.z, lungs.y, lungs.x))
    front = y + 10.0 * np.clip((z - 0.0) / 80.0, 0.0, 1.0)
    plate = np.sqrt(((row - front) / 6.5) ** 2 + (x / (17.0 + 0.06 * z)) ** 2) - 1.0
    plate = np.maximum(plate * 6.5, np.abs(z + 42.0) - 78.0)
    paint(hu[window], coverage(plate, 1.6), 0.75 * CORTEX_HU)
    paint(hu[window], coverage(plate + 2.0, 1.6), MARROW_HU - 40.0)


def _ribs(build: Build) -> tuple[Tubes, Tubes]:
    """Bony ribs and their cartilage: arcs outside the cavity that fall towards the front."""
    bone, cartilage = [], []
    turn = np.linspace(0.0, 1.0, 30)
    for number in range(11):
        high = max(build.apex) - 6.0 - 24.0 * number
        fall = 52.0 if number else 26.0
        for side in (-1.0, 1.0):
            angle = np.pi * (0.42 - 0.84 * turn)  # from the spine round the flank to the front
            z = high - fall * turn**1.15
            narrow = 1.0 - 0.16 * np.clip((z + 50.0) / 150.0, 0.0, 1.0) ** 2
            shrink = narrow * (0.62 if number == 0 else 0.84 if number == 1 else 1.0)
            centre = 2.0 - 4.0 * np.clip((z + 20.0) / 120.0, -1.0, 1.0)
            power = (np.abs(np.cos(angle)) ** 2.4 + np.abs(np.sin(angle)) ** 2.4) ** (-1 / 2.4)
            across = (build.half_width * shrink + 6.5) * power * np.cos(angle)
            back = centre + (build.half_depth * shrink + 6.5) * power * np.sin(angle)
            points = np.column_stack([z, back, side * across])
            radii = np.linspace(5.6, 5.0, len(turn))
            ends = 24 if number < 8 else 18
            bone.append(Tubes.along(points[: ends + 1], radii[: ends + 1]))
            if number < 8:
                cartilage.append(Tubes.along(points[ends:], 5.5))
    return Tubes.joined(*bone), Tubes.joined(*cartilage)


def _spine_tubes(build: Build) -> Tubes:
    """Transverse and spinous processes, laminae and shoulder blades."""
    pieces = []
    for z in np.arange(-240.0, 130.0, 24.0):
        y = float(build.spine_y(np.array(z)))
        for side in (-1.0, 1.0):
            pieces.append(
                Tubes.along(np.array([(z, y + 16, side * 12), (z, y + 30, side * 34)]), 5)
            )
            pieces.append(Tubes.along(np.array([(z, y + 30, side * 12), (z, y + 38, 0)]), 3.4))
        pieces.append(Tubes.along(np.array([(z, y + 36, 0), (z - 16, y + 58, 0)]), 4.0))
    blade = build.half_depth * 0.86 + 10.0
    for side in (-1.0, 1.0):
        for z in np.arange(-40.0, 100.0, 5.0):
            inner = build.half_width * (0.52 + 0.0010 * (z + 40.0))
            outer = build.half_width * (0.66 + 0.0034 * (z + 40.0))
            front = blade - 0.55 * (outer - inner) - 10.0
            ends = np.array([(z, blade, side * inner), (z, front, side * outer)])
            pieces.append(Tubes.along(ends, np.array([2.8, 4.2])))
    return Tubes.joined(*pieces)


def _organs(
    build: Build, lungs: LungFields, flesh: np.ndarray, hu: np.ndarray, soft: float
) -> None:
    """What lies below the diaphragm and between the lungs."""
    y, x, z = lungs.y, lungs.x, lungs.z
    inside = coverage(lungs.cavity, soft)
    below = inside * coverage(lungs.diaphragm, soft)
    paint(hu, below, MUSCLE_HU)
    belly = inside * coverage(lungs.diaphragm + 3.5, soft)
    paint(hu, belly, FAT_HU + 8.0 * flesh)
    liver = x - 22.0 + 0.25 * (y + 30.0) + 4.0 * flesh
    paint(hu, belly * coverage(liver, soft), LIVER_HU + 3.0 * flesh)
    spleen = np.sqrt(
        ((x - 0.72 * build.half_width) / 34.0) ** 2
        + ((y - 0.36 * build.half_depth) / 52.0) ** 2
        + ((z - build.dome[1] + 48.0) / 44.0) ** 2
    )
    paint(hu, belly * coverage((spleen - 1.0) * 40.0, soft), SPLEEN_HU)
    stomach = np.sqrt(
        ((x - 0.5 * build.half_width) / 38.0) ** 2
        + ((y + 22.0) / 40.0) ** 2
        + ((z - build.dome[1] + 40.0) / 42.0) ** 2
    )
    paint(hu, belly * coverage((stomach - 1.0) * 38.0, soft), 30.0)
    bubble = np.maximum((stomach - 0.9) * 38.0, y + 22.0)  # gas floats to the front
    paint(hu, belly * coverage(bubble, soft), -960.0)

    between = inside * coverage(lungs.mediastinum, soft) * coverage(-lungs.diaphragm, soft)
    paint(hu, between * coverage(y - build.spine_y(z) + 12.0, 4.0), FAT_HU + 14.0 + 10.0 * flesh)
    heart = build.heart
    along = np.cos(0.42) * (x - 22.0) - np.sin(0.42) * (y + 24.0)
    across = np.sin(0.42) * (x - 22.0) + np.cos(0.42) * (y + 24.0)
    pump = np.sqrt(
        ((z + 62.0) / (54 * heart)) ** 2
        + (across / (44 * heart)) ** 2
        + (along / (64 * heart)) ** 2
    )
    pump = (pump - 0.93) * 52.0 - flesh
    paint(hu, between * coverage(pump, soft), 0.5 * (MUSCLE_HU + min(build.blood_hu, 90.0)))
    chambers = smoothstep(pump + 2.5 * flesh, -9.0, -12.0)
    paint(hu, between * chambers, 0.9 * build.blood_hu + 4.0)
    vessels = np.zeros(hu.shape, dtype=np.float32)
    draw_tubes(build.tubes_to_table(build.aorta()), lungs.grid, vessels)
    draw_tubes(build.tubes_to_table(build.great_vessels()), lungs.grid, vessels)
    gullet = Tubes.along(np.array([(125, 18, 4), (0, 32, 6), (-120, 34, 8)]), 6.0)
    draw_tubes(build.tubes_to_table(gullet), lungs.grid, vessels)
    paint(hu, vessels * (lungs.diaphragm > -40.0), build.blood_hu)


def _lungs(
    thorax: Thorax,
    lungs: LungFields,
    lesions: LesionFields,
    flesh: np.ndarray,
    hu: np.ndarray,
    soft: float,
    sample: Sampler,
) -> np.ndarray:
    """Parenchyma, fissures, lesions, vessels and airways; returns the lungs' coverage."""
    build, grid = thorax.build, lungs.grid
    cover = coverage(lungs.distance, soft)
    y = lungs.y
    tissue = build.base_hu + build.gravity_hu * (y / (2.0 * build.half_depth))
    tissue = tissue + 9.0 * sample(SmoothField(build.seed + 2, 14.0), grid)
    tissue += 13.0 * sample(SmoothField(build.seed + 3, 3.2), grid)
    tissue += lesions.air
    major, minor = build.fissures(lungs.z, y, lungs.x)
    line = np.maximum(1.0 - np.abs(major + 3.0 * flesh * 0.5) / 1.5, 0.0)
    np.maximum(
        line,
        np.maximum(1.0 - np.abs(minor) / 1.2, 0.0) * ((lungs.x < 0) & (major > 0)) * 0.8,
        out=line,
    )
    paint(tissue, line * np.float32(0.20), MUSCLE_HU)
    paint(tissue, lesions.dense, CONSOLIDATED_HU)
    tubes = np.zeros(hu.shape, dtype=np.float32)
    draw_tubes(build.tubes_to_table(thorax.vessels), grid, tubes)
    vessel_hu = max(build.blood_hu, 40.0)
    paint(tissue, tubes * (lungs.distance < -0.5), vessel_hu)
    airways = build.tubes_to_table(thorax.airways)
    tubes[...] = 0.0
    draw_tubes(airways.widened(1.1), grid, tubes)
    paint(tissue, tubes * np.float32(0.75), 0.0)
    paint(hu, cover, tissue)
    # The trunk of the airways runs outside the lungs and has a wall there too.
    trunk = airways.part(airways.start_radius > 3.4)
    walls = np.zeros(hu.shape, dtype=np.float32)
    draw_tubes(trunk.widened(1.6), grid, walls)
    paint(hu, walls * (1.0 - cover), 30.0)
    walls[...] = 0.0
    draw_tubes(airways, grid, walls)
    paint(hu, walls * (1.0 - lesions.plugged), -965.0)
    paint(hu, lesions.fluid, WATER_HU)
    walls[...] = 0.0
    draw_tubes(trunk, grid, walls)
    return cover * (1.0 - lesions.fluid) * (1.0 - walls)


def _table(grid: Grid, hu: np.ndarray) -> None:
    """A curved couch under the patient, where the body leaves room."""
    _, y, x = grid.open()
    sag = 128.0 - 0.0011 * x**2
    thick = y - sag
    shell = np.where((np.abs(x) < 205.0) & (thick > 0) & (thick < 28.0), 1.0, 0.0)
    rim = ((thick < 2.5) | (thick > 25.5)).astype(np.float32)
    couch = TABLE_FOAM_HU + rim * (TABLE_SHELL_HU - TABLE_FOAM_HU)
    empty = np.clip((-700.0 - hu) / 200.0, 0.0, 1.0)
    paint(hu, empty * shell.astype(np.float32), couch)


def _cut(axis: np.ndarray, window: tuple[slice, slice, slice]) -> np.ndarray:
    """The part of a broadcastable coordinate that lies in `window`."""
    full = tuple(
        part if size > 1 else slice(None) for part, size in zip(window, axis.shape, strict=True)
    )
    return axis[full]
