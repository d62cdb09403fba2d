"""Whether a picture may be a frontal radiograph of a chest: a look at its large shapes.

Two dark fields, but not as black as air, lie on both sides of a brighter middle, and left and right
are alike. A picture that clearly has no such shapes is refused, a doubtful one is flagged. This is
no detector: some lateral views, or a good photograph of a radiograph, have the same shapes.

The limits were chosen on public radiographs of children and adults and on CT slices, and are stated
with what they let pass in docs/reference/slices.md. None of these pictures is shipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from covidctnet.errors import StudyError
from covidctnet.evidence import Finding

__all__ = ["FrontalView", "check_frontal", "look_at"]

# All is measured in a picture of this size.
_SIDE = 64
_SMOOTH = 2.0
# The lung fields: rows, and columns of the middle and of both sides.
_ROWS = slice(16, 40)
_MIDDLE, _LEFT, _RIGHT = slice(28, 36), slice(10, 25), slice(39, 54)
# Grey values that bones and soft tissue have in a lung window of CT.
_WHITE = 247

# Below these a picture is refused.
MIN_RIDGE, MIN_MIDDLE, MIN_SYMMETRY, MIN_DARKER = 0.6, 0.8, 0.0, -0.1
# Below these it is flagged.
LOW_RIDGE, LOW_MIDDLE, LOW_SYMMETRY, LOW_DARKER = 0.75, 0.85, 0.15, 0.05
# Where this share of the sides is as black as air, there is no body: refused, and flagged.
MAX_AIR, HIGH_AIR = 0.25, 0.15
_AIR = 0.05
# Slices of CT have saturated bones and soft tissue, and sharp edges.
CT_WHITE, CT_DETAIL = 0.02, 0.16
# The same or few grey values, of which one has a large share.
FEW_LEVELS, MANY_EDGES, LARGE_SHARE = 2.2, 0.17, 0.2
# Channels of a scanned film differ by less; photographs of a screen by more.
COLOURED_ABOVE = 40


@dataclass(frozen=True)
class FrontalView:
    """What the large shapes of a picture measure.

    Attributes:
        symmetry: Correlation with its mirror image, -1 to 1.
        ridge: Share of the rows of the lung fields in which the middle is brighter than a side, of
            the side where there are fewer.
        middle: Share of all rows in which the middle is brighter than the darker side.
        darker: How much darker than the middle the side is that differs less, in standard
            deviations of the picture.
        air: Share of the side fields that is as black as the darkest of the picture.
        white: Share of the picture that is saturated.
        detail: Mean difference to the smoothed picture, in standard deviations.
        levels: Entropy of 16 grey levels, in nats.
        largest: Share of the commonest of these levels.
    """

    symmetry: float
    ridge: float
    middle: float
    darker: float
    air: float
    white: float
    detail: float
    levels: float
    largest: float

    @property
    def is_ct(self) -> bool:
        """Whether it looks like a slice of a CT in a lung window."""
        return self.white > CT_WHITE and self.detail > CT_DETAIL

    @property
    def is_no_chest(self) -> bool:
        """Whether it has no dark fields on both sides of a brighter middle."""
        return (
            self.ridge < MIN_RIDGE
            or self.middle < MIN_MIDDLE
            or not self.symmetry > MIN_SYMMETRY
            or self.darker < MIN_DARKER
            or self.air > MAX_AIR
        )

    @property
    def is_doubtful(self) -> bool:
        """Whether one measure is rare among frontal radiographs of a chest."""
        return (
            self.ridge < LOW_RIDGE
            or self.middle < LOW_MIDDLE
            or self.symmetry < LOW_SYMMETRY
            or self.darker < LOW_DARKER
            or self.air > HIGH_AIR
            or (
                self.levels < FEW_LEVELS and self.detail > MANY_EDGES and self.largest > LARGE_SHARE
            )
        )


def look_at(grey: np.ndarray) -> FrontalView:
    """Measure the large shapes of a picture.

    Args:
        grey: uint8, (row, column).
    """
    image = Image.fromarray(np.ascontiguousarray(grey))
    small = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX)).astype(np.float64)
    smooth = ndimage.gaussian_filter(small, _SMOOTH)
    spread = float(smooth.std())
    if spread < 1:
        return FrontalView(0.0, 0.0, 0.0, 0.0, 0.0, float((small >= _WHITE).mean()), 0.0, 0.0, 1.0)
    shapes = (smooth - smooth.mean()) / spread
    middle, left, right = (shapes[:, part].mean(axis=1) for part in (_MIDDLE, _LEFT, _RIGHT))
    rows = _ROWS
    low, high = np.percentile(small, [1, 99])
    sides = np.concatenate([small[rows, _LEFT], small[rows, _RIGHT]], axis=1)
    edges = np.abs(small - ndimage.gaussian_filter(small, 1.5)).mean()
    counts = np.histogram(small, bins=16, range=(0, 256))[0] / small.size
    found = counts[counts > 0]
    return FrontalView(
        symmetry=float(np.corrcoef(smooth.ravel(), smooth[:, ::-1].ravel())[0, 1]),
        ridge=float(min((middle[rows] > side[rows]).mean() for side in (left, right))),
        middle=float((middle > np.minimum(left, right)).mean()),
        darker=float(min((middle[rows] - side[rows]).mean() for side in (left, right))),
        air=float((sides < low + _AIR * (high - low)).mean()),
        white=float((small >= _WHITE).mean()),
        detail=float(edges / max(small.std(), 1.0)),
        levels=float(-(found * np.log(found)).sum()),
        largest=float(counts.max()),
    )


def check_frontal(
    grey: np.ndarray, findings: Iterable[Finding] = (), *, study: str = ""
) -> tuple[str, ...]:
    """Refuse what is no frontal radiograph of a chest; flag what may be none.

    Args:
        grey: uint8, (row, column).
        findings: Of the quality checks of its file.
        study: Short id.

    Returns:
        Flags: ``unusual_view`` for shapes that are rare among such radiographs, ``coloured`` for
        colours, as photographs of a screen have.

    Raises:
        StudyError: ``NOT_RADIOGRAPH`` for what looks like a slice of a CT; ``NOT_CHEST`` for a
            picture without lung fields on both sides.
    """
    view = look_at(grey)
    if view.is_ct:
        raise StudyError(
            "NOT_RADIOGRAPH",
            f"expected a radiograph, got a picture with {view.white:.0%} of it saturated and sharp "
            "edges, as a slice of a CT has. Give CT to a system that reads it.",
            study=study or None,
        )
    if view.is_no_chest:
        raise StudyError(
            "NOT_CHEST",
            "expected two dark lung fields on both sides of a brighter middle, got a picture "
            f"without them (in {view.ridge:.0%} of the rows, {view.air:.0%} of the fields black as "
            f"air, likeness of left and right {view.symmetry:.2f}). Give a frontal radiograph of "
            "the chest, upright, with bones brighter than air.",
            study=study or None,
        )
    unusual = ("unusual_view",) if view.is_doubtful else ()
    differing = [one.value for one in findings if one.code == "colour"]
    is_coloured = any(isinstance(v, int | float) and v > COLOURED_ABOVE for v in differing)
    coloured = ("coloured",) if is_coloured else ()
    return (*unusual, *coloured)
