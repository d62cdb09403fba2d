"""Weights against labelled patients: predictions, figures, tables, a page, a model card."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from covidctnet.classes import CHEST_CT, Label
from covidctnet.cohort.archive import read_cohort
from covidctnet.cohort.splits import Splits, studies_of_split
from covidctnet.cohort.store import StoredStudy
from covidctnet.contract import Predictor, PredictorInfo
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.assess import Assessment, assess
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.output import as_plain, markdown
from covidctnet.evaluation.sheets import predictions_table, sheets
from covidctnet.evaluation.strata import known_sites
from covidctnet.files import make_folder, table_text, write_whole
from covidctnet.report.evaluation_page import render_evaluation
from covidctnet.report.model_card import model_card
from covidctnet.report.provenance import provenance_of
from covidctnet.report.reviewers import leakage_of, render_reviewers
from covidctnet.report.run_facts import RunFacts
from covidctnet.results import Failure, Prediction
from covidctnet.run.prepare import pseudonym
from covidctnet.run.radiographs import labelled_radiographs
from covidctnet.run.runner import DEFAULT_LIMITS, Runner, runner_of
from covidctnet.volume import Source
from covidctnet.weights.card import taught_by
from covidctnet.weights.thresholds import thresholds_of
from covidctnet.workers.isolate import Limits

__all__ = [
    "Evaluation",
    "Unseen",
    "evaluate_data",
    "evaluate_work",
    "write_evaluation",
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
            model card as ``model-card.md`` and ``model-card.json``; ``reviewers.html`` answers what
            reviewers ask first.
        split: Which patients.
        seed: Of the bootstrap.
        progress: Called with (done, total).
        run: What the run is called, and whose it is.

    Raises:
        UsageError: If the split is empty, studies of it are missing, the folder was preprocessed
            otherwise than the weights want, or its patients were divided again since.
        CohortError: If no study got an answer, or one of them taught the weights.
    """
    stored = studies_of_split(work, split)
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
    digest = Splits.load(work / "splits.json").digest
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
    return _evaluate(_of_stored(stored, runner), len(stored), info, output, seed, progress, run)


def evaluate_data(
    data: Path | Sequence[Path],
    model: Predictor | Runner,
    output: Path,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    limits: Limits | None = DEFAULT_LIMITS,
    run: RunFacts | None = None,
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

    Raises:
        CohortError: If the folder is no labelled archive, no study got an answer, one of them
            taught the weights, or a scan is there twice.
    """
    runner = runner_of(model, limits=limits)
    info = runner.info
    # An archive may have the labels of the model, or those that its classes stand for.
    classes = (CHEST_CT, info.classes)
    roots = [data] if isinstance(data, Path) else data
    if info.modality == "ct":
        cohort = read_cohort(*roots, classes=classes)
    else:
        cohort = labelled_radiographs(roots, info.classes)
    unseen = Unseen(info.card)
    masks = {e.study.id: e.lesions.absolute() for e in cohort if e.lesions}
    outcomes = runner.answers([entry.study for entry in cohort], lesions=masks)

    def cases() -> Iterator[Case]:
        with closing(outcomes):
            for entry, answered in zip(cohort, outcomes, strict=True):
                if answered.source is not None:
                    unseen.check(answered.source)
                found = answered.localisation
                if isinstance(found, CohortError):
                    _LOG.warning("study %s: %s", answered.study.id, found)
                    found = None
                case = _case(entry.label, answered.outcome, pseudonym(entry.patient), entry.site)
                yield replace(case, localisation=found)

    return _evaluate(cases(), len(cohort), info, output, seed, progress, run)


def _evaluate(
    coming: Iterable[Case],
    total: int,
    info: PredictorInfo,
    output: Path,
    seed: int,
    progress: Progress | None,
    run: RunFacts | None,
) -> Evaluation:
    make_folder(output)
    cases = []
    for done, case in enumerate(coming, start=1):
        cases.append(case)
        if progress:
            progress(done, total)
    known = known_sites(info.card)
    assessment = assess(
        cases,
        rng=np.random.default_rng(seed),
        known_sites=known,
        thresholds=thresholds_of(info.card),
    )
    table = (
        f"Weights `{info.weights}` ({info.digest}), which have seen "
        f"{info.trained_on}. 95 % intervals: Wilson for proportions, Newcombe for the AUC of a "
        f"class, else a bootstrap over patients.\n\n{markdown(assessment)}"
    )
    write_evaluation(output, cases, assessment, info, table, run=run)
    return Evaluation(table, assessment.n, len(assessment.failures))


def write_evaluation(
    output: Path,
    cases: Sequence[Case],
    assessment: Assessment,
    info: PredictorInfo,
    table: str,
    *,
    run: RunFacts | None = None,
) -> None:
    """Write the pages, the tables, the answers, and the model card where there is a card.

    Args:
        output: See `evaluate_work`.
        cases: The answers.
        assessment: Their figures.
        info: Who gave them; without a card they were made elsewhere.
        table: The figures in Markdown.
        run: What the run is called, and whose it is.
    """
    run = run or RunFacts()
    whose = {
        "run": run.to_plain(),
        "weights": info.weights,
        "weights_digest": info.digest,
        "caveat": info.caveat,
        "modality": info.modality if info.card else None,
        "leakage": leakage_of(taught_by(info.card), made_elsewhere=not info.card),
    }
    plain = whose | as_plain(assessment)
    make_folder(output / "tables")
    for name, rows in sheets(assessment).items():
        write_whole(output / "tables" / name, table_text(rows))
    write_whole(output / "predictions.csv", table_text(predictions_table(cases)))
    write_whole(output / "evaluation.json", json.dumps(plain, indent=1) + "\n")
    write_whole(output / "reviewers.html", render_reviewers(plain, run))
    write_whole(output / "evaluation.md", table + "\n")
    if info.card:
        card_text, card = model_card(
            assessment,
            info.card,
            name=info.weights,
            digest=info.digest,
            trained_on=info.trained_on,
            caveat=info.caveat,
        )
        write_whole(output / "model-card.md", card_text)
        write_whole(output / "model-card.json", json.dumps(card, indent=1) + "\n")
    page = render_evaluation(
        assessment,
        provenance=provenance_of(info),
        caveat=info.caveat,
        seen=info.trained_on,
        published=info.published,
        made_elsewhere=not info.card,
        run=run.in_words,
    )
    write_whole(output / "index.html", page)


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


def _of_stored(studies: Sequence[StoredStudy], runner: Runner) -> Iterator[Case]:
    with closing(runner.answers(studies)) as outcomes:
        for study, answered in zip(studies, outcomes, strict=True):
            assert study.label is not None
            yield _case(study.label, answered.outcome, study.patient, study.site)
