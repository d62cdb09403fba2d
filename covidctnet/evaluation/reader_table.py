"""Readings of human readers as a table, with the ids that a hospital uses."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.errors import CohortError, UsageError
from covidctnet.files import TableRow, read_table

__all__ = ["Reading", "Readings", "read_keys", "read_readings"]

# Columns that may say which study was read; the first that has something counts.
_IDS = ("study", "accession", "id")
_MOST_NAMED = 10


@dataclass(frozen=True)
class Reading:
    """What a reader said of a study.

    Attributes:
        label: The class.
        score: How sure the reader was of the target class, higher is surer; None without.
    """

    label: Label
    score: float | None = None


@dataclass(frozen=True)
class Readings:
    """What readers said.

    Attributes:
        by_condition: By condition of reading, such as ``with the model``, then by reader, then by
            study. One condition with an empty name where the table names none.
    """

    by_condition: Mapping[str, Mapping[str, Mapping[str, Reading]]] = field(default_factory=dict)

    @property
    def conditions(self) -> tuple[str, ...]:
        """In the order of the table."""
        return tuple(self.by_condition)

    def labels(self, condition: str = "") -> dict[str, dict[str, Label]]:
        """Labels by reader and study, of one condition."""
        return {
            reader: {study: reading.label for study, reading in cases.items()}
            for reader, cases in self.by_condition[condition].items()
        }


def read_keys(path: Path) -> dict[str, str | None]:
    """Which study an own id stands for: a table with the column study and any other ones.

    Args:
        path: A table as comma-separated text, such as a key table kept by the hospital.

    Returns:
        Short ids by accession, patient, path or whatever the other columns hold; None for what
        stands for several studies.

    Raises:
        UsageError: If there is no such file.
        CohortError: If it is no such table.
    """
    known: dict[str, str | None] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "study" not in (reader.fieldnames or ()):
                raise CohortError(
                    f"{path.name} lacks the column study, which holds the ids of predictions.csv. "
                    "Give the table that names them."
                )
            for row in reader:
                study = (row["study"] or "").strip()
                cells = {(v or "").strip() for k, v in row.items() if k and k != "study"}
                for cell in cells - {""}:
                    known[cell] = study if known.get(cell, study) == study else None
    except FileNotFoundError:
        raise UsageError(f"no file {path.name}; give a table with the column study") from None
    except (UnicodeDecodeError, csv.Error):
        raise CohortError(f"{path.name} is no comma-separated table in UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read ({error.strerror})") from None
    return known


def read_readings(
    path: Path,
    classes: Classes = CHEST_CT,
    *,
    studies: Collection[str] = (),
    keys: Mapping[str, str | None] | None = None,
    pseudonym: Callable[[str], str] | None = None,
) -> Readings:
    """Read what human readers said: a table with reader, label, and study, accession or id.

    The columns score (how sure of the target class) and condition (how it was read) may be there.

    Args:
        path: The table.
        classes: That the labels are of.
        studies: Ids of the answers that the readings are compared with.
        keys: Of `read_keys`.
        pseudonym: Makes the id that answers have of an own id, where they were evaluated from a
            file with own ids.

    Returns:
        The readings; one without a label is a case that the reader skipped.

    Raises:
        CohortError: If it is no such table; all mistakes in one list, with their lines.
    """
    table = read_table(
        path, ("reader", "label"), (*_IDS, "score", "condition"), entry="study of a reader"
    )
    known, wrong = frozenset(studies), []
    first_line: dict[tuple[str, str, str], int] = {}
    found: dict[str, dict[str, dict[str, Reading]]] = {}
    for row in table.rows:
        try:
            study = _study(row, known, keys or {}, pseudonym)
            if not row.cells["reader"]:
                raise CohortError("no reader")
            cases = found.setdefault(row.cells["condition"], {})
            own = cases.setdefault(row.cells["reader"], {})
            if not row.cells["label"]:
                continue
            place = (row.cells["condition"], row.cells["reader"], study)
            # Of ids of a hospital only the place is told.
            if (first := first_line.setdefault(place, row.line)) != row.line:
                raise CohortError(
                    f"expected one label of a reader for a study, line {first} has one"
                )
            own[study] = Reading(classes.parse(row.cells["label"]), _score(row.cells["score"]))
        except CohortError as error:
            wrong.append(f"line {row.line}: {error}")
    if "" in found and len(found) > 1:
        wrong.append("some rows name a condition and others none; name it in every row")
    if wrong:
        more = f"; and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        raise CohortError(f"{path.name}: {'; '.join(wrong[:_MOST_NAMED])}{more}. Correct them.")
    if not any(own for cases in found.values() for own in cases.values()):
        raise CohortError(f"{path.name} holds no label of any reader")
    return Readings(found)


def _study(
    row: TableRow,
    studies: Collection[str],
    keys: Mapping[str, str | None],
    pseudonym: Callable[[str], str] | None,
) -> str:
    given = next((row.cells[name] for name in _IDS if row.cells[name]), "")
    if not given:
        raise CohortError(f"expected an id in one of the columns {', '.join(_IDS)}, got none")
    if given in studies:
        return given
    if given in keys:
        study = keys[given]
        if study is None:
            raise CohortError(
                "expected an id of one study, got one that stands for several; give the accession "
                "or study"
            )
        return study
    if pseudonym and (digested := pseudonym(given)) in studies:
        return digested
    return given


def _score(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CohortError(f"expected a number as score, got {text!r:.40}")
    return value
