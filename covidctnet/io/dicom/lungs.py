"""How much lung an image shows: enough to tell a chest from an abdomen, and where lungs end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import MIN_SLICES, Placement
from covidctnet.io.dicom.series import Stack
from covidctnet.io.dicom.stored import OpenFile
from covidctnet.io.dicom.voxels import read_hu

__all__ = ["Shown", "are_lungs_within", "lung_of", "show_lung", "with_lungs"]

# Aerated lung; air outside, in the windpipe and in the bowels is thinner but for its border.
LUNG_HU = (-940.0, -500.0)
# What encloses it.
BODY_HU = -300.0
# Images are averaged to about so many pixels along their shorter side.
SIDE = 128
# So many slices of a stack are asked how much lung it shows.
ASKED = 12
# Lung in the body, in the slice of a chest that shows most of it: 0.17 to 0.66 in 24 real scans.
MIN_LUNG = 0.05
# And in slices beyond the lungs: 0.008 at most, but for the border of the windpipe.
NO_LUNG = 0.004
# Slices at the end of a stack that show whether the lungs end before it.
LAST = 3
# Stacks that share this part of both show the same.
SAME_PART = 0.8


@dataclass(frozen=True)
class Shown:
    """What images show.

    Attributes:
        lung: Pixels of lung, of all images.
        body: Pixels within the body, of all images.
    """

    lung: float
    body: float

    @property
    def share(self) -> float:
        """Lung in the body."""
        return self.lung / self.body if self.body else 0.0


def lung_of(frames: Sequence[Frame], opened: OpenFile | None = None) -> Shown | None:
    """The lung that some frames of one stack show.

    Borders of air are as thin as a pixel or two and do not count. Foam of the table lies outside of
    the body; lung that the edge of the image cuts counts.

    Args:
        frames: Of one matrix.
        opened: Keeps their file open, if they are of one.

    Returns:
        None where a frame cannot be decoded.
    """
    from scipy import ndimage  # slow to import, and seldom needed

    try:
        hu, _ = read_hu(frames, opened=opened)
    except StudyError:
        return None
    size = max(1, min(hu.shape[1:]) // SIDE)
    rows, columns = hu.shape[1] // size, hu.shape[2] // size
    lung = body = 0.0
    for image in hu:
        cut = image[: rows * size, : columns * size].astype(np.float32)
        small = cut.reshape(rows, size, columns, size).mean(axis=(1, 3))
        inside = ndimage.binary_fill_holes(small > BODY_HU)
        thin = (small > LUNG_HU[0]) & (small < LUNG_HU[1])
        thin = ndimage.binary_opening(thin, np.ones((3, 3)))
        names, _count = ndimage.label(thin)
        edge = np.unique(np.concatenate([names[0], names[-1], names[:, 0], names[:, -1]]))
        lung += float((thin & (inside | np.isin(names, edge[edge > 0]))).sum())
        body += float(inside.sum())
    return Shown(lung * size**2, body * size**2)


def are_lungs_within(stack: Stack, beyond: Sequence[Frame], *, is_above: bool) -> bool:
    """Whether a stack shows lungs, and they end before it does.

    The last slices must show none, and of what lies beyond neither the nearest images nor those
    all over it.

    Args:
        stack: In order along its normal.
        beyond: Images that go on where it ends, the nearest ones first.
        is_above: Whether they lie behind its last slice, or before its first.
    """
    last = stack.frames[-LAST:] if is_above else stack.frames[:LAST]
    for shown in _each((*last, *beyond[:LAST])):
        if shown is None or not shown.body or shown.share > NO_LUNG:
            return False
    # Within a zone of consolidation several slices in a row show no lung, and lung follows.
    if show_lung(beyond):
        return False
    return (
        max((shown.share for shown in _each(_some(stack.frames)) if shown), default=0.0) >= MIN_LUNG
    )


def show_lung(frames: Sequence[Frame]) -> bool:
    """Whether some of many frames clearly show lung, or may: one that cannot be decoded may."""
    return any(shown is None or shown.share >= MIN_LUNG for shown in _each(_some(frames)))


def _each(frames: Sequence[Frame]) -> Iterator[Shown | None]:
    """The lung that each of some frames shows."""
    with OpenFile() as opened:
        for frame in frames:
            yield lung_of([frame], opened)


def with_lungs(stacks: Sequence[Stack]) -> list[Stack]:
    """Stacks with the volume of lung that they show, where that decides which is the chest.

    Nothing is decoded where all show the same part of the body.
    """
    large = [
        s
        for s in stacks
        if s.placement is not None and s.direction == "axial" and len(s.frames) >= MIN_SLICES
    ]
    if all(_show_the_same(a, b) for a, b in combinations(large, 2)):
        return list(stacks)
    chosen = set(map(id, large))
    return [replace(s, lung_ml=_lung_ml(s)) if id(s) in chosen else s for s in stacks]


def _show_the_same(one: Stack, other: Stack) -> bool:
    assert one.placement is not None and other.placement is not None
    if one.frames[0].frame_of_reference != other.frames[0].frame_of_reference:
        return False
    axes = one.placement.axes
    low, high = _span(one.placement, axes)
    its_low, its_high = _span(other.placement, axes)
    shared = np.minimum(high, its_high) - np.maximum(low, its_low)
    # Also within the slices: a field of one lung, or of the heart, shows less than the whole chest.
    return bool((shared >= SAME_PART * np.maximum(high - low, its_high - its_low)).all())


def _span(placement: Placement, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the voxels of a stack begin and end along three axes, mm."""
    pixels = placement.frames[0].pixels
    last = np.array([len(placement.frames), pixels.rows, pixels.columns]) - 1
    corners = placement.affine @ np.array([[*last * where, 1] for where in np.ndindex(2, 2, 2)]).T
    places = axes.T @ corners[:3]
    return places.min(axis=1), places.max(axis=1)


def _lung_ml(stack: Stack) -> float | None:
    """Volume of lung, ml; 0 where no slice shows clearly more than none, None when unknown."""
    assert stack.placement is not None
    found = list(_each(_some(stack.frames)))
    known = [shown for shown in found if shown is not None]
    if len(known) < len(found):
        return None
    if max(shown.share for shown in known) < MIN_LUNG:
        return 0.0
    rows, columns = stack.placement.pixel_mm
    mean = float(np.mean([shown.lung for shown in known])) * rows * columns
    return mean * (stack.placement.extent_mm + stack.placement.step_mm) / 1000


def _some(frames: Sequence[Frame]) -> list[Frame]:
    """Some of many frames, at even distances."""
    places = np.linspace(0, len(frames) - 1, min(ASKED, len(frames)))
    return [frames[k] for k in np.unique(places.astype(int))]
