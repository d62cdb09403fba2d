"""Charts of calibration by class and of net benefit, as SVG."""

from __future__ import annotations

import math

import numpy as np

from covidctnet.classes import Label
from covidctnet.evaluation.decision import DecisionCurve
from covidctnet.evaluation.intervals import Estimate
from covidctnet.evaluation.recalibration import ClassCalibration
from covidctnet.report.charts import INK, Plot, colour_of, no_band

__all__ = ["benefit_ticks", "calibration_by_class", "decision"]


def calibration_by_class(found: ClassCalibration, *, label: Label) -> str:
    """Share that has a class, over the probability of it that was told.

    Args:
        found: Of the class.
        label: Which.
    """
    told = "; ".join(f"told {g.told:.2f}, observed {g.observed}" for g in found.groups)
    plot = Plot(
        f"{label} (n = {found.positive} of {found.n})",
        f"Calibration of {label}: {told}",
        x_title=f"probability of {label}",
        y_title=f"share with {label}",
        subtitle=f"slope {_short(found.slope)}, intercept {_short(found.intercept)}, "
        f"Brier {_short(found.brier)}",
    )
    plot.diagonal()
    colour = colour_of(label)
    plot.drawing.line([plot.at(g.told, g.observed.value) for g in found.groups], colour, width=1.2)
    for group in found.groups:
        if not math.isnan(group.observed.low):
            ends = [plot.at(group.told, v) for v in (group.observed.low, group.observed.high)]
            plot.drawing.line(ends, colour, width=1.6)
        radius = 3 + 5 * math.sqrt(group.observed.n / found.n)
        plot.drawing.dot(plot.at(group.told, group.observed.value), radius, colour)
    return str(plot)


def decision(curve: DecisionCurve, *, label: Label) -> str:
    """Net benefit of acting on the model, on all and on none, over the threshold.

    Args:
        curve: Of the class.
        label: Which.
    """
    useful = curve.useful
    words = (
        "better than all and none at no threshold"
        if useful is None
        else f"best between thresholds {useful[0]:.2f} and {useful[1]:.2f}"
    )
    low, ticks = benefit_ticks(curve)
    plot = Plot(
        f"{label} (n = {curve.model.positive} of {curve.model.n})",
        f"Decision curve of {label}: {words}{no_band(curve.model)}",
        x_title="threshold probability",
        y_title="net benefit",
        y_min=low,
        y_max=ticks[-1],
        y_ticks=ticks,
        subtitle="solid: the model; dashed: act on all; dotted: on none",
    )
    there = curve.everybody >= low
    plot.drawing.line(
        plot.places(curve.model.x[there], curve.everybody[there]), INK, width=1.4, dashes="6 4"
    )
    plot.drawing.line([plot.at(0, 0), plot.at(1, 0)], INK, width=1.4, dashes="2 3")
    plot.curve(curve.model, colour_of(label))
    return str(plot)


def benefit_ticks(curve: DecisionCurve) -> tuple[float, list[float]]:
    """Where the axis of a decision curve begins, and its ticks; what lies deeper is cut off."""
    highest = float(np.nanmax([*curve.model.y, *np.nan_to_num(curve.model.high), 0.05]))
    step = next(s for s in (0.02, 0.05, 0.1, 0.2) if highest / s <= 6)
    ticks = [round(step * k, 6) for k in range(math.ceil(highest / step - 1e-9) + 1)]
    return -step / 2, ticks


def _short(figure: Estimate) -> str:
    return "not estimable" if math.isnan(figure.value) else f"{figure.value:.2f}"
