"""Figures that papers print, as counts: intervals are computed where they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from covidctnet.errors import UsageError

__all__ = ["Count", "PublishedFigures"]


@dataclass(frozen=True)
class Count:
    """A share, as a count.

    Attributes:
        found: Cases with the property.
        of: Cases looked at.
        reconstructed: Whether the paper prints the rate alone, and the count is the only one that
            gives it.
    """

    found: int
    of: int
    reconstructed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.found <= self.of or self.of < 1:
            raise UsageError(f"expected a count of 0 to all cases, got {self.found} of {self.of}")

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.found / self.of


@dataclass(frozen=True)
class PublishedFigures:
    """What a paper prints of one test.

    Attributes:
        title: Of the test, as a table names it.
        source: Of the figures.
        unit: What is counted: ``slice``, ``scan``, ``patient`` or ``picture``.
        counts: By name: ``sensitivity``, ``specificity``, ``accuracy`` ...
        figures: Figures without counts, by name, as printed.
        note: What a reader should know of them.
    """

    title: str
    source: str
    unit: str
    counts: Mapping[str, Count] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def of_matrix(
        cls,
        title: str,
        source: str,
        unit: str,
        *,
        sensitivity: tuple[int, int],
        specificity: tuple[int, int],
        figures: Mapping[str, float] = MappingProxyType({}),
        note: str = "",
        reconstructed: bool = False,
    ) -> PublishedFigures:
        """All counts that a two-class confusion matrix gives.

        Args:
            title: See the class.
            source: See the class.
            unit: See the class.
            sensitivity: Positives called positive, and positives.
            specificity: Negatives called negative, and negatives.
            figures: See the class.
            note: See the class.
            reconstructed: See `Count`.
        """
        (tp, positives), (tn, negatives) = sensitivity, specificity
        fp, fn = negatives - tn, positives - tp
        pairs = {
            "sensitivity": (tp, positives),
            "specificity": (tn, negatives),
            "accuracy": (tp + tn, positives + negatives),
            "ppv": (tp, tp + fp),
            "npv": (tn, tn + fn),
        }
        counts = {name: Count(*pair, reconstructed) for name, pair in pairs.items() if pair[1]}
        return cls(title, source, unit, MappingProxyType(counts), figures, note)

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and positive predictive value."""
        sensitivity, ppv = self.counts["sensitivity"].share, self.counts["ppv"].share
        return 2 * sensitivity * ppv / (sensitivity + ppv)
