"""Files of one folder, series and frame of reference, and where their slices lie."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from covidctnet.io.dicom.anatomy import Images
from covidctnet.io.dicom.frame import Entry, Identity
from covidctnet.io.dicom.geometry import (
    MIN_SLICES,
    STEP_TOLERANCE,
    STEP_TOLERANCE_MM,
    usual_step,
)
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.scattered import scattered_entries
from covidctnet.io.dicom.single_uids import one_each
from covidctnet.io.dicom.visit_marks import common_marks, common_minute

__all__ = [
    "COSINE_TOLERANCE",
    "JOINT_SHARE",
    "Block",
    "Extent",
    "are_copies",
    "are_in_line",
    "blocks_of",
    "images_of_block",
    "is_one_scan",
    "slices_of",
]

# Two blocks of one scan may share this part of the shorter one.
JOINT_SHARE = 0.1
COSINE_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Block:
    """Files of one folder, series and frame of reference."""

    folder: Path
    series: str
    frame: str
    entries: list[Entry] = field(default_factory=list)

    @cached_property
    def slices(self) -> list[Identity]:
        """What its files say that may be slices of a scan, or frames that may."""
        return [found for _, entry in self.entries for found in slices_of(entry)]

    @cached_property
    def is_multi_frame(self) -> bool:
        """Whether its slices are frames of enhanced CT."""
        return any(found.places for _, found in self.entries)

    @cached_property
    def extent(self) -> Extent | None:
        """Where its slices lie; None when they do not say."""
        return extent_of(self.slices)

    @cached_property
    def keys(self) -> frozenset[Hashable]:
        """What tells its slices from others."""
        return frozenset((s.sop_uid, s.position, s.number) for s in self.slices)

    @cached_property
    def numbers(self) -> frozenset[float]:
        """Instance numbers of its slices."""
        return frozenset(s.number for s in self.slices if s.number is not None)

    @cached_property
    def visit(self) -> tuple[str, ...]:
        """What most of its slices say of the visit."""
        return common_marks([s.visit for s in self.slices])

    @cached_property
    def minute(self) -> int | None:
        """What most of its slices say of the study's time."""
        return common_minute([s.minute for s in self.slices])

    @cached_property
    def number(self) -> str:
        """The number of the series; empty when its slices carry none, or several."""
        numbers = {s.series_number for s in self.slices}
        return next(iter(numbers)) if len(numbers) == 1 else ""


@dataclass(frozen=True, eq=False)
class Extent:
    """Where the slices of a scan lie.

    Attributes:
        axes: Columns: normal of the slices, direction down and direction across.
        heights: Along the normal, mm, rising, each once.
        beside: Medians down and across, mm.
        step: Usual distance of neighbours, mm.
    """

    axes: np.ndarray
    heights: np.ndarray
    beside: np.ndarray
    step: float

    @property
    def length(self) -> float:
        """From the first slice to the last, mm."""
        return float(self.heights[-1] - self.heights[0])


def slices_of(found: Identity) -> list[Identity]:
    """A file as the slices of a scan that it holds: itself, its frames, or none.

    A frame has the UID of its file, its index behind.
    """
    if found.is_slice:
        return [found]
    return [
        replace(
            found,
            sop_uid=f"{found.sop_uid}/{index}",
            number=None,
            position=position,
            orientation=orientation,
            is_slice=True,
            places=(),
        )
        for index, (position, orientation) in enumerate(found.places)
    ]


def blocks_of(entries: list[Entry]) -> list[Block]:
    """Files, divided by folder, series and frame of reference.

    A UID that each of many slices has for itself does not divide them, nor do series UIDs that were
    drawn at random.
    """
    frames = [found.frame_of_reference for _, found in entries]
    single_frames = one_each(entries, frames)
    single_frames |= scattered_entries(entries, frames, [""] * len(entries))
    frames = ["" if i in single_frames else frame for i, frame in enumerate(frames)]
    series = [found.series_uid for _, found in entries]
    single_series = one_each(entries, series) | scattered_entries(entries, series, frames)
    blocks: dict[tuple[Path, str, str], Block] = {}
    for i, entry in enumerate(entries):
        path, _ = entry
        key = (path.parent, "" if i in single_series else series[i], frames[i])
        blocks.setdefault(key, Block(*key)).entries.append(entry)
    return list(blocks.values())


def are_copies(one: Block, other: Block) -> bool:
    """Whether most slices of one are slices of the other."""
    a, b = one.keys, other.keys
    return len(a & b) * 2 > min(len(a), len(b))


def extent_of(slices: Sequence[Identity]) -> Extent | None:
    """Where slices lie; None when they do not say, or in several directions."""
    placed = [s for s in slices if s.position is not None and s.orientation is not None]
    if len(placed) < MIN_SLICES or len(placed) < len(slices):
        return None
    directions = np.array([s.orientation for s in placed])
    if np.abs(directions - directions[0]).max() > COSINE_TOLERANCE:
        return None
    across, down = directions[0].reshape(2, 3)
    axes = np.stack([np.cross(across, down), down, across], axis=1)
    places = np.array([s.position for s in placed]) @ axes
    heights = np.unique(np.round(places[:, 0], 2))
    if len(heights) < 2:
        return None
    return Extent(axes, heights, np.median(places[:, 1:], axis=0), usual_step(heights))


def are_in_line(one: Extent, other: Extent) -> bool:
    """Whether the slices of two blocks lie in one direction, above one another."""
    return bool(
        np.abs(one.axes - other.axes).max() <= COSINE_TOLERANCE
        and np.abs(one.beside - other.beside).max() <= STEP_TOLERANCE_MM
    )


def is_one_scan(one: Extent, other: Extent) -> bool:
    """Whether two blocks lie on one grid, one where the other goes on or woven into it."""
    tolerance = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * one.step)
    if not are_in_line(one, other):
        return False
    shared = len(np.intersect1d(one.heights, other.heights))
    if shared > max(1, JOINT_SHARE * min(len(one.heights), len(other.heights))):
        return False
    steps = np.diff(np.union1d(one.heights, other.heights))
    return bool(np.abs(steps - np.median(steps)).max() <= tolerance)


def images_of_block(block: Block, normal: np.ndarray) -> Images:
    """The images of a block along a normal; a header is read when its image is asked for."""
    found = [
        (float(np.array(slice_.position) @ normal), path, index)
        for path, entry in block.entries
        for index, slice_ in enumerate(slices_of(entry))
        if slice_.position is not None
    ]
    found.sort(key=lambda one: one[0])
    return Images(
        np.array([height for height, _, _ in found]),
        lambda k: read_frames(found[k][1])[found[k][2]],
    )
