"""Everything that a report of an evaluation shows, with its uncertainty."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from covidctnet.classes import Classes, Label
from covidctnet.errors import CohortError
from covidctnet.evaluation import strata as by_stratum
from covidctnet.evaluation.calibration import calibration_error, error_by_chance, reliability
from covidctnet.evaluation.cases import Case, classes_of, in_classes
from covidctnet.evaluation.curves import (
    Curve,
    precision_recall_curve,
    risk_coverage_curve,
    roc_curve,
)
from covidctnet.evaluation.intervals import Estimate, bootstrap, redraw, wilson
from covidctnet.evaluation.localise import mean_figures
from covidctnet.evaluation.metrics import Scores, score
from covidctnet.evaluation.use import Use, assess_use
from covidctnet.evaluation.worst import worst_case
from covidctnet.evidence import LesionVolume
from covidctnet.results import Failure, Prediction

__all__ = ["Assessment", "Failed", "SetScores", "Spread", "assess"]

# Quartiles of fewer patients are the patients themselves.
_MIN_FOR_QUARTILES = 4
OUT_OF_DISTRIBUTION = "out_of_distribution"


@dataclass(frozen=True)
class Failed:
    """A study without an answer.

    Attributes:
        study: Short study id.
        code: Why, as in docs/reference/errors.md.
        truth: Its label.
        site: Where it was scanned; empty where that is not known.
        split: Of the cohort; empty where it is not divided.
    """

    study: str
    code: str
    truth: Label
    site: str = ""
    split: str = ""


@dataclass(frozen=True)
class SetScores:
    """How the sets of labels kept their promise.

    Attributes:
        coverage: Share of sets that hold the true label.
        by_label: The same by true label, which nothing was promised of.
        size: Mean number of labels in a set.
        abstained: Share of answers that leave more than one label.
    """

    coverage: Estimate
    by_label: Mapping[Label, Estimate]
    size: Estimate
    abstained: Estimate


@dataclass(frozen=True)
class Spread:
    """Values of a group of patients.

    Attributes:
        values: Ascending.
    """

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """Patients."""
        return len(self.values)

    @property
    def median(self) -> float:
        """NaN without patients."""
        return float(np.median(self.values)) if self.values else math.nan

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper; NaN for fewer than four patients."""
        if self.n < _MIN_FOR_QUARTILES:
            return math.nan, math.nan
        low, high = np.quantile(self.values, [0.25, 0.75])
        return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Assessment:
    """What came of labelled studies.

    Attributes:
        classes: Of the answers.
        answered: Studies with an answer, by true label.
        patients: Whom they are of.
        failures: Those without, counted in no figure but the worst case.
        scores: The figures.
        roc: By label; a label that nobody or everybody has is missing.
        precision_recall: Likewise.
        reliability: Mean probability of the label given, and how often it was right, by bins of
            the former.
        calibration_error: Expected.
        error_by_chance: What chance alone makes of it.
        risk_coverage: Share of wrong answers among the surest.
        sets: Of the answers with a set of labels; None when there are none.
        out_of_distribution: Share of scans unlike the training data, by true label; empty when
            the weights do not know.
        affected_lung: Lesion over lung volume, in per cent, by true label; empty likewise.
        localisation: What was found against masks of lesions, means over the patients who have
            both: ``dice``, ``voxel_auc``, ``sensitivity``, ``precision``; empty without.
        strata: Figures by trait.
        generalisation_gap: From known to unseen sites; None when it is not known.
        use: Calibration by class, decision curves, figures at fixed thresholds.
        worst_case: Figures as they were if every answer that is missing were wrong; see
            `covidctnet.evaluation.worst`. Empty when none is missing.
    """

    classes: Classes
    answered: Mapping[Label, int]
    patients: int
    failures: tuple[Failed, ...]
    scores: Scores
    roc: Mapping[Label, Curve]
    precision_recall: Mapping[Label, Curve]
    reliability: tuple[tuple[float, Estimate], ...]
    calibration_error: Estimate
    error_by_chance: Estimate
    risk_coverage: Curve
    sets: SetScores | None
    out_of_distribution: Mapping[Label, Estimate]
    affected_lung: Mapping[Label, Spread]
    localisation: Mapping[str, Estimate]
    strata: tuple[by_stratum.Stratum, ...]
    generalisation_gap: by_stratum.GeneralisationGap | None
    use: Use
    worst_case: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Studies with an answer."""
        return sum(self.answered.values())


def assess(
    cases: Sequence[Case],
    *,
    rng: np.random.Generator,
    known_sites: Set[str] = frozenset(),
    thresholds: Mapping[str, float] | None = None,
) -> Assessment:
    """Assess labelled studies; what cannot be estimated says so, and nothing is made up.

    Args:
        cases: Labelled studies, with an answer or without. Where patients have several, figures
            and curves draw patients; figures by trait and of sets still counts studies.
        rng: Of the bootstrap over patients within their labels.
        known_sites: Sites of the training data.
        thresholds: Operating points of the target class by name, chosen on other patients.

    Raises:
        CohortError: If no study got an answer, one is there twice, or the answers or the true
            labels are of other classes than the rest.
    """
    if any(isinstance(case.outcome, Prediction) for case in cases):
        cases = in_classes(cases, classes_of(cases))
    doubled = [study for study, count in Counter(c.study for c in cases).items() if count > 1]
    if doubled:
        raise CohortError(f"study {doubled[0]} is there twice; expected every study once")
    answers = [(c.truth, c.outcome) for c in cases if isinstance(c.outcome, Prediction)]
    failures = tuple(
        Failed(c.study, c.outcome.code, c.truth, c.site, c.split)
        for c in cases
        if isinstance(c.outcome, Failure)
    )
    if not answers:
        first = next((c.outcome.message for c in cases if isinstance(c.outcome, Failure)), "")
        why = f" (first: {first})" if first else ""
        raise CohortError(f"none of {len(cases)} studies got an answer{why}")
    classes = classes_of(cases)
    owners = [c.patient or c.study for c in cases if isinstance(c.outcome, Prediction)]
    patients = np.unique(owners, return_inverse=True)[1]
    truth = np.array([int(label) for label, _ in answers])
    probabilities = np.array([[p.probabilities[label] for label in classes] for _, p in answers])
    draws = redraw(truth, rng, patients=patients)
    curves = [
        {label: make(truth == label, probabilities[:, label], draws) for label in classes}
        for make in (roc_curve, precision_recall_curve)
    ]
    roc, precision_recall = ({k: v for k, v in c.items() if v is not None} for c in curves)
    return Assessment(
        classes=classes,
        answered={label: int((truth == label).sum()) for label in classes},
        patients=len(set(owners)),
        failures=failures,
        scores=score(truth, probabilities, draws, classes),
        roc=roc,
        precision_recall=precision_recall,
        reliability=tuple(
            (b.confidence, wilson(round(b.accuracy * b.n), b.n))
            for b in reliability(truth, probabilities)
        ),
        calibration_error=calibration_error(truth, probabilities, draws),
        error_by_chance=error_by_chance(probabilities, rng=rng),
        risk_coverage=risk_coverage_curve(truth, probabilities, draws),
        sets=_sets(answers, classes, rng),
        out_of_distribution=_out_of_distribution(answers, classes),
        affected_lung=_affected_lung(answers, classes),
        localisation=_localisation(cases, rng),
        strata=by_stratum.strata(cases, rng=rng, known_sites=known_sites),
        generalisation_gap=by_stratum.generalisation_gap(cases, known_sites=known_sites, rng=rng),
        use=assess_use(
            truth, probabilities, classes, rng=rng, patients=patients, thresholds=thresholds
        ),
        # Last, so that it draws nothing from under the others.
        worst_case=worst_case(cases, classes, rng) if failures else {},
    )


Answers = Sequence[tuple[Label, Prediction]]


def _sets(answers: Answers, classes: Classes, rng: np.random.Generator) -> SetScores | None:
    held = [(truth, p.prediction_set) for truth, p in answers if p.prediction_set]
    if not held:
        return None
    inside = np.array([truth in labels for truth, labels in held])
    size = np.array([len(labels) for _, labels in held])
    truths = np.array([int(truth) for truth, _ in held])

    def figures(index: np.ndarray) -> dict[str, float]:
        return {"size": float(size[index].mean())}

    return SetScores(
        coverage=wilson(int(inside.sum()), len(held)),
        by_label={
            label: wilson(int(inside[truths == label].sum()), int((truths == label).sum()))
            for label in classes
        },
        size=bootstrap(figures, redraw(truths, rng))["size"],
        abstained=wilson(int((size > 1).sum()), len(held)),
    )


def _out_of_distribution(answers: Answers, classes: Classes) -> dict[Label, Estimate]:
    known = [
        (truth, OUT_OF_DISTRIBUTION in p.flags) for truth, p in answers if p.ood_score is not None
    ]
    if not known:
        return {}
    flags = {label: [flag for truth, flag in known if truth is label] for label in classes}
    return {label: wilson(sum(flagged), len(flagged)) for label, flagged in flags.items()}


def _localisation(cases: Sequence[Case], rng: np.random.Generator) -> Mapping[str, Estimate]:
    """Of the infected: what is found in Controls, `Assessment.affected_lung` tells."""
    localised = [c.localisation for c in cases if c.localisation and c.localisation.lesion_ml > 0]
    return mean_figures(localised, rng) if localised else {}


def _affected_lung(answers: Answers, classes: Classes) -> dict[Label, Spread]:
    shares = [
        (truth, 100 * lesions.share) for truth, p in answers if (lesions := p.find(LesionVolume))
    ]
    known = [(truth, share) for truth, share in shares if not math.isnan(share)]
    if not known:
        return {}
    return {
        label: Spread(tuple(sorted(share for truth, share in known if truth is label)))
        for label in classes
    }
