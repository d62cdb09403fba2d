"""Whether the patients of a cohort are the persons that its headers name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, NamedTuple

from covidctnet.cohort.archive import CohortStudy
from covidctnet.io.owner import Owner, owner_of

__all__ = [
    "Found",
    "Persons",
    "ToldApart",
    "find_persons",
    "in_words",
    "in_words_shared",
    "owners_of",
]

# What programs write where they take an id or a name out, without marks between the letters.
_CONSTANTS = frozenset(
    ("ANON", "ANONYM", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "ANONYMUS", "ANONYMOUSPATIENT",
     "ANONYMIZEDPATIENT", "ANONYMISEDPATIENT", "ANONYMOUSNAME", "ANONYMOUSID", "DEIDENTIFIED",
     "DEIDENTIFIEDPATIENT", "DUMMY", "DEFAULT", "EMPTY", "HIDDEN", "ID", "NA", "NAME", "NOID",
     "NONAME", "NONE", "NULL", "PATIENT", "PATIENTID", "PATIENTNAME", "PRIVATE", "PSEUDONYM",
     "REDACTED", "REMOVED", "SUBJECT", "TEST", "UNKNOWN", "UNNAMED")
)  # fmt: skip
# So many patients of one site or class that all carry one value carry a constant.
_ALL_OF = 5
# And a value that so many patients carry, one in so many, is one too.
_MANY = 10
_MOST_NAMED = 3


class Found(NamedTuple):
    """Patients and PatientIDs that do not fit together.

    Attributes:
        what: In words.
        studies: Of all of them, sorted by their place in the cohort.
    """

    what: str
    studies: tuple[CohortStudy, ...]


@dataclass(frozen=True)
class ToldApart:
    """How the patients of a cohort were told apart, and how far headers confirm it.

    Attributes:
        by: What names the patients.
        patients: How many there are.
        studies: Of all patients.
        with_id: Studies whose PatientID tells persons apart.
        mixed: Patients that hold several PatientIDs.
        unsure: PatientIDs that several patients carry whom their names or sites tell apart.
        shared: PatientIDs that several patients carry whom nothing tells apart.
        is_compared: Whether there were headers to compare with.
    """

    by: str
    patients: int
    studies: int
    with_id: int = 0
    mixed: int = 0
    unsure: int = 0
    shared: int = 0
    is_compared: bool = True

    @property
    def words(self) -> str:
        """Two sentences or more for a report."""
        out = [f"Patients were told apart by {self.by}."]
        if not self.is_compared:
            return out[0]
        if not self.with_id:
            return (
                f"{out[0]} No DICOM PatientID could confirm it: the headers have none, or one "
                "constant for all."
            )
        out.append(
            f"The DICOM PatientID of {self.with_id} of {self.studies} studies was compared with it"
            + (" and agrees." if not self.mixed + self.unsure + self.shared else ":")
        )
        if self.shared:
            out.append(f"{_ids(self.shared)} under more than one patient.")
        if self.mixed:
            several = "1 patient holds" if self.mixed == 1 else f"{self.mixed} patients hold"
            out.append(
                f"{several} several PatientIDs and may be several persons: intervals by patient "
                "may be wrong."
            )
        if self.unsure:
            out.append(
                f"{_ids(self.unsure)} under several patients of other names or sites, which were "
                "taken for different persons."
            )
        return " ".join(out)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the sentences among them."""
        return {**asdict(self), "words": self.words}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ToldApart:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError: If it gave it not.
        """
        return cls(**{k: v for k, v in value.items() if k != "words"})


class Persons(NamedTuple):
    """What headers say about the patients of a cohort.

    Attributes:
        told_apart: For reports.
        shared: Persons who are under several patients: one must not be in two splits.
        mixed: Patients that hold several PatientIDs.
        unsure: PatientIDs under several patients who may be different persons.
    """

    told_apart: ToldApart
    shared: tuple[Found, ...]
    mixed: tuple[Found, ...]
    unsure: tuple[Found, ...]


def owners_of(cohort: Sequence[CohortStudy]) -> dict[str, Owner]:
    """Whom every study is of, by study id; reads a few kilobytes of each."""
    return {entry.study.id: owner_of(entry.study) for entry in cohort}


def find_persons(cohort: Sequence[CohortStudy], owners: Mapping[str, Owner]) -> Persons:
    """Compare the patients of a cohort with the persons that its headers name.

    A PatientID under two patients is one person, unless the names differ, or nothing but the number
    is alike and the two are of different sites: hospitals count from 1. Constants that anonymisers
    write are no ids: the usual words; a value that all patients of the cohort, or five and more
    that are all of a site or of a class, carry; one that ten patients and a tenth of all carry.

    Args:
        cohort: Labelled studies; the same under pseudonyms, where words are made of it.
        owners: From `owners_of`.
    """
    ids = _Values(cohort, {e.study.id: owners[e.study.id].patient_id for e in cohort})
    names = _Values(cohort, {e.study.id: owners[e.study.id].name for e in cohort})
    by_patient: dict[str, list[CohortStudy]] = {}
    by_id: dict[str, dict[str, list[CohortStudy]]] = {}
    for entry in cohort:
        by_patient.setdefault(entry.patient, []).append(entry)
        if known := ids.of(entry):
            by_id.setdefault(known, {}).setdefault(entry.patient, []).append(entry)

    def is_one_person(one: CohortStudy, other: CohortStudy) -> bool:
        first, second = names.of(one), names.of(other)
        if first and second:
            births = owners[one.study.id].birth, owners[other.study.id].birth
            return first == second or (bool(births[0]) and births[0] == births[1])
        return one.site is None or other.site is None or one.site == other.site

    shared: list[Found] = []
    unsure: list[Found] = []
    for patients in by_id.values():
        if len(patients) < 2:
            continue
        held = tuple(entry for entries in patients.values() for entry in entries)
        pairs = combinations(held, 2)
        is_shared = any(a.patient != b.patient and is_one_person(a, b) for a, b in pairs)
        found = Found(f"one PatientID under {len(patients)} patients", held)
        (shared if is_shared else unsure).append(found)
    mixed = []
    for entries in by_patient.values():
        held_ids = {known for e in entries if (known := ids.of(e))}
        held_ids |= {folded for e in entries for o in owners[e.study.id].other_ids
                     if (folded := _fold(o)) not in _CONSTANTS}  # fmt: skip
        if len(held_ids) > 1:
            mixed.append(Found(f"one patient with {len(held_ids)} PatientIDs", tuple(entries)))
    told_apart = ToldApart(
        by=_named_by(cohort),
        patients=len(by_patient),
        studies=len(cohort),
        with_id=sum(bool(ids.of(entry)) for entry in cohort),
        mixed=len(mixed),
        unsure=len(unsure),
        shared=len(shared),
    )
    return Persons(told_apart, tuple(shared), tuple(mixed), tuple(unsure))


def in_words(persons: Persons) -> tuple[str, ...]:
    """What somebody must look at, a line each.

    Args:
        persons: Of a cohort under pseudonyms.
    """
    lines = []
    for found in persons.mixed[:_MOST_NAMED]:
        lines.append(
            f"patient {found.studies[0].patient} holds several PatientIDs: "
            f"{found.what}, in {_studies(len(found.studies))}. A folder of a whole batch counts "
            "as one patient. If they are several persons, give each a folder, or a name in the "
            "column patient of cohort.csv."
        )
    for found in persons.unsure[:_MOST_NAMED]:
        names = sorted({entry.patient for entry in found.studies})
        lines.append(
            f"{found.what} ({', '.join(names[:_MOST_NAMED])}), whose names or sites differ: they "
            "are taken for different persons. If they are one, give them one name in cohort.csv."
        )
    left = sum(max(0, len(some) - _MOST_NAMED) for some in (persons.mixed, persons.unsure))
    return (*lines, *([f"and {left} more of this kind"] if left else []))


def in_words_shared(shared: Sequence[Found]) -> str:
    """Why a cohort is refused in which persons are several patients.

    Args:
        shared: At least one, of a cohort under pseudonyms.
    """
    named = []
    for found in shared[:_MOST_NAMED]:
        first = {entry.patient: entry for entry in reversed(found.studies)}.values()
        listed = [
            f"study {entry.study.id} (patient {entry.patient}"
            + (f", {entry.split})" if entry.split else ")")
            for entry in first
        ]
        named.append(f"one PatientID is {' and '.join(sorted(listed)[:_MOST_NAMED])}")
    more = f"; and {len(shared) - _MOST_NAMED} more" if len(shared) > _MOST_NAMED else ""
    return (
        f"one person is under several patients: {'; '.join(named)}{more}. Such a person could be "
        "trained on and tested on. Give the studies of a person one name in the column patient of "
        "cohort.csv. If they are persons of different hospitals that use the same numbers, fill "
        "the column site. Where there is a work folder, leaks.csv in it lists the paths."
    )


def _studies(count: int) -> str:
    return "1 study" if count == 1 else f"{count} studies"


def _ids(count: int) -> str:
    return "1 PatientID is" if count == 1 else f"{count} PatientIDs are"


def _fold(value: str) -> str:
    """A value without case, blanks and the marks between parts of a name."""
    return re.sub(r"[\s^=_.,\-]+", "", value).upper()


class _Values:
    """What one element of the header says of each study, constants taken out.

    Args:
        cohort: The studies.
        values: Of the element, by study id.
    """

    def __init__(self, cohort: Sequence[CohortStudy], values: Mapping[str, str]) -> None:
        self._values = {study: _fold(value) for study, value in values.items()}
        # Everybody's values by whole cohort, site and class.
        groups: dict[tuple[str, object], dict[str, set[str]]] = {}
        for entry in cohort:
            for group in (("all", ""), ("site", entry.site or ""), ("class", entry.label.key)):
                held = groups.setdefault(group, {}).setdefault(entry.patient, set())
                held.add(self._values[entry.study.id])
        self._constants = set(_CONSTANTS)
        for (kind, _), patients in groups.items():
            least = 2 if kind == "all" else _ALL_OF
            everybody = set.intersection(*patients.values())
            if len(patients) >= least and all(len(held) == 1 for held in patients.values()):
                self._constants |= everybody
            if kind == "all":
                counts = Counter(value for held in patients.values() for value in held)
                many = max(_MANY, len(patients) / _MANY)
                self._constants |= {value for value, n in counts.items() if n >= many}

    def of(self, entry: CohortStudy) -> str:
        """The value of a study; empty where there is none that tells persons apart."""
        value = self._values[entry.study.id]
        # Zeros, or one letter again and again, are no number of a patient.
        is_filler = not value.strip("0") or not value.strip("X")
        return "" if is_filler or value in self._constants else value


def _named_by(cohort: Sequence[CohortStudy]) -> str:
    """What names the patients of the archives."""
    tables = {(entry.root / "cohort.csv").is_file() for entry in cohort}
    if tables == {True}:
        return "the column patient of cohort.csv"
    if tables == {False}:
        return "the folders and files of the archive, one a patient"
    return "the column patient of cohort.csv, or the folders of the archives without one"
