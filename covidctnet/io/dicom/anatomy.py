"""Whether two stacks at one place show one body, by their pixels."""

from __future__ import annotations

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import Placement
from covidctnet.io.dicom.voxels import read_hu

__all__ = ["show_one_body"]

# Where slices are compared, as parts of the range that both stacks cover.
HEIGHTS = (0.3, 0.5, 0.7)
# Samples along each side of the rectangle that both slices cover.
SAMPLES = 64
LIMITS_HU = (-1000.0, 400.0)
# The median of three correlations: in 23 real scans .976 or more between a scan and itself with
# thick slices, noise and half a step between, .757 or less between 253 pairs of patients.
MIN_CORRELATION = 0.87


def show_one_body(one: Placement, other: Placement) -> bool:
    """Whether two parallel stacks that cover one range are images of one body in one place.

    Args:
        one: A stack.
        other: Another; its slices may be thicker, and its images of another size.

    Returns:
        False also where their images have no place in common, or cannot be decoded.
    """
    normal = one.axes[:, 0]
    ends = np.array([_ends(placement, normal) for placement in (one, other)])
    low, high = ends[:, 0].max(), ends[:, 1].min()
    found = []
    for part in HEIGHTS:
        height = low + part * (high - low)
        try:
            found.append(_correlation(_at(one, normal, height), _at(other, normal, height)))
        except StudyError:
            return False
    return bool(np.median(found) >= MIN_CORRELATION)


def _ends(placement: Placement, normal: np.ndarray) -> tuple[float, float]:
    heights = [float(np.array(placement.frames[k].position) @ normal) for k in (0, -1)]
    return min(heights), max(heights)


def _at(placement: Placement, normal: np.ndarray, height: float) -> Frame:
    """The frame nearest to a height."""
    return min(
        placement.frames, key=lambda frame: abs(float(np.array(frame.position) @ normal) - height)
    )


def _correlation(one: Frame, other: Frame) -> float:
    """Of what two images show at the places that both have; 0 where there are none."""
    axes = _axes_of(one)
    lines = [_lines(frame, axes) for frame in (one, other)]
    places = []
    for k in range(2):
        low = max(float(own[k].min()) for own in lines)
        high = min(float(own[k].max()) for own in lines)
        if high <= low:
            return 0.0
        places.append(np.linspace(low, high, SAMPLES))
    images = [_sampled(frame, own, places) for frame, own in zip((one, other), lines, strict=True)]
    if min(float(image.std()) for image in images) == 0:
        return 0.0
    return float(np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1])


def _axes_of(frame: Frame) -> np.ndarray:
    """Unit vectors down the rows and across the columns, shape (2, 3)."""
    return np.array(frame.orientation).reshape(2, 3)[::-1]


def _lines(frame: Frame, axes: np.ndarray) -> list[np.ndarray]:
    """Where the rows, and the columns, of an image lie along two axes, mm.

    An image may be turned by 180 degrees against another: its lines then go down.
    """
    turns = np.sign((_axes_of(frame) * axes).sum(axis=1))
    sizes = (frame.pixels.rows, frame.pixels.columns)
    spacing = frame.spacing or (1.0, 1.0)
    starts = axes @ np.array(frame.position)
    return [
        start + turn * mm * np.arange(size)
        for start, turn, mm, size in zip(starts, turns, spacing, sizes, strict=True)
    ]


def _sampled(frame: Frame, lines: list[np.ndarray], places: list[np.ndarray]) -> np.ndarray:
    """HU at places along two axes, means over the distance of the places, (row, column)."""
    from scipy import ndimage  # slow to import, and seldom needed

    (hu,), _ = read_hu([frame])
    clipped = np.clip(hu, *LIMITS_HU).astype(np.float32)
    indices = [(at - own[0]) / (own[1] - own[0]) for at, own in zip(places, lines, strict=True)]
    width = [max(1, round(abs(float(index[1] - index[0])))) for index in indices]
    smooth = ndimage.uniform_filter(clipped, width)
    grid = np.meshgrid(*indices, indexing="ij")
    return np.asarray(ndimage.map_coordinates(smooth, grid, order=1, mode="nearest"))
