"""Whether slices go on as those of one scan do: where headers are silent, the pixels tell.

Two scans woven into each other zigzag: a slice is less like its neighbours than like the slices two
places away, or steps between slices are large and small in turn, or one scan is brighter. In 25
real scans of 0.6 to 5 mm a slice differs from the mean of its neighbours by 0.37 to 0.55 of what it
differs from the mean of the slices two away; large steps are at most 1.1 times the small ones, and
the soft tissue of even and odd slices is alike to 0.1 HU. Two scans of one patient that breathed
2 mm deeper in one have large steps 4 times the small ones; of two patients the first figure is 12.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.foreign import foreign_slices
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import MIN_SLICES, place

__all__ = [
    "Weave",
    "check_continuity",
    "contradicted_step",
    "is_one_scan",
    "is_woven",
    "may_be_two",
    "mirrored",
    "repeats",
    "seam_at",
    "seams",
    "shrunk",
    "weave",
    "z_stretch",
]

# Images are averaged to about so many pixels along their shorter side: noise says nothing.
SIDE = 64
# What is thinner than air or denser than soft tissue counts no more than these, HU.
LIMITS_HU = (-1000.0, 300.0)
SOFT_HU = -200.0
# Figures of one scan; each is far from those of real scans and from those of two woven ones.
CLEAR = 4.0
MAX_STEPS = 1.5
MAX_LEVEL_HU = 2.0
# Figures of two scans, where nothing but the pixels speaks of two.
MIN_ZIGZAG = 1.1
MIN_LEVEL_HU = 10.0
LARGEST_PERIOD = 4
# Slices before and behind a seam that it is compared with.
WINDOW = 8
# Larger seams than this part two patients.
MAX_SEAM = 8.0
# Four neighbours in reversed order are 1.26 to 1.45 times rougher in real scans.
MAX_ROUGHNESS = 1.15
# A share of the pixels that is no air: where there is less, nothing can be compared.
MIN_BODY = 0.02
# A slice fits its neighbour so many times better once it is mirrored. Neighbours of 24 real scans
# fit as well or worse, by 1.0 to 13 times, also where they are 10 mm apart.
MIRRORED = 0.7
# And it differs from it by so many times what is usual around them.
JUMP = 1.2
# This share of coronal and sagittal slices on each side shows skin and table, alike on both sides:
# neighbours fit up to 2.4 times better mirrored there, 1.2 times at most further within.
OUTER = 1 / 8
# Slices change so many times faster from one to the next, in HU per mm, than pixels do within them:
# 0.30 to 0.77 times in 24 real scans of 2 to 10 mm; ten times that where cm were written for mm.
MAX_STRETCH = 2.5
# Noise counts less over so many mm.
STRETCH_MM = 1.0
# Steps are one up to the first factor between them, and clearly two from the second on.
SAME_STEP, CLEARLY_OTHER = 1.1, 1.3
# A header that says that slices are about so thick as they lie apart is believed.
FITTING_STEPS = (0.4, 3.0)


@dataclass(frozen=True)
class Weave:
    """How every so-many-th slice differs from the others.

    Attributes:
        zigzag: Difference to the mean of both neighbours, over that to the slices a period away.
        is_clear: Whether `zigzag` differs from 1 by more than chance; its sign is that of
            ``1 - zigzag``.
        steps: The largest mean step between neighbours over the smallest, by place in the period.
        level_hu: How much brighter soft tissue is, HU.
    """

    zigzag: float
    is_clear: float
    steps: float
    level_hu: float


def shrunk(hu: np.ndarray) -> np.ndarray:
    """Images averaged over blocks, float32, shape (slice, row, column)."""
    step = 2 if min(hu.shape[1:]) >= 4 * SIDE else 1
    hu = hu[:, ::step, ::step]
    size = max(1, min(hu.shape[1:]) // SIDE)
    rows, columns = hu.shape[1] // size, hu.shape[2] // size
    out = np.empty((len(hu), rows, columns), dtype=np.float32)
    for image, target in zip(hu, out, strict=True):
        cut = np.clip(image[: rows * size, : columns * size].astype(np.float32), *LIMITS_HU)
        target[...] = cut.reshape(rows, size, columns, size).mean(axis=(1, 3))
    return out


def weave(images: np.ndarray, period: int) -> Weave | None:
    """Compare every `period`-th slice with the others.

    Args:
        images: From `shrunk`, in order.
        period: 2 for odd and even slices.

    Returns:
        None for fewer than three periods and two slices.
    """
    if len(images) < 3 * period + 2:
        return None
    k = np.arange(period, len(images) - period)

    def apart(distance: int) -> np.ndarray:
        mean = (images[k - distance] + images[k + distance]) / 2
        return np.asarray(((images[k] - mean) ** 2).mean(axis=(1, 2)), dtype=np.float64)

    near, far = apart(1), apart(period)
    gain = far - near
    error = float(gain.std()) / np.sqrt(len(gain)) + 1e-9
    steps = (np.diff(images, axis=0) ** 2).mean(axis=(1, 2))
    steps = steps[: len(steps) // period * period].reshape(-1, period).mean(axis=0)
    return Weave(
        zigzag=float(np.sqrt(near.sum() / max(float(far.sum()), 1e-9))),
        is_clear=float(gain.mean()) / error,
        steps=float(steps.max() / max(float(steps.min()), 1e-9)),
        level_hu=_level(images, period),
    )


def _level(images: np.ndarray, period: int) -> float:
    """How much brighter the soft tissue of one place in the period is than between its neighbours.

    The median over slices of medians over pixels, at the place where it is largest.
    """
    found = np.zeros(period)
    for phase in range(period):
        values = []
        for k in range(phase or period, len(images) - 1, period):
            three = images[k - 1 : k + 2]
            soft = (three > SOFT_HU).all(axis=0)
            if soft.mean() >= MIN_BODY:
                values.append(float(np.median((three[1] - (three[0] + three[2]) / 2)[soft])))
        found[phase] = np.median(values) if len(values) > 2 else 0.0
    return float(np.abs(found).max())


def is_one_scan(images: np.ndarray, period: int) -> bool:
    """Whether slices that a header divides in turn are clearly those of one scan."""
    found = weave(images, period)
    return (
        found is not None
        and found.zigzag < 1
        and found.is_clear > CLEAR
        and found.steps < MAX_STEPS
        and found.level_hu < MAX_LEVEL_HU
    )


def is_woven(images: np.ndarray) -> bool:
    """Whether slices that nothing divides are clearly those of several scans in turn."""
    for period in range(2, LARGEST_PERIOD + 1):
        found = weave(images, period)
        if found is None:
            return False
        if found.zigzag > MIN_ZIGZAG and found.is_clear < -CLEAR:
            return True
        if found.level_hu > MIN_LEVEL_HU:
            return True
    return False


def may_be_two(images: np.ndarray) -> bool:
    """Whether slices differ in turn by more than those of one scan do, though less than clearly."""
    found = weave(images, 2)
    return is_woven(images) or (found is not None and found.steps > MAX_STEPS)


def seams(images: np.ndarray) -> np.ndarray:
    """How much larger the step behind each slice is than the usual one around it.

    In real scans 5 at most, at their ends; 6 where a patient breathed otherwise; 11 or more between
    two patients. 0 where either side shows hardly more than air, or both show the same: slices that
    repeat the one before, as programs write that resample to the nearest, make no step usual.
    """
    steps = np.abs(np.diff(images, axis=0)).mean(axis=(1, 2), dtype=np.float64)
    has_body = (images > -500).mean(axis=(1, 2)) >= MIN_BODY
    out = np.zeros(len(steps))
    real = np.flatnonzero(steps > 0)
    for n, k in enumerate(real):
        around = np.delete(steps[real[max(0, n - WINDOW) : n + WINDOW + 1]], min(n, WINDOW))
        if has_body[k] and has_body[k + 1] and len(around) > 2:
            out[k] = steps[k] / max(float(np.median(around)), 1e-9)
    return out


def seam_at(images: np.ndarray, index: int) -> float:
    """How much larger the step behind a slice is than the largest of the two next to it."""
    steps = np.abs(np.diff(images, axis=0)).mean(axis=(1, 2), dtype=np.float64)
    beside = [steps[k] for k in (index - 1, index + 1) if 0 <= k < len(steps)]
    return float(steps[index] / max(*beside, 1e-9)) if beside else float("inf")


def repeats(hu: np.ndarray) -> int:
    """How many slices repeat the one before in every voxel."""
    # One row tells nearly all apart.
    middle = hu.shape[1] // 2
    alike = np.flatnonzero((hu[1:, middle] == hu[:-1, middle]).all(axis=1))
    return sum(bool((hu[k] == hu[k + 1]).all()) for k in alike)


def mirrored(images: np.ndarray) -> np.ndarray:
    """Between which neighbours one is clearly mirrored, left to right, up and down, or both.

    Args:
        images: From `shrunk`, in order.

    Returns:
        Indices of the first slice of each pair.
    """
    here, there = images[:-1], images[1:]
    own = np.abs(there - here).mean(axis=(1, 2), dtype=np.float64)
    turned = (here[:, :, ::-1], here[:, ::-1], here[:, ::-1, ::-1])
    best = np.min([np.abs(there - t).mean(axis=(1, 2), dtype=np.float64) for t in turned], axis=0)
    has_body = (images > -500).mean(axis=(1, 2)) >= MIN_BODY
    windows = [own[max(0, k - WINDOW) : k + WINDOW + 1] for k in range(len(own))]
    around = np.array([np.median(window) for window in windows])
    # In a body alike on both sides, what moves may fit better mirrored without any jump.
    is_jump = own > JUMP * around
    return np.flatnonzero(has_body[:-1] & has_body[1:] & is_jump & (best < MIRRORED * own))


def z_stretch(images: np.ndarray, step_mm: float, pixel_mm: tuple[float, float]) -> float:
    """How fast slices change from one to the next, over how fast pixels do within them.

    Args:
        images: From `shrunk`, in order, evenly spaced.
        step_mm: From slice to slice.
        pixel_mm: Of the rows and columns of `images`.

    Returns:
        A ratio of mean differences per mm; 0 where nothing changes within slices.
    """
    apart = max(1, min(round(STRETCH_MM / step_mm), len(images) // 4))
    along = np.abs(images[apart:] - images[:-apart]).mean(dtype=np.float64) / (apart * step_mm)
    within = np.mean(
        [
            np.abs(np.diff(images, axis=axis)).mean(dtype=np.float64) / mm
            for axis, mm in zip((1, 2), pixel_mm, strict=True)
        ]
    )
    return float(along / within) if within > 0 else 0.0


def roughness(images: np.ndarray, order: np.ndarray) -> float:
    """How much rougher slices are in their order than in another one.

    Args:
        images: From `shrunk`, in order.
        order: Indices of the same slices in the other order.

    Returns:
        Sum of the steps here over that in the other order, around the slices that move; 1 if none.
    """
    moved = np.flatnonzero(order != np.arange(len(order)))
    if not len(moved):
        return 1.0
    part = slice(max(0, int(moved[0]) - 1), int(moved[-1]) + 2)

    def steps(sorted_images: np.ndarray) -> float:
        return float(np.abs(np.diff(sorted_images[part], axis=0)).mean(axis=(1, 2)).sum())

    return steps(images) / max(steps(images[order]), 1e-9)


def check_continuity(frames: Sequence[Frame], hu: np.ndarray) -> None:
    """Refuse slices that are not those of one scan in order, by their pixels.

    Args:
        frames: In order.
        hu: Their values, shape (frame, row, column).

    Raises:
        StudyError: ``OVERLAPPING_ACQUISITIONS`` when two scans alternate, or meet where a header
            says that something changes; ``NO_GEOMETRY`` when slices fit far better in the order of
            their instance numbers than in that of their positions, or mirrored, or further apart.
    """
    if len(frames) < 3:
        return
    _check_folders(frames)
    images = shrunk(hu)
    if is_woven(images):
        raise StudyError(
            "OVERLAPPING_ACQUISITIONS",
            f"expected {len(frames)} slices of one scan, got slices that are less like their "
            "neighbours than like the next but one: two scans alternate. Export each acquisition "
            "as a series of its own.",
        )
    away = np.linalg.norm(np.diff([f.position for f in frames], axis=0), axis=1)
    if len(pairs := _mirrored_pairs(frames, images)):
        raise StudyError(
            "NO_GEOMETRY",
            f"expected slices that lie alike, slice {pairs[0] + 1} of {len(frames)} fits the next "
            "one only when one of them is mirrored. Export the original series.",
        )
    _check_stretch(frames, hu, images, away)
    for k, size in enumerate(seams(images)):
        # Behind a gap that the caller allows, slices may be as unlike as they like.
        is_gap = away[k] > 1.5 * np.median(away)
        if size > MAX_SEAM and not is_gap and _changes(frames[k], frames[k + 1]):
            raise StudyError(
                "OVERLAPPING_ACQUISITIONS",
                f"expected {len(frames)} slices of one scan, got two parts that meet behind slice "
                f"{k + 1} and are there as unlike as two patients. Sort the files by patient and "
                "export each scan as a series of its own.",
            )
    order = _numbered(frames)
    if order is not None and roughness(images, order) > MAX_ROUGHNESS:
        moved = int((order != np.arange(len(order))).sum())
        raise StudyError(
            "NO_GEOMETRY",
            f"expected positions in the order of the anatomy, got {moved} of {len(frames)} slices "
            "that fit better in the order of their instance numbers. Export the series again.",
        )


def check_foreign(frames: Sequence[Frame], hu: np.ndarray) -> None:
    """Refuse slices of another body under the UIDs of a scan, by their pixels.

    It is asked last: what is damaged has a name of its own.

    Args:
        frames: In order.
        hu: Their values, shape (frame, row, column).

    Raises:
        StudyError: ``OVERLAPPING_ACQUISITIONS``.
    """
    if len(frames) < 3:
        return
    images = shrunk(hu)
    away = np.linalg.norm(np.diff([f.position for f in frames], axis=0), axis=1)
    is_axial = place(frames[:1]).direction == "axial"
    if is_axial and (found := foreign_slices(images, away)) is not None:
        first, last = found
        which = f"slices {first + 1} to {last + 1}" if last > first else f"slice {first + 1}"
        raise StudyError(
            "OVERLAPPING_ACQUISITIONS",
            f"expected {len(frames)} slices of one body, got {which} unlike the slices before and "
            "behind, as those of another patient or of another part of the body are. Export the "
            "series again.",
        )


def _mirrored_pairs(frames: Sequence[Frame], images: np.ndarray) -> np.ndarray:
    """Where `mirrored` is believed: the outer slices of coronal and sagittal series say nothing."""
    pairs = mirrored(images)
    if place(frames[:1]).direction == "axial":
        return pairs
    edge = OUTER * len(images)
    return pairs[(pairs >= edge) & (pairs + 1 < len(images) - edge)]


def _check_stretch(
    frames: Sequence[Frame], hu: np.ndarray, images: np.ndarray, away: np.ndarray
) -> None:
    """Refuse positions that lie so near to each other as those in cm do."""
    step, spacing = float(np.median(away)), frames[0].spacing or (1.0, 1.0)
    low, high = FITTING_STEPS
    thick = {dict(frame.marks).get("SliceThickness", "") for frame in frames}
    with contextlib.suppress(ValueError):
        if all(low * float(mm) <= step <= high * float(mm) for mm in thick):
            return
    scale = [n / size for n, size in zip(hu.shape[1:], images.shape[1:], strict=True)]
    pixel = spacing[0] * scale[0], spacing[1] * scale[1]
    found = z_stretch(images, step, pixel) if step > 0 else 0.0
    if found > MAX_STRETCH:
        raise StudyError(
            "NO_GEOMETRY",
            f"expected positions in mm, got slices {step:.3g} mm apart that change {found:.1f} "
            "times faster from one to the next than pixels within them: positions may be in cm. "
            "Export the original series.",
        )


def contradicted_step(frames: Sequence[Frame], step_mm: float) -> float | None:
    """The step that two fields of the headers agree on, where positions have clearly another.

    Converters that number slices, or resample them, may write positions anew and keep the rest, or
    the other way round. Positions count; the fields are SliceThickness, SpacingBetweenSlices and
    the steps of SliceLocation. One alone says nothing: slices overlap, or leave gaps.

    Args:
        frames: In order, evenly spaced.
        step_mm: Of their positions.

    Returns:
        The step in mm; None when the fields are silent, do not agree, or one of the last two has
        the step of the positions.
    """
    between = [frame.spacing_between for frame in frames]
    places = [frame.location for frame in frames]
    apart = None
    if None not in places and len(places) > 1:
        steps = np.abs(np.diff(np.array(places, dtype=float)))
        if _are_near(float(steps.min()), float(steps.max())):
            apart = float(np.median(steps))
    spacing = _only_length(between)
    if any(_are_near(said, step_mm) for said in (spacing, apart)):
        return None
    thick: list[float | None] = []
    for frame in frames:
        try:
            thick.append(float(dict(frame.marks).get("SliceThickness", "")))
        except ValueError:
            thick.append(None)
    for one, other in combinations((apart, spacing, _only_length(thick)), 2):
        if one is None or other is None or not _are_near(one, other):
            continue
        if max(one / step_mm, step_mm / one) >= CLEARLY_OTHER:
            return one
    return None


def _only_length(said: Sequence[float | None]) -> float | None:
    """What all slices say, mm; None when some are silent or two differ."""
    lengths = {abs(length) for length in said if length is not None}
    return lengths.pop() if None not in said and len(lengths) == 1 else None


def _are_near(one: float | None, other: float | None) -> bool:
    """Whether two lengths are the same but for rounding."""
    if one is None or other is None or min(one, other) <= 0:
        return False
    return max(one, other) <= SAME_STEP * min(one, other)


def _check_folders(frames: Sequence[Frame]) -> None:
    """Refuse folders that are numbered each from its own beginning and lie one behind the other."""
    if len({frame.series_uid for frame in frames}) > 1:
        # Each series is numbered by itself; what joined them has more to go by.
        return
    numbers: dict[object, list[float]] = {}
    for frame in frames:
        if frame.number is None:
            return
        numbers.setdefault(frame.file.parent, []).append(frame.number)
    large = [set(found) for found in numbers.values() if len(found) >= MIN_SLICES]
    if len(large) < 2 or sum(map(len, large)) < len(frames):
        return
    if any(one & other for one, other in combinations(large, 2)):
        raise StudyError(
            "OVERLAPPING_ACQUISITIONS",
            f"expected {len(frames)} slices of one scan, got {len(large)} folders under one series "
            "UID whose instance numbers begin again: they may be two patients. Read each folder by "
            "itself, or export the series again.",
        )


def _changes(below: Frame, above: Frame) -> bool:
    """Whether a header says that something changes between two neighbours."""
    if below.file.parent != above.file.parent or below.marks != above.marks:
        return True
    if below.number is None or above.number is None:
        return below.number != above.number
    return abs(below.number - above.number) != 1


def _numbered(frames: Sequence[Frame]) -> np.ndarray | None:
    """The order of the instance numbers, turned so that more of it agrees; None without one."""
    numbers = [frame.number for frame in frames if frame.number is not None]
    if len(set(numbers)) < len(frames):
        return None
    order = np.argsort(numbers)
    own = np.arange(len(frames))
    return order if (order == own).sum() >= (order[::-1] == own).sum() else order[::-1]
