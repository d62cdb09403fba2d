"""Thresholds of a patient's score, chosen on validation patients.

Source: Javor et al. 2020 report a threshold that rules the disease in and one that rules it out,
both chosen on validation slices. Differs in: here one score a patient is compared, and a third
threshold, the balanced one, decides the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from covidctnet.errors import UsageError

__all__ = ["PATIENTS", "OperatingPoints", "fit_operating_points"]

PATIENTS = "validation patients"


@dataclass(frozen=True)
class OperatingPoints:
    """Scores above which a patient counts as positive.

    Attributes:
        balanced: With the largest sum of sensitivity and specificity.
        rule_in: No negative validation patient scored above it.
        rule_out: Every positive validation patient scored above it.
        positives: Validation patients with the disease.
        negatives: Those without.
        chosen_on: What chose them, in words.
    """

    balanced: float
    rule_in: float
    rule_out: float
    positives: int
    negatives: int
    chosen_on: str = PATIENTS

    def __post_init__(self) -> None:
        thresholds = (self.balanced, self.rule_in, self.rule_out)
        if not all(0 <= value <= 1 for value in thresholds) or not 0 < self.balanced < 1:
            raise UsageError(
                f"expected thresholds between 0 and 1, got {', '.join(map(str, thresholds))}"
            )

    @classmethod
    def from_card(cls, entry: Mapping[str, Any] | None) -> OperatingPoints | None:
        """Those that a card states, or none.

        Raises:
            TypeError: If they are other ones.
        """
        return None if entry is None else cls(**entry)

    def to_card(self) -> dict[str, Any]:
        """Plain values; what chose them only where it is not validation patients."""
        entry = asdict(self)
        if self.chosen_on == PATIENTS:
            del entry["chosen_on"]
        return entry

    @property
    def thresholds(self) -> Mapping[str, float]:
        """By the name that a reader knows."""
        return {
            "balanced": self.balanced,
            "rule-in": self.rule_in,
            "rule-out": self.rule_out,
        }

    def decided(self, score: float) -> float:
        """A score of a patient moved so that one half stands for the balanced threshold.

        Its odds are divided by those of the threshold; the order of patients stays.
        """
        above = score * (1 - self.balanced)
        return above / (above + (1 - score) * self.balanced)

    def in_words(self, score: float, positive: str, negative: str) -> str:
        """How a score is read at each point.

        Args:
            score: Of a patient.
            positive: What a higher score means.
            negative: What a lower one means.
        """
        read = (
            f"{name} (above {value:.3g}): {positive if score > value else negative}"
            for name, value in self.thresholds.items()
        )
        return (
            f"operating points of {self.positives} + {self.negatives} {self.chosen_on}: "
            + "; ".join(read)
        )


def fit_operating_points(scores: np.ndarray, positive: np.ndarray) -> OperatingPoints:
    """Choose thresholds on validation patients; each lies halfway between two of their scores.

    Args:
        scores: One a patient, in [0, 1].
        positive: Whether each patient has the disease, bool.

    Raises:
        UsageError: If all patients are of one kind.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    if positive.all() or not positive.any():
        raise UsageError(
            "expected validation patients with and without the disease to choose thresholds by, "
            f"got {int(positive.sum())} with and {int((~positive).sum())} without. Add patients."
        )
    values = np.unique(np.concatenate([[0.0], scores, [1.0]]))
    halfway = (values[1:] + values[:-1]) / 2
    sums = [(scores[positive] > t).mean() + (scores[~positive] <= t).mean() for t in halfway]
    highest = float(halfway[int(np.argmax(sums))])
    above_negatives = halfway[halfway > scores[~positive].max()]
    below_positives = halfway[halfway < scores[positive].min()]
    return OperatingPoints(
        balanced=highest,
        rule_in=float(above_negatives[0]) if above_negatives.size else 1.0,
        rule_out=float(below_positives[-1]) if below_positives.size else 0.0,
        positives=int(positive.sum()),
        negatives=int((~positive).sum()),
    )
