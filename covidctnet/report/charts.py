"""Charts of an evaluation as SVG, for a page that is light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from covidctnet.classes import Classes, Label
from covidctnet.evaluation.assess import Spread
from covidctnet.evaluation.curves import Curve
from covidctnet.evaluation.intervals import Estimate
from covidctnet.report.colours import LIGHT
from covidctnet.report.svg import Drawing, Point

__all__ = [
    "COLOURS",
    "INK",
    "PLAIN",
    "Plot",
    "affected_lung",
    "colour_of",
    "confusion",
    "no_band",
    "precision_recall",
    "reliability",
    "risk_coverage",
    "roc",
]

# The page's variables, which turn with it; the colours stand alone where there is no page.
COLOURS = tuple(f"var(--class-{place}, {colour})" for place, colour in enumerate(LIGHT))
PLAIN = COLOURS[0]
INK = "currentColor"
_BAND = 0.2
_FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def colour_of(label: Label) -> str:
    """The colour of a class, as SVG has it: the normal one first, then the positive ones."""
    return COLOURS[label.rank % len(COLOURS)]


class Plot:
    """Axes with a title, and places on them; words stay above the plot, so none lies on a curve."""

    def __init__(
        self,
        title: str,
        aria: str,
        *,
        x_title: str,
        y_title: str,
        x_max: float = 1.0,
        y_max: float = 1.0,
        y_min: float = 0.0,
        subtitle: str = "",
        x_ticks: Sequence[float] = _FIFTHS,
        y_ticks: Sequence[float] = _FIFTHS,
        size: Point = (360.0, 340.0),
    ) -> None:
        self.left, self.top, self.bottom = 58.0, 52.0 if subtitle else 34.0, size[1] - 52
        self.right = size[0] - 14
        self.x_max, self.y_max, self.y_min = x_max, y_max, y_min
        self.drawing = Drawing(*size, aria, ground=False)
        self.drawing.text((self.left, 20), title, size=14, bold=True, anchor="start",
                          room=self.right - self.left)  # fmt: skip
        if subtitle:
            self.drawing.text((self.left, 38), subtitle, size=12, anchor="start",
                              room=self.right - self.left)  # fmt: skip
        for value in y_ticks:
            y = self.at(0, value)[1]
            faint = [(self.left, y), (self.right, y)]
            self.drawing.line(faint, "var(--line, #d9dde2)", width=1)
            self.drawing.text((self.left - 11, y + 4), f"{value:g}", size=12, anchor="end")
        for value in x_ticks:
            x = self.at(value, y_min)[0]
            self.drawing.line([(x, self.bottom), (x, self.bottom + 5)], INK, width=1)
            self.drawing.text((x, self.bottom + 19), f"{value:g}", size=12)
        corner = [(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)]
        self.drawing.line(corner, INK, width=1)
        middle = (self.left + self.right) / 2
        self.drawing.text((middle, size[1] - 10), x_title, size=13, room=self.right - self.left)
        at = (16.0, (self.top + self.bottom) / 2)
        self.drawing.text(at, y_title, size=13, upwards=True, room=self.bottom - self.top)

    def at(self, x: float, y: float) -> Point:
        """Where a pair of values lies in the drawing."""
        return (
            self.left + (self.right - self.left) * x / self.x_max,
            self.bottom - (self.bottom - self.top) * (y - self.y_min) / (self.y_max - self.y_min),
        )

    def places(self, x: np.ndarray, y: np.ndarray) -> list[Point]:
        """The same of many."""
        return [
            self.at(a, min(max(b, self.y_min), self.y_max))
            for a, b in zip(x.tolist(), y.tolist(), strict=True)
        ]

    def curve(self, curve: Curve, colour: str) -> None:
        """A curve within its band, if it has one."""
        if curve.has_band:
            up, down = self.places(curve.x, curve.high), self.places(curve.x, curve.low)
            self.drawing.area([*up, *down[::-1]], colour, opacity=_BAND)
        self.drawing.line(self.places(curve.x, curve.y), colour, width=2.2)

    def level(self, y: float) -> None:
        """A dashed line across, of answers that know nothing."""
        self.drawing.line([self.at(0, y), self.at(self.x_max, y)], INK, width=1, dashes="4 4")

    def diagonal(self) -> None:
        """A dashed line from corner to corner."""
        self.drawing.line([self.at(0, 0), self.at(1, 1)], INK, width=1, dashes="4 4")

    def __str__(self) -> str:
        return str(self.drawing)


def roc(curve: Curve, *, label: Label, area: Estimate) -> str:
    """Sensitivity over 1 - specificity of one label against the rest.

    Args:
        curve: With its band.
        label: Which.
        area: AUC under it.
    """
    plot = Plot(
        f"{label} (n = {curve.positive} of {curve.n})",
        f"ROC curve of {label} against the rest, AUC {area}{no_band(curve)}",
        x_title="1 − specificity",
        y_title="sensitivity",
        subtitle=_in_words("AUC", area),
    )
    plot.diagonal()
    plot.curve(curve, colour_of(label))
    return str(plot)


def precision_recall(curve: Curve, *, label: Label, precision: Estimate) -> str:
    """Precision over recall of one label against the rest.

    Args:
        curve: With its band.
        label: Which.
        precision: Average precision.
    """
    plot = Plot(
        f"{label} (n = {curve.positive} of {curve.n})",
        f"Precision-recall curve of {label} against the rest, average precision "
        f"{precision}{no_band(curve)}",
        x_title="recall (sensitivity)",
        y_title="precision (PPV)",
        subtitle=_in_words("average precision", precision),
    )
    plot.level(curve.positive / curve.n)
    plot.curve(curve, colour_of(label))
    return str(plot)


def confusion(matrix: np.ndarray, classes: Classes) -> str:
    """Counts of truth and answer, darker where more of a true class are.

    Args:
        matrix: Rows the truth, columns the answer, shape (label, label).
        classes: That the rows and columns are.
    """
    counts = "; ".join(
        f"of {int(matrix[k].sum())} {k}, "
        + ", ".join(f"{int(matrix[k, j])} as {j}" for j in classes)
        for k in classes
    )
    wide, high = 108.0, 90.0
    across, down = len(classes) * wide, len(classes) * high
    drawing = Drawing(126 + across, 102 + down, f"Confusion matrix: {counts}", ground=False)
    left, top = 112.0, 66.0
    drawing.text((left, 20), f"Truth and answer (n = {int(matrix.sum())})", size=14, bold=True,
                 anchor="start")  # fmt: skip
    drawing.text((left + across / 2, 40), "answer", size=13)
    drawing.text((14, top + down / 2), "truth", size=13, upwards=True)
    for j in classes:
        drawing.text((left + (j + 0.5) * wide, top - 7), j.title, size=13, bold=True)
    for k in classes:
        y, total = top + k * high, int(matrix[k].sum())
        drawing.text((left - 10, y + high / 2), k.title, size=13, bold=True, anchor="end")
        drawing.text((left - 10, y + high / 2 + 17), f"n = {total}", size=12, anchor="end")
        for j in classes:
            x, count = left + j * wide, int(matrix[k, j])
            share = count / total if total else 0.0
            corners = [(x + 1, y + 1), (x + wide - 1, y + 1), (x + wide - 1, y + high - 1),
                       (x + 1, y + high - 1)]  # fmt: skip
            drawing.area(corners, colour_of(k), opacity=0.07 + 0.38 * share)
            if j is k:
                drawing.line([*corners, corners[0]], colour_of(k), width=2)
            middle = (x + wide / 2, y + high / 2 + 2)
            drawing.text(middle, str(count), size=22, bold=True)
            if total:
                drawing.text((middle[0], middle[1] + 20), f"{100 * share:.0f} %", size=12)
    drawing.text((left + across / 2, top + down + 24), "% of the true class", size=12)
    return str(drawing)


def reliability(bins: Sequence[tuple[float, Estimate]], *, n: int) -> str:
    """How often answers were right, over how sure they were; the size of a dot tells its patients.

    Args:
        bins: Mean probability of the label given, and the share that was right.
        n: Patients.
    """
    bins_text = "; ".join(f"told {confidence:.2f}, right {right}" for confidence, right in bins)
    plot = Plot(
        f"Calibration (n = {n})",
        f"Calibration: {bins_text}",
        x_title="probability of the label given",
        y_title="share that was right",
    )
    plot.diagonal()
    for confidence, right in bins:
        ends = [plot.at(confidence, right.low), plot.at(confidence, right.high)]
        plot.drawing.line(ends, PLAIN, width=1.6)
        for x, y in ends:
            plot.drawing.line([(x - 4, y), (x + 4, y)], PLAIN, width=1.6)
        radius = 3 + 5 * math.sqrt(right.n / n)
        plot.drawing.dot(plot.at(confidence, right.value), radius, PLAIN)
    return str(plot)


def risk_coverage(curve: Curve) -> str:
    """Share of wrong answers over the share of patients who get one, surest first.

    Args:
        curve: With its band.
    """
    highest = float(np.nanmax([*curve.y, *curve.high[~np.isnan(curve.high)], 0.05]))
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if highest / s <= 5)
    ticks = [step * k for k in range(math.ceil(highest / step - 1e-9) + 1)]
    plot = Plot(
        f"Wrong answers, surest first (n = {curve.n})",
        f"Risk-coverage curve: {curve.y[-1]:.3f} wrong when all are answered, "
        f"{curve.y[len(curve.y) // 2 - 1]:.3f} when the surer half is{no_band(curve)}",
        x_title="share of patients answered",
        y_title="share of wrong answers",
        y_max=ticks[-1],
        y_ticks=ticks,
    )
    plot.curve(curve, PLAIN)
    return str(plot)


def affected_lung(spreads: Mapping[Label, Spread]) -> str:
    """Lesion over lung volume, a dot a patient, by true class.

    Args:
        spreads: In percent.
    """
    medians = "; ".join(
        f"{label}: median {spread.median:.1f} %, n = {spread.n}" if spread.n else f"{label}: none"
        for label, spread in spreads.items()
    )
    highest = max((value for spread in spreads.values() for value in spread.values), default=1.0)
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if highest / s <= 6)
    ticks = [step * k for k in range(max(1, math.ceil(highest / step - 1e-9)) + 1)]
    plot = Plot(
        f"Affected lung (n = {sum(spread.n for spread in spreads.values())})",
        f"Affected lung by class: {medians}",
        x_title="true class",
        y_title="% of the lungs",
        x_max=3,
        y_max=ticks[-1],
        x_ticks=(),
        y_ticks=ticks,
        size=(450.0, 340.0),
    )
    for place, (label, spread) in enumerate(spreads.items()):
        middle = place + 0.5
        x, base = plot.at(middle, 0)
        plot.drawing.text((x, base + 19), f"{label} (n = {spread.n})", size=12)
        low, high = spread.quartiles
        if not math.isnan(low):
            corners = [(-0.25, low), (0.25, low), (0.25, high), (-0.25, high)]
            box = [plot.at(middle + side, value) for side, value in corners]
            plot.drawing.area(box, colour_of(label), opacity=_BAND)
        for number, value in enumerate(spread.values):
            # Next to one another in a fixed order, so that equal patients do not hide each other.
            side = 0.09 * ((number * 2) % 5 - 2)
            plot.drawing.dot(plot.at(middle + side, value), 3, colour_of(label), opacity=0.6)
        if spread.n:
            ends = [plot.at(middle + side, spread.median) for side in (-0.32, 0.32)]
            plot.drawing.line(ends, colour_of(label), width=3)
    return str(plot)


def _in_words(name: str, figure: Estimate) -> str:
    """A figure with its interval."""
    interval = (
        "interval not estimable"
        if math.isnan(figure.low)
        else f"95 % interval {figure.low:.2f} to {figure.high:.2f}"
    )
    return f"{name} {figure.value:.2f}, {interval}"


def no_band(curve: Curve) -> str:
    """What is said where a curve has no band."""
    return "" if curve.has_band else "; too few patients for a band"
