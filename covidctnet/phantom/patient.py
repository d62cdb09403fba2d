"""One synthetic patient: anatomy, lesions and scan, with its ground truth."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from covidctnet.classes import Label
from covidctnet.errors import UsageError
from covidctnet.phantom.fields import Grid, SlabSampler
from covidctnet.phantom.findings import Lesion, plan_lesions
from covidctnet.phantom.lesions import lesion_codes, lesion_fields, summary
from covidctnet.phantom.scanner import SCANNERS, Raster, Scanner, acquire, resample
from covidctnet.phantom.thorax import Thorax, lung_fields
from covidctnet.phantom.tissue import render
from covidctnet.volume import SYNTHETIC_NOTE, Source, Volume

# Whole slices painted at a time, so that temporaries stay small; voxels do not depend on it.
SLAB_VOXELS = 1_000_000


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic chest CT and everything that is known of it.

    Attributes:
        volume: HU, int16, canonical orientation.
        lungs: Both lungs with their vessels and lesions, bool, the shape of the volume.
        lesions: uint8: 0 none, 1 ground glass, 2 consolidation, 3 other (nodule, band, emphysema,
            dependent haze, pleural fluid).
        label: The class that was drawn.
        findings: What was drawn, for tables: ``pattern``, ``count``, ``kinds``, ``lobes``,
            ``sides``, ``lung_ml``, ``ground_glass_percent``, ``consolidation_percent``.
        seed: That made it.
        scanner: Name of the scanner.
        protocol: The scanner as it scanned: matrix and spacing asked for are in it.
    """

    volume: Volume
    lungs: np.ndarray
    lesions: np.ndarray
    label: Label
    findings: Mapping[str, Any]
    seed: int
    scanner: str
    protocol: Scanner


def make_phantom(
    label: Label,
    seed: int,
    *,
    scanner: Scanner = SCANNERS["cobalt"],
    matrix: int | None = None,
    spacing_mm: float | None = None,
) -> Phantom:
    """A patient with `label`, scanned.

    The patient depends on `label` and `seed` alone: another scanner, matrix or spacing shows the
    same body with the same lesions.

    Args:
        label: What the patient has.
        seed: Of everything random, from 0.
        scanner: Who scans.
        matrix: Rows and columns instead of the scanner's; the field of view stays.
        spacing_mm: Between slices instead of the scanner's; the slice thickness follows when the
            slices would otherwise overlap or leave gaps.

    Raises:
        UsageError: If `matrix` is below 16, `spacing_mm` below 0.3 or `seed` negative.
    """
    check_request(seed, matrix, spacing_mm)
    thorax, plan, pattern = draw_patient(label, seed)
    scan_rng = np.random.default_rng([seed, int(label), 2])
    raster = _raster(thorax, scanner, matrix, spacing_mm, scan_rng)
    protocol = _protocol(scanner, matrix, spacing_mm)
    painted = paint(thorax, plan, raster.anatomy)
    array = acquire(painted.hu, raster, protocol, rng=scan_rng)
    lungs, codes = _truth(painted, raster)
    affine = _affine(raster)
    named = hashlib.sha256(f"phantom {seed} {int(label)} {scanner.name}".encode())
    digest = hashlib.sha256(array.data)
    digest.update(affine.data)
    source = Source(
        study=named.hexdigest()[:12],
        digest=digest.hexdigest(),
        reader="phantom",
        notes=(SYNTHETIC_NOTE,),
    )
    for truth in (lungs, codes):
        truth.setflags(write=False)
    return Phantom(
        volume=Volume(array, affine, "HU", source, ("made a synthetic chest CT",)),
        lungs=lungs,
        lesions=codes,
        label=label,
        findings=summary(plan, pattern, lungs, codes, affine),
        seed=seed,
        scanner=scanner.name,
        protocol=protocol,
    )


def draw_patient(label: Label, seed: int) -> tuple[Thorax, tuple[Lesion, ...], str]:
    """The body of a patient, its lesions, and the name of their pattern.

    Args:
        label: What the patient has.
        seed: Of everything random; every picture of this label and seed shows the same patient.
    """
    body_rng, lesion_rng = (np.random.default_rng([seed, int(label), part]) for part in range(2))
    thorax = Thorax.draw(body_rng)
    return thorax, *plan_lesions(label, thorax, lesion_rng)


def check_request(seed: int, matrix: int | None, spacing_mm: float | None) -> None:
    """Refuse what no phantom can be made of.

    Raises:
        UsageError: See `make_phantom`.
    """
    if seed < 0:
        raise UsageError(f"a phantom's seed must be 0 or more, got {seed}")
    if matrix is not None and not 16 <= matrix <= 2048:
        raise UsageError(f"a phantom's matrix must be from 16 to 2048, got {matrix}")
    if spacing_mm is not None and not 0.3 <= spacing_mm <= 20:
        raise UsageError(f"a phantom's slices must be 0.3 to 20 mm apart, got {spacing_mm}")


def _raster(
    thorax: Thorax,
    scanner: Scanner,
    matrix: int | None,
    spacing_mm: float | None,
    rng: np.random.Generator,
) -> Raster:
    """Field of view and slices, as a technician would set them."""
    low, high = thorax.build.height_range
    shift = thorax.build.shift
    field_mm = scanner.matrix * rng.uniform(*scanner.pixel_mm)
    # Large patients get a large field; a little skin may be cut off.
    needed_mm = 2.0 * (thorax.build.half_width + thorax.build.muscle + 0.6 * thorax.build.fat)
    field_mm = float(
        np.clip(
            max(field_mm, needed_mm),
            scanner.matrix * scanner.pixel_mm[0],
            scanner.matrix * scanner.pixel_mm[1],
        )
    )
    side = scanner.matrix if matrix is None else matrix
    return Raster.of(
        scanner,
        matrix=side,
        spacing_mm=scanner.spacing_mm if spacing_mm is None else spacing_mm,
        pixel_mm=field_mm / side,
        height_mm=(low + shift[0] - rng.uniform(0, 25.0), high + shift[0] + rng.uniform(0, 14.0)),
        centre_mm=(shift[1] + rng.normal(4.0, 4.0), shift[2] + rng.normal(0.0, 4.0)),
    )


def _protocol(scanner: Scanner, matrix: int | None, spacing_mm: float | None) -> Scanner:
    """The scanner with what was asked for instead of its own settings."""
    if matrix is not None:
        scanner = replace(scanner, matrix=matrix)
    if spacing_mm is not None:
        scanner = replace(scanner, spacing_mm=spacing_mm, thickness_mm=spacing_mm)
    return scanner


class Painted(NamedTuple):
    """The patient on the anatomy's grid; float32, shape (slice, row, column), see `paint`."""

    hu: np.ndarray
    lungs: np.ndarray
    dense: np.ndarray
    other: np.ndarray
    fluid: np.ndarray


def paint(
    thorax: Thorax, plan: tuple[Lesion, ...], grid: Grid, *, has_couch: bool = True
) -> Painted:
    """HU, lungs and lesions (see `LesionFields`), slab by slab so that temporaries stay small.

    Args:
        thorax: Of the patient.
        plan: The lesions.
        grid: What is painted on.
        has_couch: Whether the couch of a CT lies under the patient.
    """
    painted = Painted(*(np.zeros(grid.shape, dtype=np.float32) for _ in Painted._fields))
    sample = SlabSampler(grid)
    for slices, slab in grid.slabs(SLAB_VOXELS):
        lungs = lung_fields(thorax.build, slab, sample)
        lesions = lesion_fields(plan, thorax, lungs, sample)
        tissue = render(thorax, lungs, lesions, sample, has_couch=has_couch)
        painted.hu[slices], painted.lungs[slices] = tissue.hu, tissue.lungs
        if plan:
            painted.dense[slices] = lesions.dense
            painted.other[slices] = lesions.other
            painted.fluid[slices] = lesions.fluid
    return painted


def _truth(painted: Painted, raster: Raster) -> tuple[np.ndarray, np.ndarray]:
    """Masks at the voxels: lungs (bool) and lesion codes (uint8)."""
    inside = np.zeros(raster.voxels.shape, dtype=bool)
    codes = np.zeros(raster.voxels.shape, dtype=np.uint8)
    fields = (painted.lungs, painted.dense, painted.other, painted.fluid)
    for i, (lung, dense, other, fluid) in enumerate(
        zip(*(resample(field, raster) for field in fields), strict=True)
    ):
        inside[i] = lung > 0.5
        codes[i] = lesion_codes(dense, other, fluid, inside[i])
    return inside, codes


def _affine(raster: Raster) -> np.ndarray:
    slices, rows, columns = raster.voxels.pitch
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, columns], [0, rows, 0], [slices, 0, 0]]
    affine[:3, 3] = [raster.voxels.x[0], raster.voxels.y[0], raster.voxels.z[0]]
    return affine
