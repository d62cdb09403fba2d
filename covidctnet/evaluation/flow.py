"""How many studies there were, and where those without an answer were lost (STARD, CLAIM)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covidctnet.classes import Label
from covidctnet.evaluation.cases import Case
from covidctnet.results import Prediction

__all__ = ["Flow", "FlowStep", "Group", "flow_of", "group_of"]


@dataclass(frozen=True)
class Group:
    """Some studies.

    Attributes:
        studies: How many.
        patients: Whom they are of.
        by_label: Studies by the title of their true label.
    """

    studies: int
    patients: int
    by_label: Mapping[str, int]


@dataclass(frozen=True)
class FlowStep:
    """A step of the way from a cohort to its answers.

    Attributes:
        name: In words.
        group: Who is there.
        left: Who goes no further, by reason, in the order shown.
    """

    name: str
    group: Group
    left: Mapping[str, int]


@dataclass(frozen=True)
class Flow:
    """The steps, from all studies to those with an answer."""

    steps: tuple[FlowStep, ...]

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain values for JSON."""
        return [
            {
                "step": step.name,
                "studies": step.group.studies,
                "patients": step.group.patients,
                "by_label": dict(step.group.by_label),
                "left_out": dict(step.left),
            }
            for step in self.steps
        ]


def group_of(studies: Iterable[tuple[str, Label]]) -> Group:
    """The group of some studies, each with its patient and its label."""
    held = list(studies)
    counts = Counter(label for _, label in held)
    labels = sorted(counts, key=int)
    return Group(
        len(held), len({patient for patient, _ in held}), {k.title: counts[k] for k in labels}
    )


def flow_of(cases: Sequence[Case], *, before: Sequence[FlowStep] = ()) -> Flow:
    """The flow of labelled studies.

    Args:
        cases: All that were to be answered, those without an answer included.
        before: Steps before, such as the division of a cohort.
    """
    refused = [c for c in cases if c.is_refused_before]
    asked = [c for c in cases if not c.is_refused_before]
    answered = [c for c in asked if isinstance(c.outcome, Prediction)]
    steps = [*before, FlowStep("To be answered", _group(cases), _codes(refused))]
    if refused:
        steps.append(FlowStep("Preprocessed", _group(asked), {}))
    steps[-1] = FlowStep(
        steps[-1].name,
        steps[-1].group,
        _codes(c for c in asked if not isinstance(c.outcome, Prediction)),
    )
    return Flow((*steps, FlowStep("With an answer", _group(answered), {})))


def _group(cases: Iterable[Case]) -> Group:
    return group_of((case.patient or case.study, case.truth) for case in cases)


def _codes(cases: Iterable[Case]) -> dict[str, int]:
    counts = Counter(getattr(case.outcome, "code", "") for case in cases)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
