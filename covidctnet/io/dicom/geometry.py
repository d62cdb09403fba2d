"""Where slices lie: order, spacing, gaps, tilt; from positions and directions, never from tags."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.canonical import check_extent, check_size, is_default
from covidctnet.io.dicom.frame import Frame

__all__ = ["Placement", "check_placement", "has_geometry", "place", "resample_gaps", "untilt"]

MIN_SLICES = 8
# Scanners make square pixels; programs that resample stretch them by less.
MAX_OBLONG = 3.0
# Direction cosines further than this from unit length and a right angle are no directions.
COSINE_TOLERANCE = 1e-3
# Steps may differ from the usual one by the larger of these.
STEP_TOLERANCE_MM = 0.1
STEP_TOLERANCE = 0.05
# Two slices nearer to each other than this share of the usual step lie at one place.
SAME_PLACE = 0.2
# Slices may lie this far beside the line through the others.
SCATTER_TOLERANCE_MM = 0.1
# Instance numbers often follow nothing, or the acquisition; when they run with the slices but for
# this many, those slices were moved.
MAX_MOVED = 2
# Slices may drift sideways by this share of a pixel over the whole stack.
DRIFT_PIXELS = 0.5
AIR_HU = -1024.0


@dataclass(frozen=True, eq=False)
class Placement:
    """Frames of one stack in order, and where they lie.

    Attributes:
        frames: Sorted along the normal, ties by SOP instance.
        axes: Columns are unit vectors in LPS: the normal, down the rows, across the columns.
        heights: mm along the normal, ascending, shape (frame,).
        offsets: mm down and across, relative to the first frame, shape (frame, 2).
    """

    frames: tuple[Frame, ...]
    axes: np.ndarray
    heights: np.ndarray
    offsets: np.ndarray

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Distance of rows and of columns."""
        down, across = self.frames[0].spacing or (1.0, 1.0)
        return down, across

    @property
    def step_mm(self) -> float:
        """The usual distance of neighbours, 0 for fewer than two places."""
        return usual_step(self.heights)

    @property
    def extent_mm(self) -> float:
        """From the first slice to the last."""
        return float(self.heights[-1] - self.heights[0])

    @property
    def direction(self) -> str:
        """Which way the slices look: ``axial``, ``coronal`` or ``sagittal``."""
        return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(self.axes[:, 0])))]

    @property
    def affine(self) -> np.ndarray:
        """From (slice, row, column, 1) to LPS mm, slices evenly spaced from first to last."""
        affine = np.eye(4)
        affine[:3, 0] = self.axes[:, 0] * self.extent_mm / max(len(self.frames) - 1, 1)
        affine[:3, 1] = self.axes[:, 1] * self.pixel_mm[0]
        affine[:3, 2] = self.axes[:, 2] * self.pixel_mm[1]
        affine[:3, 3] = self.frames[0].position or (0.0, 0.0, 0.0)
        return affine

    def groups(self) -> list[list[int]]:
        """Indices of the frames, those at one place together."""
        limit = max(SAME_PLACE * self.step_mm, 1e-3)
        found = [[0]]
        for i in range(1, len(self.frames)):
            if self.heights[i] - self.heights[found[-1][0]] < limit:
                found[-1].append(i)
            else:
                found.append([i])
        return found


def has_geometry(frame: Frame) -> bool:
    """Whether a frame says where it lies."""
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        return False
    across, down = np.reshape(frame.orientation, (2, 3))
    lengths = np.array([np.linalg.norm(across), np.linalg.norm(down)])
    return bool(
        min(frame.spacing) > 0
        and np.abs(lengths - 1).max() < COSINE_TOLERANCE
        and abs(across @ down) < COSINE_TOLERANCE
        and max(map(abs, frame.position)) < 1e5
    )


def usual_step(heights: np.ndarray) -> float:
    """Median distance of neighbours that do not lie at one place."""
    steps = np.diff(heights)
    apart = steps[steps > 1e-2]
    return float(np.median(apart)) if len(apart) else 0.0


def place(frames: Sequence[Frame]) -> Placement:
    """Sort frames along their common normal.

    Args:
        frames: With geometry, of nearly one orientation.
    """
    directions = np.array([f.orientation for f in frames]).reshape(-1, 2, 3)
    # Sorted, so that the sum does not depend on the order of the files.
    across, down = np.sort(directions, axis=0).mean(axis=0)
    across = across / np.linalg.norm(across)
    down = down - across * (across @ down)
    down = down / np.linalg.norm(down)
    normal = np.cross(across, down)
    positions = np.array([f.position for f in frames])
    heights = positions @ normal
    order = sorted(
        range(len(frames)),
        key=lambda i: (round(float(heights[i]), 3), frames[i].sop_uid, frames[i].index),
    )
    positions, heights = positions[order], heights[order]
    offsets = (positions - positions[0]) @ np.stack([down, across], axis=1)
    return Placement(
        frames=tuple(frames[i] for i in order),
        axes=np.stack([normal, down, across], axis=1),
        heights=np.maximum.accumulate(heights),
        offsets=offsets,
    )


def check_placement(
    placement: Placement, *, allow_gaps: bool = False, allow_tilt: bool = False
) -> None:
    """Refuse a stack that is no regular grid.

    Args:
        placement: No two frames at one place.
        allow_gaps: Uneven steps will be resampled.
        allow_tilt: Shear will be undone.

    Raises:
        StudyError: ``TOO_FEW_SLICES``, ``NO_GEOMETRY``, ``ABSURD_EXTENT``, ``GANTRY_TILT``,
            ``SLICE_GAP``, ``UNEVEN_SPACING``.
    """
    count = len(placement.frames)
    if count < MIN_SLICES:
        raise StudyError(
            "TOO_FEW_SLICES",
            f"expected at least {MIN_SLICES} slices, got {count}. Give the whole series.",
        )
    _check_extent(placement)
    _check_line(placement, allow_tilt)
    _check_order(placement)
    if not allow_gaps:
        _check_steps(placement)


def _check_extent(placement: Placement) -> None:
    pixels = placement.frames[0].pixels
    shape = (len(placement.frames), pixels.rows, pixels.columns)
    check_extent((placement.step_mm, *placement.pixel_mm), shape)
    narrow, wide = sorted(placement.pixel_mm)
    if placement.direction == "axial" and wide > MAX_OBLONG * narrow:
        raise StudyError(
            "NO_GEOMETRY",
            f"expected square pixels in axial slices, got {placement.pixel_mm[0]:.3g} x "
            f"{placement.pixel_mm[1]:.3g} mm. Export the original series, or correct PixelSpacing.",
        )
    if is_default(placement.affine, shape):
        raise StudyError(
            "NO_GEOMETRY",
            "expected the scanner's spacing and position, got voxels of exactly 1 x 1 x 1 mm from "
            "the origin 0 or around it, which programs write that were given none. Export the "
            "original series.",
        )


def _check_line(placement: Placement, allow_tilt: bool) -> None:
    heights, offsets = placement.heights - placement.heights[0], placement.offsets
    limit = DRIFT_PIXELS * min(placement.pixel_mm)
    slope = (heights @ offsets) / (heights @ heights)
    scatter = np.abs(offsets - heights[:, None] * slope).max()
    if scatter > SCATTER_TOLERANCE_MM:
        raise StudyError(
            "NO_GEOMETRY",
            f"expected slices on a line, they lie up to {scatter:.2f} mm beside it. "
            "Export the series again, each reconstruction by itself.",
        )
    drift = float(np.linalg.norm(slope))
    if drift * placement.extent_mm > limit and not allow_tilt:
        raise StudyError(
            "GANTRY_TILT",
            f"expected slices stacked at a right angle, they are tilted by "
            f"{np.degrees(np.arctan(drift)):.1f} degrees. Undo the shear with "
            "read_volume(..., untilt=True).",
        )


def _check_order(placement: Placement) -> None:
    """Positions decide the order; instance numbers may tell that some were tampered with."""
    numbers = [frame.number for frame in placement.frames if frame.number is not None]
    count = len(placement.frames)
    if len(set(numbers)) < count:
        return
    longest = max(_longest_rise(numbers), _longest_rise(numbers[::-1]))
    if count - MAX_MOVED <= longest < count:
        raise StudyError(
            "NO_GEOMETRY",
            f"expected positions that follow the instance numbers, {count - longest} of {count} "
            "slices seem to lie elsewhere. Export the series again.",
        )


def _longest_rise(numbers: Sequence[float]) -> int:
    """Length of the longest rising subsequence. Source: patience sorting."""
    ends: list[float] = []
    for number in numbers:
        place = bisect_left(ends, number)
        ends[place : place + 1] = [number]
    return len(ends)


def _check_steps(placement: Placement) -> None:
    steps = np.diff(placement.heights)
    usual = placement.step_mm
    limit = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * usual)
    odd = np.flatnonzero(np.abs(steps - usual) > limit)
    even = np.linspace(placement.heights[0], placement.heights[-1], len(placement.heights))
    if np.abs(placement.heights - even).max() <= limit:
        return
    if len(odd) == 0:
        drift = float(np.abs(placement.heights - even).max())
        if drift > max(limit, usual / 2):
            raise StudyError(
                "UNEVEN_SPACING",
                f"expected even steps, they grow so that a slice lies {drift:.1f} mm beside its "
                "place. Export the series again, or in Python resample it with "
                "read_volume(..., allow_gaps=True).",
            )
        return
    largest = int(odd[np.argmax(steps[odd])])
    where = (
        f"largest {steps[largest]:.1f} mm, between {placement.heights[largest]:.1f} and "
        f"{placement.heights[largest + 1]:.1f} mm along the normal"
    )
    if (steps[odd] > usual).all() and len(odd) <= max(1, len(steps) // 4):
        raise StudyError(
            "SLICE_GAP",
            f"expected slices {usual:.2f} mm apart, got {len(odd)} gap{'s' * (len(odd) > 1)} among "
            f"{len(placement.frames)} of them ({where}). "
            "Export the whole series, or in Python resample it with "
            "read_volume(..., allow_gaps=True).",
        )
    raise StudyError(
        "UNEVEN_SPACING",
        f"expected even steps, {len(odd)} of {len(steps)} differ from {usual:.2f} mm ({where}). "
        "Export one reconstruction, or in Python resample it with "
        "read_volume(..., allow_gaps=True).",
    )


def resample_gaps(array: np.ndarray, placement: Placement) -> tuple[np.ndarray, np.ndarray]:
    """Slices at even steps, by linear interpolation between the nearest two.

    Args:
        array: HU, shape (slice, row, column).
        placement: Where the slices lie.

    Returns:
        float32 slices at the usual step, and the affine.

    Raises:
        StudyError: ``ABSURD_SIZE`` when they would be too many.
    """
    heights, step = placement.heights, placement.step_mm
    count = int(np.floor((heights[-1] - heights[0]) / step + 1e-6)) + 1
    check_size((count, *array.shape[1:]))
    expected = heights[0] + step * np.arange(count)
    upper = np.clip(np.searchsorted(heights, expected, side="left"), 1, len(heights) - 1)
    lower = upper - 1
    part = (expected - heights[lower]) / (heights[upper] - heights[lower])
    part = np.clip(part, 0.0, 1.0).astype(np.float32)
    out = np.empty((count, *array.shape[1:]), dtype=np.float32)
    for i in range(count):
        below, above = array[lower[i]].astype(np.float32), array[upper[i]].astype(np.float32)
        out[i] = below + part[i] * (above - below)
    affine = placement.affine
    affine[:3, 0] = placement.axes[:, 0] * step
    return out, affine


def untilt(
    array: np.ndarray, affine: np.ndarray, placement: Placement
) -> tuple[np.ndarray, np.ndarray]:
    """Undo the shear of a tilted gantry: shift every slice in its plane, on a larger matrix.

    Args:
        array: HU, evenly spaced slices, shape (slice, row, column).
        affine: Of slices stacked at a right angle from the first one on.
        placement: Says how far slices drift.

    Returns:
        float32 slices with air around, and the affine.

    Raises:
        StudyError: ``ABSURD_SIZE`` when the matrix would be too large.
    """
    heights = placement.heights - placement.heights[0]
    slope = (heights @ placement.offsets) / (heights @ heights)
    step = float(np.linalg.norm(affine[:3, 0]))
    shifts = step * np.arange(len(array))[:, None] * slope / placement.pixel_mm
    start = np.floor(shifts.min(axis=0)).astype(int)
    room = np.ceil(shifts.max(axis=0)).astype(int) - start + 1
    rows, columns = array.shape[1] + int(room[0]), array.shape[2] + int(room[1])
    check_size((len(array), rows, columns))
    out = np.full((len(array), rows, columns), AIR_HU, dtype=np.float32)
    for image, shift, target in zip(array, shifts - start, out, strict=True):
        target[...] = _shifted(image.astype(np.float32), shift, (rows, columns))
    affine = affine.copy()
    affine[:3, 3] += affine[:3, 1] * start[0] + affine[:3, 2] * start[1]
    return out, affine


def _shifted(image: np.ndarray, shift: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The image moved down and across by a part of a pixel, linear, air outside."""
    for axis in (0, 1):
        whole = int(np.floor(shift[axis]))
        part = np.float32(shift[axis] - whole)
        after = shape[axis] - image.shape[axis] - whole
        pad = [(0, 0), (0, 0)]
        pad[axis] = (whole, after)
        near = np.pad(image, pad, constant_values=AIR_HU)
        pad[axis] = (whole + 1, after - 1)
        far = np.pad(image, pad, constant_values=AIR_HU)
        image = near + part * (far - near)
    return image
