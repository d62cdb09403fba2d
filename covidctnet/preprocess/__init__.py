"""From Hounsfield units to what the networks eat: 1 mm, windowed to [0, 1], 240 x 240."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from covidctnet.errors import StudyError, UsageError
from covidctnet.preprocess import isotropic
from covidctnet.preprocess.grid import PlaneResampling, antialias_matrix, gaussian_matrix
from covidctnet.preprocess.settings import PreprocessSettings
from covidctnet.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = ["PreprocessSettings", "check_extent", "preprocess"]

# Larger than any chest at 1 mm (a whole body is some 2000 mm long): the geometry is wrong.
MAX_EXTENT_MM = 2500.0
_GRIDS = {"linear": isotropic.linear, "cubic": isotropic.cubic}
_FILTERS = {"triangle": antialias_matrix, "gaussian": gaussian_matrix}


def preprocess(
    volume: Volume,
    settings: PreprocessSettings | None = None,
    *,
    device: torch.device | None = None,
) -> Volume:
    """Resample to an isotropic grid, window, and resize the slices.

    Interpolation to `spacing_mm` along all three axes from the first voxel centre on; the window
    mapped to [0, 1]; antialiased linear resizing in the plane. All slices stay. How each of them is
    done is for the settings to say. A crop to the lungs (`PreprocessSettings.field`) comes before:
    `covidctnet.chest.gate.prepare_chest` does both.

    Args:
        volume: In HU, canonical orientation, shape (slice, row, column).
        settings: What to do; the paper's values by default.
        device: Do it there with torch; on the CPU, where cubic interpolation stays, by default.

    Returns:
        float32 in [0, 1], shape (slices at `spacing_mm`, size, size), units ``unit``.

    Raises:
        StudyError: ``WRONG_UNITS``; ``ABSURD_EXTENT`` when the geometry spans metres.
        UsageError: If it is no volume; if the settings crop to the lungs, which this function does
            not know.

    Source: CovidCTNet (Javaheri et al. 2020), preprocessing. Differs in: slices that are not
    square are padded with air instead of being stretched (`pad_square`).
    """
    if not isinstance(volume, Volume):
        raise UsageError(
            f"expected a Volume, got {type(volume).__name__}. Read a file or a folder with "
            "covidctnet.read_volume(path), or wrap an array in HU with "
            "covidctnet.Volume.from_array(array, spacing)."
        )
    settings = settings or PreprocessSettings()
    if settings.field != "scan":
        raise UsageError(
            "these settings crop to the lungs, which have to be found first: call "
            "covidctnet.chest.gate.prepare_chest"
        )
    volume.expect("HU", by="preprocess")
    check_extent(volume)
    grid = _GRIDS[settings.interpolation](volume, settings.spacing_mm)
    square = max(grid.shape[1:]) if settings.pad_square else 0
    resize_rows, first_row = _resize_matrix(grid.shape[1], square, settings)
    resize_columns, first_column = _resize_matrix(grid.shape[2], square, settings)
    if device is not None and settings.interpolation == "linear":
        from covidctnet.preprocess.on_device import preprocessed_on

        out = preprocessed_on(device, volume, settings, resize_rows, resize_columns)
    else:
        resize = PlaneResampling(resize_columns, resize_rows)  # the slices come turned
        out = _windowed_and_resized(grid, resize, settings)
    # Weights that sum to 1 only in float32 may leave the window by a last bit.
    np.clip(out, 0, 1, out=out)

    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, :3] / volume.spacing * grid.spacing_mm
    factors = [(square or n) / settings.size for n in grid.shape[1:]]
    # Half-pixel centres: output voxel 0 covers input voxels first .. first + factor.
    start = [0.0, (factors[0] - 1) / 2 + first_row, (factors[1] - 1) / 2 + first_column]
    affine[:3, 3] += affine[:3, :3] @ start
    affine[:3, :3] *= [1.0, *factors]
    steps = _steps(volume, grid, settings)
    for step in steps[:-1]:
        volume = volume.then(step, volume.array)
    return volume.then(steps[-1], out, affine=affine, units="unit", window_hu=settings.window_hu)


class _CallableModule(ModuleType):
    """`covidctnet.preprocess` is this package and, called, its function of the same name."""

    def __call__(self, *arguments: Any, **options: Any) -> Volume:
        return preprocess(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule


def check_extent(volume: Volume) -> None:
    """Refuse a geometry that spans metres, before memory is asked for.

    Raises:
        StudyError: ``ABSURD_EXTENT``.
    """
    extents = [n * s for n, s in zip(volume.shape, volume.spacing, strict=True)]
    if max(extents) > MAX_EXTENT_MM:
        raise StudyError(
            "ABSURD_EXTENT",
            f"a chest CT is at most {MAX_EXTENT_MM:.0f} mm long, this one measures "
            f"{' x '.join(f'{e:.0f}' for e in extents)} mm. Check the spacing in the headers.",
            study=volume.source.study,
        )


def _windowed_and_resized(
    grid: isotropic.Isotropic, resize: PlaneResampling, settings: PreprocessSettings
) -> np.ndarray:
    out = np.empty((grid.shape[0], settings.size, settings.size), dtype=np.float32)
    scale = np.float32(1 / (settings.high_hu - settings.low_hu))
    for index, plane in enumerate(grid.turned):
        if settings.above_window == "air":
            plane[plane > settings.high_hu] = settings.low_hu
        np.clip(plane, settings.low_hu, settings.high_hu, out=plane)
        plane -= np.float32(settings.low_hu)
        plane *= scale
        out[index] = resize.turned(plane)
    return out


def _resize_matrix(count: int, square: int, settings: PreprocessSettings) -> tuple[np.ndarray, int]:
    """Matrix (size, count) that resizes an axis centred in `square` voxels of air, and its start.

    Air is 0 by then, so padding is leaving out the columns that would meet it.
    """
    padded = square or count
    before = (padded - count) // 2
    matrix = _FILTERS[settings.resize](padded, settings.size)[:, before : before + count]
    return np.ascontiguousarray(matrix), -before


def _steps(
    volume: Volume, grid: isotropic.Isotropic, settings: PreprocessSettings
) -> tuple[str, str, str]:
    """What was done, a sentence a stage."""
    window = f"[{settings.low_hu:g}, {settings.high_hu:g}] HU"
    _, rows, columns = grid.shape
    padded = ", padded square" if settings.pad_square and rows != columns else ""
    how = {"triangle": "antialiased linear", "gaussian": "Gaussian, then linear"}
    return (
        f"resampled {' x '.join(f'{s:.3g}' for s in volume.spacing)} mm "
        f"to {settings.spacing_mm:g} mm isotropic, "
        + (
            "linear"
            if settings.interpolation == "linear"
            else f"cubic (exactly {' x '.join(f'{s:.4g}' for s in grid.spacing_mm)} mm)"
        ),
        f"clipped to {window} and mapped to [0, 1]"
        if settings.above_window == "clip"
        else f"windowed to {window}, what lies above made air, and mapped to [0, 1]",
        f"resized {rows} x {columns} slices to {settings.size} x {settings.size}{padded}, "
        f"{how[settings.resize]}",
    )
