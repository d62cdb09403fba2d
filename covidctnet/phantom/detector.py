"""From rays to grey values: counted photons, scattered haze, noise, and what a reader is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from scipy import ndimage

from covidctnet.errors import UsageError
from covidctnet.phantom.rays import Beam
from covidctnet.phantom.scanner import SCANNERS

__all__ = ["XRAY_UNITS", "XRayUnit", "counted", "density", "presented"]

Format = Literal["DICOM", "PNG"]
# Scattered photons spread as far as this over the detector.
_SCATTER_MM = 45.0
# The darkest and the brightest that are shown, in percent of the pixels of the middle of the field:
# the outline of the body, where little attenuates, may be black.
_SHOWN_PERCENT = (0.5, 99.5)
_MIDDLE = 0.6


@dataclass(frozen=True)
class XRayUnit:
    """One X-ray unit with one protocol for chests.

    Attributes:
        name: Of the site, as that of its CT scanner.
        pixel_mm: Of the detector.
        photons_per_mm2: That would reach the detector without a patient, in the dose that is used.
        scatter: Share of all photons behind the patient that are scattered, 0 to below 1.
        bits: That are stored for each pixel: 8, or up to 16 for what is stored in two bytes.
        format: Of its files.
        is_inverted: Whether it stores bones as low numbers (MONOCHROME1).
        gamma: Of the curve from density to grey.
        beam: See `Beam`.
    """

    name: str
    pixel_mm: float
    photons_per_mm2: float
    scatter: float
    bits: int
    format: Format = "DICOM"
    is_inverted: bool = False
    gamma: float = 1.0
    beam: Beam = field(default_factory=Beam)

    def __post_init__(self) -> None:
        if not 0 <= self.scatter < 1 or self.photons_per_mm2 <= 0 or not 8 <= self.bits <= 16:
            raise UsageError(
                "expected scatter of 0 to below 1, photons above 0 and 8 to 16 bits, got "
                f"{self.scatter:g}, {self.photons_per_mm2:g} and {self.bits}"
            )


def _of_sites(*units: XRayUnit) -> Mapping[str, XRayUnit]:
    assert {unit.name for unit in units} == set(SCANNERS)
    return MappingProxyType({unit.name: unit for unit in units})


_LOW = Beam(kev=50.0, distance_mm=1500.0)
_HARD = Beam(kev=70.0, distance_mm=1800.0)
_BEDSIDE = Beam("AP", 55.0, 1000.0)
# Invented, one for each site of `SCANNERS`; each row is a plausible protocol, none is any maker's.
XRAY_UNITS: Mapping[str, XRayUnit] = _of_sites(
    XRayUnit("amber", 0.40, 9e3, 0.30, 12),
    XRayUnit("birch", 0.35, 6e3, 0.45, 14, is_inverted=True, gamma=0.9),
    XRayUnit("cobalt", 0.50, 1e4, 0.25, 8, "PNG", gamma=1.1),
    XRayUnit("dune", 0.40, 5e3, 0.50, 10, beam=_LOW),
    XRayUnit("ember", 0.30, 1.2e4, 0.20, 16, "PNG", beam=_HARD),
    XRayUnit("fjord", 0.45, 8e3, 0.35, 8, is_inverted=True),
    XRayUnit("granite", 0.40, 7e3, 0.40, 12, beam=_HARD, gamma=0.85),
    XRayUnit("harbour", 0.60, 4e3, 0.55, 8, "PNG", beam=_BEDSIDE),
    XRayUnit("ivory", 0.30, 1e4, 0.20, 15),
    XRayUnit("unseen-a", 0.50, 3e3, 0.55, 10, beam=_BEDSIDE, gamma=1.15),
    XRayUnit("unseen-b", 0.30, 1.5e4, 0.15, 16, "PNG", beam=_HARD, gamma=0.8),
)


def counted(
    integrals: np.ndarray, unit: XRayUnit, pixel_mm: float, *, rng: np.random.Generator
) -> np.ndarray:
    """Photons that the detector counts, with scattered ones, and with the noise of their number.

    Args:
        integrals: From `covidctnet.phantom.rays.line_integrals`.
        unit: Dose and scatter.
        pixel_mm: Of the pixels of `integrals`.
        rng: Of the noise.

    Returns:
        Whole numbers, float32: a number that is expected to be n has the variance n.
    """
    dose = unit.photons_per_mm2 * pixel_mm**2
    primary = np.exp(-integrals.astype(np.float64))
    haze = ndimage.gaussian_filter(primary, _SCATTER_MM / pixel_mm, mode="nearest", truncate=3.0)
    expected = dose * (primary + unit.scatter / (1 - unit.scatter) * haze)
    return rng.poisson(expected).astype(np.float32)


def density(counts: np.ndarray, unit: XRayUnit, pixel_mm: float) -> np.ndarray:
    """Minus the logarithm of the share of photons that came through, float32: bones are bright."""
    dose = unit.photons_per_mm2 * pixel_mm**2
    return np.asarray(-np.log(np.maximum(counts, 0.5) / dose), dtype=np.float32)


def presented(dense: np.ndarray, unit: XRayUnit) -> np.ndarray:
    """What is stored: the range of the middle of the field over all numbers of the unit's bits.

    Args:
        dense: From `density`.
        unit: Bits, and which end is bone.

    Returns:
        uint8 or uint16, (row, column).
    """
    rows, columns = (
        slice(int(n * (1 - _MIDDLE) / 2), int(np.ceil(n * (1 + _MIDDLE) / 2))) for n in dense.shape
    )
    low, high = np.percentile(dense[rows, columns], _SHOWN_PERCENT)
    grey = np.clip((dense - low) / max(high - low, 1e-6), 0, 1) ** unit.gamma
    top = 2**unit.bits - 1
    stored = np.rint((1 - grey if unit.is_inverted else grey) * top)
    return stored.astype(np.uint8 if unit.bits <= 8 else np.uint16)
