"""Answers that were made elsewhere, against labelled patients: the same figures and page.

A file of answers names studies, their true labels and probabilities, and says nothing about the
scans. Whether a model has seen the patients that it is tested on cannot be checked from it alone.
With a work folder it can: its ``splits.json`` says who is held back.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.cohort.key_table import KeyRow, add_to_key_table
from covidctnet.cohort.members import EXTERNAL, SPLITS, Member, split_named
from covidctnet.cohort.persons import ToldApart
from covidctnet.cohort.pseudonyms import ids_of_work
from covidctnet.cohort.splits import Splits
from covidctnet.cohort.traits import values_of
from covidctnet.contract import PredictorInfo
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.cases import Case
from covidctnet.report.run_facts import RunFacts
from covidctnet.results import Failure, Prediction
from covidctnet.run.answers_file import Answer, read_answers
from covidctnet.run.cohort_flow import refused_cases, steps_before
from covidctnet.run.evaluate import Evaluation, report_tests
from covidctnet.run.evaluation_files import About, ids_of_evaluation

__all__ = ["Answer", "cases_of", "evaluate_predictions", "read_answers"]

UNCHECKED = (
    "These answers were made elsewhere. Whether their model learned from these patients, or was "
    "chosen by them, has not been checked."
)
HELD_BACK = (
    "These answers were made elsewhere. All studies are of the split {split} of the work folder; "
    "whether their model kept to it has not been checked."
)


def evaluate_predictions(
    file: Path,
    output: Path,
    *,
    work: Path | None = None,
    split: str = "test",
    classes: Classes | None = None,
    seed: int = 0,
    run: RunFacts | None = None,
    key: Path | None = None,
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
        run: What the run is called, and whose it is.
        key: Folder of an earlier run whose ids are taken; see
            `covidctnet.cohort.pseudonyms.pseudonyms_of`.

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
    ids = ids_of_work(work) if work is not None else ids_of_evaluation(output, key)
    given: dict[str, str] = {}
    answers = read_answers(file, classes, ids, given=given)
    for answer in answers:
        if answer.split and answer.split not in (split_named(split), EXTERNAL):
            raise _LeakError(_place(file.name, answer), answer.study, answer.split, split)
    if splits is None:
        cases, caveat = cases_of(file.name, answers, classes), UNCHECKED
        about = About(told_apart=_told_apart(cases))
    else:
        cases = _cases_of_split(file.name, answers, splits, split, classes)
        about = About(
            steps_before(splits, split_named(split)),
            splits.told_apart,
            split,
            external_steps=steps_before(splits, EXTERNAL),
        )
        caveat = HELD_BACK.format(split=split)
    if work is None:
        # Not before: a file that is refused leaves no folder.
        ids.keep(output)
        if ids.secret:
            add_to_key_table(
                output,
                [
                    KeyRow(a.study, a.patient, "", given.get(a.patient, a.patient), "", "", "", "",
                           given.get(a.study, a.study))
                    for a in answers
                ],
            )  # fmt: skip
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    info = PredictorInfo(
        system="",
        weights=file.stem,
        digest=digest,
        classes=classes,
        caveat=caveat,
        provenance={"weights": file.stem},
    )
    return report_tests(cases, info, output, seed, about=about, run=run)


class _LeakError(CohortError):
    """A study that a model may have learned from is among those it is tested on."""

    def __init__(self, name: str, study: str, split: str, expected: str) -> None:
        super().__init__(
            f"{name}: study {study} is in the split {split}, expected {expected}: figures over "
            "what a model may have learned from would flatter it (data leakage). Leave it out."
        )


def _place(name: str, answer: Answer) -> str:
    """Where an answer stands; its id says nothing to who wrote another one into the file."""
    return f"{name}, line {answer.line}" if answer.line else name


def cases_of(name: str, answers: list[Answer], classes: Classes) -> list[Case]:
    """Cases whose truth is the file's."""
    for answer in answers:
        if answer.truth is None:
            raise CohortError(
                f"{_place(name, answer)}, study {answer.study}: expected its true label in truth, "
                "got nothing (label is what was answered). Add it, or give --work."
            )
    traits = values_of(answer.traits for answer in answers)
    return [
        Case(a.truth, _outcome(a, classes), a.site, own, patient=a.patient, split=a.split)
        for a, own in zip(answers, traits, strict=True)
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
    names = dict.fromkeys((split_named(split), EXTERNAL))
    refused = {case.study: case for name in names for case in refused_cases(splits, name)}
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
        if member.split not in (split_named(split), EXTERNAL):
            raise _LeakError(name, study, str(member.split), split)
        if answer.truth not in (None, member.label):
            raise CohortError(
                f"{name}: study {study} is {answer.truth} in the file and {member.label} in the "
                "work folder. Decide which is right."
            )
    missing = Answer("", "", None, None)
    # An external test that nobody has answered was not taken.
    answered = {split_named(split), *(str(members[s].split) for s in by_study if s in members)}
    answered |= {case.split for study, case in refused.items() if study in by_study}
    traits = values_of(dict(m.traits) for m in members.values())
    traits_of = dict(zip(members, traits, strict=True))
    # Another program may answer what was refused here.
    unused = [
        replace(case, outcome=_outcome(by_study[study], classes), is_refused_before=False)
        if study in by_study
        else case
        for study, case in sorted(refused.items())
        if case.split in answered
    ]
    return unused + [
        Case(
            m.label,
            _outcome(replace(by_study.get(m.study, missing), study=m.study), classes),
            m.site or "",
            traits_of[m.study],
            patient=m.patient,
            split=str(m.split),
        )
        for m in sorted(members.values(), key=lambda m: m.study)
        if m.split in answered
    ]
