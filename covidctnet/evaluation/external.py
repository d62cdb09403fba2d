"""An external test apart from the internal one: two assessments, and what is lost between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covidctnet.cohort.members import EXTERNAL
from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.output import as_plain, plain_estimate
from covidctnet.evaluation.strata import newcombe
from covidctnet.evaluation.tables import difference_words

__all__ = ["EXTERNAL", "ExternalTest", "divided", "external_words"]


@dataclass(frozen=True, eq=False)
class ExternalTest:
    """Two tests of the same weights on other patients.

    Attributes:
        internal: On patients held back from the cohort that the weights learned from.
        external: On patients of the split ``external``.
        is_checked: Whether it is known that these patients taught nothing; of answers made
            elsewhere their file says so.
    """

    internal: Assessment
    external: Assessment
    is_checked: bool = True

    @property
    def whom(self) -> str:
        """What is known of the patients, to stand behind their number."""
        return external_words(is_checked=self.is_checked)

    @property
    def rows(self) -> Mapping[str, tuple[Estimate, Estimate, Estimate]]:
        """Internal, external, and internal minus external, by the name of the figure.

        Intervals of differences are recovered from those of the two figures, which are of different
        patients (Zou and Donner, Statistics in Medicine 27:1693, 2008).
        """
        target = self.internal.classes.target.title
        pairs = {
            "accuracy, all classes": self._pair("overall", "accuracy"),
            "AUC, mean over classes": self._pair("overall", "macro_auc"),
            f"{target} sensitivity": self._pair("target", "sensitivity"),
            f"{target} specificity": self._pair("target", "specificity"),
            "calibration error": (
                self.internal.calibration_error,
                self.external.calibration_error,
            ),
        }
        return {name: (*pair, newcombe(*pair)) for name, pair in pairs.items()}

    def _pair(self, of: str, name: str) -> tuple[Estimate, Estimate]:
        first, second = (getattr(a.scores, of)[name] for a in (self.internal, self.external))
        return first, second

    def as_plain(self) -> dict[str, Any]:
        """The external test for JSON, with the difference to the internal one."""
        lost = {name: plain_estimate(gap) for name, (_, _, gap) in self.rows.items()}
        plain = as_plain(self.external)
        return {**plain, "internal_minus_external": lost, "is_checked": self.is_checked}

    def markdown(self) -> str:
        """Both tests side by side."""
        lines = [
            f"External test: {self.external.n} studies of {self.external.patients} patients "
            f"{self.whom}; apart from the internal test in all figures.",
            "",
            "| figure | internal | external | internal minus external |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {first} | {second} | {difference_words(gap)} |"
            for name, (first, second, gap) in self.rows.items()
        ]
        return "\n".join(lines)

    def table(self) -> list[Sequence[object]]:
        """The same for a spreadsheet."""
        heads = ("internal", "external", "internal_minus_external")
        rows: list[Sequence[object]] = [
            ("figure", *(f"{head}{end}" for head in heads for end in ("", "_low", "_high", "_n")))
        ]
        for name, estimates in self.rows.items():
            rows.append((name, *(cell for e in estimates for cell in _cells(e))))
        return rows


def external_words(*, is_checked: bool) -> str:
    """What is known of the patients of an external test.

    Args:
        is_checked: Whether the weights are ours, and name what they have seen.
    """
    if is_checked:
        return "whom nothing was trained, chosen or calibrated on"
    return (
        "whom the file of answers calls external (whether their model learned from them has not "
        "been checked)"
    )


def divided(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """The cases of the internal test, and those of the external one."""
    return (
        [case for case in cases if case.split != EXTERNAL],
        [case for case in cases if case.split == EXTERNAL],
    )


def _cells(estimate: Estimate) -> tuple[object, ...]:
    plain = plain_estimate(estimate)
    shown = ("" if plain[k] is None else f"{plain[k]:.6g}" for k in ("value", "low", "high"))
    return (*shown, estimate.n)
