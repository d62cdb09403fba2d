"""How scans become square slices of bytes, for training and for answers alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np

from covidctnet.errors import UsageError
from covidctnet.systems.resnet50_slices.resize import CENTRE, Fit, resize

__all__ = ["SliceSettings", "lung_slices"]

# A slice shows lung when it has this much of the largest cross-section's area.
_SMALLEST_AREA = 0.1


@dataclass(frozen=True)
class SliceSettings:
    """From Hounsfield units to what the network sees.

    Attributes:
        size: Rows and columns of a slice.
        fit: ``crop`` takes the largest square of a slice, ``pad`` keeps all of it.
        low_hu: Shown black; the lung window of -600 with a width of 1500 by default.
        high_hu: Shown white.
        slices: Of a scan, evenly spaced over the lungs; all that there are, if fewer.
    """

    size: int = 448
    fit: Fit = "crop"
    low_hu: float = -1350.0
    high_hu: float = 150.0
    slices: int = 16

    def __post_init__(self) -> None:
        if self.size < 32 or self.slices < 1 or self.fit not in get_args(Fit):
            raise UsageError(
                "expected a size of 32 or more, crop or pad as fit, and at least one slice, got "
                f"{self.size}, {self.fit!r:.80} and {self.slices}"
            )
        if not self.low_hu < self.high_hu:
            raise UsageError(f"expected low_hu below high_hu, got {self.low_hu}, {self.high_hu}")

    @classmethod
    def from_card(cls, entry: Mapping[str, Any]) -> SliceSettings:
        """The settings that a card states.

        Raises:
            UsageError: If they are none.
        """
        try:
            return cls(**entry)
        except TypeError as error:
            raise UsageError(
                f"expected {', '.join(asdict(cls()))} as settings, {error!s:.200}"
            ) from None

    def picture(self, hu: np.ndarray, where: tuple[float, float] = CENTRE) -> np.ndarray:
        """One slice as the network sees it.

        Args:
            hu: Shape (row, column).
            where: Of the crop, see `covidctnet.systems.resnet50_slices.resize.crop_box`.

        Returns:
            uint8, (size, size).
        """
        scaled = (hu.astype(np.float32) - self.low_hu) / (self.high_hu - self.low_hu)
        grey = np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
        return resize(grey, self.size, fit=self.fit, where=where)


def lung_slices(areas: np.ndarray, count: int) -> tuple[int, ...]:
    """Slices evenly spaced over the lungs.

    Args:
        areas: Lung of each slice, in any unit.
        count: How many; all slices that show lung, where there are fewer.

    Returns:
        Their places, rising; none where there is no lung.
    """
    largest = areas.max(initial=0)
    if not largest:
        return ()
    shown = np.flatnonzero(areas >= _SMALLEST_AREA * largest)
    if len(shown) <= count:
        return tuple(shown.tolist())
    # The middles of equal parts: the first and the last slice show little.
    places = (np.arange(count) + 0.5) * len(shown) / count
    return tuple(shown[places.astype(int)].tolist())
