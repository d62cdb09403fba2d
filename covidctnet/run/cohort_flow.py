"""What an evaluation on a work folder tells of studies that its weights were never asked."""

from __future__ import annotations

from collections import Counter

from covidctnet.cohort.splits import Splits
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.flow import FlowStep, group_of
from covidctnet.results import Failure

__all__ = ["refused_cases", "steps_before"]

_WORDS = {
    "train": "to train",
    "val": "to choose a checkpoint",
    "test": "to test",
    "external": "to test externally",
    "denoiser_train": "to train the denoiser",
    "denoiser_val": "to choose a denoiser",
}
_UNKNOWN = "refused, in no split"


def refused_cases(splits: Splits, split: str) -> list[Case]:
    """The studies of a split that were refused when the cohort was preprocessed."""
    return [
        Case(
            one.label,
            Failure(one.study, one.code, "it was refused when the cohort was preprocessed"),
            one.site or "",
            patient=one.patient,
            split=split,
            is_refused_before=True,
        )
        for one in splits.refused
        if one.split == split
    ]


def steps_before(splits: Splits, split: str) -> tuple[FlowStep, ...]:
    """The division of the cohort, of which an evaluation takes one part."""
    everybody = [(m.patient, m.label) for m in splits.members]
    everybody += [(one.patient, one.label) for one in splits.refused]
    others = Counter(str(m.split) for m in splits.members if m.split != split)
    others.update(str(one.split or "") for one in splits.refused if one.split != split)
    left = {_WORDS.get(name, _UNKNOWN): count for name, count in sorted(others.items())}
    return (FlowStep("Cohort", group_of(everybody), left),)
