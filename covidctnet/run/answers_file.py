"""Answers that were made elsewhere, as a file has them: a table, or JSON lines."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.cohort.members import split_named
from covidctnet.cohort.pseudonyms import FORMER, Pseudonyms
from covidctnet.errors import CohortError, UsageError

__all__ = ["Answer", "read_answers"]

# Far more than any cohort's answers.
MAX_BYTES = 2**28
# Digits that were cut off; what is left is divided by its sum.
SUM_TOLERANCE = 2e-3
_SHORT_ID = re.compile(r"[sp]?[0-9a-f]{12}")
# Each with its line in the file, from 1.
_Rows = Iterator[tuple[int, dict[str, Any]]]


@dataclass(frozen=True)
class Answer:
    """One study of a file of answers.

    Attributes:
        study: Short id: as given where it is one, else a digest of what was given.
        patient: Pseudonym, likewise; empty where the file names none.
        truth: The true label; None where the file does not say.
        probabilities: By label, they sum to 1; None where there is no answer.
        code: Why there is none, as the file says.
        site: Where it was scanned, as the file says.
        split: Which split it is in, as the file says.
        traits: Of the columns ``trait_*``, by name.
        line: In the file, from 1; 0 of what is in none.
    """

    study: str
    patient: str
    truth: Label | None
    probabilities: Mapping[Label, float] | None
    code: str = ""
    site: str = ""
    split: str = ""
    traits: Mapping[str, str] = field(default_factory=dict)
    line: int = 0


def read_answers(
    file: Path,
    classes: Classes = CHEST_CT,
    ids: Pseudonyms = FORMER,
    *,
    given: dict[str, str] | None = None,
) -> list[Answer]:
    """Read answers to labelled studies: a table, or JSON lines.

    A table (``.csv``) has the columns ``study``, ``truth`` and a probability for each class
    (``p_control``, ``p_covid19``, ``p_cap``); ``patient``, ``site``, ``split`` and ``code`` may be
    there, and other columns are ignored. Our own ``predictions.csv`` is one. JSON lines
    (``.jsonl``) are one object a study with the same names and ``probabilities`` by label, such as
    `covidctnet.Prediction.to_dict` with ``truth`` added. A study without probabilities has no
    answer.

    Args:
        file: The table or lines.
        classes: Of the answers.
        ids: Makes ids of what is no id; plain digests by default.
        given: Receives what the file gives, by the id that was made of it.

    Raises:
        UsageError: If the file is missing, too large, or of another kind.
        CohortError: If it is not as described, with the study that is wrong.
    """
    readers: Mapping[str, Callable[[str, str, Classes], _Rows]] = {
        ".csv": _rows_of_table,
        ".jsonl": _rows_of_lines,
        ".ndjson": _rows_of_lines,
    }
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise UsageError(
            f"expected answers as .csv or .jsonl, got {file.name!r}. Write a table with the "
            f"columns study, patient, truth, {', '.join(_columns(classes))}."
        )
    rows = reader(file.name, _text(file), classes)
    made = _Ids(ids, given if given is not None else {})
    answers = []
    lines: dict[str, int] = {}
    for line, row in rows:
        answer = _answer(file.name, line, row, classes, made)
        if (first := lines.setdefault(answer.study, line)) != line:
            raise CohortError(
                f"{file.name}, line {line}, names study {answer.study} more than once, line "
                f"{first} has it: every figure would count it several times. Give one row for "
                "each study."
            )
        answers.append(answer)
    if not answers:
        raise CohortError(f"{file.name} holds no study")
    return answers


def _columns(classes: Classes) -> list[str]:
    return [f"p_{label.key}" for label in classes]


def _text(file: Path) -> str:
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise UsageError(f"{file.name} has {size} bytes, expected at most {MAX_BYTES}")
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"no file {file.name}; give a table of answers") from None
    except UnicodeDecodeError:
        raise CohortError(f"{file.name}: expected text in UTF-8. Save it as such.") from None
    except OSError as error:
        raise UsageError(f"{file.name} cannot be read ({error.strerror})") from None


def _rows_of_table(name: str, text: str, classes: Classes) -> _Rows:
    """Rows by line, with their probabilities under one name, as JSON lines have them."""
    reader = csv.DictReader(text.splitlines())
    columns = [column for column in reader.fieldnames or () if column]
    by_label: dict[str, str] = {}
    for column in columns:
        if column.startswith("p_"):
            key = _label(name, column.removeprefix("p_"), "a column", classes).key
            if key in by_label:
                raise CohortError(
                    f"{name} has two columns for {key}: {by_label[key]} and {column}. Keep one."
                )
            by_label[key] = column
    missing = {"study"} - set(columns)
    missing |= {f"p_{label.key}" for label in classes if label.key not in by_label}
    if missing:
        raise CohortError(
            f"{name} lacks the columns {', '.join(sorted(missing))}. Give study, patient, truth "
            "and one probability for each label."
        )
    try:
        for row in reader:
            cells = {k: (v or "").strip() for k, v in row.items() if k}
            probabilities = {key: cells[column] for key, column in by_label.items()}
            given = probabilities if any(probabilities.values()) else None
            yield reader.line_num, {**cells, "probabilities": given}
    except csv.Error:
        raise CohortError(f"{name} is no comma-separated table. Export it again.") from None


def _rows_of_lines(name: str, text: str, classes: Classes) -> _Rows:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise CohortError(f"{name}, line {number}: expected a JSON object. Write one a line.")
        yield number, row


def _answer(name: str, line: int, row: Mapping[str, Any], classes: Classes, ids: _Ids) -> Answer:
    study = ids.study(row.get("study"))
    if not study:
        raise CohortError(f"{name}, line {line}, is a row without a study. Give each study an id.")
    # The id alone says nothing to who wrote another one into the file.
    where = f"line {line}, study {study}"
    truth = row.get("truth")
    return Answer(
        study=study,
        patient=ids.patient(row.get("patient")),
        truth=_label(name, truth, where, classes) if truth not in (None, "") else None,
        probabilities=_probabilities(name, where, row.get("probabilities"), classes),
        code=_code(row.get("code")),
        site=str(row.get("site") or "").removeprefix("'"),
        split=split_named(str(row.get("split") or "")),
        traits={
            key.removeprefix("trait_"): str(value).removeprefix("'")
            for key, value in row.items()
            if key.startswith("trait_") and value not in (None, "")
        },
        line=line,
    )


@dataclass(frozen=True)
class _Ids:
    """Ids as they are where they are ours already, else made of what is given: it may be a name.

    Attributes:
        made: How.
        given: What was given, by id.
    """

    made: Pseudonyms
    given: dict[str, str]

    def study(self, value: Any) -> str:
        return self._of(value, self.made.study if self.made.secret else self.made.patient)

    def patient(self, value: Any) -> str:
        return self._of(value, self.made.patient)

    def _of(self, value: Any, make: Callable[[str], str]) -> str:
        text = "" if value is None else str(value).strip()
        if not text or _SHORT_ID.fullmatch(text):
            return text
        made = make(text)
        self.given[made] = text
        return made


def _code(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    return text if re.fullmatch(r"[A-Z][A-Z_]{1,40}", text) else ""


def _label(name: str, text: Any, where: str, classes: Classes) -> Label:
    try:
        return classes.parse(str(text))
    except CohortError as error:
        raise CohortError(f"{name}, {where}: {error}") from None


def _probabilities(
    name: str, where: str, entry: Any, classes: Classes
) -> Mapping[Label, float] | None:
    if entry is None:
        return None
    try:
        by_label = {_label(name, key, where, classes): float(value) for key, value in entry.items()}
    except (AttributeError, TypeError, ValueError):
        by_label = {}
    total = math.fsum(by_label.values())
    if (
        by_label.keys() != set(classes)
        or not all(0 <= p <= 1 for p in by_label.values())
        or abs(total - 1) > SUM_TOLERANCE
    ):
        got = ", ".join(f"{label} {p:g}" for label, p in by_label.items()) or "something else"
        raise CohortError(
            f"{name}, {where}: expected one probability from 0 to 1 for each of "
            f"{', '.join(label.title for label in classes)}, with the sum 1, got {got}. Give "
            "probabilities, not scores."
        )
    return {label: by_label[label] / total for label in classes}
