"""Which slices of a scan are read: by position in mm, never by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError, UsageError

__all__ = ["Sampling", "lung_range", "lung_slices", "sorted_by_position"]

# A slice shows lungs when it holds this share of the area of the largest one: tips are left out.
MIN_LUNG_SHARE = 0.05


@dataclass(frozen=True)
class Sampling:
    """How slices are chosen; all of them unless one of these is given.

    Attributes:
        every: Take each k-th slice.
        equal: Take so many slices, each nearest to the middle of one of as many equal parts.
        step_mm: Take the slices nearest to steps of so many mm.
    """

    every: int | None = None
    equal: int | None = None
    step_mm: float | None = None

    def __post_init__(self) -> None:
        given = {
            name: value
            for name in ("every", "equal", "step_mm")
            if (value := getattr(self, name)) is not None
        }
        if len(given) > 1:
            raise UsageError(
                f"expected one way to choose slices, got {' and '.join(given)}. Give one of them."
            )
        for name, value in given.items():
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"expected {name} above 0, got {value:g}. Correct the settings.")

    def __call__(
        self, z_mm: Sequence[float], lung_area: Sequence[float] | None = None
    ) -> np.ndarray:
        """Choose slices of one scan.

        Args:
            z_mm: Position of each slice, in any order.
            lung_area: Of each slice, in any unit; slices before and behind the lungs are then left
                out.

        Returns:
            Indices of the chosen slices, from the lowest position to the highest.

        Raises:
            StudyError: ``SLICE_ORDER`` for two slices at one position, ``TOO_FEW_SLICES`` if there
                are fewer than asked for, ``NOT_CHEST`` if no slice shows lungs.
        """
        order = sorted_by_position(z_mm)
        if lung_area is not None:
            first, last = lung_range(np.asarray(lung_area, dtype=float)[order])
            order = order[first : last + 1]
        if self.every is not None:
            return order[:: self.every]
        z = np.asarray(z_mm, dtype=float)[order]
        if self.equal is not None:
            return order[_equal_parts(z, self.equal)]
        if self.step_mm is not None:
            steps = np.arange(z[0], z[-1] + self.step_mm / 2, self.step_mm)
            # Where slices are further apart than the steps, one is nearest to several.
            return order[np.unique(_nearest(z, steps))]
        return order


def sorted_by_position(z_mm: Sequence[float]) -> np.ndarray:
    """Indices of slices from the lowest position to the highest.

    Raises:
        StudyError: ``SLICE_ORDER`` if two lie at one position; ``NO_GEOMETRY`` if a position is not
            a number, or there is no slice.
    """
    z = np.asarray(z_mm, dtype=float)
    if not z.size or not np.isfinite(z).all():
        raise StudyError(
            "NO_GEOMETRY",
            f"expected the position of every slice in mm, got {np.count_nonzero(np.isfinite(z))} "
            f"positions for {z.size} slices. Give z_mm of each slice.",
        )
    order = np.argsort(z, kind="stable")
    same = np.flatnonzero(np.diff(z[order]) == 0)
    if same.size:
        raise StudyError(
            "SLICE_ORDER",
            f"expected slices at positions of their own, got two at z = {z[order][same[0]]:g} mm. "
            "Remove the copy, or give each scan a name of its own.",
        )
    return order


def lung_range(lung_area: np.ndarray) -> tuple[int, int]:
    """First and last slice that show lungs.

    Args:
        lung_area: Of each slice in the order of positions, in any unit.

    Returns:
        Two indices, both included.

    Raises:
        StudyError: ``NOT_CHEST`` if no slice shows lungs.
    """
    largest = float(np.max(lung_area, initial=0))
    if largest <= 0:
        raise StudyError(
            "NOT_CHEST",
            f"expected slices that show lungs, got none among {len(lung_area)}. "
            "Give a CT of the chest.",
        )
    there = np.flatnonzero(lung_area >= MIN_LUNG_SHARE * largest)
    return int(there[0]), int(there[-1])


def lung_slices(areas: np.ndarray, count: int) -> tuple[int, ...]:
    """Slices evenly spaced over the lungs.

    Args:
        areas: Lung of each slice, in any unit.
        count: How many; all slices that show lung, where there are fewer.

    Returns:
        Their places, rising.

    Raises:
        StudyError: ``NOT_CHEST`` if no slice shows lungs.
    """
    first, last = lung_range(areas)
    shown = np.arange(first, last + 1)
    if len(shown) <= count:
        return tuple(shown.tolist())
    # The middles of equal parts: the first and the last slice show little.
    places = (np.arange(count) + 0.5) * len(shown) / count
    return tuple(shown[places.astype(int)].tolist())


def _equal_parts(z: np.ndarray, count: int) -> np.ndarray:
    """Slices nearest to the middles of equal parts of a range."""
    if len(z) < count:
        raise StudyError(
            "TOO_FEW_SLICES",
            f"expected at least {count} slices to choose from, got {len(z)}. "
            "Give the whole scan, or ask for fewer slices.",
        )
    middles = z[0] + (np.arange(count) + 0.5) / count * (z[-1] - z[0])
    chosen = np.unique(_nearest(z, middles))
    if len(chosen) < count:
        raise StudyError(
            "UNEVEN_SPACING",
            f"expected {count} slices at equal distances, got a scan whose slices are so uneven "
            f"that only {len(chosen)} are near. Give a scan with even steps, or ask for fewer.",
        )
    return chosen


def _nearest(z: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Index of the slice nearest to each position; the lower one of two that are as near."""
    distances = np.abs(z[None, :] - positions[:, None])
    return np.argmin(np.round(distances, 6), axis=1)
