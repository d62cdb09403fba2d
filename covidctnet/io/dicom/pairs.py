"""What every two blocks of a study have in common, and what parts them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property

import numpy as np

from covidctnet.io.archive import File
from covidctnet.io.dicom.anatomy import are_one_acquisition
from covidctnet.io.dicom.blocks import (
    COSINE_TOLERANCE,
    JOINT_SHARE,
    Block,
    Extent,
    are_copies,
    images_of_block,
    is_one_scan,
    slices_of,
)
from covidctnet.io.dicom.elements import DamagedFileError, NotDicomError
from covidctnet.io.dicom.geometry import SAME_PLACE, STEP_TOLERANCE, STEP_TOLERANCE_MM
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.neighbours import SAME_PART
from covidctnet.io.dicom.stored import same_pixels
from covidctnet.io.dicom.visit_marks import (
    MANY_MARKS,
    MIN_MINUTES_APART,
    SOME_MARKS,
    VISIT_KEYWORDS,
    differing_facts,
)

__all__ = ["Pairs"]

# Two blocks off one grid, of which one begins where the other ends, lie so near to one line.
MAX_ASIDE_MM = 30.0
# In two folders, where several patients are likelier than one scan.
MAX_ASIDE_ELSEWHERE_MM = 2.0
# So many pairs are asked whether their pixels are of one scan: an archive has too many.
MAX_ASKED = 200


class Pairs:
    """What is to be said of every two of some blocks, as matrices.

    Args:
        blocks: Of one study UID.
        is_named: Whether there is such a UID, or the folder stands for it.
    """

    def __init__(self, blocks: Sequence[Block], *, is_named: bool = True) -> None:
        self._blocks = blocks
        self._is_named = is_named
        extents = [block.extent for block in blocks]
        self._has = np.array([extent is not None for extent in extents])
        none = Extent(np.zeros((3, 3)), np.zeros(2), np.zeros(2), 1.0)
        known = [extent or none for extent in extents]
        self._known = known
        axes = np.array([extent.axes.ravel() for extent in known])
        beside = np.array([extent.beside for extent in known])
        self._step = np.array([extent.step for extent in known])
        self._low = np.array([extent.heights[0] for extent in known])
        self._high = np.array([extent.heights[-1] for extent in known])
        both = self._has[:, None] & self._has[None, :]
        self._parallel = both & _near(axes, COSINE_TOLERANCE)
        self._in_line = self._parallel & _near(beside, STEP_TOLERANCE_MM)
        self._nearly_in_line = self._parallel & _near(beside, MAX_ASIDE_MM)
        self._nearly_in_line &= ~self.elsewhere | _near(beside, MAX_ASIDE_ELSEWHERE_MM)
        length = self._high - self._low
        self._common = np.minimum.outer(self._high, self._high) - np.maximum.outer(
            self._low, self._low
        )
        self._overlap = self._common > JOINT_SHARE * np.minimum.outer(length, length)
        self._largest = np.maximum.outer(self._step, self._step)
        tolerance = np.maximum(STEP_TOLERANCE_MM, STEP_TOLERANCE * self._largest)
        self._same_step = np.abs(np.subtract.outer(self._step, self._step)) <= tolerance
        phase = np.subtract.outer(self._low, self._low) / self._largest
        self._off = np.abs(phase - np.round(phase))

    @cached_property
    def like(self) -> np.ndarray:
        """A UID holds the two together.

        One frame of reference or series does. The study UID does in one folder; in two folders a
        frame of reference of each speaks against it, and more must speak for it.
        """
        frames, series = self._codes("frame"), self._codes("series")
        same_series = (series[:, None] == series[None, :]) & (series >= 0)[:, None]
        found = (frames[:, None] == frames[None, :]) | same_series
        if self._is_named:
            found |= ~self.elsewhere | self._of_one_visit
        return np.asarray(found)

    @cached_property
    def elsewhere(self) -> np.ndarray:
        """They lie in two folders."""
        folders = self._codes("folder")
        return np.asarray(folders[:, None] != folders[None, :])

    @cached_property
    def one_scan(self) -> np.ndarray:
        """They lie on one grid, one where the other goes on or woven into it."""
        found = np.zeros_like(self._parallel)
        adjoin = self._in_line & ~self._overlap & (-self._common <= 2 * self._largest)
        woven = self._in_line & self._overlap & self._same_step & (self._off > SAME_PLACE / 2)
        for i, j in np.argwhere(np.triu(adjoin | woven, 1)):
            found[i, j] = is_one_scan(self._known[i], self._known[j])
        return np.asarray(found | found.T)

    @cached_property
    def go_on(self) -> np.ndarray:
        """They are two parts of one scan by their places, on one grid or off it."""
        found = self.one_scan.copy()
        # On one grid each reaches further than the other: a scan in two series that overlap.
        further = np.less.outer(self._low, self._low) & np.less.outer(self._high, self._high)
        on_grid = self._in_line & self._same_step & (self._off <= SAME_PLACE / 2)
        staggered = on_grid & (further | further.T) & (self._common >= 0)
        for i, j in np.argwhere(np.triu(staggered, 1)):
            length = min(self._known[i].length, self._known[j].length)
            found[i, j] |= self._common[i, j] <= SAME_PART * length or _hold_copies(
                self._blocks[i], self._blocks[j], self._known[i]
            )
        # Off the grid, by another step or place, one begins where the other ends.
        smallest = np.minimum.outer(self._step, self._step)
        meet = (self._common <= 1.1 * smallest) & (-self._common <= 1.5 * self._largest)
        found |= np.triu(self._nearly_in_line & meet, 1)
        return np.asarray(found | found.T)

    @cached_property
    def copies(self) -> np.ndarray:
        """Most slices of one are slices of the other."""
        found = np.zeros_like(self._parallel)
        # Two parts of one scan may be copied as well, so only the ranges must meet.
        candidates = self._in_line & self._same_step & (self._common >= 0)
        candidates |= ~self._has[:, None] & ~self._has[None, :]
        for i, j in np.argwhere(np.triu(candidates, 1)):
            found[i, j] = are_copies(self._blocks[i], self._blocks[j])
        return np.asarray(found | found.T)

    @cached_property
    def against(self) -> np.ndarray:
        """Something says that they are of two visits, whatever their UIDs."""
        # Where series have no UID, their numbers stand for it.
        series = _coded([block.series or (block.number,) for block in self._blocks])
        elsewhere = self.elsewhere
        same_series = series[:, None] == series[None, :]
        numbers, frames = self._codes("number"), self._codes("frame")
        same_number = (numbers[:, None] == numbers[None, :]) & (numbers >= 0)[:, None]
        is_told = (numbers >= 0) | (frames >= 0)
        untold = ~is_told[:, None] & ~is_told[None, :]
        # A visit numbers its series: two of one number, or without number and frame of reference,
        # that show one part of the body in one way are two scans; two reconstructions of a scan
        # have other steps and begin and end together.
        alike = self._same_step & self._overlap
        rebuilt = ~self._same_step & self._same_range
        other = self._parallel & same_number & (alike | ~rebuilt | elsewhere)
        other |= self._parallel & untold & (alike | (elsewhere & ~rebuilt))
        # A copy that was converted to one multi-frame file often keeps the number.
        multi = np.array([block.is_multi_frame for block in self._blocks])
        same_frame = (frames[:, None] == frames[None, :]) & (frames >= 0)[:, None]
        is_converted = (multi[:, None] != multi[None, :]) & same_frame
        other &= ~(is_converted & self._same_step & self._same_range)
        # Nor are places in two frames of reference comparable.
        other |= same_number & (frames[:, None] != frames[None, :]) & ~rebuilt
        if not self._is_named:
            # Neither study nor frame of reference holds them together: something else must.
            bare = (frames < 0)[:, None] & (frames < 0)[None, :]
            other |= bare & ~rebuilt & (self._marks_in_common < SOME_MARKS)
        found = other & ~same_series
        for i, j in np.argwhere(np.triu(same_series & elsewhere, 1)):
            one, second = self._blocks[i], self._blocks[j]
            if self._has[i] and self._has[j]:
                # Two parts of one scan have one step.
                other_step = self._parallel[i, j] and not self._same_step[i, j]
                collide = (self._overlap[i, j] or other_step) and not self.copies[i, j]
            else:
                collide = not are_copies(one, second) and bool(one.numbers & second.numbers)
            found[i, j] = found[j, i] = collide
        # Reading refuses one series in one folder whose slices differ in this.
        found |= self._other_visit & (elsewhere | ~same_series)
        found &= ~self.go_on & ~np.eye(len(found), dtype=bool)
        # A series that was computed later, or by a program that spells a mark otherwise; or thick
        # slices of a scan whose UIDs of series say nothing.
        bare = np.array([not block.series for block in self._blocks])
        doubtful = (self._other_visit & ~same_series) | (bare[:, None] & bare[None, :] & elsewhere)
        doubtful |= same_series & elsewhere & ~self._same_step
        for i, j in np.argwhere(np.triu(found & doubtful, 1))[:MAX_ASKED]:
            if self._is_rebuilt(int(i), int(j)):
                found[i, j] = found[j, i] = False
        return np.asarray(found)

    def _is_rebuilt(self, i: int, j: int) -> bool:
        """Whether two that differ in one mark are two series of one scan, by their pixels."""
        one, other = self._blocks[i], self._blocks[j]
        in_one_frame = bool(one.frame) and one.frame == other.frame
        in_one_place = in_one_frame or (self._is_named and one.folder == other.folder)
        if not (in_one_place and self._parallel[i, j]):
            return False
        shorter = min(self._known[i].length, self._known[j].length)
        if self._common[i, j] < SAME_PART * shorter:
            return False
        if differing_facts((one.visit, one.minute), (other.visit, other.minute)) > 1:
            return False
        normal = self._known[i].axes[:, 0]
        return are_one_acquisition(images_of_block(one, normal), images_of_block(other, normal))

    @cached_property
    def _same_range(self) -> np.ndarray:
        """They begin and end together, as two reconstructions of one scan do."""
        ends = np.maximum(
            np.abs(np.subtract.outer(self._low, self._low)),
            np.abs(np.subtract.outer(self._high, self._high)),
        )
        return np.asarray(self._parallel & self._overlap & (ends <= self._largest))

    @cached_property
    def _of_one_visit(self) -> np.ndarray:
        """Their headers agree so well that neither folder nor frame of reference parts them."""
        numbers, common = self._codes("number"), self._marks_in_common
        two_numbers = numbers[:, None] != numbers[None, :]
        two_numbers &= (numbers >= 0)[:, None] & (numbers >= 0)[None, :]
        agree = (common >= MANY_MARKS) | (self._same_range & (common > 0))
        return np.asarray(two_numbers & agree & ~self._other_visit)

    @cached_property
    def _other_visit(self) -> np.ndarray:
        """What is alike in all files of a visit is not alike in them."""
        found = np.zeros_like(self._parallel)
        for codes in self._marks:
            said = codes >= 0
            found |= (codes[:, None] != codes[None, :]) & said[:, None] & said[None, :]
        minutes = np.array([-1 if b.minute is None else b.minute for b in self._blocks])
        said = minutes >= 0
        apart = np.abs(np.subtract.outer(minutes, minutes)) >= MIN_MINUTES_APART
        return np.asarray(found | (apart & said[:, None] & said[None, :]))

    @cached_property
    def _marks_in_common(self) -> np.ndarray:
        """How many marks of a visit they share, but for the patient's id."""
        found = np.zeros(self._parallel.shape, dtype=int)
        for codes in self._marks[1:]:
            found += (codes[:, None] == codes[None, :]) & (codes >= 0)[:, None]
        return found

    @cached_property
    def _marks(self) -> list[np.ndarray]:
        visits = [block.visit for block in self._blocks]
        return [
            _coded([visit[k] if k < len(visit) else "" for visit in visits])
            for k in range(len(VISIT_KEYWORDS))
        ]

    def _codes(self, name: str) -> np.ndarray:
        return _coded([getattr(block, name) for block in self._blocks])


def _coded(values: Sequence[Hashable]) -> np.ndarray:
    """A number for each value, -1 for empty ones."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(v, len(known)) if v else -1 for v in values], dtype=int)


def _near(values: np.ndarray, limit: float) -> np.ndarray:
    """Which rows differ by no more than a limit in every column."""
    found = np.ones((len(values), len(values)), dtype=bool)
    for column in values.T:
        found &= np.abs(np.subtract.outer(column, column)) <= limit
    return found


def _hold_copies(one: Block, other: Block, extent: Extent) -> bool:
    """Whether two hold the same image at a place that both have, by its pixels."""

    def by_height(block: Block) -> dict[float, tuple[File, int]]:
        return {
            round(float(np.array(found.position) @ extent.axes[:, 0]), 1): (path, index)
            for path, entry in block.entries
            for index, found in enumerate(slices_of(entry))
            if found.position is not None
        }

    mine, its = by_height(one), by_height(other)
    for height in sorted(mine.keys() & its.keys()):
        try:
            a, b = (read_frames(path)[index] for path, index in (mine[height], its[height]))
        except (DamagedFileError, NotDicomError, OSError, LookupError):
            continue
        return same_pixels(a, b)
    return False
