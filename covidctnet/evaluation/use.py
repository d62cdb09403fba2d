"""Calibration by class, decision curves and operating points together, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covidctnet.classes import Classes, Label
from covidctnet.evaluation.curves import Curve
from covidctnet.evaluation.decision import (
    DecisionCurve,
    OperatingFigures,
    decision_curve,
    figures_at,
)
from covidctnet.evaluation.intervals import Estimate, redraw
from covidctnet.evaluation.recalibration import ClassCalibration, calibrate_by_class

__all__ = [
    "CALIBRATION",
    "OPERATING",
    "Use",
    "assess_use",
    "operating_words",
    "use_markdown",
    "use_plain",
    "use_sheets",
    "useful_words",
]

CALIBRATION = {
    "brier": "Brier score",
    "scaled_brier": "scaled Brier score",
    "slope": "calibration slope",
    "intercept": "calibration intercept",
    "in_the_large": "calibration in the large",
}
OPERATING = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
}
NOT_CHOSEN = (
    "The card of the weights names no operating points: no threshold was fixed before these "
    "patients were looked at. The label is the most probable class."
)

Rows = list[Sequence[object]]


@dataclass(frozen=True, eq=False)
class Use:
    """Whether probabilities can be used as they are, and what acting on them is worth.

    Attributes:
        calibration: By class against the rest.
        decisions: Decision curves by class.
        target: The class that the operating points are of.
        operating: Figures at the operating points of the card; empty where it names none.
    """

    calibration: Mapping[Label, ClassCalibration]
    decisions: Mapping[Label, DecisionCurve]
    target: Label
    operating: tuple[OperatingFigures, ...]


def assess_use(
    truth: np.ndarray,
    probabilities: np.ndarray,
    classes: Classes,
    *,
    rng: np.random.Generator,
    patients: np.ndarray | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Use:
    """Assess calibration, net benefit and fixed thresholds.

    Args:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).
        classes: Of the answers.
        rng: Of the bootstrap over patients. Unlike that of other figures it is not within classes,
            as calibration and net benefit depend on how common a class is.
        patients: One number a case; every case is a patient by default.
        thresholds: Operating points of the target class, chosen on other patients.
    """
    draws = redraw(np.zeros(len(truth), dtype=int), rng, patients=patients)
    target = classes.target
    return Use(
        calibrate_by_class(truth, probabilities, classes, draws),
        {
            label: decision_curve(truth == label, probabilities[:, label], draws)
            for label in classes
        },
        target,
        figures_at(thresholds or {}, truth == target, probabilities[:, target], draws),
    )


def operating_words(use: Use) -> str:
    """Who chose the thresholds."""
    if not use.operating:
        return NOT_CHOSEN
    named = ", ".join(f"{point.name} {point.threshold:.3g}" for point in use.operating)
    return (
        f"Thresholds of the probability of {use.target}, chosen on the validation data of the "
        f"training, written into the card of the weights then, and applied here unchanged: {named}."
    )


def useful_words(use: Use) -> str:
    """Where the target class' decision curve lies above both simple rules."""
    useful = use.decisions[use.target].useful
    if useful is None:
        return (
            f"For {use.target}, acting on the model has at no threshold a higher net benefit than "
            "the better one of acting on all patients and on none."
        )
    return (
        f"For {use.target}, acting on the model has the highest net benefit between thresholds of "
        f"{useful[0]:.2f} and {useful[1]:.2f}, not everywhere in between if the curves cross."
    )


def use_markdown(use: Use) -> str:
    """Tables that a terminal shows."""
    lines = [
        "| class | " + " | ".join(CALIBRATION.values()) + " |",
        "|---" * (1 + len(CALIBRATION)) + "|",
        *(
            f"| {label} | " + " | ".join(str(found.figures[k]) for k in CALIBRATION) + " |"
            for label, found in use.calibration.items()
        ),
        "",
        useful_words(use),
        "",
        operating_words(use),
    ]
    if use.operating:
        lines += [
            "",
            f"| {use.target} | threshold | " + " | ".join(OPERATING.values()) + " |",
            "|---" * (2 + len(OPERATING)) + "|",
            *(
                f"| {point.name} | {point.threshold:.3g} | "
                + " | ".join(str(point.figures[k]) for k in OPERATING)
                + " |"
                for point in use.operating
            ),
        ]
    return "\n".join(lines)


def use_plain(use: Use) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "calibration_by_label": {
            label.title: {
                **{name: _estimate(figure) for name, figure in found.figures.items()},
                "brier_parts": None
                if found.parts is None
                else {
                    "miscalibration": found.parts.miscalibration,
                    "discrimination": found.parts.discrimination,
                    "uncertainty": found.parts.uncertainty,
                },
                "curve": [{"told": g.told} | _estimate(g.observed) for g in found.groups],
            }
            for label, found in use.calibration.items()
        },
        "decision_curves": {
            label.title: {
                **_curve(found.model),
                "everybody": found.everybody.tolist(),
                "useful": None if found.useful is None else list(found.useful),
            }
            for label, found in use.decisions.items()
        },
        "operating_points": {
            "of": use.target.title,
            "chosen_on": "validation data of the training" if use.operating else None,
            "points": [
                {"name": point.name, "threshold": point.threshold}
                | {name: _estimate(figure) for name, figure in point.figures.items()}
                for point in use.operating
            ],
        },
    }


def use_sheets(use: Use) -> dict[str, Rows]:
    """The same as tables, by the name of their file."""
    calibration: Rows = [("label", "figure", "value", "low", "high", "n")]
    curve: Rows = [("label", "told", "observed", "low", "high", "n")]
    benefit: Rows = [("label", "threshold", "model", "low", "high", "everybody", "nobody")]
    for label, found in use.calibration.items():
        for name, figure in found.figures.items():
            calibration.append((label.title, name, *_numbers(figure), figure.n))
        parts = found.parts
        for name in ("miscalibration", "discrimination", "uncertainty"):
            value = getattr(parts, name) if parts else math.nan
            calibration.append((label.title, f"brier_{name}", _number(value), "", "", found.n))
        for group in found.groups:
            row = (_number(group.told), *_numbers(group.observed), group.observed.n)
            curve.append((label.title, *row))
    for label, decision in use.decisions.items():
        columns = (
            decision.model.x,
            decision.model.y,
            decision.model.low,
            decision.model.high,
            decision.everybody,
        )
        for point in zip(*(column.tolist() for column in columns), strict=True):
            benefit.append((label.title, *map(_number, point), "0"))
    points: Rows = [("of", "point", "threshold", "figure", "value", "low", "high", "n")]
    for point_ in use.operating:
        for name, figure in point_.figures.items():
            start = (use.target.title, point_.name, _number(point_.threshold), name)
            points.append((*start, *_numbers(figure), figure.n))
    return {
        "calibration.csv": calibration,
        "calibration-curve.csv": curve,
        "decision-curve.csv": benefit,
        "operating-points.csv": points,
    }


def _curve(curve: Curve) -> dict[str, Any]:
    points = {"x": curve.x, "y": curve.y, "low": curve.low, "high": curve.high}
    values = {name: [_plain(v) for v in column.tolist()] for name, column in points.items()}
    return {**values, "positive": curve.positive, "n": curve.n}


def _estimate(figure: Estimate) -> dict[str, Any]:
    ends = {"value": figure.value, "low": figure.low, "high": figure.high}
    return {name: _plain(value) for name, value in ends.items()} | {"n": figure.n}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _numbers(figure: Estimate) -> tuple[str, str, str]:
    return _number(figure.value), _number(figure.low), _number(figure.high)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
