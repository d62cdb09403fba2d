"""From the scores of slices to one answer for a scan or a patient."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError, UsageError
from covidctnet.slicewise.sampling import sorted_by_position

__all__ = [
    "Run",
    "RunRule",
    "ScanScores",
    "SliceScore",
    "highest_score",
    "longest_run",
    "mean_score",
    "patient_scores",
]

# A step so much longer than the usual one leaves out a slice.
MISSING_SLICE = 1.5


@dataclass(frozen=True)
class SliceScore:
    """The score of one slice.

    Attributes:
        scan: Which scan it is of; a patient may have several.
        z_mm: Its position.
        score: Probability of the positive class, or whatever the threshold is in.
    """

    scan: str
    z_mm: float
    score: float


@dataclass(frozen=True)
class ScanScores:
    """The scores of one scan's slices, from the lowest position to the highest.

    Attributes:
        z_mm: Position of each slice, rising.
        scores: Of each slice.
    """

    z_mm: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.z_mm) != len(self.scores):
            raise UsageError(
                f"expected a score for each slice, got {len(self.scores)} scores for "
                f"{len(self.z_mm)} slices. Score every slice."
            )
        order = sorted_by_position(self.z_mm)
        if (np.diff(order) < 0).any():
            place = int(np.flatnonzero(np.diff(self.z_mm) < 0)[0])
            raise StudyError(
                "SLICE_ORDER",
                f"expected slices in the order of their positions, got z = "
                f"{self.z_mm[place]:g} mm before {self.z_mm[place + 1]:g} mm. "
                "Sort them by position, not by name.",
            )
        if not np.isfinite(self.scores).all():
            raise UsageError(
                f"expected finite scores, got {np.count_nonzero(~np.isfinite(self.scores))} that "
                f"are not, of {len(self.scores)} slices. Check the network."
            )

    @classmethod
    def of(cls, slices: Iterable[SliceScore]) -> ScanScores:
        """The scores of one scan, sorted by position.

        Args:
            slices: Of one scan, in any order.

        Raises:
            StudyError: ``MIXED_SCANS`` if they are of several scans; ``SLICE_ORDER`` if two lie at
                one position; ``NO_GEOMETRY`` if a position is missing.
        """
        slices = tuple(slices)
        if (scans := len({one.scan for one in slices})) > 1:
            raise StudyError(
                "MIXED_SCANS",
                f"expected the slices of one scan, got {len(slices)} slices of {scans} scans. "
                "Answer each scan by itself.",
            )
        order = sorted_by_position([one.z_mm for one in slices])
        return cls(
            tuple(float(slices[i].z_mm) for i in order),
            tuple(float(slices[i].score) for i in order),
        )

    @property
    def step_mm(self) -> float:
        """The usual distance between slices; NaN of a single one."""
        return float(np.median(np.diff(self.z_mm))) if len(self.z_mm) > 1 else math.nan

    @property
    def heights_mm(self) -> np.ndarray:
        """Height that each slice stands for, mm.

        Half the way to each neighbour, and at the ends and next to missing slices the usual step.
        """
        usual = self.step_mm
        gaps = np.diff(self.z_mm)
        gaps = np.where(gaps > MISSING_SLICE * usual, usual, gaps)
        gaps = np.concatenate([[usual], gaps, [usual]])
        heights: np.ndarray = (gaps[:-1] + gaps[1:]) / 2
        return heights


@dataclass(frozen=True)
class Run:
    """Positive slices that follow each other.

    Attributes:
        first: Index of the first one.
        last: Index of the last one.
        slices: How many are positive; those that a gap leaves out do not count.
        mm: Height that the positive ones stand for; NaN of a scan of one slice.
    """

    first: int
    last: int
    slices: int
    mm: float


def mean_score(scan: ScanScores) -> float:
    """The mean over the slices."""
    return float(np.mean(scan.scores))


def highest_score(scan: ScanScores) -> float:
    """The highest score of a slice."""
    return float(np.max(scan.scores))


def longest_run(scan: ScanScores, threshold: float, *, gap: int = 0) -> Run | None:
    """The longest run of positive slices; the lowest one of several.

    A slice that is missing (a step of more than 1.5 usual ones) counts as a negative one: slices on
    both sides of it do not follow each other.

    Args:
        scan: Its scores.
        threshold: A slice is positive when its score exceeds it.
        gap: So many negative slices in a row may lie between two positive ones of a run.

    Returns:
        None when no slice is positive.
    """
    if gap < 0:
        raise UsageError(f"expected a gap of 0 slices or more, got {gap}. Correct the settings.")
    positive = np.flatnonzero(np.asarray(scan.scores) > threshold)
    if not positive.size:
        return None
    # Where each slice would stand if none was missing.
    steps = np.diff(scan.z_mm)
    missed = np.where(steps > MISSING_SLICE * scan.step_mm, np.rint(steps / scan.step_mm), 1)
    places = np.concatenate([[0], np.cumsum(missed)])[positive]
    starts = np.flatnonzero(np.diff(places, prepend=-np.inf) > gap + 1)
    parts = np.split(positive, starts[1:])
    best = max(parts, key=len)
    return Run(int(best[0]), int(best[-1]), len(best), float(scan.heights_mm[best].sum()))


@dataclass(frozen=True)
class RunRule:
    """A scan is positive when enough positive slices follow each other.

    Attributes:
        slices: So many, or None to count millimetres.
        mm: Height of so many, or None to count slices. One of both is given.
        gap: So many negative slices in a row may lie between two positive ones.

    Source: 15 consecutive slices, arXiv 2006.13212. Spacing and gaps are ours.
    """

    slices: int | None = None
    mm: float | None = None
    gap: int = 0

    def __post_init__(self) -> None:
        if (self.slices is None) == (self.mm is None):
            raise UsageError(
                "expected a run of slices or of mm, got "
                f"{'neither' if self.slices is None else 'both'}. Give one of them."
            )
        least = self.slices if self.mm is None else self.mm
        if least is None or not least > 0 or self.gap < 0:
            raise UsageError(
                f"expected a run above 0 and a gap of 0 or more, got {least} and {self.gap}. "
                "Correct the settings."
            )

    def __call__(self, scan: ScanScores, threshold: float) -> bool:
        """Whether a scan is positive.

        Args:
            scan: Its scores.
            threshold: A slice is positive when its score exceeds it.

        Raises:
            StudyError: ``TOO_FEW_SLICES`` if the whole scan is shorter than the run.
        """
        if self.slices is not None:
            if len(scan.scores) < self.slices:
                raise self._too_short(f"{self.slices} slices", f"{len(scan.scores)}")
            run = longest_run(scan, threshold, gap=self.gap)
            return run is not None and run.slices >= self.slices
        assert self.mm is not None
        height = float(scan.heights_mm.sum())
        # Rounded: positions are written in micrometres, and 15 times 1 mm shall be 15 mm.
        if not round(height, 3) >= self.mm:
            raise self._too_short(f"{self.mm:g} mm", f"{height:.1f} mm")
        run = longest_run(scan, threshold, gap=self.gap)
        return run is not None and round(run.mm, 3) >= self.mm

    @staticmethod
    def _too_short(least: str, found: str) -> StudyError:
        return StudyError(
            "TOO_FEW_SLICES",
            f"expected a scan of at least {least}, as the rule asks for such a run, got {found}. "
            "Give the whole scan.",
        )


def patient_scores(
    patients: Sequence[str],
    scores: Sequence[float],
    rule: Callable[[np.ndarray], float] = np.mean,
) -> dict[str, float]:
    """One score a patient.

    Args:
        patients: Whose each slice or scan is.
        scores: Of each slice or scan.
        rule: From the scores of one patient to one: ``np.mean`` or ``np.max``.

    Returns:
        By patient, sorted.
    """
    names, owners = np.unique(np.asarray(patients), return_inverse=True)
    order = np.argsort(owners, kind="stable")
    of_each = np.split(
        np.asarray(scores, dtype=float)[order], np.flatnonzero(np.diff(owners[order])) + 1
    )
    return {str(name): float(rule(own)) for name, own in zip(names, of_each, strict=True)}
