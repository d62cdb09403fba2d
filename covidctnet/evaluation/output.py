"""An assessment for programs, as JSON, and for people, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from covidctnet.classes import Label
from covidctnet.evaluation.assess import Assessment, Spread
from covidctnet.evaluation.curves import Curve
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.metrics import Scores
from covidctnet.evaluation.published import PUBLISHED
from covidctnet.evaluation.strata import GeneralisationGap, Stratum
from covidctnet.evaluation.use import use_markdown, use_plain

__all__ = [
    "BY_LABEL",
    "LOCALISATION",
    "OVERALL",
    "STRATUM",
    "WORST_CASE",
    "as_plain",
    "calibration_words",
    "gap_words",
    "markdown",
    "patients_words",
    "plain_estimate",
    "strata_markdown",
]

OVERALL = {
    "accuracy": "accuracy, all classes",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "F1, mean over classes",
    "macro_auc": "AUC, mean over classes",
}
BY_LABEL = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "auc": "AUC",
    "average_precision": "average precision",
}
LOCALISATION = {
    "dice": "Dice",
    "voxel_auc": "voxel AUC",
    "sensitivity": "sensitivity by volume",
    "precision": "precision by volume",
}
WORST_CASE = ("accuracy", "target accuracy", "target sensitivity", "target specificity")
STRATUM = ("accuracy", "macro_auc", "sensitivity", "specificity")


def plain_estimate(estimate: Estimate) -> dict[str, Any]:
    """An estimate for JSON, which has no NaN: what cannot be estimated is null."""
    return {
        "value": _plain(estimate.value),
        "low": _plain(estimate.low),
        "high": _plain(estimate.high),
        "n": estimate.n,
    }


def as_plain(assessment: Assessment) -> dict[str, Any]:
    """An assessment for JSON."""
    scores = assessment.scores
    return {
        "classes": list(assessment.classes.titles),
        "answered": {label.title: n for label, n in assessment.answered.items()},
        "patients": assessment.patients,
        "overall": _estimates(scores.overall),
        f"{scores.classes.target.key}_against_rest": _estimates(scores.target),
        "by_label": {label.title: _estimates(f) for label, f in scores.by_label.items()},
        "confusion": {"labels": list(scores.classes.titles), "rows": scores.confusion.tolist()},
        "calibration_error": plain_estimate(assessment.calibration_error),
        "calibration_error_by_chance": plain_estimate(assessment.error_by_chance),
        **use_plain(assessment.use),
        "prediction_sets": None
        if assessment.sets is None
        else {
            "coverage": plain_estimate(assessment.sets.coverage),
            "coverage_by_label": {
                k.title: plain_estimate(e) for k, e in assessment.sets.by_label.items()
            },
            "size": plain_estimate(assessment.sets.size),
            "abstained": plain_estimate(assessment.sets.abstained),
        },
        "out_of_distribution": {
            k.title: plain_estimate(e) for k, e in assessment.out_of_distribution.items()
        },
        "affected_lung_percent": {
            k.title: {
                "median": _plain(spread.median),
                "lower_quartile": _plain(spread.quartiles[0]),
                "upper_quartile": _plain(spread.quartiles[1]),
                "n": spread.n,
            }
            for k, spread in assessment.affected_lung.items()
        },
        "localisation": _estimates(assessment.localisation),
        "strata": [
            {"trait": s.trait, "value": s.value, "n": s.n}
            | {name: plain_estimate(getattr(s, name)) for name in STRATUM}
            for s in assessment.strata
        ],
        "generalisation_gap": None
        if assessment.generalisation_gap is None
        else _plain_gap(assessment.generalisation_gap),
        "curves": {
            "roc": {k.title: _plain_curve(c) for k, c in assessment.roc.items()},
            "precision_recall": {
                k.title: _plain_curve(c) for k, c in assessment.precision_recall.items()
            },
            "risk_coverage": _plain_curve(assessment.risk_coverage),
            "reliability": [
                {"confidence": confidence} | plain_estimate(accuracy)
                for confidence, accuracy in assessment.reliability
            ],
        },
        "published": {
            name: {figure: plain_estimate(e) for figure, e in figures.items()}
            for name, figures in PUBLISHED.items()
        },
        "failures": [
            {
                "study": f.study,
                "code": f.code,
                "label": f.truth.title,
                "site": f.site or None,
                "split": f.split or None,
            }
            for f in assessment.failures
        ],
        "worst_case": _estimates(assessment.worst_case),
    }


def markdown(assessment: Assessment) -> str:
    """The tables that a terminal shows."""
    parts = [_scores_markdown(assessment.scores)]
    if warning := patients_words(assessment):
        parts.insert(0, warning)
    parts += [calibration_words(assessment), use_markdown(assessment.use)]
    if assessment.sets:
        parts.append(
            f"The set of labels holds the true one: {assessment.sets.coverage}; labels in it: "
            f"{assessment.sets.size}; abstained: {assessment.sets.abstained}."
        )
    if assessment.out_of_distribution:
        estimates = ", ".join(f"{label} {e}" for label, e in assessment.out_of_distribution.items())
        parts.append(f"Flagged as out of distribution (unlike the training data): {estimates}.")
    if assessment.affected_lung:
        parts.append(_affected_markdown(assessment.affected_lung))
    if assessment.localisation:
        estimates = ", ".join(f"{LOCALISATION[k]} {e}" for k, e in assessment.localisation.items())
        parts.append(f"Found against masks of lesions, means over patients: {estimates}.")
    if assessment.strata:
        parts.append(strata_markdown(assessment.strata, assessment.classes.target))
    if assessment.generalisation_gap:
        parts.append(gap_words(assessment.generalisation_gap))
    if assessment.failures:
        parts.append(_failures_markdown(assessment))
    return "\n\n".join(parts)


def _failures_markdown(assessment: Assessment) -> str:
    """The studies without an answer, and what the figures were if all of them were wrong."""
    target = assessment.classes.target.title
    titles = ["accuracy, all classes", *(f"{target}: {n.split()[-1]}" for n in WORST_CASE[1:])]
    worst = [assessment.worst_case[name] for name in WORST_CASE if assessment.worst_case]
    lines = [
        f"Without an answer: {len(assessment.failures)} (counted in none of the figures above).",
        "",
        f"| every study counts | {' | '.join(titles)} |",
        "|---" * (1 + len(titles)) + "|",
        f"| worst case: every missing answer wrong | {' | '.join(map(str, worst))} |",
        "",
        "| study | code | truth | site | split |",
        "|---|---|---|---|---|",
    ]
    for f in assessment.failures:
        cells = (f.study, f.code, f.truth, f.site, f.split)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines)


def _affected_markdown(spreads: Mapping[Label, Spread]) -> str:
    lines = [
        "| affected lung, % | median | quartiles | n |",
        "|---|---|---|---|",
    ]
    for label, spread in spreads.items():
        low, high = spread.quartiles
        cells = [_in_words(spread.median), f"{_in_words(low)} to {_in_words(high)}", spread.n]
        lines.append(f"| {label} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _in_words(value: float) -> str:
    return "not estimable" if math.isnan(value) else f"{value:.2f}"


def strata_markdown(strata: Iterable[Stratum], target: Label) -> str:
    """Figures by trait.

    Args:
        strata: In the order of the table.
        target: The class that sensitivity and specificity are of.
    """
    lines = [
        f"| trait | value | n | accuracy | AUC, mean | {target} sensitivity | specificity |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in strata:
        cells = [s.trait, s.value, s.n, *(getattr(s, name) for name in STRATUM)]
        lines.append(f"| {' | '.join(_cell(c) for c in cells)} |")
    return "\n".join(lines)


def patients_words(assessment: Assessment) -> str:
    """What must be said where patients have several studies; else nothing."""
    if assessment.patients == assessment.n:
        return ""
    return (
        f"These are {assessment.n} studies of {assessment.patients} patients. Intervals of the "
        "figures and bands of the curves come from resampled patients. Those of "
        "sets of labels count every study as a patient and are narrower than they should be."
    )


def calibration_words(assessment: Assessment) -> str:
    """The calibration error, and what it is to be compared with."""
    by_chance = assessment.error_by_chance
    return (
        f"Expected calibration error {assessment.calibration_error}. Chance alone gives a "
        f"calibrated model with these probabilities {by_chance.value:.3f}, and stays between "
        f"{by_chance.low:.3f} and {by_chance.high:.3f} in 95 of 100 cohorts."
    )


def gap_words(gap: GeneralisationGap) -> str:
    """What is lost at unseen sites, in two sentences."""
    return (
        f"Accuracy at sites seen in training {gap.accuracy[0]}, at unseen ones "
        f"{gap.accuracy[1]}: lost {gap.accuracy_lost}. Mean AUC {gap.macro_auc[0]} and "
        f"{gap.macro_auc[1]}: lost {gap.macro_auc_lost}."
    )


def _scores_markdown(scores: Scores) -> str:
    lines = [
        "| figure | value |",
        "|---|---|",
        *(f"| {OVERALL[name]} | {value} |" for name, value in scores.overall.items()),
        *(
            f"| {scores.classes.target} against the rest: {name} | {value} |"
            for name, value in scores.target.items()
        ),
        "",
        "| class | " + " | ".join(BY_LABEL.values()) + " |",
        "|---" * (1 + len(BY_LABEL)) + "|",
    ]
    for label, figures in scores.by_label.items():
        lines.append(f"| {label} | " + " | ".join(str(figures[name]) for name in BY_LABEL) + " |")
    lines += [
        "",
        "| truth \\ answer | " + " | ".join(scores.classes.titles) + " |",
        "|---" * (1 + len(scores.classes)) + "|",
    ]
    lines += [
        f"| {label} | " + " | ".join(str(n) for n in scores.confusion[label]) + " |"
        for label in scores.classes
    ]
    return "\n".join(lines)


def _estimates(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: plain_estimate(value) for name, value in figures.items()}


def _plain_gap(gap: GeneralisationGap) -> dict[str, Any]:
    return {
        "known": {
            "accuracy": plain_estimate(gap.accuracy[0]),
            "macro_auc": plain_estimate(gap.macro_auc[0]),
        },
        "unseen": {
            "accuracy": plain_estimate(gap.accuracy[1]),
            "macro_auc": plain_estimate(gap.macro_auc[1]),
        },
        "accuracy_lost": plain_estimate(gap.accuracy_lost),
        "macro_auc_lost": plain_estimate(gap.macro_auc_lost),
    }


def _plain_curve(curve: Curve) -> dict[str, Any]:
    points = {"x": curve.x, "y": curve.y, "low": curve.low, "high": curve.high}
    values_of = {name: [_plain(v) for v in values.tolist()] for name, values in points.items()}
    return {**values_of, "positive": curve.positive, "n": curve.n}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cell(value: object) -> str:
    """Text that does not end a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")
