"""Patients of a cohort as an evaluation describes them: what the cohort file and headers say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from covidctnet.cohort.archive import CohortStudy
from covidctnet.cohort.splits import Splits
from covidctnet.cohort.store import StoredStudy
from covidctnet.cohort.traits import values_of
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.characteristics import Patient

__all__ = ["COLUMNS", "CohortTraits", "patients_of"]

# Splits in the order of a table: others are compared with those who taught the classifier.
COLUMNS = ("train", "val", "test", "external", "denoiser_train", "denoiser_val")


class CohortTraits:
    """What a cohort says of its studies besides their labels.

    Args:
        traits: By study.
        splits: Of each study that has one.
    """

    def __init__(self, traits: Mapping[str, Mapping[str, str]], splits: Mapping[str, str]) -> None:
        self._traits = dict(zip(traits, values_of(traits.values()), strict=True))
        self._splits = splits

    @classmethod
    def of_splits(cls, splits: Splits) -> CohortTraits:
        """Those of a work folder."""
        traits = {m.study: dict(m.traits) for m in splits.members}
        return cls(traits, {m.study: str(m.split) for m in splits.members})

    @classmethod
    def of_archive(cls, cohort: Iterable[CohortStudy]) -> CohortTraits:
        """Those of an archive."""
        cohort = tuple(cohort)
        return cls(
            {entry.study.id: dict(entry.traits) for entry in cohort},
            {entry.study.id: entry.split.strip().casefold() for entry in cohort if entry.split},
        )

    def of(self, study: str) -> Mapping[str, str | float]:
        """Text and numbers by name; nothing of a study that is not in the cohort."""
        return self._traits.get(study, {})

    def add_to(self, case: Case) -> Case:
        """A case with its split, and with traits that its headers did not tell."""
        traits = {**self.of(case.study), **case.traits}
        return replace(case, traits=traits, split=self._splits.get(case.study, ""))


def patients_of(
    splits: Splits, stored: Sequence[StoredStudy], traits: CohortTraits
) -> list[Patient]:
    """All patients of a work folder, by split.

    Args:
        splits: Of the work folder.
        stored: Its preprocessed studies, which know how they were scanned.
        traits: Of the same splits.
    """
    scanned = {study.id: dict(study.source.acquisition) for study in stored}
    out = []
    for member in sorted(splits.members, key=lambda m: m.study):
        known: dict[str, str | float] = {
            **traits.of(member.study),
            **scanned.get(member.study, {}),
            "label": member.label.title,
        }
        if member.site:
            known["site"] = member.site
        out.append(Patient(member.patient, str(member.split), known))
    return out
