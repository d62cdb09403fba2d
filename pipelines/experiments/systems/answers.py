"""Answers of all entrants to the same patients, in classes that can be compared.

Declared mappings, for every entrant alike:

- three classes: entrants that tell Control, Covid-19 and CAP apart, as they are;
- Covid-19 against the rest: the probability of Covid-19 against the sum of all others; called
  Covid-19 above one half. Of scans, the entrants' own thresholds are in that probability already.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.cohort.key_table import read_key_table
from covidctnet.cohort.pseudonyms import FORMER
from covidctnet.errors import UsageError
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.predictions import Predicted
from covidctnet.results import Prediction
from pipelines.experiments.systems.archives import Patient

__all__ = ["COVID_OR_REST", "Answers", "read_answers"]

COVID_OR_REST = Classes(
    ("Rest", "Covid-19"),
    normal="Rest",
    aliases={"Control": "Rest", "CAP": "Rest", "Non-Covid": "Rest"},
    note="Rest is Control and CAP together.",
)


@dataclass(frozen=True, eq=False)
class Answers:
    """What one entrant says of the patients held back.

    Attributes:
        name: Of the entrant.
        classes: That it tells apart.
        patients: Answered ones, by pseudonym, sorted.
        probabilities: Shape (patient, class).
        failed: By pseudonym, why there is no answer.
    """

    name: str
    classes: Classes
    patients: Mapping[str, Patient]
    probabilities: np.ndarray
    failed: Mapping[str, str]

    @property
    def has_three(self) -> bool:
        """Whether it tells the three classes apart."""
        return self.classes == CHEST_CT

    @property
    def covid(self) -> np.ndarray:
        """Probability of Covid-19, shape (patient,)."""
        found: np.ndarray = self.probabilities[:, int(self.classes.parse(CHEST_CT.COVID19.title))]
        return found

    @property
    def is_covid(self) -> np.ndarray:
        """Whether each patient has it, bool."""
        return np.array([p.label is CHEST_CT.COVID19 for p in self.patients.values()])

    def predicted(self) -> Predicted:
        """Covid-19 against the rest, to be compared."""
        return Predicted(
            tuple(self.patients),
            self.is_covid.astype(int),
            np.column_stack([1 - self.covid, self.covid]),
            tuple(sorted(self.failed)),
            COVID_OR_REST,
        )

    def cases(self, classes: Classes) -> list[Case]:
        """The same as an evaluation takes them: of `CHEST_CT`, or of `COVID_OR_REST`."""
        of = self.predicted().probabilities if classes is COVID_OR_REST else self.probabilities
        return [
            Case(
                classes.parse(patient.label.title),
                Prediction(name, dict(zip(classes, row, strict=True)), classes=classes),
                patient.site,
                patient.traits,
                patient=name,
            )
            for (name, patient), row in zip(self.patients.items(), of.tolist(), strict=True)
        ]


def read_answers(
    name: str, evaluation: Path, weights: Path, patients: Mapping[str, Patient]
) -> Answers:
    """Read ``predictions.csv`` of an evaluation; labels are those of the phantoms.

    Args:
        name: Of the entrant.
        evaluation: Its folder.
        weights: Whose card names the classes.
        patients: All of the cohort.

    Raises:
        UsageError: If it answered a patient who is not held back, or one twice, or does not tell
            Covid-19 apart.
    """
    card = json.loads((weights / "card.json").read_text(encoding="utf-8"))
    classes = Classes.from_dict(card["classes"])
    if CHEST_CT.COVID19.title not in classes.titles:
        raise UsageError(
            f"expected classes with Covid-19 of {name}, got {', '.join(classes.titles)}. Train it "
            "for a task that has them."
        )
    # Every evaluation has a key of its own: its table says which phantom an id is.
    names = {
        row.patient: FORMER.patient(row.archive_patient)
        for row in read_key_table(evaluation).values()
    }
    with (evaluation / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            row | {"patient": names.get(row["patient"], row["patient"])}
            for row in csv.DictReader(file)
        ]
    rows.sort(key=lambda row: row["patient"])
    _check(name, [row["patient"] for row in rows], patients)
    columns = [f"p_{label.key}" for label in classes]
    there = [row for row in rows if row.get(columns[0])]
    return Answers(
        name,
        classes,
        {row["patient"]: patients[row["patient"]] for row in there},
        np.array([[float(row[column]) for column in columns] for row in there]).reshape(
            -1, len(columns)
        ),
        {row["patient"]: row["code"] for row in rows if not row.get(columns[0])},
    )


def _check(name: str, answered: Sequence[str], patients: Mapping[str, Patient]) -> None:
    tested = sorted(key for key, patient in patients.items() if patient.split == "test")
    if list(answered) != tested:
        raise UsageError(
            f"expected answers of {name} to the {len(tested)} patients held back, each once, got "
            f"{len(answered)} rows of other patients or twice. Remove its evaluation."
        )
