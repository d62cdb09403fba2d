"""The chest radiograph of a synthetic patient: the body that a CT shows, along rays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from covidctnet.classes import Label
from covidctnet.errors import UsageError
from covidctnet.phantom.detector import XRAY_UNITS, XRayUnit, counted, density, presented
from covidctnet.phantom.fields import Grid
from covidctnet.phantom.patient import Painted, draw_patient, paint
from covidctnet.phantom.rays import Field, attenuation, line_integrals, magnification
from covidctnet.phantom.thorax import Thorax

__all__ = ["PhantomRadiograph", "make_radiograph", "standing"]

SIZES = (32, 4096)
# The patient is painted no finer and no coarser than this.
_FINEST_MM, _COARSEST_MM = 2.2, 6.0
# Half of the painted box, (row, column), mm; arms and outer fat of large patients are cut off.
_HALF_BOX_MM = (190.0, 230.0)
# Beyond what a CT of the lungs shows, (below, above), mm.
_BEYOND_MM = (0.0, 30.0)
# Of the field, beyond the ribs at each side, mm.
_SIDE_MM = 42.0


@dataclass(frozen=True, eq=False)
class PhantomRadiograph:
    """A synthetic radiograph and where it comes from.

    Attributes:
        stored: uint8 or uint16, (row, column), as the file holds it.
        density: What the detector measured, float32; brighter is denser.
        integrals: Attenuation along the rays, without noise and scatter, float32.
        pixel_mm: Of a pixel, on the detector.
        label: What the patient has.
        seed: That made the patient.
        unit: That made the radiograph.
    """

    stored: np.ndarray
    density: np.ndarray
    integrals: np.ndarray
    pixel_mm: float
    label: Label
    seed: int
    unit: XRayUnit

    @property
    def grey(self) -> np.ndarray:
        """As a reader is shown it, uint8: bones are bright."""
        top = 2**self.unit.bits - 1
        shown = self.stored.astype(np.float32) * np.float32(255 / top)
        return np.rint(255 - shown if self.unit.is_inverted else shown).astype(np.uint8)

    def facts(self) -> Mapping[str, Any]:
        """For the file of what is known."""
        beam = self.unit.beam
        return {
            "view": beam.view,
            "kev": beam.kev,
            "source_to_detector_mm": beam.distance_mm,
            "scatter": self.unit.scatter,
            "photons_per_mm2": self.unit.photons_per_mm2,
            "bits": self.unit.bits,
            "pixel_mm": self.pixel_mm,
        }


def make_radiograph(
    label: Label, seed: int, *, unit: XRayUnit = XRAY_UNITS["cobalt"], size: int = 1024
) -> PhantomRadiograph:
    """The patient whom `covidctnet.phantom.make_phantom` scans with this label and seed.

    Args:
        label: What the patient has.
        seed: Of everything random, from 0.
        unit: Who makes the radiograph.
        size: Rows and columns at most; a finer detector is binned.

    Raises:
        UsageError: If `size` is below 32 or above 4096, or `seed` negative.
    """
    check_size(size)
    if seed < 0:
        raise UsageError(f"a phantom's seed must be 0 or more, got {seed}")
    thorax, plan, _ = draw_patient(label, seed)
    rng = np.random.default_rng([seed, int(label), 3])
    field_mm = _field_mm(thorax)
    pitch = float(np.clip(max(field_mm) / size, _FINEST_MM, _COARSEST_MM))
    grid = standing(thorax, pitch)
    painted: Painted = paint(thorax, plan, grid, has_couch=False)
    beam = unit.beam
    # As much larger as the middle of the body is shown.
    larger = magnification(grid, beam, thorax.build.shift[1])
    pixel = max(unit.pixel_mm, max(field_mm) * larger / size)
    rows, columns = (max(1, int(side * larger / pixel)) for side in field_mm)
    low, high = _heights(thorax)
    # Nobody stands in the very middle.
    aside = rng.normal(0.0, 4.0, 2)
    centre = ((low + high) / 2 + aside[0], thorax.build.shift[2] + aside[1])
    field = Field(rows, columns, pixel, (float(centre[0]), float(centre[1])))
    integrals = line_integrals(attenuation(painted.hu, beam.kev), grid, beam, field)
    dense = density(counted(integrals, unit, pixel, rng=rng), unit, pixel)
    return PhantomRadiograph(presented(dense, unit), dense, integrals, pixel, label, seed, unit)


def check_size(size: int) -> None:
    """Refuse a size that no radiograph has.

    Raises:
        UsageError: If it is below 32 or above 4096.
    """
    low, high = SIZES
    if not low <= size <= high:
        raise UsageError(f"expected a radiograph of {low} to {high} rows, got {size}")


def standing(thorax: Thorax, pitch_mm: float) -> Grid:
    """The box that a patient is painted in for a radiograph."""
    low, high = _heights(thorax)
    _, rows, columns = thorax.build.shift
    deep, wide = _HALF_BOX_MM
    # A little more than the field, as slanted rays leave it.
    return Grid.over(
        (low - 30.0, rows - deep, columns - wide),
        (high + 30.0, rows + deep, columns + wide),
        pitch_mm,
    )


def _heights(thorax: Thorax) -> tuple[float, float]:
    """Lowest and highest of the field, mm."""
    low, high = thorax.build.height_range
    shift = thorax.build.shift[0]
    return low + shift - _BEYOND_MM[0], high + shift + _BEYOND_MM[1]


def _field_mm(thorax: Thorax) -> tuple[float, float]:
    """Height and width of what is shown."""
    low, high = _heights(thorax)
    return high - low, 2 * (thorax.build.half_width + _SIDE_MM)
