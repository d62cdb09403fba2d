"""Masks from the grid of a network back to the voxels of the source.

The rule: a voxel of the source has the label of the voxel of the grid whose centre is nearest,
along each axis; at the same distance that with the higher index counts. Voxels further than half a
voxel of the grid outside of it have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.evidence import Box, SliceEvidence
from covidctnet.volume import Origin

__all__ = ["SourceGrid"]

# What rounding leaves of one half, in voxels.
_ROUNDING = 1e-6
# Axes of a grid that lie further beside those of the source are others, in voxels over the scan.
_BESIDE = 0.01


@dataclass(frozen=True)
class SourceGrid:
    """The voxels of a source, as its reader had them and as volumes have them.

    Args:
        origin: Of the volume.
    """

    origin: Origin

    @property
    def affine(self) -> np.ndarray:
        """From (slice, row, column, 1) of the volume to LPS mm."""
        return np.array(self.origin.affine).reshape(4, 4)

    @property
    def reader_affine(self) -> np.ndarray:
        """From the indices of the reader's array to LPS mm."""
        volume, origin = self.affine, self.origin
        affine = volume.copy()
        for k, (axis, is_flipped) in enumerate(zip(origin.axes, origin.flipped, strict=True)):
            affine[:3, axis] = -volume[:3, k] if is_flipped else volume[:3, k]
            if is_flipped:
                affine[:3, 3] += volume[:3, k] * (origin.shape[k] - 1)
        return affine

    def as_read(self, array: np.ndarray) -> np.ndarray:
        """An array of the volume's shape in the order of the reader's array; voxels are moved.

        Args:
            array: Shape (slice, row, column) of the volume.
        """
        turned = array[tuple(slice(None, None, -1 if f else 1) for f in self.origin.flipped)]
        return np.ascontiguousarray(turned.transpose(np.argsort(self.origin.axes)))

    def slices_as_read(self, places: Sequence[int]) -> list[int]:
        """Places along the first axis of the volume as images of the reader.

        Empty where the first axis of the reader is another one.
        """
        if self.origin.axes[0] != 0:
            return []
        last = self.origin.shape[0] - 1
        return [last - place if self.origin.flipped[0] else place for place in places]

    def mask(self, found: np.ndarray, evidence: SliceEvidence) -> np.ndarray:
        """A mask of evidence on the voxels of the source, by the rule of this module.

        Args:
            found: bool, shape (kept slice, row, column) of the evidence.
            evidence: With an affine; says which slices are kept.

        Returns:
            bool, in the order of the reader's array.
        """
        slices, rows, columns = self._nearest(evidence)
        place = np.full(max((*slices.tolist(), *evidence.slices)) + 2, -1)
        place[list(evidence.slices)] = np.arange(len(evidence.slices))
        kept = np.where(slices >= 0, place[slices], -1)
        inside = [kept >= 0]
        inside += [
            (i >= 0) & (i < n) for i, n in ((rows, found.shape[1]), (columns, found.shape[2]))
        ]
        out = np.zeros(self.origin.shape, dtype=bool)
        target = np.ix_(*(np.flatnonzero(part) for part in inside))
        out[target] = found[np.ix_(kept[inside[0]], rows[inside[1]], columns[inside[2]])]
        return self.as_read(out)

    def box(self, box: Box, evidence: SliceEvidence) -> np.ndarray:
        """The voxels of the source whose centre lies in a box of one slice.

        Args:
            box: On the grid of the evidence.
            evidence: With an affine.

        Returns:
            bool, in the order of the reader's array.
        """
        slices, *_ = self._nearest(evidence)
        _, rows, columns = self._places(evidence)
        out = np.zeros(self.origin.shape, dtype=bool)
        # A box is given by edges: the centre of the first pixel is at one half.
        in_rows = (rows + 0.5 >= box.top) & (rows + 0.5 < box.bottom)
        in_columns = (columns + 0.5 >= box.left) & (columns + 0.5 < box.right)
        out[np.ix_(np.flatnonzero(slices == box.slice), in_rows.nonzero()[0],
                   in_columns.nonzero()[0])] = True  # fmt: skip
        return self.as_read(out)

    def nearest_images(self, evidence: SliceEvidence) -> list[int]:
        """The reader's images nearest to the slices of evidence that are worth a picture."""
        if evidence.affine is None or not self.origin.affine:
            return [0] if self.origin.shape[0] == 1 else []
        places, *_ = self._places(evidence)
        chosen = [evidence.slices[place] for place in evidence.chosen] or [*evidence.slices]
        near = [int(np.abs(places - place).argmin()) for place in chosen]
        return sorted(set(self.slices_as_read(near)))

    def interpolated(self, values: np.ndarray, evidence: SliceEvidence, scale: float) -> np.ndarray:
        """Values of evidence that keeps all slices, linear between its voxels; 0 outside.

        Args:
            values: float, shape (slice, row, column) of the evidence.
            evidence: With an affine.
            scale: What they are multiplied by.

        Returns:
            int16, in the order of the reader's array.
        """
        places = self._places(evidence)
        lower, upper = zip(
            *(_taps(at, n) for at, n in zip(places, values.shape, strict=True)), strict=True
        )
        rows = _matrix(lower[1], upper[1], values.shape[1])
        columns = _matrix(lower[2], upper[2], values.shape[2]).T
        out = np.zeros(self.origin.shape, dtype=np.int16)
        for k, (below, part) in enumerate(zip(lower[0].tolist(), upper[0].tolist(), strict=True)):
            if below < 0:
                continue
            above = min(below + 1, len(values) - 1)
            plane = values[below] + part * (values[above] - values[below])
            out[k] = np.clip(np.rint(rows @ plane @ columns * scale), -32768, 32767)
        return self.as_read(out)

    def _places(self, evidence: SliceEvidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the voxels of the volume lie on the grid of evidence, by axis, in voxels."""
        assert evidence.affine is not None
        between = np.linalg.solve(evidence.affine, self.affine)
        extent = np.array(self.origin.shape) - 1
        beside = np.abs(between[:3, :3] - np.diag(np.diag(between)[:3])) * extent
        if beside.max() > _BESIDE:
            raise ValueError("expected evidence on a grid along the axes of its scan, got a slant")
        slices, rows, columns = (
            between[k, k] * np.arange(n) + between[k, 3] for k, n in enumerate(self.origin.shape)
        )
        return slices, rows, columns

    def _nearest(self, evidence: SliceEvidence) -> list[np.ndarray]:
        """The nearest voxel of the grid by axis; may lie outside of it."""
        return [np.floor(at + 0.5 + _ROUNDING).astype(int) for at in self._places(evidence)]


def _taps(at: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower neighbour, -1 outside, and the weight of the one above."""
    is_inside = (at >= -0.5 - _ROUNDING) & (at <= count - 0.5 + _ROUNDING)
    clamped = np.clip(at, 0, count - 1)
    lower = np.minimum(np.floor(clamped), max(count - 2, 0))
    return np.where(is_inside, lower, -1).astype(int), clamped - lower


def _matrix(lower: np.ndarray, upper: np.ndarray, count: int) -> np.ndarray:
    """Linear interpolation as a matrix; rows of zeros outside."""
    matrix = np.zeros((len(lower), count + 1), dtype=np.float32)
    inside = np.flatnonzero(lower >= 0)
    matrix[inside, lower[inside]] = 1 - upper[inside]
    matrix[inside, lower[inside] + 1] += upper[inside]
    return matrix[:, :count]
