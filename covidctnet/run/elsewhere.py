"""Answers that were made elsewhere, against labelled patients: the same figures and page.

A file of answers names studies, their true labels and probabilities, and says nothing about the
scans. Whether a model has seen the patients that it is tested on cannot be checked from it alone.
With a work folder it can: its ``splits.json`` says who is held back.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.cohort.members import SPLITS, Member, split_named
from covidctnet.cohort.persons import ToldApart
from covidctnet.cohort.splits import Splits
from covidctnet.contract import PredictorInfo
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.assess import assess
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.output import markdown
from covidctnet.results import Failure, Prediction
from covidctnet.run.cohort_flow import refused_cases, steps_before
from covidctnet.run.evaluate import Evaluation
from covidctnet.run.evaluation_files import About, write_evaluation
from covidctnet.run.prepare import pseudonym

__all__ = ["Answer", "evaluate_predictions", "read_answers"]

# Far more than any cohort's answers.
MAX_BYTES = 2**28
# Digits that were cut off; what is left is divided by its sum.
SUM_TOLERANCE = 2e-3
UNCHECKED = (
    "These answers were made elsewhere. Whether their model learned from these patients, or was "
    "chosen by them, has not been checked."
)
HELD_BACK = (
    "These answers were made elsewhere. All studies are of the split {split} of the work folder; "
    "whether their model kept to it has not been checked."
)
_SHORT_ID = re.compile(r"[0-9a-f]{12}")


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
    """

    study: str
    patient: str
    truth: Label | None
    probabilities: Mapping[Label, float] | None
    code: str = ""
    site: str = ""
    split: str = ""


def evaluate_predictions(
    file: Path,
    output: Path,
    *,
    work: Path | None = None,
    split: str = "test",
    classes: Classes | None = None,
    seed: int = 0,
) -> Evaluation:
    """Evaluate answers that were made elsewhere.

    Args:
        file: See `read_answers`.
        output: Receives what `covidctnet.run.evaluate.evaluate_work` writes, without a model
            card: nothing is known of the model.
        work: Folder that `covidctnet preprocess` filled. Its ``splits.json`` then gives the true
            labels and the patients; a study that is not held back is refused, and one that is held
            back and has no answer counts as failed.
        split: Whom the work folder holds back.
        classes: Of the answers; by default those of the work folder, else `CHEST_CT`.
        seed: Of the bootstrap.

    Raises:
        UsageError: If the file or the work folder is missing, there is no such split, or the work
            folder has other classes.
        CohortError: If the file is not as described, a study is there twice or was not held back,
            or no study has an answer.
    """
    splits = Splits.load(work / "splits.json") if work is not None else None
    if splits and classes and classes != splits.classes:
        raise UsageError(
            f"expected answers of the classes of the work folder ({splits.classes.in_words}), got "
            f"{classes.in_words}. Leave --classes out, or give another work folder."
        )
    classes = splits.classes if splits else classes or CHEST_CT
    answers = read_answers(file, classes)
    for answer in answers:
        if answer.split and answer.split != split_named(split):
            raise _LeakError(file.name, answer.study, answer.split, split)
    if splits is None:
        cases, caveat = _cases(file.name, answers, classes), UNCHECKED
        about = About(told_apart=_told_apart(cases))
    else:
        cases = _cases_of_split(file.name, answers, splits, split, classes)
        about = About(steps_before(splits, split_named(split)), splits.told_apart, split)
        caveat = HELD_BACK.format(split=split)
    assessment = assess(cases, rng=np.random.default_rng(seed))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    table = (
        f"Answers `{file.stem}` ({digest}). {caveat} 95 % intervals: Wilson for proportions, "
        f"Newcombe for the AUC of a class, else a bootstrap over patients.{about.words}\n\n"
        f"{markdown(assessment)}"
    )
    info = PredictorInfo(
        system="",
        weights=file.stem,
        digest=digest,
        classes=assessment.classes,
        caveat=caveat,
        provenance={"weights": file.stem},
    )
    write_evaluation(output, cases, assessment, info, table, about)
    return Evaluation(table, assessment.n, len(assessment.failures))


class _LeakError(CohortError):
    """A study that a model may have learned from is among those it is tested on."""

    def __init__(self, name: str, study: str, split: str, expected: str) -> None:
        super().__init__(
            f"{name}: study {study} is in the split {split}, expected {expected}: figures over "
            "what a model may have learned from would flatter it (data leakage). Leave it out."
        )


def read_answers(file: Path, classes: Classes = CHEST_CT) -> list[Answer]:
    """Read answers to labelled studies: a table, or JSON lines.

    A table (``.csv``) has the columns ``study``, ``truth`` and a probability for each class
    (``p_control``, ``p_covid19``, ``p_cap``); ``patient``, ``site``, ``split`` and ``code`` may be
    there, and other columns are ignored. Our own ``predictions.csv`` is one. JSON lines
    (``.jsonl``) are one object a study with the same names and ``probabilities`` by label, such as
    `covidctnet.Prediction.to_dict` with ``truth`` added. A study without probabilities has no
    answer.

    Raises:
        UsageError: If the file is missing, too large, or of another kind.
        CohortError: If it is not as described, with the study that is wrong.
    """
    readers: Mapping[str, Callable[[str, str, Classes], Iterator[dict[str, Any]]]] = {
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
    answers = [_answer(file.name, row, classes) for row in reader(file.name, _text(file), classes)]
    if not answers:
        raise CohortError(f"{file.name} holds no study")
    twice = [study for study, n in Counter(a.study for a in answers).items() if n > 1]
    if twice:
        raise CohortError(
            f"{file.name} names study {twice[0]} more than once: every figure would count it "
            "several times. Give one row for each study."
        )
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


def _rows_of_table(name: str, text: str, classes: Classes) -> Iterator[dict[str, Any]]:
    """Rows with their probabilities under one name, as JSON lines have them."""
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
            yield {**cells, "probabilities": probabilities if any(probabilities.values()) else None}
    except csv.Error:
        raise CohortError(f"{name} is no comma-separated table. Export it again.") from None


def _rows_of_lines(name: str, text: str, classes: Classes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise CohortError(f"{name}, line {number}: expected a JSON object. Write one a line.")
        yield row


def _answer(name: str, row: Mapping[str, Any], classes: Classes) -> Answer:
    study = _short_id(row.get("study"))
    if not study:
        raise CohortError(f"{name} has a row without a study. Give each study an id.")
    truth = row.get("truth")
    return Answer(
        study=study,
        patient=_short_id(row.get("patient")),
        truth=_label(name, truth, f"study {study}", classes) if truth not in (None, "") else None,
        probabilities=_probabilities(name, study, row.get("probabilities"), classes),
        code=_code(row.get("code")),
        site=str(row.get("site") or "").removeprefix("'"),
        split=split_named(str(row.get("split") or "")),
    )


def _short_id(value: Any) -> str:
    """As it is where it is a short id already, else a digest: ids may be names of people."""
    text = "" if value is None else str(value).strip()
    return text if not text or _SHORT_ID.fullmatch(text) else pseudonym(text)


def _code(value: Any) -> str:
    text = "" if value is None else str(value).strip()
    return text if re.fullmatch(r"[A-Z][A-Z_]{1,40}", text) else ""


def _label(name: str, text: Any, where: str, classes: Classes) -> Label:
    try:
        return classes.parse(str(text))
    except CohortError as error:
        raise CohortError(f"{name}, {where}: {error}") from None


def _probabilities(
    name: str, study: str, entry: Any, classes: Classes
) -> Mapping[Label, float] | None:
    if entry is None:
        return None
    where = f"study {study}"
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


def _cases(name: str, answers: list[Answer], classes: Classes) -> list[Case]:
    """Cases whose truth is the file's."""
    for answer in answers:
        if answer.truth is None:
            raise CohortError(
                f"{name}, study {answer.study}: expected its true label in truth, got "
                "nothing (label is what was answered). Add it, or give --work."
            )
    return [
        Case(a.truth, _outcome(a, classes), a.site, patient=a.patient)
        for a in answers
        if a.truth is not None
    ]


def _outcome(answer: Answer, classes: Classes) -> Prediction | Failure:
    if answer.probabilities is not None:
        return Prediction(answer.study, answer.probabilities, classes=classes)
    if answer.code:
        return Failure(answer.study, answer.code, "")
    return Failure(answer.study, "NO_ANSWER", "expected probabilities, the file has none")


def _members(splits: Splits, split: str) -> dict[str, Member]:
    """Every study of a work folder, if it holds anybody back."""
    if split_named(split) not in SPLITS:
        raise UsageError(f"expected a split of {', '.join(SPLITS)}, got {split!r}")
    members = {m.study: m for m in splits.members}
    if not any(m.split == split_named(split) for m in members.values()):
        raise UsageError(
            f"the split {split} of the work folder is empty. Preprocess with a larger share."
        )
    return members


def _told_apart(cases: list[Case]) -> ToldApart:
    named = {case.patient for case in cases if case.patient}
    by = "the column patient of the file of answers" if named else "nothing: each study is one"
    return ToldApart(by, len(named) or len(cases), len(cases), is_compared=False)


def _cases_of_split(
    name: str, answers: list[Answer], splits: Splits, split: str, classes: Classes
) -> list[Case]:
    """Cases of everybody held back; the work folder says who that is, and what they have."""
    members = _members(splits, split)
    refused = {case.study: case for case in refused_cases(splits, split_named(split))}
    by_study = {answer.study: answer for answer in answers}
    for study, answer in by_study.items():
        member = members.get(study)
        if study in refused:
            continue
        if member is None:
            raise CohortError(
                f"{name}: study {study} is not in the work folder. Give the short ids of its "
                "splits.json, or leave --work out."
            )
        if member.split != split_named(split):
            raise _LeakError(name, study, str(member.split), split)
        if answer.truth not in (None, member.label):
            raise CohortError(
                f"{name}: study {study} is {answer.truth} in the file and {member.label} in the "
                "work folder. Decide which is right."
            )
    missing = Answer("", "", None, None)
    # Another program may answer what was refused here.
    unused = [
        replace(case, outcome=_outcome(by_study[study], classes), is_refused_before=False)
        if study in by_study
        else case
        for study, case in sorted(refused.items())
    ]
    return unused + [
        Case(
            m.label,
            _outcome(replace(by_study.get(m.study, missing), study=m.study), classes),
            m.site or "",
            patient=m.patient,
            split=split_named(split),
        )
        for m in sorted(members.values(), key=lambda m: m.study)
        if m.split == split_named(split)
    ]
