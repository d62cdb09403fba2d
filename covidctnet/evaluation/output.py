"""An assessment as tables: for programs, spreadsheets and people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.curves import Curve
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.metrics import Scores
from covidctnet.evaluation.strata import Fall, Stratum
from covidctnet.results import Label, Prediction

__all__ = [
    "BY_LABEL",
    "LOCALISATION",
    "OVERALL",
    "as_plain",
    "curve_tables",
    "fall_words",
    "markdown",
    "plain_estimate",
    "predictions_table",
    "strata_markdown",
]

OVERALL = {
    "accuracy": "accuracy, three classes",
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
_STRATUM = ("accuracy", "macro_auc", "sensitivity", "specificity")

Rows = list[Sequence[object]]


def plain_estimate(estimate: Estimate) -> dict[str, Any]:
    """An estimate for JSON, which has no NaN: what cannot be estimated is null."""
    return {
        "value": _plain(estimate.value),
        "low": _plain(estimate.low),
        "high": _plain(estimate.high),
        "n": estimate.n,
    }


def as_plain(found: Assessment) -> dict[str, Any]:
    """An assessment for JSON, but for its curves."""
    scores = found.scores
    return {
        "answered": {label.title: n for label, n in found.answered.items()},
        "overall": _estimates(scores.overall),
        "covid_against_rest": _estimates(scores.covid),
        "by_label": {label.title: _estimates(f) for label, f in scores.by_label.items()},
        "confusion": {"labels": [k.title for k in Label], "rows": scores.confusion.tolist()},
        "calibration_error": plain_estimate(found.calibration_error),
        "prediction_sets": None
        if found.sets is None
        else {
            "coverage": plain_estimate(found.sets.coverage),
            "coverage_by_label": {
                k.title: plain_estimate(e) for k, e in found.sets.by_label.items()
            },
            "size": plain_estimate(found.sets.size),
            "abstained": plain_estimate(found.sets.abstained),
        },
        "unlike_training": {k.title: plain_estimate(e) for k, e in found.unlike.items()},
        "burden_percent": {
            k.title: {
                "median": _plain(spread.median),
                "lower_quartile": _plain(spread.quartiles[0]),
                "upper_quartile": _plain(spread.quartiles[1]),
                "n": spread.n,
            }
            for k, spread in found.burden.items()
        },
        "localisation": _estimates(found.localisation),
        "strata": [
            {"trait": s.trait, "value": s.value, "n": s.n}
            | {name: plain_estimate(getattr(s, name)) for name in _STRATUM}
            for s in found.strata
        ],
        "fall": None if found.fall is None else _plain_fall(found.fall),
        "failures": [
            {"study": f.study, "code": f.code, "label": f.truth.title} for f in found.failures
        ],
    }


def markdown(found: Assessment) -> str:
    """The tables that a terminal shows."""
    parts = [_scores_markdown(found.scores)]
    parts.append(f"Expected calibration error {found.calibration_error}.")
    if found.sets:
        parts.append(
            f"The set of labels holds the true one: {found.sets.coverage}; labels in it: "
            f"{found.sets.size}; abstained: {found.sets.abstained}."
        )
    if found.localisation:
        told = ", ".join(f"{LOCALISATION[k]} {e}" for k, e in found.localisation.items())
        parts.append(f"Residual against masks of lesions, means over patients: {told}.")
    if found.strata:
        parts.append(strata_markdown(found.strata))
    if found.fall:
        parts.append(fall_words(found.fall))
    if found.failures:
        rows = [f"| {f.study} | {f.code} | {f.truth} |" for f in found.failures]
        parts.append(
            f"Without an answer: {len(found.failures)} (counted in none of the figures).\n\n"
            + "\n".join(["| study | code | truth |", "|---|---|---|", *rows])
        )
    return "\n\n".join(parts)


def strata_markdown(strata: Iterable[Stratum]) -> str:
    """Figures by trait."""
    lines = [
        "| trait | value | n | accuracy | AUC, mean | Covid-19 sensitivity | specificity |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in strata:
        cells = [s.trait, s.value, s.n, *(getattr(s, name) for name in _STRATUM)]
        lines.append(f"| {' | '.join(_cell(c) for c in cells)} |")
    return "\n".join(lines)


def fall_words(found: Fall) -> str:
    """What is lost at unseen sites, in two sentences."""
    return (
        f"Accuracy at sites seen in training {found.accuracy[0]}, at unseen ones "
        f"{found.accuracy[1]}: lost {found.accuracy_lost}. Mean AUC {found.macro_auc[0]} and "
        f"{found.macro_auc[1]}: lost {found.macro_auc_lost}."
    )


def predictions_table(cases: Iterable[Case]) -> Rows:
    """A row a study, those with an answer first; `covidctnet.evaluation.predictions` reads it."""
    cases = sorted(cases, key=lambda case: not isinstance(case.outcome, Prediction))
    traits = sorted({name for case in cases for name in case.traits})
    rows: Rows = [
        ("study", "truth", "label", *(f"p_{k.key}" for k in Label), "flags", "code", "status",
         "set", "distance", "burden_share", "burden_ml", "site",
         *(f"trait_{name}" for name in traits))
    ]  # fmt: skip
    for case in cases:
        told = (_text(case.site), *(_text(case.traits.get(name, "")) for name in traits))
        p = case.outcome
        if not isinstance(p, Prediction):
            empty = ("",) * (1 + len(Label) + 1)
            rows.append((p.study, case.truth.title, *empty, p.code, p.status, *("",) * 4, *told))
            continue
        values = (f"{p.probabilities[k]:.6f}" for k in Label)
        burden = ("", "")
        if p.burden:
            burden = (_number(p.burden.share), _number(p.burden.lesion_ml))
        rows.append(
            (p.study, case.truth.title, p.label.title, *values, " ".join(p.flags), "", p.status,
             " ".join(label.title for label in p.prediction_set), _number(p.distance),
             *burden, *told)
        )  # fmt: skip
    return rows


def curve_tables(found: Assessment) -> dict[str, Rows]:
    """What the charts show, by the name of its file."""
    band = ("low", "high", "positive", "n")
    bins: Rows = [("confidence", "accuracy", "low", "high", "n")]
    bins += [(*map(_number, (c, e.value, e.low, e.high)), e.n) for c, e in found.reliability]
    risk: Rows = [("coverage", "risk", "low", "high", "wrong", "n")]
    strata: Rows = [
        ("trait", "value", "n", *(f"{m}{e}" for m in _STRATUM for e in ("", "_low", "_high", "_n")))
    ]
    for s in found.strata:
        figures = [getattr(s, name) for name in _STRATUM]
        cells = [c for e in figures for c in (*map(_number, (e.value, e.low, e.high)), e.n)]
        strata.append((s.trait, s.value, s.n, *cells))
    return {
        "roc.csv": [
            ("label", "false_positive_rate", "sensitivity", *band),
            *_labelled(found.roc),
        ],
        "precision-recall.csv": [
            ("label", "recall", "precision", *band),
            *_labelled(found.precision_recall),
        ],
        "reliability.csv": bins,
        "risk-coverage.csv": [*risk, *_points(found.risk_coverage)],
        "strata.csv": strata,
    }


def _scores_markdown(scores: Scores) -> str:
    lines = [
        "| figure | value |",
        "|---|---|",
        *(f"| {OVERALL[name]} | {value} |" for name, value in scores.overall.items()),
        *(f"| Covid-19 against the rest: {name} | {v} |" for name, v in scores.covid.items()),
        "",
        "| class | " + " | ".join(BY_LABEL.values()) + " |",
        "|---" * (1 + len(BY_LABEL)) + "|",
    ]
    for label, figures in scores.by_label.items():
        lines.append(f"| {label} | " + " | ".join(str(figures[name]) for name in BY_LABEL) + " |")
    lines += [
        "",
        "| truth \\ answer | " + " | ".join(k.title for k in Label) + " |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {label} | " + " | ".join(str(n) for n in scores.confusion[label]) + " |"
        for label in Label
    ]
    return "\n".join(lines)


def _estimates(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: plain_estimate(value) for name, value in figures.items()}


def _plain_fall(found: Fall) -> dict[str, Any]:
    return {
        "known": {
            "accuracy": plain_estimate(found.accuracy[0]),
            "macro_auc": plain_estimate(found.macro_auc[0]),
        },
        "unseen": {
            "accuracy": plain_estimate(found.accuracy[1]),
            "macro_auc": plain_estimate(found.macro_auc[1]),
        },
        "accuracy_lost": plain_estimate(found.accuracy_lost),
        "macro_auc_lost": plain_estimate(found.macro_auc_lost),
    }


def _labelled(curves: Mapping[Label, Curve]) -> Rows:
    return [(label.title, *point) for label, curve in curves.items() for point in _points(curve)]


def _points(curve: Curve) -> Rows:
    columns = (curve.x, curve.y, curve.low, curve.high)
    return [
        (*map(_number, point), curve.positive, curve.n)
        for point in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> str:
    """Six digits; empty for what is not known or cannot be estimated."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _text(value: str | float) -> str:
    """Text of a cohort's file, kept from being run as a formula by a spreadsheet."""
    if not isinstance(value, str):
        return _number(value)
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _cell(value: object) -> str:
    """Text that does not end a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")
