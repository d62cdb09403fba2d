"""When a slice counts as positive, and how well masks agree.

Source: arXiv:2006.13212 does not define a positive slice. Ours: a smallest area of pixels above a
probability, fitted on validation slices. Scans: see `covidctnet.slicewise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from covidctnet.errors import UsageError

__all__ = ["Dice", "SliceRule", "dice", "fit_area"]

# Rows and columns of the slices that an area is stated for.
REFERENCE = 512


@dataclass(frozen=True)
class SliceRule:
    """A slice is positive with enough pixels that are likely lesion.

    Attributes:
        probability: Above which a pixel counts.
        pixels: Smallest count of such pixels of a slice of 512 x 512; for other sizes, the same
            share of the slice.
    """

    probability: float = 0.5
    pixels: float = 100.0

    def __post_init__(self) -> None:
        if not 0 < self.probability < 1 or not 0 < self.pixels <= REFERENCE**2:
            raise UsageError(
                "expected a probability between 0 and 1 and an area above 0 pixels, got "
                f"{self.probability} and {self.pixels}"
            )

    @classmethod
    def from_card(cls, entry: Mapping[str, Any]) -> SliceRule:
        """The rule that a card states.

        Raises:
            UsageError: If it is none.
        """
        try:
            return cls(**{name: float(value) for name, value in entry.items()})
        except (TypeError, ValueError) as error:
            raise UsageError(f"expected a probability and pixels as slice rule, {error}") from None

    def to_card(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)

    def area(self, probabilities: np.ndarray) -> np.ndarray:
        """Pixels that count, in pixels of a slice of 512 x 512.

        Args:
            probabilities: Shape (..., row, column).

        Returns:
            Shape (...), float64.
        """
        share = (probabilities > self.probability).mean(axis=(-2, -1), dtype=np.float64)
        return share * REFERENCE**2

    def positive(self, probabilities: np.ndarray) -> np.ndarray:
        """Whether each slice is positive; shape (...) of (..., row, column), bool."""
        # A share of a count, times a count, may end a few units in the last place below it.
        return self.area(probabilities) >= self.pixels * (1 - 1e-9)


def fit_area(rule: SliceRule, areas: Sequence[float], positive: Sequence[bool]) -> SliceRule:
    """The rule with the area that tells validation slices apart best.

    Args:
        rule: Whose area is replaced.
        areas: Of the slices, from `SliceRule.area`.
        positive: Whether each slice has a lesion.

    Returns:
        With the largest sum of sensitivity and specificity; of several areas, the smallest.

    Raises:
        UsageError: If all slices are of one kind.
    """
    values, truth = np.asarray(areas, np.float64), np.asarray(positive, bool)
    if truth.all() or not truth.any():
        raise UsageError(
            "expected validation slices with and without lesions to fit the area of a positive "
            f"slice, got {int(truth.sum())} with and {int((~truth).sum())} without. Add slices, "
            "or give the area as --model.rule.pixels."
        )
    candidates = np.unique(values[values > 0])
    if not len(candidates):
        return rule
    sums = [(values[truth] >= area).mean() + (values[~truth] < area).mean() for area in candidates]
    return replace(rule, pixels=float(candidates[int(np.argmax(sums))]))


@dataclass(frozen=True)
class Dice:
    """Twice the common pixels over all pixels of two masks.

    Attributes:
        per_image: Of each slice that has a lesion, in order.
        pooled: Of all these slices as one; NaN without any.
    """

    per_image: tuple[float, ...]
    pooled: float

    @property
    def mean(self) -> float:
        """Mean over the slices with a lesion; NaN without any."""
        return float(np.mean(self.per_image)) if self.per_image else float("nan")


def dice(found: np.ndarray, truth: np.ndarray) -> Dice:
    """How well masks agree, on slices that have a lesion.

    Args:
        found: bool, (slice, row, column).
        truth: bool, the same shape.

    Raises:
        UsageError: If the shapes differ.
    """
    if found.shape != truth.shape or found.ndim != 3:
        raise UsageError(
            f"expected two masks of one shape (slice, row, column), got {found.shape} and "
            f"{truth.shape}"
        )
    found, truth = found.astype(bool, copy=False), truth.astype(bool, copy=False)
    has = truth.any(axis=(1, 2))
    common = (found & truth).sum(axis=(1, 2))[has].astype(np.float64)
    total = (found.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)))[has].astype(np.float64)
    pooled = 2 * common.sum() / total.sum() if has.any() else float("nan")
    return Dice(tuple((2 * common / total).tolist()), float(pooled))
