"""One labelled study and what came of it: what every figure of an evaluation is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from covidctnet.classes import Classes, Label
from covidctnet.errors import CohortError
from covidctnet.evaluation.localise import Localisation
from covidctnet.results import Failure, Prediction

__all__ = ["Case", "classes_of", "in_classes"]


@dataclass(frozen=True)
class Case:
    """A study with its truth and its answer.

    Attributes:
        truth: Its label.
        outcome: The answer, or why there is none.
        site: Where it was scanned, as the cohort file says; empty when it does not.
        traits: What the figures are grouped by, text or numbers by name: ``slice_mm``,
            ``noise_hu``, ``kernel``, ``kvp``, ``scanner``, ``exposure_mas``.
        localisation: What was found against the true lesions, where there is a mask of them.
        patient: Pseudonym; empty when it is not known, which counts as one of its own.
        split: Of the cohort that it is in; empty when the cohort is not divided.
        is_refused_before: Whether it was refused when the cohort was preprocessed, and the weights
            were never asked.
    """

    truth: Label
    outcome: Prediction | Failure
    site: str = ""
    traits: Mapping[str, str | float] = field(default_factory=dict)
    localisation: Localisation | None = None
    patient: str = ""
    split: str = ""
    is_refused_before: bool = False

    @property
    def study(self) -> str:
        """Short study id."""
        return self.outcome.study


def classes_of(cases: Iterable[Case]) -> Classes:
    """The classes that the answers of an evaluation tell apart.

    Args:
        cases: With and without an answer; one answer at least.

    Raises:
        CohortError: If there is no answer, or two answers are of different classes.
    """
    cases = tuple(cases)
    sets = {c.outcome.classes for c in cases if isinstance(c.outcome, Prediction)}
    if len(sets) != 1:
        names = "; ".join(", ".join(classes.titles) for classes in sets) or "no answer"
        raise CohortError(f"expected answers of one set of classes, got {names}")
    (classes,) = sets
    return classes


def in_classes(cases: Iterable[Case], classes: Classes) -> list[Case]:
    """Cases whose truth is given in the classes of the answers.

    A system of fewer classes says by `Classes.aliases` which of its own stands for another: "Ill"
    for Covid-19 as well as for CAP.

    Args:
        cases: Labelled with any classes.
        classes: Of the answers.

    Raises:
        CohortError: If a true label is none of them, and stands for none of them.
    """
    return [replace(case, truth=_in(case, classes)) for case in cases]


def _in(case: Case, classes: Classes) -> Label:
    try:
        return classes.parse(case.truth.title)
    except CohortError:
        raise CohortError(
            f"study {case.study} is labelled {case.truth}, which is none of "
            f"{', '.join(classes.titles)} and stands for none of them. Leave it out, or give the "
            "system's classes an alias."
        ) from None
