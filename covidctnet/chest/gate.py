"""Whether a volume is a whole chest: the gate before classification.

A wrong answer with full confidence on a head or an abdomen is the worst thing that this program
could do; so lungs are asked for by volume, by length, by what is in them, and for two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from covidctnet.chest.lungs import CoarseScan, box_around, coarse_scan, lung_mask, lungs_apart
from covidctnet.errors import StudyError
from covidctnet.preprocess import PreprocessSettings, check_extent, preprocess
from covidctnet.volume import Volume

if TYPE_CHECKING:
    import torch

__all__ = ["Chest", "ChestScan", "check_chest", "known_chest", "look_for_chest", "prepare_chest"]

# The smallest adult lungs with disease and the largest breath: outside, it is no chest.
LUNGS_ML = (600.0, 11000.0)
# A scan that shows lungs over a shorter way than this shows a part of them.
MIN_LUNGS_LENGTH_MM = 80.0
# Bowel and bottles hold nothing but gas. Of nine real pairs of lungs, one with emphysema, at most a
# twentieth lies below this.
GAS_BELOW_HU = -950.0
MAX_GAS_SHARE = 0.85
# The smaller lung holds two thirds of the larger one in nine real chests, and its middle lies
# 116 mm next to the other's or more. One lung alone, or a crop around it, is no chest.
MIN_OTHER_LUNG = 0.05
MIN_LUNGS_APART_MM = 50.0
# Left and right lung are separated on a grid of about this size.
GRID_MM = 4.0
# Between the lungs and in front of the spine lie heart and great vessels: the upper quartile of
# smooth places there is 39 to 49 HU in ten real scans without contrast medium, 107 to 345 in
# thirteen with it.
CONTRAST_HU = 75.0
BLOOD_RANGE_HU = (0.0, 390.0)
BLOOD_ROUGHNESS_HU = 40.0
BLOOD_PLACE = 3
MIN_BLOOD_PLACES = 200
# Which part of the lungs' voxels, from below, and of their depth, from the front, is looked at.
BLOOD_SLICES = (0.15, 0.60)
BLOOD_DEPTH = 0.6
# Share of the largest lung cross-section that may still touch an end of the scan.
CUT_SHARE = 0.10


@dataclass(frozen=True)
class Chest:
    """What the lungs of a volume measure.

    Attributes:
        lungs_ml: Their volume.
        length_mm: From the lowest slice with lung to the highest, gaps left out.
        gas_share: Share of their voxels that hold nothing but gas.
        other_lung: Volume of the smaller lung over that of the larger one; 0 for one lung.
        apart_mm: From the middle of one lung to that of the other, right to left.
        cut_share: Lung in the first or last slice over the largest cross-section.
        blood_hu: How dense heart and great vessels are, HU; 0 when they are not found.
    """

    lungs_ml: float
    length_mm: float
    gas_share: float
    other_lung: float
    apart_mm: float
    cut_share: float
    blood_hu: float = 0.0

    @property
    def fault(self) -> str | None:
        """Why it is no whole chest, in words; None when it is one."""
        low, high = LUNGS_ML
        if not low <= self.lungs_ml <= high or self.length_mm < MIN_LUNGS_LENGTH_MM:
            return (
                f"expected {low:.0f}-{high:.0f} ml of lung over at least {MIN_LUNGS_LENGTH_MM:.0f} "
                f"mm, found {self.lungs_ml:.0f} ml over {self.length_mm:.0f} mm"
            )
        if self.gas_share > MAX_GAS_SHARE:
            return f"expected lungs, {self.gas_share:.0%} of what was found is nothing but gas"
        if self.other_lung < MIN_OTHER_LUNG:
            return "expected two lungs side by side, found one"
        if self.apart_mm < MIN_LUNGS_APART_MM:
            # As a program leaves it that writes an array with the affine of another order of axes.
            return (
                "expected two lungs side by side, found two parts above or behind each other: one "
                "lung, or axes that the file names in another order than its voxels have"
            )
        return None

    @property
    def flags(self) -> tuple[str, ...]:
        """``lungs_cut`` when lung reaches an end of the scan, ``contrast`` by the blood."""
        cut = ("lungs_cut",) if self.cut_share > CUT_SHARE else ()
        return (*cut, "contrast") if self.blood_hu > CONTRAST_HU else cut


NO_CHEST = Chest(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class ChestScan(NamedTuple):
    """A scan ready for the networks.

    Attributes:
        unit: Preprocessed, units ``unit``.
        lungs: Lung mask, bool, the shape of `unit`.
        chest: Measures of the lungs.
        coarse: The whole scan on a coarse grid, where the settings crop to the lungs.
    """

    unit: Volume
    lungs: np.ndarray
    chest: Chest
    coarse: CoarseScan | None = None


def prepare_chest(
    volume: Volume,
    settings: PreprocessSettings,
    *,
    device: torch.device | None = None,
    complete: Callable[[CoarseScan], CoarseScan] | None = None,
) -> ChestScan:
    """Preprocess a scan, with its lungs.

    Where the settings crop to the lungs, the lungs are found in the scan as it came: their box
    decides what is resampled.

    Args:
        volume: In HU, canonical orientation.
        settings: What to do.
        device: See `covidctnet.preprocess.preprocess`.
        complete: Adds to the lungs what density cannot find, before they decide on the crop (see
            `covidctnet.systems.covidctnet.segment.add_consolidation`).

    Raises:
        StudyError: ``WRONG_UNITS``, ``ABSURD_EXTENT``; ``NOT_CHEST`` where there is no lung to crop
            to. Whether it is a whole chest is for `check_chest` to say.
    """
    if settings.field == "scan":
        unit = preprocess(volume, settings, device=device)
        chest, lungs = look_for_chest(unit)
        return ChestScan(unit, lungs, chest)
    check_extent(volume)
    coarse = coarse_scan(volume, settings.window_hu)
    if not coarse.lungs.any():
        check_chest(NO_CHEST, study=volume.source.study)
    if complete is not None:
        coarse = complete(coarse)
    box = coarse.box(volume, settings.margin_mm)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box]
    step = f"cropped to the lungs with a margin of {settings.margin_mm:g} mm"
    cropped = volume.then(step, volume.array[box], affine=affine)
    unit = preprocess(cropped, replace(settings, field="scan"), device=device)
    lungs = coarse.lungs_in(unit)
    return ChestScan(unit, lungs, _measure(unit, lungs), coarse)


def known_chest(unit: Volume, lungs: np.ndarray | None, settings: PreprocessSettings) -> ChestScan:
    """A scan that was preprocessed before, with its lungs measured again.

    Args:
        unit: Preprocessed with `settings`.
        lungs: Its lung mask, of any type of number. Where the settings keep the whole scan, it can
            be found again.
        settings: How it was preprocessed.

    Raises:
        StudyError: ``WRONG_UNITS``.
        ValueError: If the scan was cropped to the lungs and the mask is missing, or has another
            shape.
    """
    if lungs is None:
        if settings.field == "lungs":
            raise ValueError("a scan cropped to the lungs needs its lung mask, got none")
        chest, lungs = look_for_chest(unit)
    else:
        if lungs.shape != unit.shape:
            raise ValueError(f"the lung mask has shape {lungs.shape}, the scan {unit.shape}")
        lungs = np.asarray(lungs, dtype=bool)
        chest = _measure(unit, lungs)
    return ChestScan(unit, lungs, chest)


def look_for_chest(volume: Volume) -> tuple[Chest, np.ndarray]:
    """Find and measure the lungs.

    Args:
        volume: A whole scan in HU or ``unit``, canonical orientation.

    Returns:
        The measures, and the lung mask, bool, of the volume's shape.

    Raises:
        StudyError: ``WRONG_UNITS``.
    """
    if volume.units != "HU":
        volume.expect("unit", by="look_for_chest")
    lungs = lung_mask(volume)
    return _measure(volume, lungs), lungs


def _measure(volume: Volume, lungs: np.ndarray) -> Chest:
    low, high = volume.scale_hu
    gas_below = (GAS_BELOW_HU - low) / (high - low)
    areas = lungs.sum(axis=(1, 2))
    count = int(areas.sum())
    if not count:
        return NO_CHEST
    other_lung, apart_mm = _two_lungs(lungs, np.array(volume.spacing))
    return Chest(
        lungs_ml=count * volume.voxel_ml,
        length_mm=float(np.count_nonzero(areas)) * volume.spacing[0],
        gas_share=float((volume.array[lungs] < gas_below).mean()),
        other_lung=other_lung,
        apart_mm=apart_mm,
        cut_share=float(max(areas[0], areas[-1]) / areas.max()),
        blood_hu=_blood_hu(volume.array, lungs, low=low, high=high),
    )


def _blood_hu(array: np.ndarray, lungs: np.ndarray, *, low: float, high: float) -> float:
    """The upper quartile of smooth soft places between the lungs; 0 when there are too few."""
    filled = np.cumsum(lungs.sum(axis=(1, 2)))
    first, last = np.searchsorted(filled, np.array(BLOOD_SLICES) * filled[-1])
    rows = np.flatnonzero(lungs.any(axis=(0, 2)))
    front = rows[0] + int(BLOOD_DEPTH * (rows[-1] - rows[0]))
    mask = lungs[first : last + 1, :front]
    between = np.maximum.accumulate(mask, axis=2)
    between &= np.maximum.accumulate(mask[:, :, ::-1], axis=2)[:, :, ::-1]
    places = _squares(array[first : last + 1, :front])[_squares(between & ~mask).all(axis=1)]
    if len(places) < MIN_BLOOD_PLACES:
        return 0.0
    mean = low + (high - low) * places.mean(axis=1, dtype=np.float64)
    rough = (high - low) * places.std(axis=1, dtype=np.float64)
    is_soft = (mean > BLOOD_RANGE_HU[0]) & (mean < BLOOD_RANGE_HU[1]) & (rough < BLOOD_ROUGHNESS_HU)
    means = mean[is_soft]
    return float(np.quantile(means, 0.75)) if len(means) >= MIN_BLOOD_PLACES else 0.0


def _squares(array: np.ndarray) -> np.ndarray:
    """Squares in the plane, shape (square, voxel)."""
    side = BLOOD_PLACE
    count, rows, columns = (array.shape[0], array.shape[1] // side, array.shape[2] // side)
    whole = array[:, : rows * side, : columns * side].reshape(count, rows, side, columns, side)
    return whole.transpose(0, 1, 3, 2, 4).reshape(-1, side * side)


def _two_lungs(lungs: np.ndarray, spacing: np.ndarray) -> tuple[float, float]:
    """Volume of the smaller lung over the larger one's, and how far apart they lie, mm."""
    steps = np.maximum(1, np.round(GRID_MM / spacing)).astype(int)
    coarse = lungs[tuple(slice(step // 2, None, step) for step in steps)]
    if not coarse.any():
        return 0.0, 0.0
    parts = lungs_apart(coarse[box_around(coarse, (1, 1, 1))], spacing * steps)
    if len(parts) < 2:
        return 0.0, 0.0
    counts = sorted(int(part.sum()) for part in parts)
    one, other = (float(np.nonzero(part)[2].mean()) for part in parts)
    return counts[0] / counts[1], abs(one - other) * float(spacing[2] * steps[2])


def check_chest(chest: Chest, *, study: str) -> tuple[str, ...]:
    """Refuse what is no chest; flag what is half of one.

    Args:
        chest: From `look_for_chest`.
        study: Short id.

    Returns:
        Flags: ``lungs_cut`` when lung reaches the first or the last slice, ``contrast`` when the
        blood is as dense as with contrast medium.

    Raises:
        StudyError: ``NOT_CHEST`` when there are no two lungs of a plausible volume.
    """
    if chest.fault:
        raise StudyError("NOT_CHEST", f"{chest.fault}. Give a CT of the whole chest.", study=study)
    return chest.flags
