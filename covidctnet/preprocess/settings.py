"""How a scan becomes network input: what the card of the weights carries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from covidctnet.errors import UsageError

__all__ = ["MOST_SIZE", "PreprocessSettings"]

MOST_SIZE = 2048
"""Rows and columns of a slice for a network, at most; no scanner has as many."""
# What 16 bits hold.
_MOST_HU = 32768

Interpolation = Literal["linear", "cubic"]
AboveWindow = Literal["clip", "air"]
Resize = Literal["triangle", "gaussian"]
Field = Literal["scan", "lungs"]

_CHOICES = {
    "interpolation": get_args(Interpolation),
    "above_window": get_args(AboveWindow),
    "resize": get_args(Resize),
    "field": get_args(Field),
}
# Settings that came later: a card that does not name them is older, and means the default.
_LATER = frozenset({*_CHOICES, "margin_mm"})


@dataclass(frozen=True)
class PreprocessSettings:
    """How a scan becomes network input. Travels in the card of the weights.

    The defaults are the paper's; the published code of 2021 does otherwise in `size` (128),
    `pad_square` (False), `interpolation`, `above_window` and `resize` (the second choice of each).

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
        field: Field of view: ``scan`` keeps all slices, whole; ``lungs`` crops to the box around
            the lungs, so that lungs have one size whatever the scanner's field of view was.
        margin_mm: Around the lungs, on every side, where `field` is ``lungs``.
    """

    spacing_mm: float = 1.0
    low_hu: float = -1000.0
    high_hu: float = 400.0
    size: int = 240
    pad_square: bool = True
    interpolation: Interpolation = "linear"
    above_window: AboveWindow = "clip"
    resize: Resize = "triangle"
    field: Field = "scan"
    margin_mm: float = 10.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.spacing_mm <= 10:
            raise UsageError(f"spacing_mm must lie in 0.1..10 mm, got {self.spacing_mm}")
        if not -_MOST_HU <= self.low_hu < self.high_hu <= _MOST_HU:
            raise UsageError(
                f"low_hu ({self.low_hu}) must be < high_hu ({self.high_hu}), and both within "
                f"{_MOST_HU} of 0"
            )
        if not 8 <= self.size <= MOST_SIZE or self.size % 8:
            raise UsageError(
                f"size must be a positive multiple of 8, up to {MOST_SIZE}, got {self.size}"
            )
        if not 0 <= self.margin_mm <= 100:
            raise UsageError(f"margin_mm must lie in 0..100 mm, got {self.margin_mm}")
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

    @property
    def window_hu(self) -> tuple[float, float]:
        """The HU values that become 0 and 1."""
        return self.low_hu, self.high_hu

    def deciding(self) -> dict[str, Any]:
        """The settings by name; those that came later only where they differ from the default.

        Cards and studies older than a setting do not name it and mean its default: named or left
        out, the default must count as the same. A margin decides nothing without a crop.
        """
        held = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        if self.field == "scan":
            del held["margin_mm"]
        return {
            name: value
            for name, (value, default) in held.items()
            if name not in _LATER or value != default
        }
