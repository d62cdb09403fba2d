"""Grey values of 8 bits, as most networks for pictures take them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError, UsageError
from covidctnet.io.picture import Picture, grey_bytes, stretched

__all__ = ["LUNG_WINDOW", "Window", "grey_8_bit", "hu_to_8_bit", "slice_8_bit"]


@dataclass(frozen=True)
class Window:
    """A range of HU, from black to white.

    Attributes:
        level: Its middle, HU.
        width: From its lower to its upper end, HU.
    """

    level: float = -600.0
    width: float = 1500.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.level) and math.isfinite(self.width) and self.width > 0):
            raise UsageError(
                "expected a window of a finite level and a width above 0 HU, got level "
                f"{self.level:g} and width {self.width:g}. Correct the settings."
            )

    @property
    def low(self) -> float:
        """HU that become black."""
        return self.level - self.width / 2

    @property
    def high(self) -> float:
        """HU that become white."""
        return self.level + self.width / 2


LUNG_WINDOW = Window()


def hu_to_8_bit(hu: np.ndarray, window: Window = LUNG_WINDOW) -> np.ndarray:
    """HU to grey values: 0 at and below the window, 255 at and above it.

    Args:
        hu: Any shape.
        window: The range that is shown.

    Returns:
        uint8, the same shape, rounded to the nearest.
    """
    return stretched(hu, window.low, window.high)


def grey_8_bit(picture: Picture, window: Window = LUNG_WINDOW) -> np.ndarray:
    """The grey values of a picture in 8 bits.

    Args:
        picture: In HU: seen through the window. Of 8 bits: as it is. In other numbers, whose
            meaning is unknown: stretched between the percentiles 0.5 and 99.5.
        window: For HU.

    Returns:
        uint8, shape (row, column).
    """
    if picture.units == "HU":
        return hu_to_8_bit(picture.pixels, window)
    return grey_bytes(picture.pixels)


def slice_8_bit(picture: Picture, window: Window = LUNG_WINDOW) -> np.ndarray:
    """The grey values of a picture of a CT slice in 8 bits; see `grey_8_bit`.

    Raises:
        StudyError: ``NOT_CT`` for a radiograph in DICOM; other formats say nothing of it.
    """
    if picture.is_radiograph:
        raise StudyError(
            "NOT_CT",
            "expected a slice of a CT, got a radiograph. Give radiographs to a system that reads "
            "them.",
        )
    return grey_8_bit(picture, window)
