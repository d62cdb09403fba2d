"""How radiographs become square pictures of bytes, for training and for answers alike."""

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
from covidctnet.slicewise.resize import Fit, resize

__all__ = ["RadiographSettings"]


@dataclass(frozen=True)
class RadiographSettings:
    """From grey values to what the network sees.

    Attributes:
        size: Rows and columns; 324 as published.
        fit: ``stretch`` makes a radiograph as wide as high, as published; ``pad`` keeps its shape,
            with black at two sides; ``crop`` takes the largest square.
        lungs_blacked_out: A control: a network that is as good without lungs has not used them.
        points: Thresholds of a patient's score; without them, one half decides.
    """

    size: int = 324
    fit: Fit = "stretch"
    lungs_blacked_out: bool = False
    points: OperatingPoints | None = None

    def __post_init__(self) -> None:
        if not 32 <= self.size <= MOST_SIZE or self.fit not in get_args(Fit):
            raise UsageError(
                f"expected a size of 32 to {MOST_SIZE} and crop, pad or stretch as fit, got "
                f"{self.size} and {self.fit!r:.80}"
            )

    @classmethod
    def from_card(cls, entry: Mapping[str, Any]) -> RadiographSettings:
        """The settings that a card states.

        Raises:
            UsageError: If they are none.
        """
        parts = {"points": OperatingPoints.from_card} if "points" in entry else {}
        return read_settings(cls, entry, parts)

    def picture(self, grey: np.ndarray) -> np.ndarray:
        """One radiograph as the network sees it.

        Args:
            grey: uint8, shape (row, column).

        Returns:
            uint8, (size, size).
        """
        shown = without_lungs(grey) if self.lungs_blacked_out else grey
        return resize(shown, self.size, fit=self.fit)
