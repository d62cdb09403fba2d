"""How a scan becomes network input: what the card of the weights carries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from covidctnet.errors import UsageError

__all__ = ["PreprocessSettings"]

Interpolation = Literal["linear", "cubic"]
AboveWindow = Literal["clip", "air"]
Resize = Literal["triangle", "gaussian"]

_CHOICES = {
    "interpolation": get_args(Interpolation),
    "above_window": get_args(AboveWindow),
    "resize": get_args(Resize),
}


@dataclass(frozen=True)
class PreprocessSettings:
    """How a scan becomes network input. Travels in the card of the weights.

    The defaults are the paper's; the published code of 2021 does otherwise in `size` (128),
    `pad_square` (False) and the last three (the second choice of each).

    Attributes:
        spacing_mm: Distance of the isotropic grid that everything is resampled to.
        low_hu: Lower end of the window, becomes 0.
        high_hu: Upper end of the window, becomes 1.
        size: Rows and columns of a slice given to the networks, voxels.
        pad_square: Centre a slice that is not square in a square of air before resizing, so that
            rows and columns keep one scale. (No effect on the usual square matrix.)
        interpolation: To the isotropic grid: ``linear``, or ``cubic``, splines on whole Hounsfield
            units that overshoot at edges and stretch the grid from the first voxel to the last.
        above_window: What becomes of voxels above `high_hu`: ``clip`` makes them 1, ``air`` makes
            them 0, so that bone turns into air.
        resize: Filter that shrinks the slices: ``triangle``, or ``gaussian``, scikit-image's
            anti-aliasing, which blurs a little more.
    """

    spacing_mm: float = 1.0
    low_hu: float = -1000.0
    high_hu: float = 400.0
    size: int = 240
    pad_square: bool = True
    interpolation: Interpolation = "linear"
    above_window: AboveWindow = "clip"
    resize: Resize = "triangle"

    def __post_init__(self) -> None:
        if not 0.1 <= self.spacing_mm <= 10:
            raise UsageError(f"spacing_mm must lie in 0.1..10 mm, got {self.spacing_mm}")
        if not self.low_hu < self.high_hu:
            raise UsageError(f"low_hu ({self.low_hu}) must be < high_hu ({self.high_hu})")
        if self.size < 8 or self.size % 8:
            raise UsageError(f"size must be a positive multiple of 8, got {self.size}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"{name} must be {' or '.join(choices)}, got {getattr(self, name)!r}"
                )

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that change with any setting."""
        text = json.dumps(self.deciding(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def deciding(self) -> dict[str, Any]:
        """The settings by name, the last three only where they are not the paper's.

        Cards and studies older than those three settings name none of them, and mean the paper's:
        said or left out, they must count as the same.
        """
        held = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        return {
            name: value
            for name, (value, paper) in held.items()
            if name not in _CHOICES or value != paper
        }
