"""An assessment as spreadsheets, and the answers that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.evaluation.assess import Assessment
from covidctnet.evaluation.cases import Case
from covidctnet.evaluation.curves import Curve
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.output import STRATUM
from covidctnet.evaluation.published import PUBLISHED
from covidctnet.evaluation.use import use_sheets
from covidctnet.evidence import LesionVolume
from covidctnet.files import number_text
from covidctnet.results import Prediction

__all__ = ["predictions_table", "sheets"]

Rows = list[Sequence[object]]


def predictions_table(cases: Iterable[Case]) -> Rows:
    """A row a study, those with an answer first; `covidctnet.evaluation.predictions` reads it."""
    cases = sorted(cases, key=lambda case: not isinstance(case.outcome, Prediction))
    traits = sorted({name for case in cases for name in case.traits})
    answers = (c.outcome for c in cases if isinstance(c.outcome, Prediction))
    classes = next((answer.classes for answer in answers), CHEST_CT)
    lines = [_line(case, traits, classes) for case in cases]
    return [list(lines[0]), *(list(row.values()) for row in lines)] if lines else []


def _line(case: Case, traits: Sequence[str], classes: Classes) -> dict[str, str]:
    """A study by column; the same columns for all."""
    outcome = case.outcome
    answer = outcome if isinstance(outcome, Prediction) else None
    lesions = answer.find(LesionVolume) if answer else None
    return {
        "study": outcome.study,
        "patient": case.patient,
        "truth": case.truth.title,
        "label": answer.label.title if answer else "",
        **{f"p_{k.key}": f"{answer.probabilities[k]:.6f}" if answer else "" for k in classes},
        "flags": " ".join(answer.flags) if answer else "",
        "code": "" if isinstance(outcome, Prediction) else outcome.code,
        "status": outcome.status,
        "labels_left": "; ".join(x.title for x in answer.prediction_set) if answer else "",
        "ood_score": number_text(answer.ood_score) if answer else "",
        "affected_lung": number_text(lesions.share) if lesions else "",
        "lesion_ml": number_text(lesions.lesion_ml) if lesions else "",
        "site": _text(case.site),
        "split": case.split,
        **{f"trait_{name}": _text(case.traits.get(name, "")) for name in traits},
    }


def sheets(assessment: Assessment) -> dict[str, Rows]:
    """All that the page shows, by the name of its file."""
    band = ("low", "high", "positive", "n")
    bins: Rows = [("confidence", "accuracy", "low", "high", "n")]
    bins += [
        (*map(number_text, (c, e.value, e.low, e.high)), e.n) for c, e in assessment.reliability
    ]
    risk: Rows = [("coverage", "risk", "low", "high", "wrong", "n")]
    strata: Rows = [
        ("trait", "value", "n", *(f"{m}{e}" for m in STRATUM for e in ("", "_low", "_high", "_n")))
    ]
    for s in assessment.strata:
        figures = [getattr(s, name) for name in STRATUM]
        cells = [c for e in figures for c in (*map(number_text, (e.value, e.low, e.high)), e.n)]
        strata.append((s.trait, s.value, s.n, *cells))
    return {
        "roc.csv": [
            ("label", "false_positive_rate", "sensitivity", *band),
            *_labelled(assessment.roc),
        ],
        "precision-recall.csv": [
            ("label", "recall", "precision", *band),
            *_labelled(assessment.precision_recall),
        ],
        "reliability.csv": bins,
        "risk-coverage.csv": [*risk, *_points(assessment.risk_coverage)],
        "strata.csv": strata,
        "figures.csv": _figures(assessment),
        "confusion.csv": [
            ("truth", *(f"answered {label}" for label in assessment.classes)),
            *(
                (label.title, *assessment.scores.confusion[label].tolist())
                for label in assessment.classes
            ),
        ],
        "affected-lung.csv": [
            ("label", "median_percent", "lower_quartile", "upper_quartile", "n"),
            *(
                (label.title, *map(number_text, (spread.median, *spread.quartiles)), spread.n)
                for label, spread in assessment.affected_lung.items()
            ),
        ],
        "failures.csv": [
            ("study", "code", "truth", "site", "split"),
            *(
                (f.study, f.code, f.truth.title, _text(f.site), f.split)
                for f in assessment.failures
            ),
        ],
        **use_sheets(assessment.use),
    }


def _figures(assessment: Assessment) -> Rows:
    """Every figure that is one number, with what it is of."""
    groups: dict[str, Mapping[str, Estimate]] = {
        "all classes": assessment.scores.overall,
        f"{assessment.classes.target} against the rest": assessment.scores.target,
        **{label.title: figures for label, figures in assessment.scores.by_label.items()},
        "calibration": {
            "expected_calibration_error": assessment.calibration_error,
            "by_chance_alone": assessment.error_by_chance,
        },
        "flagged as out of distribution": {
            k.title: e for k, e in assessment.out_of_distribution.items()
        },
        "found against masks of lesions": assessment.localisation,
    }
    if assessment.sets:
        groups["sets of labels"] = {
            "coverage": assessment.sets.coverage,
            **{f"coverage of {label.title}": e for label, e in assessment.sets.by_label.items()},
            "labels in a set": assessment.sets.size,
            "abstained": assessment.sets.abstained,
        }
    if assessment.generalisation_gap:
        groups["known and unseen sites"] = {
            "accuracy at known sites": assessment.generalisation_gap.accuracy[0],
            "accuracy at unseen sites": assessment.generalisation_gap.accuracy[1],
            "accuracy lost": assessment.generalisation_gap.accuracy_lost,
            "macro_auc at known sites": assessment.generalisation_gap.macro_auc[0],
            "macro_auc at unseen sites": assessment.generalisation_gap.macro_auc[1],
            "macro_auc lost": assessment.generalisation_gap.macro_auc_lost,
        }
    if assessment.worst_case:
        groups["worst case: every missing answer wrong"] = assessment.worst_case
    for name, figures in PUBLISHED.items():
        groups[f"{name}, on its cases"] = figures
    rows: Rows = [("of", "figure", "value", "low", "high", "n")]
    rows += [
        (group, name, *map(number_text, (e.value, e.low, e.high)), e.n)
        for group, figures in groups.items()
        for name, e in figures.items()
    ]
    return rows


def _labelled(curves: Mapping[Label, Curve]) -> Rows:
    return [(label.title, *point) for label, curve in curves.items() for point in _points(curve)]


def _points(curve: Curve) -> Rows:
    columns = (curve.x, curve.y, curve.low, curve.high)
    return [
        (*map(number_text, point), curve.positive, curve.n)
        for point in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _text(value: str | float) -> str:
    """Text of a cohort's file, kept from being run as a formula by a spreadsheet."""
    if not isinstance(value, str):
        return number_text(value)
    return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
