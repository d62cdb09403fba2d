"""Predictions of an evaluation as a table: written, and read back to be compared."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.errors import CohortError, UsageError

__all__ = ["Predicted", "read_predictions"]

# Six digits are written.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Predicted:
    """Answers to labelled studies, in the order of `studies`.

    Attributes:
        studies: Short ids, each once, sorted.
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).
        classes: That the labels are of.
        unanswered: Studies without an answer.
        patients: Whom each of `studies` is of; empty where nobody says it.
    """

    studies: tuple[str, ...]
    truth: np.ndarray
    probabilities: np.ndarray
    unanswered: tuple[str, ...]
    classes: Classes = CHEST_CT
    patients: tuple[str, ...] = ()

    @property
    def owners(self) -> np.ndarray:
        """A number for the patient of each study, shape (n,); without names one each."""
        named = self.patients or self.studies
        whose = [patient or study for patient, study in zip(named, self.studies, strict=True)]
        return np.asarray(np.unique(whose, return_inverse=True)[1])

    @property
    def answer(self) -> np.ndarray:
        """The label given, shape (n,)."""
        return np.asarray(self.probabilities.argmax(axis=1))

    def only(self, studies: Sequence[str]) -> Predicted:
        """The answers to some of the studies."""
        places = {study: place for place, study in enumerate(self.studies)}
        index = [places[study] for study in sorted(studies)]
        return Predicted(
            tuple(sorted(studies)),
            self.truth[index],
            self.probabilities[index],
            self.unanswered,
            self.classes,
            tuple(self.patients[place] for place in index) if self.patients else (),
        )


def read_predictions(path: Path, classes: Classes = CHEST_CT) -> Predicted:
    """Read ``predictions.csv`` of an evaluation.

    Args:
        path: The file.
        classes: That the answers tell apart.

    Raises:
        UsageError: If there is no such file.
        CohortError: If it is none, names a study twice, or its probabilities do not sum to 1.
    """
    rows = _rows(path, ("study", "truth", *(f"p_{label.key}" for label in classes)))
    answered = sorted((r for r in rows if r[f"p_{classes[0].key}"]), key=lambda r: r["study"])
    studies = [row["study"] for row in rows]
    if len(set(studies)) < len(studies):
        raise CohortError(f"{path.name} names a study twice; expected one row a study")
    if not answered:
        raise CohortError(f"{path.name} holds no answer")
    truth = np.array([int(_label(path, row, "truth", classes)) for row in answered])
    try:
        probabilities = np.array([[float(row[f"p_{k.key}"]) for k in classes] for row in answered])
    except ValueError:
        raise CohortError(f"{path.name} holds a probability that is no number") from None
    wrong = np.flatnonzero(
        ~(np.abs(probabilities.sum(axis=1) - 1) < _SUM_TOLERANCE) | (probabilities < 0).any(axis=1)
    )
    if len(wrong):
        study = answered[wrong[0]]["study"]
        raise CohortError(
            f"{path.name}: probabilities of study {study} sum to "
            f"{probabilities[wrong[0]].sum():.3f}, "
            "expected 1. Give the file as `covidctnet evaluate` wrote it."
        )
    return Predicted(
        tuple(row["study"] for row in answered),
        truth,
        probabilities,
        tuple(sorted(set(studies) - {row["study"] for row in answered})),
        classes,
        tuple(row.get("patient", "") for row in answered),
    )


def _label(path: Path, row: Mapping[str, str], column: str, classes: Classes) -> Label:
    try:
        return classes.parse(row[column])
    except CohortError as error:
        raise CohortError(f"{path.name}, study {row['study']}: {error}") from None


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise CohortError(f"{path.name} lacks the columns {', '.join(missing)}")
            return [{k: (v or "").strip() for k, v in row.items() if k} for row in reader]
    except FileNotFoundError:
        raise UsageError(f"no file {path.name}; give predictions.csv of an evaluation") from None
    except (UnicodeDecodeError, csv.Error):
        raise CohortError(f"{path.name} is no comma-separated table in UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read ({error.strerror})") from None
