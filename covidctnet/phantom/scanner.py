"""Scanners: how a patient becomes voxels - matrix, slices, kernel, noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy import fft, ndimage

from covidctnet.phantom.fields import Grid, linear_weights

# The patient is painted no finer than this; the noise is drawn at the scanner's own pixels.
ANATOMY_MM = 1.4
ANATOMY_SLICE_MM = 2.0
STORED_MIN_HU, STORED_MAX_HU = -1024, 3071


@dataclass(frozen=True)
class Scanner:
    """One scanner with one protocol.

    Attributes:
        name: How cohorts and headers call it.
        matrix: Rows and columns.
        pixel_mm: Smallest and largest pixel; a patient's is drawn between.
        spacing_mm: Between slice centres.
        thickness_mm: Of a slice, its full width at half maximum.
        kernel: Name of the reconstruction kernel, as the header spells it.
        cutoff: Spatial frequency in cycles per mm where the kernel passes half.
        edge: Boost of the kernel at middle frequencies; 0 is a smooth kernel.
        noise_hu: Standard deviation of the noise amid a middle-sized patient.
        streaks: Share of the noise that lies in lateral streaks, 0 to 1.
        is_round: Whether voxels outside the field's circle are left at the lowest value.
        kvp: Tube voltage.
    """

    name: str
    matrix: int
    pixel_mm: tuple[float, float]
    spacing_mm: float
    thickness_mm: float
    kernel: str
    cutoff: float
    edge: float
    noise_hu: float
    streaks: float = 0.2
    is_round: bool = False
    kvp: int = 120


def _named(*scanners: Scanner) -> Mapping[str, Scanner]:
    return MappingProxyType({scanner.name: scanner for scanner in scanners})


# Invented; each row is a plausible protocol, none is any maker's.
SCANNERS: Mapping[str, Scanner] = _named(
    Scanner("amber", 512, (0.68, 0.82), 5.0, 5.0, "B30s", 0.36, 0.0, 9.0),
    Scanner("birch", 512, (0.60, 0.76), 2.0, 2.0, "B60f", 0.62, 0.45, 26.0, is_round=True),
    Scanner("cobalt", 512, (0.66, 0.80), 3.0, 3.0, "STANDARD", 0.42, 0.1, 15.0, kvp=110),
    Scanner("dune", 512, (0.70, 0.88), 5.0, 5.0, "LUNG", 0.60, 0.6, 32.0, 0.45, kvp=100),
    Scanner("ember", 768, (0.50, 0.55), 4.0, 4.0, "Br49", 0.55, 0.2, 20.0),
    Scanner("fjord", 512, (0.62, 0.74), 2.5, 3.0, "FC08", 0.40, 0.0, 13.0, 0.3, is_round=True),
    Scanner("granite", 512, (0.60, 0.72), 1.0, 1.0, "FC51", 0.68, 0.5, 42.0),
    Scanner("harbour", 512, (0.72, 0.86), 8.0, 8.0, "B41s", 0.44, 0.15, 10.0, 0.35, kvp=130),
    Scanner("ivory", 512, (0.58, 0.70), 0.6, 0.75, "Bl57", 0.64, 0.35, 38.0),
    Scanner("unseen-a", 512, (0.75, 0.90), 1.5, 1.5, "YC", 0.72, 0.8, 36.0, 0.5, kvp=100),
    Scanner("unseen-b", 768, (0.50, 0.58), 6.0, 6.0, "SB", 0.33, 0.0, 7.0, 0.1, True, kvp=140),
)
# Light enough to make a cohort with, one of them at high resolution.
TRAINING_SCANNERS = ("amber", "birch", "cobalt", "dune", "ember", "fjord", "granite")
# Kernel, spacing, pixel and noise unlike those of every training scanner.
UNSEEN_SCANNERS = ("unseen-a", "unseen-b")


@dataclass(frozen=True, eq=False)
class Raster:
    """Target voxels, in the table's frame, and the coarser grid the patient is painted on.

    Attributes:
        voxels: Centres of the voxels.
        anatomy: Grid to paint on; covers the voxels.
    """

    voxels: Grid
    anatomy: Grid

    @classmethod
    def of(
        cls,
        scanner: Scanner,
        *,
        matrix: int,
        spacing_mm: float,
        pixel_mm: float,
        height_mm: tuple[float, float],
        centre_mm: tuple[float, float],
    ) -> Raster:
        """Raster of one acquisition.

        Args:
            scanner: Who scans.
            matrix: Rows and columns.
            spacing_mm: Between slices.
            pixel_mm: Side of a pixel.
            height_mm: Lowest and highest slice.
            centre_mm: Middle of the field of view, (row, column).
        """
        slices = np.arange(height_mm[0], height_mm[1], spacing_mm, dtype=np.float64)
        steps = (np.arange(matrix) - (matrix - 1) / 2) * pixel_mm
        voxels = Grid(slices, steps + centre_mm[0], steps + centre_mm[1])
        if spacing_mm < ANATOMY_SLICE_MM / 1.3:
            levels = int(np.ceil((slices[-1] - slices[0]) / ANATOMY_SLICE_MM)) + 1
            z = np.linspace(slices[0], slices[-1], levels)
        else:
            parts = max(1, round(spacing_mm / ANATOMY_SLICE_MM))
            levels = (len(slices) - 1 + 2) * parts + 1
            z = slices[0] - spacing_mm + np.arange(levels) * (spacing_mm / parts)
        side = steps
        if pixel_mm < ANATOMY_MM / 1.2:
            count = int(np.ceil(matrix * pixel_mm / ANATOMY_MM)) + 1
            side = np.linspace(steps[0], steps[-1], count)
        anatomy = Grid(
            z.astype(np.float32),
            (side + centre_mm[0]).astype(np.float32),
            (side + centre_mm[1]).astype(np.float32),
        )
        return cls(voxels, anatomy)


def resample(field: np.ndarray, raster: Raster) -> Iterator[np.ndarray]:
    """The slices of a field painted on `raster.anatomy`, at the voxels, float32, feet first."""
    low, high, part = linear_weights(raster.anatomy.z, raster.voxels.z)
    rows = linear_weights(raster.anatomy.y, raster.voxels.y)
    columns = linear_weights(raster.anatomy.x, raster.voxels.x)
    empty = np.zeros(raster.voxels.shape[1:], dtype=np.float32)
    for i in range(len(raster.voxels.z)):
        image = field[low[i]]
        if part[i] > 1e-4:
            image = image + part[i] * (field[high[i]] - image)
        if image.shape == empty.shape:
            yield image
        elif not image.any():
            yield empty  # most slices of a lesion's field
        else:
            yield _finer(image, rows, columns)


_Weights = tuple[np.ndarray, np.ndarray, np.ndarray]


def _finer(image: np.ndarray, rows: _Weights, columns: _Weights) -> np.ndarray:
    """One slice of the anatomy at the voxels' rows and columns, by linear interpolation."""
    low, high, part = rows
    image = image[low] + part[:, None] * (image[high] - image[low])
    low, high, part = columns
    below = image.take(low, axis=1)
    above = image.take(high, axis=1)
    above -= below
    above *= part
    above += below
    return above


def acquire(
    hu: np.ndarray, raster: Raster, scanner: Scanner, *, rng: np.random.Generator
) -> np.ndarray:
    """What the scanner shows of a painted patient.

    Args:
        hu: On `raster.anatomy`, float32.
        raster: Of the acquisition.
        scanner: Kernel, thickness and noise.
        rng: Of the noise.

    Returns:
        HU, int16, shape of `raster.voxels`, within what twelve bits hold.
    """
    sigma = scanner.thickness_mm / 2.355 / raster.anatomy.pitch[0]
    # Painting one anatomy slice has already blurred over about its own thickness.
    sigma = np.sqrt(max(sigma**2 - 0.3**2, 0.0))
    if sigma > 0.25:
        hu = ndimage.gaussian_filter1d(hu, sigma, axis=0, mode="nearest", truncate=2.5)
    matrix = len(raster.voxels.y)
    pixel = raster.voxels.pitch[1]
    passes, spectrum = _kernel(scanner, matrix, pixel)
    out = np.empty(raster.voxels.shape, dtype=np.int16)
    middle = _middle(matrix)
    outside = _outside_circle(matrix) if scanner.is_round else None
    for i, image in enumerate(resample(hu, raster)):
        shown = fft.irfft2(fft.rfft2(image) * passes, s=image.shape)
        shown += _noise(image, scanner, spectrum, pixel, rng) * middle
        np.clip(np.rint(shown, out=shown), STORED_MIN_HU, STORED_MAX_HU, out=shown)
        out[i] = shown
        if outside is not None:
            out[i][outside] = STORED_MIN_HU
    return out


def _kernel(scanner: Scanner, matrix: int, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Transfer of the image and amplitude spectrum of unit noise, on the rfft2 half plane."""
    rows = np.fft.fftfreq(matrix, pixel_mm)[:, None]
    columns = np.fft.rfftfreq(matrix, pixel_mm)[None, :]
    frequency = np.hypot(rows, columns)
    falls = np.exp(-np.log(2.0) * (frequency / scanner.cutoff) ** 2)
    lifts = 1.0 + 2.2 * scanner.edge * (frequency / scanner.cutoff) ** 2 * falls
    passes = falls ** (0.5 if scanner.edge else 1.0) * lifts
    # Back-projection's ramp, then the kernel: little noise at low frequencies.
    amplitude = np.sqrt(frequency + 0.02) * passes
    streak = np.exp(-((columns / 0.05) ** 2)) * (np.abs(rows) > 0.02)  # lateral: slow along a row
    level = np.sqrt(np.mean(amplitude**2))
    lateral = streak * passes
    lateral *= level / max(np.sqrt(np.mean(lateral**2)), 1e-9)
    spectrum = np.stack([amplitude, lateral])
    half = spectrum[..., : matrix // 2 + 1]
    power = np.sqrt(np.mean(half**2, axis=(1, 2), keepdims=True))
    return passes.astype(np.float32), (spectrum / power).astype(np.float32)


def _noise(
    image: np.ndarray,
    scanner: Scanner,
    spectrum: np.ndarray,
    pixel_mm: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Correlated noise of one slice: stronger in thick patients, streaked where they are wide."""
    body = image > -500.0
    across = body.sum(axis=1).max() * pixel_mm  # the longest way through, in mm of tissue
    level = scanner.noise_hu * float(np.exp(0.0022 * (across - 280.0)))
    share = scanner.streaks * float(np.clip((across - 220.0) / 160.0, 0.0, 1.0))
    amplitude = np.sqrt(1 - share**2) * spectrum[0] + share * spectrum[1]
    half = amplitude.shape
    white = rng.standard_normal((*half, 2), dtype=np.float32).view(np.complex64)[..., 0]
    noise = fft.irfft2(white * amplitude, s=image.shape)
    rows, columns = image.shape
    noise *= np.float32(level * np.sqrt(rows * columns) / np.sqrt(2.0))
    return noise


def _middle(matrix: int) -> np.ndarray:
    """Strength of the noise over a slice: rays through the middle cross the most tissue."""
    steps = np.linspace(-1.0, 1.0, matrix, dtype=np.float32)
    return 1.15 - 0.55 * np.clip(steps[:, None] ** 2 + steps[None, :] ** 2, 0.0, 1.0)


def _outside_circle(matrix: int) -> np.ndarray:
    steps = np.arange(matrix) - (matrix - 1) / 2
    return np.hypot(steps[:, None], steps[None, :]) > matrix / 2
