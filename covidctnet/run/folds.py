"""Folds or sites pooled: one report over the patients of all, each answered once."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.cohort.traits import values_of
from covidctnet.contract import Predictor, PredictorInfo
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.external import EXTERNAL
from covidctnet.evaluation.intervals import auc
from covidctnet.evidence import LesionVolume, Region
from covidctnet.report.run_facts import RunFacts
from covidctnet.results import Prediction
from covidctnet.run.answers_file import MAX_BYTES, read_answers
from covidctnet.run.elsewhere import cases_of
from covidctnet.run.evaluate import Evaluation, Progress, evaluate_work, report_tests
from covidctnet.weights.recipe import differences

__all__ = ["Fold", "evaluate_folds", "read_fold"]

_SHOWN = 3
_RECIPE = ("recipe", "fitted")


@dataclass(frozen=True)
class Fold:
    """What came of one fold.

    Attributes:
        name: Of its folder, and of its group in the figures.
        cases: Of its internal test.
        classes: Of its answers.
        weights: Name and digest of its weights.
        recipe: See `covidctnet.weights.recipe.recipe_of`; None where the folder does not say.
        has_external: Whether it was tested on an external test as well.
    """

    name: str
    cases: tuple[Case, ...]
    classes: Classes
    weights: tuple[str, str]
    recipe: Mapping[str, Any] | None
    has_external: bool = False


def evaluate_folds(
    folders: Sequence[Path],
    output: Path,
    *,
    load: Callable[[Path], Predictor],
    seed: int = 0,
    progress: Progress | None = None,
    run: RunFacts | None = None,
) -> Evaluation:
    """Pool the tests of several folds or sites in one report, by patient.

    Args:
        folders: Results of `evaluate`, or work folders of folds with their ``weights/``, which are
            evaluated first, into ``folds/`` of the output.
        output: See `covidctnet.run.evaluate.evaluate_work`.
        load: Gives a predictor of the weights in a folder.
        seed: Of the bootstrap.
        progress: Called with (done, total) for the studies of a work folder.
        run: What the run is called, and whose it is.

    Raises:
        UsageError: If there is one folder only, or one is neither.
        CohortError: If the folds tell other classes apart, their weights were made by other
            recipes, or a study or a patient is in two of them.
    """
    if len(folders) < 2:
        raise UsageError(f"expected --folds with two folders or more, got {len(folders)}.")
    names = _names(folders)
    folds = []
    for folder, name in zip(folders, names, strict=True):
        if not (folder / "predictions.csv").is_file() and (folder / "splits.json").is_file():
            weights = folder / "weights"
            if not weights.is_dir():
                raise UsageError(
                    f"expected weights/ in the work folder {folder.name!r}, got none. Train in it, "
                    "or give the results of covidctnet evaluate --work."
                )
            target = output / "folds" / name
            evaluate_work(folder, load(weights), target, seed=seed, progress=progress)
            folder = target
        folds.append(read_fold(folder, name))
    notes = _check(folds)
    cases = [
        replace(case, traits={**own, "fold": fold.name})
        for (fold, case), own in zip(*_traits_of(folds), strict=True)
    ]
    digest = hashlib.sha256(" ".join(fold.weights[1] for fold in folds).encode()).hexdigest()[:12]
    of_known = next((fold.recipe for fold in folds if fold.recipe), None)
    info = PredictorInfo(
        system=str(of_known["recipe"]["system"]) if of_known else "folds",
        weights=f"{len(folds)} folds",
        digest=digest,
        classes=folds[0].classes,
        provenance={"weights": f"{len(folds)} folds"},
    )
    facts = {
        "folds": [
            {
                "name": fold.name,
                "weights": fold.weights[0],
                "weights_digest": fold.weights[1],
                "studies": len(fold.cases),
                "fitted": fold.recipe["fitted"] if fold.recipe else None,
            }
            for fold in folds
        ]
    }
    return report_tests(cases, info, output, seed, notes=notes, facts=facts, run=run)


def _traits_of(
    folds: Sequence[Fold],
) -> tuple[list[tuple[Fold, Case]], list[Mapping[str, str | float]]]:
    """The cases of all folds, and their traits: what is a number is one in all folds or in none."""
    cases = [(fold, case) for fold in folds for case in fold.cases]
    texts = [
        {k: v if isinstance(v, str) else f"{v:.12g}" for k, v in case.traits.items()}
        for _, case in cases
    ]
    return cases, values_of(texts)


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of folders, with those above them where they are alike."""
    for depth in range(1, 5):
        names = ["-".join(folder.resolve().parts[-depth:]).strip("/") for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise UsageError("expected every fold once in --folds, got a folder twice. Leave one out.")


def read_fold(folder: Path, name: str) -> Fold:
    """Read what `evaluate` wrote for one fold.

    Raises:
        UsageError: If the folder holds no results of an evaluation.
        CohortError: If they are damaged.
    """
    file, record_file = folder / "predictions.csv", folder / "evaluation.json"
    if not file.is_file() or not record_file.is_file():
        raise UsageError(
            f"expected results of covidctnet evaluate or a work folder, {folder.name!r} is neither."
            " Name the folder that holds predictions.csv or splits.json."
        )
    try:
        if max(file.stat().st_size, record_file.stat().st_size) > MAX_BYTES:
            raise ValueError("too large")
        record = json.loads(record_file.read_text(encoding="utf-8"))
        titles = [str(title) for title in record["classes"]]
        classes = CHEST_CT
        if titles != list(CHEST_CT.titles):
            classes = Classes(tuple(titles), normal=str(record.get("normal") or titles[0]))
        weights = (str(record["weights"]), str(record["weights_digest"]))
        recipe = record.get("recipe")
        if recipe is not None and not all(isinstance(recipe[k], dict) for k in _RECIPE):
            raise ValueError("no recipe")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CohortError(
            f"evaluation.json of the fold {name!r} cannot be read ({type(error).__name__}). "
            "Evaluate the fold again."
        ) from None
    answers = read_answers(file, classes)
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    cases = [
        _with_evidence(case, row)
        for case, row in zip(cases_of(file.name, answers, classes), rows, strict=True)
        if case.split != EXTERNAL
    ]
    return Fold(name, tuple(cases), classes, weights, recipe, (folder / EXTERNAL).is_dir())


def _with_evidence(case: Case, row: Mapping[str, str]) -> Case:
    """A case with what else the table tells of its answer."""
    if not isinstance(case.outcome, Prediction):
        return case
    columns = ("affected_lung", "lesion_ml", "ood_score")
    share, lesions, distance = (_number(row.get(name)) for name in columns)
    evidence: tuple[LesionVolume, ...] = ()
    if share is not None and lesions is not None:
        lungs = lesions / share if share > 0 else 1.0
        evidence = (LesionVolume(float("nan"), (Region("both", "all", lungs, lesions),)),)
    labels = [label for label in case.outcome.classes if label.title in _titles(row, case.outcome)]
    outcome = replace(
        case.outcome,
        flags=tuple((row.get("flags") or "").split()),
        prediction_set=tuple(labels),
        ood_score=distance,
        evidence=evidence,
    )
    return replace(case, outcome=outcome)


def _titles(row: Mapping[str, str], outcome: Prediction) -> set[str]:
    """Titles in a set of labels."""
    if (left := row.get("labels_left")) is not None:
        return {title.strip() for title in left.split(";")}
    # Tables of before: blanks between titles, which may hold some, so the longest come first.
    text, found = row.get("set") or "", set()
    for title in sorted(outcome.classes.titles, key=len, reverse=True):
        if title in text:
            found.add(title)
            text = text.replace(title, "", 1)
    return found


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _check(folds: Sequence[Fold]) -> tuple[str, ...]:
    """Refuse folds that are no one test, and name what a reader must know.

    Returns:
        Sentences for the report.
    """
    first = folds[0]
    for fold in folds[1:]:
        if fold.classes.titles != first.classes.titles:
            raise CohortError(
                f"expected folds of one set of classes, got {first.classes.in_words} in "
                f"{first.name} and {fold.classes.in_words} in {fold.name}. Evaluate them apart."
            )
    known = [(fold, fold.recipe) for fold in folds if fold.recipe]
    for fold, recipe in known[1:]:
        other, reference = known[0]
        if changed := differences(reference["recipe"], recipe["recipe"]):
            raise CohortError(
                f"expected weights of one recipe in all folds, those of {other.name} and "
                f"{fold.name} differ in {', '.join(changed[:_SHOWN])}"
                f"{' and more' if len(changed) > _SHOWN else ''}. Train the folds alike, or "
                "evaluate them apart."
            )
    _check_apart(folds, "study", lambda case: case.study)
    _check_apart(folds, "patient", lambda case: case.patient)
    return _notes(folds, [recipe for _, recipe in known])


def _check_apart(folds: Sequence[Fold], what: str, key: Callable[[Case], str]) -> None:
    owner: dict[str, str] = {}
    twice: list[str] = []
    for fold in folds:
        for one in {key(case) for case in fold.cases} - {""}:
            if owner.setdefault(one, fold.name) != fold.name:
                twice.append(f"{one} in {owner[one]} and {fold.name}")
    if twice:
        many = {"study": "studies", "patient": "patients"}[what]
        raise CohortError(
            f"expected every {what} in one fold, {len(twice)} {many} are in two "
            f"({'; '.join(sorted(twice)[:_SHOWN])}). A pooled figure would count them twice: give "
            "the folds of one division."
        )


def _notes(folds: Sequence[Fold], recipes: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    notes = [
        f"Pooled over {len(folds)} folds ({', '.join(fold.name for fold in folds)}): every patient "
        "was answered once, by the weights of one fold. Intervals are over patients; they leave "
        f"out how far weights of other trainings would lie apart. {_within(folds)}"
    ]
    digests = {fold.weights[1] for fold in folds}
    if 1 < len(digests) < len(folds):
        notes.append("Some of the folds have the same weights, others have weights of their own.")
    fitted = [recipe["fitted"] for recipe in recipes]
    changed = sorted({name for one in fitted[1:] for name in differences(fitted[0], one)})
    if changed:
        notes.append(
            "Each fold has settings that were fitted to its own validation patients: "
            f"{', '.join(changed)}."
        )
    if len(recipes) < len(folds):
        notes.append(
            f"{len(folds) - len(recipes)} of the folds do not say how their weights were made: "
            "whether all were made alike has not been checked."
        )
    if any(fold.has_external for fold in folds):
        notes.append(
            "External tests are not pooled: all folds were tested on the same external patients."
        )
    if any(not case.patient for fold in folds for case in fold.cases):
        notes.append("Some studies name no patient: whether one is in two folds is not known.")
    return tuple(notes)


def _within(folds: Sequence[Fold]) -> str:
    """The mean of the folds' own areas: probabilities of other weights are no one scale."""
    areas = []
    for fold in folds:
        answers = [(c.truth, c.outcome) for c in fold.cases if isinstance(c.outcome, Prediction)]
        truth = np.array([int(t) for t, _ in answers])
        target = fold.classes.target
        scores = np.array([p.probabilities[target] for _, p in answers])
        areas.append(auc(truth == int(target), scores) if len(answers) else float("nan"))
    known = [area for area in areas if area == area]
    if len(known) < len(areas):
        return f"The AUC for {folds[0].classes.target} within each fold is not estimable in all."
    return (
        f"The AUC for {folds[0].classes.target} within the folds is {np.mean(known):.3f} on "
        f"average ({min(known):.3f} to {max(known):.3f})."
    )
