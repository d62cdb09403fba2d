"""Stacks of several series that are one scan: archives export the chest and the abdomen of one.

Two series are joined when nothing speaks against one acquisition and something for it: one frame of
reference and one grid without a gap, one reconstruction, one scanner, and times without a pause,
or the same pixels at the places that both show, or pixels that go on. Phases of contrast medium lie
on one grid too and differ in time; without times they are never joined. Whatever is in doubt is
left apart: then what goes on beside a stack is counted, and refuses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.continuity import seam_at, shrunk
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import MIN_SLICES, STEP_TOLERANCE, STEP_TOLERANCE_MM, place
from covidctnet.io.dicom.neighbours import is_alike
from covidctnet.io.dicom.series import Stack
from covidctnet.io.dicom.stored import OpenFile, all_same_pixels
from covidctnet.io.dicom.voxels import read_hu

__all__ = ["join_series"]

# Of all slices of both.
_SAME = (
    "ConvolutionKernel",
    "SliceThickness",
    "KVP",
    "ImageType",
    "FrameType",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
)
# Of the two slices that meet.
_COUNTS = ("AcquisitionNumber", "FrameAcquisitionNumber", "StackID")
_TIMES = ("AcquisitionDateTime", "FrameAcquisitionDateTime", "AcquisitionTime")
# Slices of one spiral that meet are taken within this; a phase begins later by 10 s or more.
MAX_PAUSE_S = 2.0
_DAY_S = 86400.0
# Slices on each side of the border that are asked whether they go on.
ASKED = 6
# Steps of one grid differ by less.
SAME_STEP = 0.01
# Steps within 24 real scans are at most 1.3 times the larger of the two next to them.
MAX_SEAM = 1.4
# How much brighter soft tissue may become from one slice to the next, HU, or as many times more
# than it does next to them.
MAX_LEVEL_HU, MAX_LEVEL = 6.0, 2.0
SOFT_HU = (-200.0, 250.0)


@dataclass(frozen=True, eq=False)
class _Joint:
    """How a stack goes on from another.

    Attributes:
        frames: Of both, each place once.
        added: How many of them are the second's.
    """

    frames: list[Frame]
    added: int


def join_series(
    stacks: Sequence[Stack], rebuilt: Callable[[Stack, Sequence[Frame], str], Stack]
) -> list[Stack]:
    """Stacks of which those that are surely one scan are joined.

    Args:
        stacks: Of one study.
        rebuilt: Makes a stack of the first, of all frames, with a note.
    """
    out = list(stacks)
    while True:
        joints = [
            (one, other, joint)
            for one in out
            for other in out
            if _comes_first(one, other) and (joint := _joint(one, other))
        ]
        # Two that go on at one end, as one abdomen in two series, leave open which does.
        sure = [j for j in joints if _is_only(j, joints)]
        if not sure:
            return out
        one, other, joint = sure[0]
        note = (
            f"{joint.added} slices of series {other.key} joined, which go on where series "
            f"{one.key} ends: one grid, one reconstruction, no pause"
        )
        whole = rebuilt(one, joint.frames, note)
        out = [whole if s is one else s for s in out if s is not other]


def _comes_first(one: Stack, other: Stack) -> bool:
    """Whether the first may be the main part of both."""
    if one is other or one.series == other.series or len(one.frames) < MIN_SLICES:
        return False
    return (len(one.frames), other.key) > (len(other.frames), one.key)


def _is_only(
    joint: tuple[Stack, Stack, _Joint], joints: Sequence[tuple[Stack, Stack, _Joint]]
) -> bool:
    one, other, _ = joint
    rivals = [j for j in joints if j is not joint and (j[0] is one or j[1] is other)]
    first = one.frames[0]
    assert one.placement is not None
    axis = one.placement.axes[:, 0]
    middle = one.placement.extent_mm / 2

    def is_above(stack: Stack) -> bool:
        places = (np.array([f.position for f in stack.frames]) - np.array(first.position)) @ axis
        return float(np.median(places)) > middle

    return not any(j[1] is other or is_above(j[1]) == is_above(other) for j in rivals)


def _joint(one: Stack, other: Stack) -> _Joint | None:
    """How the second goes on from the first; None when that is not sure."""
    if any(s.fault and s.fault.code != "TOO_FEW_SLICES" for s in (one, other)):
        return None
    if one.placement is None or other.placement is None:
        return None
    step = one.placement.step_mm
    if not _adjoin(one, other, step) or not _is_one_setting(one, other):
        return None
    limit = max(STEP_TOLERANCE_MM, STEP_TOLERANCE * step)
    both = place([*one.frames, *other.frames])
    if float(np.abs(both.offsets).max()) > STEP_TOLERANCE_MM:
        return None
    heights = {id(f): float(h) for f, h in zip(both.frames, both.heights, strict=True)}
    mine = [heights[id(f)] for f in one.frames]
    low, high = min(mine), max(mine)
    its = sorted(other.frames, key=lambda f: heights[id(f)])
    above = [f for f in its if heights[id(f)] > high + step / 2]
    below = [f for f in its if heights[id(f)] < low - step / 2]
    added = above or below
    if bool(above) == bool(below) or len(added) > len(one.frames):
        return None
    shared = [f for f in its if f not in added]
    frames = [*one.frames, *added]
    spots = np.sort([heights[id(f)] for f in frames])
    even = spots[0] + step * np.arange(len(spots))
    if np.abs(np.diff(spots) - step).max() > limit or np.abs(spots - even).max() > limit:
        return None
    if len(other.frames) > 1 and abs(other.placement.step_mm - step) > SAME_STEP * step:
        return None
    by_height = sorted(one.frames, key=lambda f: heights[id(f)])
    end, start = (by_height[-1], added[0]) if above else (by_height[0], added[-1])
    if any(_mark(end, name) != _mark(start, name) for name in _COUNTS):
        return None
    pause = _pause(end, start)
    if pause is not None and pause > MAX_PAUSE_S:
        return None
    if pause is None and any(_time(f) is not None for f in (end, start)):
        return None
    if shared:
        is_proved = _are_copies(shared, by_height, heights, limit)
    else:
        # Without times nothing but the pixels tells a phase from the scan before it.
        is_known = pause is not None or not end.has_contrast
        is_proved = is_known and _goes_on(by_height, added, is_above=bool(above))
    return _Joint(frames, len(added)) if is_proved else None


def _adjoin(one: Stack, other: Stack, step: float) -> bool:
    """Whether the second begins or ends where the first one would go on; all that is cheap."""
    assert one.placement is not None and other.placement is not None
    first = one.frames[0]
    if not is_alike(first, other.frames[0]):
        return False
    ends = np.array([other.frames[0].position, other.frames[-1].position])
    heights = (ends - np.array(first.position)) @ one.placement.axes[:, 0]
    low, high, top = heights.min(), heights.max(), one.placement.extent_mm
    is_above = high > top + step / 2 and low < top + 1.5 * step
    is_below = low < -step / 2 and high > -1.5 * step
    return bool(is_above or is_below)


def _is_one_setting(one: Stack, other: Stack) -> bool:
    """Whether both have one format, frame of reference, scanner and reconstruction."""
    frames = (*one.frames, *other.frames)
    first = frames[0]
    if not first.frame_of_reference or not all(is_alike(first, f) for f in frames):
        return False
    if len({(f.scanner, f.patient, f.has_contrast) for f in frames}) > 1:
        return False
    said = {tuple(_mark(f, name) for name in _SAME) for f in frames}
    return len(said) == 1


def _mark(frame: Frame, name: str) -> str:
    return dict(frame.marks).get(name, "")


def _pause(end: Frame, start: Frame) -> float | None:
    """Seconds between two slices; None when one of them says no time."""
    times = _time(end), _time(start)
    if times[0] is None or times[1] is None:
        return None
    apart = abs(times[1] - times[0])
    # A scan may go on over midnight.
    return min(apart, _DAY_S - apart)


def _time(frame: Frame) -> float | None:
    """When a slice was taken, s of some day, or None."""
    for name in _TIMES:
        words = _mark(frame, name)
        clock = words[8:].split("+")[0].split("-")[0] if name != "AcquisitionTime" else words
        if len(clock) >= 6 and clock[:6].isdigit():
            try:
                seconds = float(clock[4:])
            except ValueError:
                continue
            return 3600.0 * int(clock[:2]) + 60.0 * int(clock[2:4]) + seconds
    return None


def _are_copies(
    shared: Sequence[Frame], frames: Sequence[Frame], heights: dict[int, float], limit: float
) -> bool:
    """Whether images hold the same pixels as those at their places."""
    spots = np.array([heights[id(f)] for f in frames])
    there = []
    for frame in shared:
        k = int(np.argmin(np.abs(spots - heights[id(frame)])))
        if abs(spots[k] - heights[id(frame)]) > limit:
            return False
        there.append(frames[k])
    return all_same_pixels(there, shared)


def _goes_on(frames: Sequence[Frame], added: Sequence[Frame], *, is_above: bool) -> bool:
    """Whether the pixels of two stacks go on from one to the other without a step."""
    if is_above:
        chain = [*frames[-ASKED:], *added[:ASKED]]
        border = min(ASKED, len(frames)) - 1
    else:
        chain = [*added[-ASKED:], *frames[:ASKED]]
        border = min(ASKED, len(added)) - 1
    try:
        with OpenFile() as opened:
            images = np.concatenate([shrunk(read_hu([f], opened=opened)[0]) for f in chain])
    except StudyError:
        return False
    beside = [_level(images, k) for k in (border - 1, border + 1) if 0 <= k < len(images) - 1]
    is_level = _level(images, border) <= max(MAX_LEVEL_HU, MAX_LEVEL * max(beside))
    return is_level and seam_at(images, border) <= MAX_SEAM


def _level(images: np.ndarray, index: int) -> float:
    """How much soft tissue changes from a slice to the next, HU."""
    here, there = images[index], images[index + 1]
    soft = np.logical_and.reduce([(i > SOFT_HU[0]) & (i < SOFT_HU[1]) for i in (here, there)])
    return abs(float(np.median((there - here)[soft]))) if soft.any() else 0.0
