"""One patient's thorax: where the lungs are, their lobes, vessels and airways.

In the patient frame of `covidctnet.phantom.build`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from covidctnet.phantom.build import Build
from covidctnet.phantom.fields import Grid, Sampler, SmoothField
from covidctnet.phantom.trees import Tubes, grow_tree

RIGHT, LEFT = -1, 1
# Lobes by number in `LungFields.lobe`; 0 lies outside the lungs.
LOBES = {1: "right upper", 2: "right middle", 3: "right lower", 4: "left upper", 5: "left lower"}
LOWER_LOBES = (3, 5)
PLAN_PITCH_MM = 4.0


class LungFields(NamedTuple):
    """Lungs on one grid; every array has the grid's shape, distances in mm.

    Attributes:
        grid: In the table's frame.
        z: Patient coordinate, up (broadcasts).
        y: Patient coordinate, back.
        x: Patient coordinate, left.
        distance: To the lungs' surface, negative inside, about right within a centimetre.
        wall: Depth below the chest wall (not the mediastinum), positive in the cavity.
        cavity: Distance to the cavity inside the ribs, negative inside, lungs or abdomen.
        diaphragm: Height above the diaphragm.
        mediastinum: Distance to the mediastinum, negative inside.
    """

    grid: Grid
    z: np.ndarray
    y: np.ndarray
    x: np.ndarray
    distance: np.ndarray
    wall: np.ndarray
    cavity: np.ndarray
    diaphragm: np.ndarray
    mediastinum: np.ndarray


def lung_fields(build: Build, grid: Grid, sample: Sampler = SmoothField.on) -> LungFields:
    """Where the lungs and their neighbours are, on any grid of the table's frame."""
    z, y, x = build.to_patient(grid)
    rough = sample(SmoothField(build.seed, 32.0), grid)
    left = x > 0
    cavity = _cavity(build, z, y, x)
    cavity += 1.8 * rough
    apex = np.where(left, np.float32(build.apex[1]), np.float32(build.apex[0]))
    from_centre = np.abs(x) - 0.36 * build.half_width
    bowl = (from_centre / 42.0) ** 2 + ((y - 12.0) / 46.0) ** 2
    top = z - apex + 62.0 * bowl
    top /= np.sqrt(1.0 + (2 * 62.0 / 44.0) ** 2 * bowl)
    dome = np.where(left, np.float32(build.dome[1]), np.float32(build.dome[0]))
    slope = ((np.abs(x) - 0.44 * build.half_width) / (0.66 * build.half_width)) ** 2
    slope += ((y + 8.0) / (1.04 * build.half_depth)) ** 2
    diaphragm = z - dome + 66.0 * slope - 2.5 * rough
    diaphragm /= np.sqrt(1.0 + 2.6 * slope)
    mediastinum = _mediastinum(build, z, y, x)
    mediastinum -= 1.5 * rough
    wall = np.maximum(cavity, top)
    distance = np.maximum(np.maximum(wall, -diaphragm), -mediastinum)
    return LungFields(grid, z, y, x, distance, -wall, cavity, diaphragm, mediastinum)


def _cavity(build: Build, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Distance to the inside of the ribs: a superellipse, narrower at the top."""
    narrow = 1.0 - 0.16 * np.clip((z + 50.0) / 150.0, 0.0, 1.0) ** 2
    centre = 2.0 - 4.0 * np.clip((z + 20.0) / 120.0, -1.0, 1.0)
    across = np.abs(x) / (build.half_width * narrow)
    back = np.abs(y - centre) / (build.half_depth * narrow)
    power = across**2.4 + back**2.4
    rho = power ** np.float32(1 / 2.4)
    reach = np.sqrt(x * x + (y - centre) ** 2)
    return (reach * (1.0 - 1.0 / np.maximum(rho, 1e-3))).astype(np.float32)


def _mediastinum(build: Build, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Distance to what lies between the lungs: union of heart, vessels' column and spine."""
    spine = build.spine_y(z)
    heart = build.heart
    parts = [
        _ellipsoid(z + 62.0, y + 24.0, x - 22.0, (54 * heart, 44 * heart, 64 * heart), 0.42),
        _ellipsoid(z + 30.0, y - 4.0, x + 1.0, (40.0, 32.0, 40.0), 0.0),
        _column(y + 8.0, x - 2.0, 44.0, 27.0),
        _column(y + 0.86 * build.half_depth, x, 20.0 + 0.25 * build.half_depth, 11.0),
        _column(y - spine - 6.0, x, 30.0, 23.0),
        _column(y - 0.5 * spine - 8.0, x - 8.0, 34.0, 19.0),
    ]
    union = parts[0]
    for part in parts[1:]:
        gap = np.clip(0.5 + (part - union) / 24.0, 0.0, 1.0)  # rounded union, 6 mm deep
        union = part + (union - part) * gap - 12.0 * gap * (1.0 - gap)
    return union.astype(np.float32)


def _ellipsoid(
    z: np.ndarray, y: np.ndarray, x: np.ndarray, radii: tuple[float, float, float], turn: float
) -> np.ndarray:
    """Rough distance to an ellipsoid turned by `turn` radians, left end to the front."""
    along = np.cos(turn) * x - np.sin(turn) * y
    across = np.sin(turn) * x + np.cos(turn) * y
    rho = np.sqrt((z / radii[0]) ** 2 + (across / radii[1]) ** 2 + (along / radii[2]) ** 2)
    return (rho - 1.0) * np.float32(np.mean(radii))


def _column(y: np.ndarray, x: np.ndarray, half_depth: float, half_width: float) -> np.ndarray:
    """Rough distance to an upright elliptic column."""
    rho = np.sqrt((y / half_depth) ** 2 + (x / half_width) ** 2)
    return (rho - 1.0) * np.float32(min(half_depth, half_width))


@dataclass(frozen=True, eq=False)
class Thorax:
    """A patient before any disease.

    Attributes:
        build: Sizes and position.
        vessels: Pulmonary arteries and veins, patient frame.
        airways: Trachea, bronchi and their branches, patient frame.
        points: Points of the lungs 4 mm apart, shape (point, 3), patient frame.
        lobes: Lobe of each point.
        wall_mm: Depth of each point below the chest wall.
        floor_mm: Height of each point above the diaphragm.
        surface_mm: Depth of each point below the lungs' surface, whichever side is nearest.
    """

    build: Build
    vessels: Tubes
    airways: Tubes
    points: np.ndarray
    lobes: np.ndarray
    wall_mm: np.ndarray
    floor_mm: np.ndarray
    surface_mm: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Thorax:
        """A random patient with lungs grown full of vessels and airways."""
        build = Build.draw(rng)
        low, high = build.height_range
        shift = build.shift[0]
        grid = Grid.over((low + shift, -150, -190), (high + shift, 150, 190), PLAN_PITCH_MM)
        lungs = lung_fields(build, grid)
        inside = lungs.distance < -1.0
        z = np.broadcast_to(lungs.z, inside.shape)
        points = np.column_stack([z[inside], lungs.y[inside], lungs.x[inside]]).astype(float)
        lobes = build.lobe(*points.T)
        depth = -lungs.distance[inside]
        vessels, airways = [], [_central_airways()]
        for side in (RIGHT, LEFT):
            deep = points[(np.sign(points[:, 2]) == side) & (depth > 3.0)]
            for roots, count, tip in ((_ARTERY_ROOT, 430, 0.42), (_VEIN_ROOT, 330, 0.40)):
                targets = _spread(deep, count, rng)
                tree = grow_tree(
                    targets, roots[side], rng=rng, tip_radius_mm=tip, exponent=2.55, balance=0.45
                )
                vessels.append(tree)
            for lobe, carina in _LOBAR_BRONCHI[side].items():
                own = points[(lobes == lobe) & (depth > 6.0)]
                if len(own) < 20:
                    continue
                targets = _spread(own, max(8, len(own) // 180), rng)
                airways.append(
                    grow_tree(
                        targets, carina, rng=rng, tip_radius_mm=0.75, exponent=3.0, balance=0.5
                    )
                )
        return cls(
            build=build,
            vessels=Tubes.joined(*vessels),
            airways=Tubes.joined(*airways),
            points=points,
            lobes=lobes,
            wall_mm=lungs.wall[inside],
            floor_mm=lungs.diaphragm[inside],
            surface_mm=depth,
        )

    def wall_depth(self, point: tuple[float, float, float]) -> float:
        """Depth below the chest wall at the lung point nearest to `point`, patient frame."""
        away = sum((self.points[:, axis] - at) ** 2 for axis, at in enumerate(point))
        return float(self.wall_mm[np.argmin(away)])


_ARTERY_ROOT = {RIGHT: np.array([-14.0, 6.0, -36.0]), LEFT: np.array([0.0, 10.0, 38.0])}
_VEIN_ROOT = {RIGHT: np.array([-38.0, 8.0, -34.0]), LEFT: np.array([-34.0, 10.0, 34.0])}
_LOBAR_BRONCHI = {
    RIGHT: {
        1: np.array([-14.0, 17.0, -36.0]),
        2: np.array([-42.0, 8.0, -34.0]),
        3: np.array([-46.0, 18.0, -34.0]),
    },
    LEFT: {4: np.array([-22.0, 12.0, 42.0]), 5: np.array([-34.0, 22.0, 40.0])},
}


def _central_airways() -> Tubes:
    """Trachea, main and lobar bronchi."""
    carina = (0.0, 14.0, 1.0)
    return Tubes.joined(
        Tubes.along(np.array([(125, 0, 0), (60, 6, 1), carina]), np.array([8.0, 8.5, 8.5])),
        Tubes.along(np.array([carina, (-14, 17, -20), (-22, 16, -27)]), np.array([7.5, 6.5, 6.0])),
        Tubes.along(np.array([(-14, 17, -20), (-14, 17, -36)]), 4.5),
        Tubes.along(np.array([(-22, 16, -27), (-46, 18, -34)]), np.array([5.5, 4.5])),
        Tubes.along(np.array([(-36, 15, -31), (-42, 8, -34)]), 3.5),
        Tubes.along(np.array([carina, (-18, 18, 24), (-26, 19, 36)]), np.array([7.0, 5.5, 5.0])),
        Tubes.along(np.array([(-24, 18, 33), (-22, 12, 42)]), 4.0),
        Tubes.along(np.array([(-26, 19, 36), (-34, 22, 40)]), 4.5),
    )


def _spread(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of `points` at random, shaken within their cells."""
    chosen = points[rng.integers(len(points), size=count)]
    return chosen + rng.uniform(-PLAN_PITCH_MM / 2, PLAN_PITCH_MM / 2, chosen.shape)
