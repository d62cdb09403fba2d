"""How scans become square slices of bytes, for training and for answers alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from covidctnet.errors import UsageError
from covidctnet.preprocess.settings import MOST_SIZE
from covidctnet.slice_systems.settings import read_settings
from covidctnet.slicewise.operating import OperatingPoints
from covidctnet.slicewise.picture_lungs import without_lungs
from covidctnet.slicewise.resize import CENTRE, Fit, resize
from covidctnet.slicewise.window import Window, hu_to_8_bit

__all__ = ["SliceSettings"]


@dataclass(frozen=True)
class SliceSettings:
    """From Hounsfield units to what the network sees.

    Attributes:
        size: Rows and columns of a slice.
        fit: ``crop`` takes the largest square of a slice, ``pad`` keeps all of it.
        level: Middle of the window, HU.
        width: Of the window, HU.
        slices: Of a scan, evenly spaced over the lungs; all that there are, if fewer.
        lungs_blacked_out: A control: a network that is as good without lungs has not used them.
        points: Thresholds of a patient's score; without them, one half decides.
    """

    size: int = 448
    fit: Fit = "crop"
    level: float = -600.0
    width: float = 1500.0
    slices: int = 16
    lungs_blacked_out: bool = False
    points: OperatingPoints | None = None

    def __post_init__(self) -> None:
        is_size = 32 <= self.size <= MOST_SIZE
        if not is_size or self.slices < 1 or self.fit not in get_args(Fit):
            raise UsageError(
                f"expected a size of 32 to {MOST_SIZE}, crop, pad or stretch as fit, and a slice "
                f"or more, got {self.size}, {self.fit!r:.80} and {self.slices}"
            )
        # Refuses what is no window.
        self.window  # noqa: B018

    @property
    def window(self) -> Window:
        """The range of HU that is shown."""
        return Window(self.level, self.width)

    @classmethod
    def from_card(cls, entry: Mapping[str, Any]) -> SliceSettings:
        """The settings that a card states.

        Raises:
            UsageError: If they are none.
        """
        parts = {"points": OperatingPoints.from_card} if "points" in entry else {}
        return read_settings(cls, entry, parts)

    def slice(self, hu: np.ndarray, where: tuple[float, float] = CENTRE) -> np.ndarray:
        """One slice of a scan as the network sees it.

        Args:
            hu: Shape (row, column).
            where: Of the crop, see `covidctnet.slicewise.resize.crop_box`.

        Returns:
            uint8, (size, size).
        """
        return self.picture(hu_to_8_bit(hu, self.window), where)

    def picture(self, grey: np.ndarray, where: tuple[float, float] = CENTRE) -> np.ndarray:
        """One picture as the network sees it.

        Args:
            grey: uint8, shape (row, column).
            where: See `slice`.

        Returns:
            uint8, (size, size).
        """
        shown = without_lungs(grey) if self.lungs_blacked_out else grey
        return resize(shown, self.size, fit=self.fit, where=where)
