"""The build of one patient: sizes, posture, and what lies where because of them.

The patient frame is in mm, (slice, row, column) = (z, y, x): z up from the carina, y to the back,
x to the patient's left. Numbers are rough adult anatomy, drawn again for every patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidctnet.phantom.fields import Grid
from covidctnet.phantom.trees import Tubes


@dataclass(frozen=True)
class Build:
    """What makes one patient's chest unlike another's; lengths in mm.

    Attributes:
        seed: Of the smooth fields that make every surface irregular.
        half_width: Of the thoracic cavity at its widest, inside the ribs.
        half_depth: Of the cavity, front to back.
        apex: Height of the lungs' apices above the carina, right and left.
        dome: Height of the diaphragm's domes, right and left (negative: below the carina).
        fat: Thickness of the fat under the skin.
        muscle: Thickness of the chest wall inside the fat.
        has_breasts: Whether breasts are drawn.
        heart: Scale of the heart.
        base_hu: Density of the parenchyma half-way from front to back.
        gravity_hu: Rise of that density from the front to the back.
        blood_hu: Of heart and vessels; above 100 with contrast agent.
        turn: In-plane rotation, radians.
        tilt: Millimetres back per millimetre up.
        lean: Millimetres to the left per millimetre up.
        shift: Where the carina lies in the table's frame, (slice, row, column).
        kyphosis: How far the spine bows, at the ends of the scan.
    """

    seed: int
    half_width: float
    half_depth: float
    apex: tuple[float, float]
    dome: tuple[float, float]
    fat: float
    muscle: float
    has_breasts: bool
    heart: float
    base_hu: float
    gravity_hu: float
    blood_hu: float
    turn: float
    tilt: float
    lean: float
    shift: tuple[float, float, float]
    kyphosis: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Build:
        """A random patient, who breathed in more or less well."""
        size = rng.normal(1.0, 0.055)
        breath = rng.beta(4.0, 1.8)  # 1 is a full breath
        has_breasts = bool(rng.random() < 0.5)
        if has_breasts:
            size *= 0.95
        apex = 98.0 * size + rng.normal(0.0, 6.0)
        right_dome = -(70.0 + 50.0 * breath) * size + rng.normal(0.0, 6.0)
        return cls(
            seed=int(rng.integers(2**31)),
            half_width=(121.0 + 9.0 * breath) * size * rng.normal(1.0, 0.03),
            half_depth=(80.0 + 9.0 * breath) * size * rng.normal(1.0, 0.04),
            apex=(apex + rng.normal(0, 4), apex + rng.normal(0, 4)),
            dome=(right_dome, right_dome - rng.uniform(2.0, 20.0)),
            fat=float(np.clip(rng.gamma(4.0, 4.5), 5.0, 45.0)),
            muscle=rng.uniform(14.0, 24.0),
            has_breasts=has_breasts,
            heart=rng.normal(1.0, 0.07) * size,
            base_hu=-785.0 - 85.0 * breath + rng.normal(0.0, 18.0),
            gravity_hu=rng.uniform(25.0, 90.0) * (1.5 - 0.7 * breath),
            blood_hu=rng.uniform(120.0, 280.0) if rng.random() < 0.25 else rng.normal(42.0, 6.0),
            turn=np.deg2rad(rng.normal(0.0, 2.5)),
            tilt=rng.normal(0.0, 0.03),
            lean=rng.normal(0.0, 0.02),
            shift=(rng.normal(0, 8.0), rng.normal(0.0, 9.0), rng.normal(0.0, 7.0)),
            kyphosis=rng.uniform(4.0, 20.0),
        )

    @property
    def height_range(self) -> tuple[float, float]:
        """Lowest and highest z worth scanning in the patient frame: the lungs and a margin."""
        return min(self.dome) - 88.0, max(self.apex) + 12.0

    def to_patient(self, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Patient coordinates of every voxel of a grid in the table's frame."""
        z, y, x = grid.open()
        z, y, x = z - self.shift[0], y - self.shift[1], x - self.shift[2]
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        across = cos * x - sin * y - self.lean * z
        back = sin * x + cos * y - self.tilt * z
        return z.astype(np.float32), back.astype(np.float32), across.astype(np.float32)

    def to_table(self, points: np.ndarray) -> np.ndarray:
        """Points of the patient frame, shape (point, 3), in the table's frame."""
        z, back, across = points[:, 0], points[:, 1], points[:, 2]
        back, across = back + self.tilt * z, across + self.lean * z
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        y, x = cos * back - sin * across, sin * back + cos * across
        return np.column_stack([z, y, x]) + np.array(self.shift)

    def tubes_to_table(self, tubes: Tubes) -> Tubes:
        """Tubes of the patient frame in the table's frame."""
        start, end = self.to_table(tubes.start), self.to_table(tubes.end)
        return Tubes(start, end, tubes.start_radius, tubes.end_radius)

    def spine_y(self, z: np.ndarray) -> np.ndarray:
        """Centre of the vertebral bodies, mm back of the carina's frame, at heights `z`."""
        return self.half_depth * 0.72 - self.kyphosis * ((z + 35.0) / 140.0) ** 2

    def aorta(self) -> Tubes:
        """Ascending aorta, arch and descending aorta."""
        spine = self.spine_y(np.array([20.0, -20.0, -80.0, -200.0])) - 12.0
        points = [
            (-55, -14, -2),
            (-20, -22, -14),
            (10, -20, -14),
            (28, -8, -6),
            (32, 10, 10),
            (26, spine[0] - 6, 24),
            (5, spine[0], 28),
            (-30, spine[1], 27),
            (-80, spine[2] - 2, 22),
            (-200, spine[3] - 8, 10),
        ]
        return Tubes.along(np.array(points), np.array([16, 16, 15, 14, 13, 12.5, 12, 12, 11, 10.5]))

    def great_vessels(self) -> Tubes:
        """Caval veins, pulmonary trunk and its main branches, pulmonary veins."""
        return Tubes.joined(
            Tubes.along(np.array([(110, -2, -20), (50, -6, -22), (-30, -4, -27)]), 8.0),
            Tubes.along(np.array([(75, -8, -4), (105, 0, -12)]), 5.0),
            Tubes.along(np.array([(60, -2, 12), (110, 4, 24)]), 4.5),
            Tubes.along(np.array([(-40, -38, 12), (-14, -26, 20), (-4, -6, 22)]), 13.0),
            Tubes.along(np.array([(-8, -10, 16), (-14, -2, -12), (-14, 6, -40)]), 9.5),
            Tubes.along(np.array([(-4, -6, 22), (2, 12, 40)]), 10.0),
            Tubes.along(np.array([(-38, 6, -14), (-36, 10, -42)]), 7.0),
            Tubes.along(np.array([(-34, 6, 14), (-30, 12, 42)]), 7.0),
            Tubes.along(np.array([(-75, 0, -24), (-150, 8, -22)]), 10.0),
        )

    def lobe(self, z: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Number of the lobe (see `LOBES`) that a point of the lungs belongs to, uint8."""
        major, minor = self.fissures(z, y, x)
        right = np.where(major < 0, 3, np.where(minor < 0, 2, 1))
        left = np.where(major < 0, 5, 4)
        return np.where(x < 0, right, left).astype(np.uint8)

    def fissures(
        self, z: np.ndarray, y: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distance in mm above the oblique fissure, and above the right lung's minor one."""
        bow = 10.0 * ((np.abs(x) - 65.0) / 50.0) ** 2
        drop = np.where(x < 0, self.dome[0], self.dome[1]) + 105.0
        major = (z + 38.0 - 0.35 * drop - 1.12 * (y + 4.0) + bow) / np.float32(1.5)
        minor = z + 22.0 - 0.4 * drop + 0.18 * (y + 40.0) + 0.0025 * (x + 70.0) ** 2
        return major, minor
