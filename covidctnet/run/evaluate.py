"""Weights against labelled patients: predictions, figures, tables, a page, a model card."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from covidctnet.classes import CHEST_CT, Label
from covidctnet.cohort.archive import read_cohort
from covidctnet.cohort.key_table import add_key_rows
from covidctnet.cohort.members import EXTERNAL
from covidctnet.cohort.persons import find_persons, in_words, owners_of
from covidctnet.cohort.splits import Splits, studies_of_split
from covidctnet.cohort.store import Store, StoredStudy
from covidctnet.contract import Predictor, PredictorInfo
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.assess import Assessment, assess
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.characteristics import Patient
from covidctnet.evaluation.external import ExternalTest, divided
from covidctnet.evaluation.output import markdown
from covidctnet.evaluation.strata import known_sites
from covidctnet.evaluation.supplement import supplement
from covidctnet.files import make_folder
from covidctnet.report.run_facts import RunFacts
from covidctnet.results import Failure, Prediction
from covidctnet.run.cohort_flow import refused_cases, steps_before
from covidctnet.run.cohort_patients import COLUMNS, CohortTraits, patients_of
from covidctnet.run.evaluation_files import (
    About,
    ids_of_evaluation,
    remove_evaluation,
    write_evaluation,
)
from covidctnet.run.kept_answers import KeptAnswers
from covidctnet.run.radiographs import labelled_radiographs
from covidctnet.run.runner import DEFAULT_LIMITS, Answers, Runner, runner_of
from covidctnet.volume import Source
from covidctnet.weights.card import taught_by
from covidctnet.weights.recipe import recipe_of
from covidctnet.weights.thresholds import thresholds_of
from covidctnet.workers.isolate import Limits

__all__ = [
    "Evaluation",
    "Unseen",
    "evaluate_data",
    "evaluate_work",
    "report_tests",
]

_LOG = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


class Evaluation(NamedTuple):
    """What came of an evaluation.

    Attributes:
        table: Figures in Markdown.
        answered: Studies with an answer.
        failed: Studies without.
    """

    table: str
    answered: int
    failed: int


def evaluate_work(
    work: Path,
    model: Predictor | Runner,
    output: Path,
    *,
    split: str = "test",
    seed: int = 0,
    progress: Progress | None = None,
    run: RunFacts | None = None,
) -> Evaluation:
    """Evaluate on the held-back patients of a work folder.

    Args:
        work: Folder that `covidctnet preprocess` filled.
        model: What is evaluated, a predictor or a runner; its preprocessing must be the folder's.
        output: Receives the page ``index.html``, the same figures as ``evaluation.json``,
            ``evaluation.md`` and ``tables/*.csv``, the answers as ``predictions.csv``, and the
            model card as ``model-card.md`` and ``model-card.json``; as they come, the answers in
            ``answers/``, from which a run that was stopped goes on.
        split: Which patients; with ``test`` those of ``external`` too, whose figures are apart: a
            table of both on the page, and everything of theirs in ``external/``.
        seed: Of the bootstrap.
        progress: Called with (done, total).
        run: What the run is called, and whose it is.

    Raises:
        UsageError: If the split is empty, studies of it are missing, the folder was preprocessed
            otherwise than the weights want, or its patients were divided again since.
        CohortError: If no study got an answer, or one of them taught the weights.
    """
    stored = studies_of_split(work, split)
    names = (split, EXTERNAL) if split == "test" else (split,)
    if split == "test":
        stored += studies_of_split(work, EXTERNAL)
    if not stored:
        raise UsageError(
            f"split {split} of the work folder is empty; preprocess with a larger --split.{split}"
        )
    runner = runner_of(model, limits=None)
    info = runner.info
    expected = info.preprocessing
    if not expected:
        raise UsageError(
            f"weights of the system {info.system} do not answer what preprocess has "
            "prepared. Use --data with the original scans."
        )
    if {s.settings_digest for s in stored} != {expected}:
        raise UsageError(
            "the work folder was preprocessed otherwise than these weights want. Give the weights "
            "that were trained in it, or use --data with the original scans."
        )
    card = info.card
    splits = Splits.load(work / "splits.json")
    digest = splits.digest
    for stage, record in card.get("training", {}).items():
        data = record.get("data", {})
        # Weights of before cards named what they have seen tell their division only.
        if "seen" not in data and data.get("splits_digest", digest) != digest:
            raise UsageError(
                f"the {stage} was trained with another division of patients than the work folder "
                "has now: some of those held back may have taught it. Give the weights that were "
                "trained with this one, or use --data with scans that they have not seen."
            )
    unseen = Unseen(card)
    for study in stored:
        unseen.check(study.source)
    traits = CohortTraits.of_splits(splits)
    everybody = patients_of(splits, Store(work / "preprocessed").index(), traits)
    refused = [case for name in names for case in refused_cases(splits, name)]
    about = About(
        steps_before(splits, split),
        splits.told_apart,
        split,
        external_steps=steps_before(splits, EXTERNAL),
    )
    total = len(stored) + len(refused)
    with KeptAnswers(output, info) as kept:
        answers = kept.answers(runner, stored, lesions={})
        cases = chain(map(traits.add_to, _of_stored(stored, answers)), refused)
        return _evaluate(cases, total, info, output, seed, progress, everybody, about, run)


def evaluate_data(
    data: Path | Sequence[Path],
    model: Predictor | Runner,
    output: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    limits: Limits | None = DEFAULT_LIMITS,
    run: RunFacts | None = None,
    key: Path | None = None,
) -> Evaluation:
    """Evaluate on a labelled folder, from the original files on.

    Args:
        data: The folder, or several; see `covidctnet.cohort.archive.read_cohort`, and for
            radiographs `covidctnet.run.radiographs.labelled_radiographs`.
        model: What is evaluated: a predictor on this machine, or a runner.
        output: See `evaluate_work`.
        seed: Of the bootstrap.
        progress: Called with (done, total).
        limits: See `covidctnet.classify_studies`; of this machine alone.
        run: See `evaluate_work`.
        key: Folder of an earlier run whose ids are taken, so that answers can be compared; see
            `covidctnet.cohort.pseudonyms.pseudonyms_of`.

    Raises:
        UsageError: If the output has lost the key of its ids.
        CohortError: If the folder is no labelled archive, no study got an answer, one of them
            taught the weights, or a scan is there twice.
    """
    runner = runner_of(model, limits=limits)
    info = runner.info
    # An archive may have the labels of the model, or those that its classes stand for.
    classes = (CHEST_CT, info.classes)
    roots = [data] if isinstance(data, Path) else data
    if info.modality == "ct":
        found = read_cohort(*roots, classes=classes)
    else:
        found = labelled_radiographs(roots, info.classes)
    ids = ids_of_evaluation(output, key).keep(output)
    cohort = ids.cohort(found)
    unseen = Unseen(info.card)
    masks = {e.study.id: e.mask.absolute() for e in cohort if e.mask}
    traits = CohortTraits.of_archive(cohort)

    def cases(outcomes: Answers) -> Iterator[Case]:
        with closing(outcomes):
            for entry, answered in zip(cohort, outcomes, strict=True):
                if answered.source is not None:
                    unseen.check(answered.source)
                lesions = answered.localisation
                if isinstance(lesions, CohortError):
                    _LOG.warning("study %s: %s", answered.study.id, lesions)
                    lesions = None
                case = _case(entry.label, answered.outcome, entry.patient, entry.site)
                yield traits.add_to(replace(case, localisation=lesions))

    owners = owners_of(cohort)
    add_key_rows(output, ids, found, cohort, owners)
    persons = find_persons(cohort, owners)
    for line in in_words(persons):
        _LOG.warning("%s", line)
    if persons.shared:
        _LOG.warning(
            "%s",
            f"{len(persons.shared)} persons, by their PatientID, are under several patients: "
            "intervals are narrower than they should be. Give the studies of a person one name in "
            "the column patient of cohort.csv.",
        )
    about = About(told_apart=persons.told_apart)
    with KeptAnswers(output, info) as kept:
        outcomes = kept.answers(runner, [entry.study for entry in cohort], lesions=masks)
        return _evaluate(cases(outcomes), len(cohort), info, output, seed, progress, (), about, run)


def _evaluate(
    coming: Iterable[Case],
    total: int,
    info: PredictorInfo,
    output: Path,
    seed: int,
    progress: Progress | None,
    everybody: Sequence[Patient],
    about: About,
    run: RunFacts | None,
) -> Evaluation:
    make_folder(output)
    cases = []
    for done, case in enumerate(coming, start=1):
        cases.append(case)
        if progress:
            progress(done, total)
    return report_tests(cases, info, output, seed, everybody, about=about, run=run)


def report_tests(
    cases: Sequence[Case],
    info: PredictorInfo,
    output: Path,
    seed: int,
    everybody: Sequence[Patient] = (),
    *,
    notes: tuple[str, ...] = (),
    facts: Mapping[str, Any] = MappingProxyType({}),
    run: RunFacts | None = None,
    about: About | None = None,
) -> Evaluation:
    """Write what came of labelled studies; of two tests the external one in ``external/``.

    Args:
        cases: Of both.
        info: Who answered.
        output: See `evaluate_work`.
        seed: Of the bootstraps.
        everybody: All patients of the cohort by split.
        notes: See `covidctnet.evaluation.supplement.Supplement`.
        facts: Likewise.
        run: What the run is called, and whose it is.
        about: Whose answers they are.

    Raises:
        CohortError: If no study got an answer. Where those of one test alone have none, the report
            is of the other and says so.
    """
    about = about or About()
    known = known_sites(info.card)
    inside, outside = divided(cases)
    silent = _without_answers(inside, outside)
    if silent:
        inside, outside = (own if own is not silent else [] for own in (inside, outside))
        which = "external" if silent[0].split == EXTERNAL else "internal"
        facts = {**facts, "test_without_answers": {"test": which, "studies": len(silent)}}
        notes = (*notes, _silent_words(which, silent))
    found: list[tuple[Sequence[Case], Assessment, bool]] = [
        (
            own,
            assess(
                own,
                rng=np.random.default_rng(seed),
                known_sites=known,
                thresholds=thresholds_of(info.card),
            ),
            is_external,
        )
        for own, is_external in ((outside, True), (inside, False))
        if own
    ]
    facts = {**facts, "normal": info.classes.normal, "recipe": recipe_of(info)}
    is_checked = bool(info.system)
    external = ExternalTest(found[1][1], found[0][1], is_checked) if len(found) > 1 else None
    if external is None:
        remove_evaluation(output / EXTERNAL)
    table = ""
    for own, assessment, is_external in found:
        is_second = is_external and external is not None
        figures_supplement = supplement(
            assessment,
            own,
            patients=everybody,
            splits=COLUMNS,
            external=None if is_external else external,
            is_external=is_external,
            is_checked=is_checked,
            notes=notes,
            facts=facts,
        )
        table = (
            f"{_whose(info)} 95 % intervals: Wilson for proportions, Newcombe for the AUC of a "
            f"class, else a bootstrap over patients.{about.words}\n\n{markdown(assessment)}\n\n"
            f"{figures_supplement.markdown()}"
        )
        folder = output / EXTERNAL if is_second else output
        whose = about.of_external() if is_external else about
        kept = own if is_second or not silent else [*own, *silent]
        write_evaluation(
            folder,
            own,
            assessment,
            info,
            table,
            figures_supplement,
            whose,
            run=run,
            predictions=kept,
        )
    answered = sum(assessment.n for _, assessment, _ in found)
    return Evaluation(table, answered, len(cases) - answered)


def _without_answers(inside: list[Case], outside: list[Case]) -> list[Case]:
    """The test of which no study got an answer while those of the other did; or nobody."""
    if not inside or not outside:
        return []
    has = [any(isinstance(c.outcome, Prediction) for c in own) for own in (inside, outside)]
    if all(has) or not any(has):
        return []
    return outside if has[0] else inside


def _silent_words(which: str, cases: Sequence[Case]) -> str:
    codes = Counter(case.outcome.code for case in cases if isinstance(case.outcome, Failure))
    counts = ", ".join(f"{n} {code}" for code, n in codes.most_common())
    return (
        f"The {which} test is not estimable: none of its {len(cases)} studies got an answer "
        f"({counts}). They stand in predictions.csv with their code, and count in no figure here."
    )


def _whose(info: PredictorInfo) -> str:
    """Who answered, in a sentence."""
    training = f", which have seen {info.trained_on}" if info.trained_on else ""
    made = "Weights" if info.system else "Answers"
    caveat = "" if info.system else f" {info.caveat}"
    return f"{made} `{info.weights}` ({info.digest}){training}.{caveat}"


class Unseen:
    """Refuses scans that taught the weights, and the same scan under two studies.

    Args:
        card: Of the weights; one of before cards named what they have seen knows of nothing.
    """

    def __init__(self, card: Mapping[str, Any]) -> None:
        self._taught = taught_by(card)
        # The denoiser may know the lungs that lesions are painted into, the classifier not.
        self._hosts = taught_by(card, "classifier")
        self._checked: dict[str, str] = {}

    def check(self, source: Source) -> None:
        """Look at one more study; one whose content is unknown is passed.

        Raises:
            CohortError: If it must not be evaluated.
        """
        study, mark = source.study, source.mark
        if not mark:
            return
        if source.host in self._hosts:
            raise CohortError(
                f"study {study} is painted into lungs that the classifier of these weights learned "
                "from or was chosen by: figures over it would flatter them. Leave it out."
            )
        if stage := self._taught.get(mark):
            raise CohortError(
                f"study {study} is one that the {stage} of these weights learned from or was "
                "chosen by: figures over it would flatter them. Leave it out."
            )
        if (first := self._checked.setdefault(mark, study)) != study:
            raise CohortError(
                f"studies {first} and {study} are the same scan: every figure would count it "
                "twice. Leave one of them out."
            )


def _case(
    truth: Label, outcome: Prediction | Failure, patient: str | None, site: str | None
) -> Case:
    traits = dict(outcome.acquisition) if isinstance(outcome, Prediction) else {}
    return Case(truth, outcome, site or "", traits, patient=patient or "")


def _of_stored(studies: Sequence[StoredStudy], outcomes: Answers) -> Iterator[Case]:
    with closing(outcomes):
        for study, answered in zip(studies, outcomes, strict=True):
            assert study.label is not None
            yield _case(study.label, answered.outcome, study.patient, study.site)
