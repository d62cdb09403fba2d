"""Stacks of slices, and which of several is read.

The rule: of the stacks that can be a chest CT (CT storage, no localizer, no projection, axial with
at least eight slices when there is one such, with at least four fifths of the lung of the one with
most, or as long as the longest where lung was not measured) the first wins by: whole before faulty;
original before derived; thinner slices; more slices; standard, then lung, then other kernels. Of
copies one is taken; another tie is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.dicom.frame import Frame
from covidctnet.io.dicom.geometry import MIN_SLICES, Placement
from covidctnet.io.dicom.kernels import kernel_kind
from covidctnet.io.dicom.stored import all_same_pixels

__all__ = ["Dropped", "Stack", "choose"]

MIN_COVERAGE = 0.8
# Slices that are thicker, as parts of their distance, leave no room for others in between.
MAX_THICKNESS = 0.75
_KERNEL_RANK = {"standard": 0, "lung": 1}


@dataclass(frozen=True)
class Dropped:
    """Images that are not read.

    Attributes:
        key: Opaque key of their series.
        what: What they are, a few words.
        images: How many.
        why: Why they are left out.
        files: How many files hold them.
    """

    key: str
    what: str
    images: int
    why: str
    files: int = 0


@dataclass(frozen=True, eq=False)
class Stack:
    """Images that form a volume, or would if nothing was wrong.

    Attributes:
        key: Opaque; `covidctnet.read_volume` takes it as ``series``.
        series: Key of the series it is part of.
        frames: Its images.
        placement: Where they lie; None without geometry.
        fault: Why it cannot be read.
        notes: What was decided on the way.
        beside: Images that lie where this stack would go on and do not fit it.
        beyond: Other stacks that go on where this one ends, by series, and how many of their
            images do.
        strays: Files among its own that hold no image and that it does not lack.
        lung_ml: Volume of lung that it shows, where that was asked.
    """

    key: str
    series: str
    frames: tuple[Frame, ...]
    placement: Placement | None
    fault: StudyError | None = None
    notes: tuple[str, ...] = ()
    beside: int = 0
    beyond: tuple[tuple[str, int], ...] = ()
    strays: int = 0
    lung_ml: float | None = None

    @property
    def extent_mm(self) -> float:
        """From the first slice to the last."""
        return self.placement.extent_mm if self.placement else 0.0

    @property
    def direction(self) -> str:
        """``axial``, ``coronal``, ``sagittal`` or ``unknown``."""
        return self.placement.direction if self.placement else "unknown"

    @property
    def is_original(self) -> bool:
        """Not computed from other images."""
        return "DERIVED" not in self.frames[0].image_type

    @property
    def kernel(self) -> str:
        """What its kernel is for."""
        return kernel_kind(self.frames[0].kernel)

    @property
    def rank(self) -> tuple[bool, bool, float, int, int]:
        """Smaller is better; see the module's rule."""
        step = self.placement.step_mm if self.placement else 1e3
        return (
            self.fault is not None,
            not self.is_original,
            round(step, 2),
            -len(self.frames),
            _KERNEL_RANK.get(self.kernel, 2),
        )


def choose(stacks: Sequence[Stack], *, series: str | None = None) -> tuple[Stack, list[Dropped]]:
    """The stack to read, by the module's rule.

    Args:
        stacks: Of one study, at least one.
        series: Key of a series or a stack, when the caller chooses.

    Raises:
        StudyError: ``UNKNOWN_SERIES``; ``AMBIGUOUS_SERIES`` for a tie; the fault of the best stack
            when none can be read.
    """
    candidates = [s for s in stacks if series is None or series in (s.key, s.series)]
    if not candidates:
        known = ", ".join(sorted(s.key for s in stacks))
        raise StudyError(
            "UNKNOWN_SERIES",
            f"expected one of the series of this study, {known}, got {series}. "
            "Take a key that `covidctnet inspect` shows.",
        )
    axial = [s for s in candidates if s.direction == "axial" and len(s.frames) >= MIN_SLICES]
    candidates = axial or candidates
    # An abdomen, or one with the lower half of the lungs, may be longer than the chest.
    most = max((s.lung_ml or 0.0 for s in candidates), default=0.0)
    candidates = [s for s in candidates if not _lacks_lung(s, most)]
    longest = max(s.extent_mm for s in candidates)
    long = [s for s in candidates if s.lung_ml or s.extent_mm >= MIN_COVERAGE * longest]
    if all(s.fault for s in long):
        # A fragment must not stand in for a volume that is broken.
        best = min(long, key=lambda s: s.rank)
        assert best.fault is not None
        if best.fault.code == "TOO_FEW_SLICES" and len(stacks) > 1:
            images = sum(len(s.frames) for s in stacks)
            raise StudyError(
                "TOO_FEW_SLICES",
                f"expected at least {MIN_SLICES} slices in a series, got {images} CT images in "
                f"{len(stacks)} series, {len(best.frames)} in the largest. Give all slices of one "
                "scan; if they are one scan, give them one series UID.",
            )
        raise best.fault
    ranked = sorted(long, key=lambda s: s.rank)
    best = ranked[0]
    # The caller who names a stack means it; who names a series means all of its stacks.
    beyond = sum(n for key, n in best.beyond if series in (None, key)) if series != best.key else 0
    if (best.beside or beyond) and series != best.key and not best.fault:
        raise StudyError(
            "SLICE_GAP",
            f"expected one whole scan, got {best.beside + beyond} images of another acquisition, "
            f"series or format where the scan of {len(best.frames)} slices goes on; without them "
            "it is cut. Export them as one series, or choose the part with "
            f'--series {best.key} (in Python series="{best.key}").',
        )
    ties = [s.key for s in ranked if s.rank == best.rank or _lies_between(best, s)]
    if len(ties) > 1 and not all(_is_copy(best, s) for s in ranked if s.key in ties):
        raise StudyError(
            "AMBIGUOUS_SERIES",
            f"expected one best series, {len(ties)} series are equally good: "
            f"{', '.join(sorted(ties))}. Choose one with --series KEY (in Python series=KEY), "
            "or answer all with --every-series.",
        )
    if best.fault:
        raise best.fault
    dropped = [
        Dropped(s.key, f"{s.direction} series", len(s.frames), _reason(s, best, longest, most))
        for s in stacks
        if s is not best
    ]
    return best, dropped


def _lies_between(one: Stack, other: Stack) -> bool:
    """Whether two stacks lie between each other's slices: neither is all of the scan.

    One of them may have a slice more than the other, which is no reason to choose it. Two series
    must be alike in all but that, and their slices too thin to be a scan each.
    """
    if one.placement is None or other.placement is None:
        return False
    if one.series != other.series and not _are_thin_halves(one, other):
        return False
    step = one.placement.step_mm
    if abs(other.placement.step_mm - step) > 0.01 * step:
        return False
    if abs(len(one.frames) - len(other.frames)) > 1:
        return False
    way = np.array(other.frames[0].position) - np.array(one.frames[0].position)
    return 0.1 < float(way @ one.placement.axes[:, 0]) / step % 1 < 0.9


def _are_thin_halves(one: Stack, other: Stack) -> bool:
    """Whether two series are alike, with slices that leave room for those of the other."""
    first, second = one.frames[0], other.frames[0]
    thickness = dict(first.marks).get("SliceThickness", "")
    try:
        is_thin = float(thickness) <= MAX_THICKNESS * one.placement.step_mm  # type: ignore[union-attr]
    except ValueError:
        is_thin = True
    same_frame = first.frame_of_reference and first.frame_of_reference == second.frame_of_reference
    return bool(is_thin and same_frame) and (
        first.kernel == second.kernel
        and first.image_type == second.image_type
        and first.spacing == second.spacing
        and dict(second.marks).get("SliceThickness", "") == thickness
    )


def _lacks_lung(stack: Stack, most: float) -> bool:
    return stack.lung_ml is not None and stack.lung_ml < MIN_COVERAGE * most


def _is_copy(one: Stack, other: Stack) -> bool:
    """Whether two stacks hold the same images at the same places."""
    if len(one.frames) != len(other.frames):
        return False
    pairs = list(zip(one.frames, other.frames, strict=True))

    def place(frame: Frame) -> tuple[object, ...]:
        return frame.position, frame.orientation, frame.spacing, frame.has_contrast

    return all(place(a) == place(b) for a, b in pairs) and all_same_pixels(one.frames, other.frames)


def _reason(stack: Stack, best: Stack, longest: float, most: float) -> str:
    if stack.fault:
        return stack.fault.code
    if stack.direction != best.direction:
        return f"not {best.direction}"
    if _lacks_lung(stack, most):
        return "less lung than another"
    if stack.extent_mm < MIN_COVERAGE * longest:
        return "shorter than the longest"
    if stack.rank == best.rank:
        return "a copy"
    words = (
        "faulty",
        "derived",
        "thicker slices",
        "fewer slices",
        "another kernel",
    )
    for ours, other, word in zip(best.rank, stack.rank, words, strict=True):
        if ours != other:
            return word
    return "not chosen"
