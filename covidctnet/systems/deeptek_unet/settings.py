"""How a scan becomes slices of bytes, and slices of masks an answer for the scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from covidctnet.errors import UsageError
from covidctnet.preprocess.settings import MOST_SIZE
from covidctnet.slice_systems.settings import read_settings
from covidctnet.slicewise.aggregate import Run, RunRule
from covidctnet.slicewise.window import Window
from covidctnet.systems.deeptek_unet.rule import SliceRule

__all__ = ["MaskSettings", "run_score", "square"]

# The paper's rule.
_PAPER_RUN = 15


@dataclass(frozen=True)
class MaskSettings:
    """From Hounsfield units to what the network sees, and from masks to an answer.

    Attributes:
        size: Rows and columns of a slice.
        level: Middle of the window, HU.
        width: Of the window, HU.
        rule: When a slice is positive.
        run: When a scan is.
    """

    size: int = 512
    level: float = -600.0
    width: float = 1500.0
    rule: SliceRule = field(default_factory=SliceRule)
    run: RunRule = field(default_factory=lambda: RunRule(slices=_PAPER_RUN))

    def __post_init__(self) -> None:
        if not 32 <= self.size <= MOST_SIZE:
            raise UsageError(f"expected a size of 32 to {MOST_SIZE}, got {self.size}")
        # Refuses what is no window.
        self.window  # noqa: B018

    @property
    def window(self) -> Window:
        """The range of HU that is shown."""
        return Window(self.level, self.width)

    @classmethod
    def from_card(cls, entry: Mapping[str, Any]) -> MaskSettings:
        """The settings that a card states.

        Raises:
            UsageError: If they are none.
        """
        parts = {"rule": SliceRule.from_card, "run": lambda run: RunRule(**run)}
        return read_settings(cls, entry, parts)

    def to_card(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def square(picture: np.ndarray, size: int, *, is_mask: bool = False) -> np.ndarray:
    """A slice or mask resized to a square, all of it.

    Args:
        picture: uint8, (row, column).
        size: Rows and columns of the result.
        is_mask: Values are numbers of kinds and must not be mixed.

    Returns:
        uint8, (size, size).
    """
    how = Image.Resampling.NEAREST if is_mask else Image.Resampling.BILINEAR
    return np.array(Image.fromarray(np.ascontiguousarray(picture)).resize((size, size), how))


def run_score(run: Run | None, rule: RunRule) -> float:
    """A score of a scan that is above one half just where the rule calls it positive.

    Args:
        run: The longest run of positive slices.
        rule: Whether it is long enough.

    Returns:
        In [0, 1); it rises with the run and is no probability.
    """
    if run is None:
        return 0.0
    if rule.slices is not None:
        return run.slices / (run.slices + rule.slices - 0.5)
    assert rule.mm is not None
    # Rounded as the rule does it.
    long = round(run.mm, 3)
    return long / (long + rule.mm - 5e-4)
