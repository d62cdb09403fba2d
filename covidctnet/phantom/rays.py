"""X-rays through a painted patient: attenuation from HU, and its sum along straight rays.

A voxel attenuates as water of its density would: ``mu = mu_water(energy) * (1 + HU / 1000)``, which
is how HU are defined, at whatever energy. Bone attenuates low energies more than that; here it does
not, and nothing hardens the beam.

Source of the coefficients: Hubbell and Seltzer, NIST Standard Reference Database 126, water.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from covidctnet.errors import UsageError
from covidctnet.phantom.fields import Grid

__all__ = [
    "Beam",
    "Field",
    "View",
    "attenuation",
    "line_integrals",
    "magnification",
    "water_per_mm",
]

View = Literal["PA", "AP"]

# keV, and cm2 / g of water, which is 1 / cm at its density.
_WATER = (
    (20.0, 0.8096),
    (30.0, 0.3756),
    (40.0, 0.2683),
    (50.0, 0.2269),
    (60.0, 0.2059),
    (80.0, 0.1837),
    (100.0, 0.1707),
    (150.0, 0.1505),
)


@dataclass(frozen=True)
class Beam:
    """Where the rays come from.

    Attributes:
        view: ``PA``: from the back to a detector at the front; ``AP``: the other way.
        kev: Energy of all photons.
        distance_mm: From the source to the detector; None for parallel rays.
        gap_mm: From the edge of the painted grid to the detector.
    """

    view: View = "PA"
    kev: float = 60.0
    distance_mm: float | None = 1800.0
    gap_mm: float = 20.0

    def __post_init__(self) -> None:
        low, high = _WATER[0][0], _WATER[-1][0]
        if self.view not in ("PA", "AP") or not low <= self.kev <= high:
            raise UsageError(
                f"expected the view PA or AP and an energy of {low:g} to {high:g} keV, got "
                f"{self.view!r:.20} and {self.kev:g}"
            )
        if not (self.distance_mm is None or 600 <= self.distance_mm < math.inf):
            raise UsageError(
                "expected a distance of 600 mm or more from source to detector, or none for "
                f"parallel rays, got {self.distance_mm:g}"
            )


@dataclass(frozen=True)
class Field:
    """The pixels of the detector, in the frame of the grid.

    Attributes:
        rows: From the head down.
        columns: From the patient's right to the left, as a radiograph is read.
        pixel_mm: Of a pixel's side, on the detector.
        centre_mm: Where the central ray meets the detector, (slice, column).
    """

    rows: int
    columns: int
    pixel_mm: float
    centre_mm: tuple[float, float] = (0.0, 0.0)

    @property
    def up(self) -> np.ndarray:
        """Height of each row above the central ray, mm."""
        steps: np.ndarray = (self.rows - 1) / 2 - np.arange(self.rows)
        return steps * self.pixel_mm

    @property
    def left(self) -> np.ndarray:
        """Distance of each column from the central ray to the patient's left, mm."""
        steps: np.ndarray = np.arange(self.columns) - (self.columns - 1) / 2
        return steps * self.pixel_mm


def water_per_mm(kev: float) -> float:
    """Attenuation of water, 1 / mm, between the points of the table as power laws."""
    energies, values = np.log(_WATER).T
    return float(np.exp(np.interp(math.log(kev), energies, values))) / 10


def attenuation(hu: np.ndarray, kev: float) -> np.ndarray:
    """Attenuation of voxels, float32, 1 / mm; nothing attenuates less than a vacuum."""
    mu = 1 + np.asarray(hu, dtype=np.float32) / np.float32(1000)
    mu *= np.float32(water_per_mm(kev))
    return np.maximum(mu, 0, out=mu)


def magnification(grid: Grid, beam: Beam, row_mm: float) -> float:
    """How much larger than itself something is shown that lies at a row coordinate of the grid."""
    if beam.distance_mm is None:
        return 1.0
    away = abs(row_mm - _detector(grid, beam))
    return beam.distance_mm / (beam.distance_mm - away)


def line_integrals(mu: np.ndarray, grid: Grid, beam: Beam, field: Field) -> np.ndarray:
    """Attenuation summed along the ray of each pixel of the detector.

    Between voxel centres attenuation is interpolated within the planes of equal row coordinate, and
    each plane counts for as much of a ray as lies between it and the next one.

    Args:
        mu: From `attenuation`, shape of the grid.
        grid: Rows from front to back; outside of it nothing attenuates.
        beam: Where the rays come from.
        field: Where they end.

    Returns:
        Without unit, float32, (row, column): head up, the patient's right at the left. Linear in
        `mu`.
    """
    if mu.shape != grid.shape:
        raise ValueError(f"expected attenuation of shape {grid.shape}, got {mu.shape}")
    step = grid.pitch[1]
    out = np.zeros((field.rows, field.columns), dtype=np.float32)
    for row, y in enumerate(grid.y.astype(float)):
        plane = mu[:, row]
        if not plane.any():
            continue
        shrink = 1 / magnification(grid, beam, float(y))
        along = _hats(grid.z, field.centre_mm[0] + field.up * shrink)
        across = _hats(grid.x, field.centre_mm[1] + field.left * shrink)
        out += along @ plane @ across.T
    out *= np.float32(step)
    if beam.distance_mm is not None:
        # A slanted ray is longer within each plane.
        away = np.hypot(field.up[:, None], field.left[None, :])
        out *= np.hypot(1.0, away / beam.distance_mm).astype(np.float32)
    return out


def _detector(grid: Grid, beam: Beam) -> float:
    """Row coordinate of the detector."""
    half = grid.pitch[1] / 2
    if beam.view == "PA":
        return float(grid.y[0]) - half - beam.gap_mm
    return float(grid.y[-1]) + half + beam.gap_mm


def _hats(axis: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights of linear interpolation, float32 (target, point); 0 a step beyond the ends."""
    pitch = float(axis[1] - axis[0]) if len(axis) > 1 else 1.0
    place = (targets - float(axis[0])) / pitch
    away = np.abs(place[:, None] - np.arange(len(axis))[None, :])
    return np.maximum(1 - away, 0).astype(np.float32)
