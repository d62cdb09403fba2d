"""How scans and pictures become square crops of lung, for training and for answers alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from covidctnet.errors import StudyError, UsageError
from covidctnet.preprocess.settings import MOST_SIZE
from covidctnet.slice_systems.predictor import Chosen, SlicePicture
from covidctnet.slice_systems.settings import read_settings
from covidctnet.slicewise.sampling import lung_slices
from covidctnet.slicewise.window import Window, hu_to_8_bit
from covidctnet.systems.deeppneumonia.crop import Fill, Square, crop_lungs, what_is_cut_off

__all__ = ["CropSettings"]

Cover = Literal["lungs", "whole"]


@dataclass(frozen=True)
class CropSettings:
    """From Hounsfield units to what the network sees.

    Attributes:
        size: Rows and columns of a crop. The network looks at it in a smaller size and cuts the
            best region from it as it is.
        slices: Of a scan, evenly spaced; all that there are, if fewer.
        cover: They are spaced over the ``lungs``, or over the ``whole`` scan as published.
        fill: What lies outside the lungs; see `covidctnet.systems.deeppneumonia.crop.crop_lungs`.
        level: Middle of the window, HU.
        width: Of the window, HU.
    """

    size: int = 600
    slices: int = 15
    cover: Cover = "lungs"
    fill: Fill = "paper"
    level: float = -600.0
    width: float = 1500.0

    def __post_init__(self) -> None:
        if not 32 <= self.size <= MOST_SIZE or self.slices < 1:
            raise UsageError(
                f"expected a size of 32 to {MOST_SIZE} and a slice or more, got {self.size} and "
                f"{self.slices}"
            )
        if self.cover not in get_args(Cover) or self.fill not in get_args(Fill):
            raise UsageError(
                "expected lungs or whole as cover, and none, black or paper as fill, got "
                f"{self.cover!r:.80} and {self.fill!r:.80}"
            )
        # Refuses what is no window.
        self.window  # noqa: B018

    @property
    def window(self) -> Window:
        """The range of HU that is shown."""
        return Window(self.level, self.width)

    @classmethod
    def from_card(cls, entry: Mapping[str, Any]) -> CropSettings:
        """The settings that a card states.

        Raises:
            UsageError: If they are none.
        """
        return read_settings(cls, entry)

    def choose(self, lungs: np.ndarray) -> Chosen:
        """The slices of a scan that show whole lungs.

        Args:
            lungs: Mask, bool, (slice, row, column).

        Returns:
            Their places, and a note for each that was chosen and left out again.

        Raises:
            StudyError: ``NOT_CHEST`` if none of them shows whole lungs.
        """
        areas = lungs.sum(axis=(1, 2))
        places = lung_slices(areas if self.cover == "lungs" else np.ones(len(areas)), self.slices)
        reasons = {place: what_is_cut_off(lungs[place]) for place in places}
        kept = tuple(place for place, reason in reasons.items() if not reason)
        notes = tuple(
            f"slice {place + 1} left out: {reason}" for place, reason in reasons.items() if reason
        )
        if not kept:
            raise StudyError(
                "NOT_CHEST",
                f"expected whole lungs in some of {len(places)} slices, got none: {notes[0]}. "
                "Give a scan of the whole chest.",
            )
        return Chosen(kept, notes)

    def crop(self, grey: np.ndarray, lungs: np.ndarray) -> np.ndarray:
        """One slice as the network sees it.

        Args:
            grey: uint8, shape (row, column).
            lungs: Mask of the same shape, bool, not empty.

        Returns:
            uint8, (size, size).
        """
        return crop_lungs(grey, lungs, self.size, self.fill)

    def slice(self, hu: np.ndarray, lungs: np.ndarray) -> SlicePicture:
        """One slice of a scan, with its place.

        Args:
            hu: Shape (row, column).
            lungs: Mask of the same shape, bool, not empty.
        """
        grey = hu_to_8_bit(hu, self.window)
        return SlicePicture(self.crop(grey, lungs), Square.around(lungs).grid(self.size), grey)
