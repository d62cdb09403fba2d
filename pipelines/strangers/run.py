"""Real patients, answered by networks that have never seen them.

    python -m pipelines.strangers.run --work runs/mine --settings pipelines/compact/cross-fit.yaml
    python -m pipelines.strangers.run --data /archive --weights compact

With ``--work`` every Control that taught the networks of a cross-fitted work folder is answered by
those of its own fold, which learned from other sites. Real patients that taught nothing are
answered by the weights of ``all``, for the counts, and by every fold, for the areas: only
answers of the same networks are compared. With ``--data`` one set of weights answers every study
of a labelled archive that it has not learned from; those that it has are counted and left out.

Next to each model stand the simplest baselines, on the same lung masks: how much of the lungs has
the density of ground glass and consolidation, and how much the denoiser takes away.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jsonargparse import ArgumentError, ArgumentParser

from covidctnet.classes import CHEST_CT, Label
from covidctnet.cohort.archive import read_cohort
from covidctnet.errors import CohortError, StudyError, UsageError
from covidctnet.evaluation.intervals import Estimate, auc_interval, wilson
from covidctnet.evidence import LesionVolume, Panels
from covidctnet.files import table_text, write_whole
from covidctnet.io import read_study
from covidctnet.progress import track
from covidctnet.results import Prediction
from covidctnet.systems.covidctnet.lesion_volume import inner_lungs
from covidctnet.systems.covidctnet.predictor import CovidCTNet, Prepared
from covidctnet.systems.covidctnet.training.crossfit import CrossFit
from covidctnet.systems.covidctnet.training.folds import ALL, NO_PATIENT, CrossFitSettings
from covidctnet.systems.covidctnet.weights import load_weights
from covidctnet.weights.card import taught_by
from pipelines.experiments.command import tell

# Densities of the baselines, HU: ground glass to soft tissue, and consolidation alone.
DENSITIES: Mapping[str, tuple[float, float]] = {
    "density -650 to 50 HU": (-650.0, 50.0),
    "density -250 to 100 HU": (-250.0, 100.0),
}
LESIONS = "lesion volume"
MODEL = "p(Covid-19) + p(CAP)"
# Studies of one patient are no two witnesses.
AGAIN = "another study of a patient who is counted"
SLICES_MM = (1.6, 2.6, 5.1)
DRAWS = 2000


@dataclass(frozen=True)
class Answered:
    """One real patient.

    Attributes:
        study: Short id.
        truth: Its class.
        site: Collection or hospital, empty where it is not known.
        answer: Of networks that have not seen it.
        networks: Which ones: a fold, or a name.
        scores: Of the model and the baselines, by name; larger means more disease.
        compared: Scores by the networks that gave them, where several did.
    """

    study: str
    truth: Label
    site: str
    answer: Prediction
    networks: str
    scores: Mapping[str, float]
    compared: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def scores_by(self) -> Mapping[str, Mapping[str, float]]:
        """Scores by the networks that gave them."""
        return self.compared or {self.networks: self.scores}

    @property
    def is_ill(self) -> bool:
        """Covid-19 or CAP."""
        return self.truth is not CHEST_CT.CONTROL

    @property
    def is_asserted(self) -> bool:
        """Whether the answer came without abstention and without a reservation."""
        return self.answer.status == "classified"

    @property
    def is_wrong(self) -> bool:
        """Ill for a Control, or Control for an ill patient."""
        return (self.answer.label is not CHEST_CT.CONTROL) != self.is_ill


@dataclass(frozen=True)
class Answers:
    """Everything that was answered, and what was not.

    Attributes:
        patients: One entry a study.
        left_out: Studies without an answer, by reason.
    """

    patients: tuple[Answered, ...]
    left_out: Mapping[str, int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer every real patient and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--work", type=Path, help="cross-fitted work folder")
    source.add_argument("--data", type=Path, nargs="+", help="labelled archives")
    parser.add_argument("--settings", type=Path, help="cross-fit.yaml of --work")
    parser.add_argument("--weights", default="compact", help="of --data")
    parser.add_argument("--output", type=Path, default=None, help="page in Markdown")
    parser.add_argument("--table", type=Path, default=None, help="a row a patient, CSV")
    options = parser.parse_args(arguments)

    def make() -> str:
        if options.work:
            answered = answer_folds(CrossFit(options.work, settings_of(options.settings)))
            what = "networks of the fold that each patient's site is held back in; `all` for others"
        else:
            model = CovidCTNet.load(options.weights)
            answered = answer_archive(options.data, model)
            what = f"weights `{model.weights.name}` ({model.weights_digest})"
        if options.table:
            write_whole(options.table, table_text(rows_of(answered)))
        if options.work:
            target = "make strangers-folds"
            command = f"--work WORK --settings {options.settings.name if options.settings else ''}"
        else:
            target, command = "make strangers", f"--data FOLDER --weights {model.weights.name}"
        command = f"`{target}`: `python -m pipelines.strangers.run {command.strip()}`"
        return render(answered, what, command=command)

    return tell(make, options.output)


def settings_of(path: Path | None) -> CrossFitSettings:
    """The settings that a preset's ``cross-fit.yaml`` holds; the defaults without one."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(CrossFitSettings, "settings")
    parser.add_argument("--networks", type=str, default="compact")
    flags = [] if path is None else ["--config", str(path)]
    try:
        settings: CrossFitSettings = parser.instantiate(parser.parse_args(flags)).settings
    except ArgumentError as error:
        name = "" if path is None else path.name
        line = " ".join(str(error).split())[:200]
        raise UsageError(
            f"expected settings of cross-fitting in {name!r}, got something else ({line}). Give "
            "cross-fit.yaml of the preset that the work folder was cross-fitted with."
        ) from None
    return settings


def answer_folds(fitted: CrossFit) -> Answers:
    """Answer every real patient of a cross-fitted work folder.

    Args:
        fitted: With its classifiers.

    Raises:
        WeightsError: If a fold has no classifier yet.
    """
    real = [s for s in fitted.studies.values() if not NO_PATIENT & set(s.notes)]
    answers: dict[str, dict[str, Answered]] = {study.id: {} for study in real}
    left_out: dict[str, int] = {}
    for fold in fitted.splits:
        weights = load_weights(fitted.folder(fold) / "weights")
        if weights.calibration is None:
            raise UsageError(
                f"the weights of fold {fold} are not calibrated. Run covidctnet cross-fit again."
            )
        model = CovidCTNet(weights)
        # Whom none of the folds has seen is answered by each of them.
        unseen = [s for s in real if fitted.fold_of(s.id) in (fold, ALL)]
        for study in track(unseen, f"fold {fold}"):
            assert study.label is not None
            try:
                lungs = model.lungs_of(study)
                prepared = model.prepare(study.volume(), lungs=lungs)
                answers[study.id][fold] = answer(
                    model, prepared, study.label, study.site or "", f"fold {fold}"
                )
            except StudyError as error:
                if fold == fitted.fold_of(study.id):
                    left_out[error.code] = left_out.get(error.code, 0) + 1
    patients = []
    names = {member.study: member.patient for member in fitted.splits[ALL].members}
    counted: set[str] = set()
    for study, by_fold in answers.items():
        own = fitted.fold_of(study)
        if own in by_fold and names[study] in counted:
            left_out[AGAIN] = left_out.get(AGAIN, 0) + 1
        elif own in by_fold:
            counted.add(names[study])
            compared = {one.networks: one.scores for fold, one in by_fold.items() if fold != ALL}
            patients.append(replace(by_fold[own], compared=compared))
    return Answers(tuple(patients), left_out)


def answer_archive(data: Sequence[Path], model: CovidCTNet) -> Answers:
    """Answer every study of labelled archives that the weights have not learned from.

    Args:
        data: See `covidctnet.cohort.archive.read_cohort`.
        model: Answers.
    """
    taught = taught_by(model.weights.card)
    patients: list[Answered] = []
    left_out: dict[str, int] = {}
    counted: set[str] = set()

    def leave_out(why: str) -> None:
        left_out[why] = left_out.get(why, 0) + 1

    for entry in track(read_cohort(*data), "answering"):
        if entry.patient in counted:
            leave_out(AGAIN)
            continue
        try:
            volume = read_study(entry.study)
            if NO_PATIENT & set(volume.source.notes):
                leave_out("a phantom, or painted lesions")
                continue
            if volume.source.mark in taught:
                leave_out("these weights have learned from it")
                continue
            prepared = model.prepare(volume)
            patients.append(
                answer(model, prepared, entry.label, entry.site or "", model.weights.name)
            )
            counted.add(entry.patient)
        except StudyError as error:
            leave_out(error.code)
    return Answers(tuple(patients), left_out)


def answer(
    model: CovidCTNet, prepared: Prepared, truth: Label, site: str, networks: str
) -> Answered:
    """The answer for one patient, and the baselines on the same mask."""
    prediction = model(prepared, keep="volumes")
    panels, lesions = prediction.find(Panels), prediction.find(LesionVolume)
    assert panels is not None and panels.lungs is not None
    plan = model.residual.plan(len(prepared.unit.array))
    low, high = prepared.unit.scale_hu
    hu = plan.apply(np.asarray(prepared.unit.array[plan.needed], np.float32)) * (high - low) + low
    inner = inner_lungs(panels.lungs, prepared.unit.spacing)
    scores = {MODEL: 1 - prediction.probabilities[CHEST_CT.CONTROL]}
    scores[LESIONS] = np.nan if lesions is None else lesions.share
    for name, (from_hu, to_hu) in DENSITIES.items():
        dense = (hu > from_hu) & (hu < to_hu) & inner
        scores[name] = float(dense.sum() / max(1, inner.sum()))
    prediction = replace(
        prediction, evidence=() if lesions is None else (lesions,)
    )  # no voxels of all
    return Answered(prediction.study, truth, site, prediction, networks, scores)


def render(answered: Answers, what: str, *, command: str) -> str:
    """The page in Markdown."""
    patients = answered.patients
    if not patients:
        raise CohortError("expected real patients that the networks have not seen, got none")
    lines = [
        "# Real patients whom the networks have never seen",
        "",
        f"Made by {command}. Answers: {what}.",
        "One entry a patient, of the first study that can be read. Intervals are 95 %: Wilson for",
        "proportions; for areas a bootstrap over patients, Newcombe where the area is 0 or 1. A",
        "few dozen patients prove nothing about others, and where ill patients and Controls come",
        "from other collections, an area may tell collections apart.",
        "",
        *figures(patients),
        *(f"- left out, {why}: {count}" for why, count in sorted(answered.left_out.items())),
        "",
    ]
    for title, key in GROUPS.items():
        lines += table_by(title, key, patients)
    lines += each(patients)
    return "\n".join(lines) + "\n"


def figures(patients: Sequence[Answered]) -> Iterator[str]:
    """What all patients together amount to."""
    controls = [p for p in patients if not p.is_ill]
    ill = [p for p in patients if p.is_ill]
    asserted = [p for p in patients if p.is_asserted]
    abstained = [p for p in patients if p.answer.status == "abstained"]
    counts = {
        "Controls called Control": (controls, lambda p: not p.is_wrong),
        "ill patients called ill": (ill, lambda p: not p.is_wrong),
        "ill patients called by their class": (ill, lambda p: p.answer.label is p.truth),
        "asserted (no reservation, no abstention) and wrong, ill v. Control": (
            patients,
            lambda p: p.is_asserted and p.is_wrong,
        ),
        "asserted and wrong, of three classes": (
            patients,
            lambda p: p.is_asserted and p.answer.label is not p.truth,
        ),
        "abstained": (patients, lambda p: p in abstained),
        "flagged or abstained": (patients, lambda p: p not in asserted),
    }
    yield "| figure | value |"
    yield "|---|---|"
    for name, (group, is_one) in counts.items():
        count = sum(map(is_one, group))
        yield f"| {name} | {count} of {len(group)}: {short(wilson(count, len(group)))} |"
    for name in patients[0].scores:
        if any(np.isnan(p.scores[name]) for p in patients):
            continue
        cells = short(pooled_auc(ill, controls, name))
        if name != MODEL:
            cells += f"; model minus this {short(pooled_auc(ill, controls, MODEL, minus=name))}"
        yield f"| AUC, ill v. Control, {name} | {cells} |"
    if ill and controls:
        above = sum(_is_above_all_but_two(one, controls) for one in ill)
        yield f"| ill patients above the highest Control but two | {above} of {len(ill)} |"


def pooled_auc(
    ill: Sequence[Answered], controls: Sequence[Answered], name: str, *, minus: str = ""
) -> Estimate:
    """Area under the curve over pairs that the same networks have answered.

    Args:
        ill: Patients with disease.
        controls: Patients without.
        name: Of the score.
        minus: A score whose area is taken off; none by default.

    Returns:
        With the interval of a bootstrap over patients; n counts patients.
    """
    pairs = np.array([[_concordance(i, c, name) for c in controls] for i in ill])
    if minus:
        pairs = pairs - np.array([[_concordance(i, c, minus) for c in controls] for i in ill])
    n = len(ill) + len(controls)
    if not pairs.size:
        return Estimate(np.nan, np.nan, np.nan, n)
    value = float(pairs.mean())
    if not minus and value in (0.0, 1.0):
        # Every draw would be alike; Newcombe's interval does not shrink to a point.
        truth = np.repeat([True, False], [len(ill), len(controls)])
        return auc_interval(truth, truth == bool(value))
    rng = np.random.default_rng(0)
    rows = rng.integers(len(ill), size=(DRAWS, len(ill)))
    columns = rng.integers(len(controls), size=(DRAWS, len(controls)))
    draws = [pairs[np.ix_(r, c)].mean() for r, c in zip(rows, columns, strict=True)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n)


def _concordance(ill: Answered, control: Answered, name: str) -> float:
    """How often the ill patient scores higher, over the networks that answered both."""
    both = ill.scores_by.keys() & control.scores_by.keys()
    gaps = [ill.scores_by[k][name] - control.scores_by[k][name] for k in both]
    return float(np.mean([(gap > 0) + 0.5 * (gap == 0) for gap in gaps])) if gaps else np.nan


def _is_above_all_but_two(one: Answered, controls: Sequence[Answered]) -> bool:
    """Whether an ill patient scores higher than all Controls but two, by the same networks."""
    return sum(_concordance(one, control, MODEL) < 1 for control in controls) <= 2


def _slices(patient: Answered) -> str:
    value = dict(patient.answer.acquisition).get("slice_mm")
    if not isinstance(value, int | float):
        return "unknown"
    edges = [edge for edge in SLICES_MM if value < edge]
    return f"below {edges[0]:g} mm" if edges else f"{SLICES_MM[-1]:g} mm and more"


GROUPS: Mapping[str, Callable[[Answered], str]] = {
    "site": lambda p: p.site or "unknown",
    "contrast agent": lambda p: "yes" if "contrast" in p.answer.flags else "no or not known",
    "kernel": lambda p: str(dict(p.answer.acquisition).get("kernel") or "unknown"),
    "slice distance": _slices,
}


def table_by(
    title: str, key: Callable[[Answered], str], patients: Sequence[Answered]
) -> Iterator[str]:
    """Right answers by a property of the scans."""
    yield f"| {title} | Controls called Control | ill called ill | asserted and wrong |"
    yield "|---|---|---|---|"
    for name in sorted({key(p) for p in patients}):
        group = [p for p in patients if key(p) == name]
        cells = []
        for is_ill in (False, True):
            part = [p for p in group if p.is_ill is is_ill]
            cells.append(f"{sum(not p.is_wrong for p in part)} of {len(part)}" if part else "-")
        wrong = sum(p.is_asserted and p.is_wrong for p in group)
        yield f"| {name} | {cells[0]} | {cells[1]} | {wrong} of {len(group)} |"
    yield ""


def each(patients: Sequence[Answered]) -> Iterator[str]:
    """A row a patient, the most suspicious first."""
    names = list(patients[0].scores)
    yield f"| study | truth | site | networks | answer | left open | flags | {' | '.join(names)} |"
    yield "|---" * (7 + len(names)) + "|"
    for one in sorted(patients, key=lambda p: -p.scores[MODEL]):
        prediction = one.answer
        left = ", ".join(label.title for label in prediction.prediction_set) or "-"
        cells = " | ".join(f"{one.scores[name]:.3f}" for name in names)
        flags = ", ".join(prediction.flags) or "-"
        yield (
            f"| {one.study} | {one.truth} | {one.site} | {one.networks} | {prediction.label} | "
            f"{left} | {flags} | {cells} |"
        )


def rows_of(answered: Answers) -> list[tuple[object, ...]]:
    """The same as a table for a spreadsheet."""
    names = list(answered.patients[0].scores) if answered.patients else []
    head = ("study", "truth", "site", "networks", "status", "label")
    rows: list[tuple[object, ...]] = [(*head, *(label.key for label in CHEST_CT), *names)]
    rows += [
        (
            *(p.study, p.truth.title, p.site, p.networks, p.answer.status, p.answer.label.title),
            *(f"{p.answer.probabilities[label]:.6f}" for label in CHEST_CT),
            *(f"{p.scores[name]:.6f}" for name in names),
        )
        for p in answered.patients
    ]
    return rows


def short(figure: Estimate) -> str:
    """A figure with its interval."""
    if np.isnan(figure.value):
        return "not estimable"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


if __name__ == "__main__":
    sys.exit(main())
