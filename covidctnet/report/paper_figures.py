"""Figures for a paper from the numbers of an evaluation: SVG, PDF and PNG of 300 dots an inch."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from covidctnet.report.colours import LIGHT
from covidctnet.report.paper_flow import draw_flow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "draw_all", "files_of"]

FORMATS = ("svg", "pdf", "png")
DPI = 300
_ONE, _TWO = 3.5, 7.2  # inches: one column of a journal, and two
_INK, _SOFT = "#1a1a1a", "#8a8a8a"
# A class is known by its line as well, where there is no colour at all.
_DASHES: Sequence[Any] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "D")
_STYLE: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,  # fonts are embedded, and stay text
    "svg.fonttype": "path",  # letters are drawn: no font is needed
    "svg.hashsalt": "covidctnet",
    "savefig.dpi": DPI,
}


@contextmanager
def _styled() -> Iterator[None]:
    import matplotlib as mpl

    style: Any = dict(_STYLE)
    with mpl.rc_context(style):
        yield


def files_of(figure: Figure) -> dict[str, bytes]:
    """A figure in every format; the same bytes for the same figure."""
    out = {}
    with _styled():
        for kind in FORMATS:
            file = io.BytesIO()
            no_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": None}[kind]
            figure.savefig(file, format=kind, dpi=DPI, metadata=no_date, bbox_inches="tight")
            out[kind] = file.getvalue()
    return out


def draw_all(
    plain: Mapping[str, Any], affected: Mapping[str, Sequence[float]] | None = None
) -> dict[str, Figure]:
    """Every figure that an evaluation has the numbers of, by name.

    Args:
        plain: What ``evaluation.json`` holds; see `covidctnet.evaluation.output.as_plain`. With
            ``readers``, their points; see `covidctnet.evaluation.readers_output.readers_plain`.
        affected: Affected lung of each patient in per cent, by true class.
    """
    classes = list(plain.get("classes", ()))
    curves = plain.get("curves", {})
    ordered = {label: affected[label] for label in classes if affected and label in affected}
    makers: dict[str, tuple[Any, Callable[[Any, Sequence[str]], Figure]]] = {
        "flow": (plain.get("flow"), draw_flow),
        "roc": (_drawable(plain, "roc", "auc"), _roc),
        "precision-recall": (
            _drawable(plain, "precision_recall", "average_precision"),
            _precision_recall,
        ),
        "calibration": (plain.get("calibration_by_label"), _calibration),
        "decision": (plain.get("decision_curves"), _decision),
        "confusion": (plain.get("confusion"), _confusion),
        "reliability": (curves.get("reliability"), _reliability),
        "risk-coverage": (curves.get("risk_coverage"), _risk_coverage),
        "affected-lung": (ordered, _affected),
        "readers": (plain.get("readers"), _readers),
    }
    with _styled():
        return {name: make(value, classes) for name, (value, make) in makers.items() if value}


def _drawable(plain: Mapping[str, Any], kind: str, area: str) -> dict[str, Any]:
    """Curves by class, each with the figure that stands for its area."""
    curves, figures = plain.get("curves", {}).get(kind, {}), plain.get("by_label", {})
    return {
        label: {**curve, "area": figures.get(label, {}).get(area)}
        for label, curve in curves.items()
        if curve.get("x")
    }


def _figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    return figure, list(axes)


def _style_of(label: str, classes: Sequence[str]) -> dict[str, Any]:
    place = classes.index(label) if label in classes else 0
    return {"color": LIGHT[place % len(LIGHT)], "linestyle": _DASHES[place % len(_DASHES)]}


def _array(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if v is None else v for v in values], dtype=float)


def _band(axes: Axes, curve: Mapping[str, Any], label: str, classes: Sequence[str]) -> None:
    style = _style_of(label, classes)
    x, low, high = (_array(curve[key]) for key in ("x", "low", "high"))
    if not np.isnan(low).all():
        axes.fill_between(x, low, high, color=style["color"], alpha=0.16, linewidth=0)


def _legend(axes: Axes, columns: int = 1) -> None:
    """Below the plot, where no curve runs."""
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.15),
        frameon=False,
        ncols=columns,
        handlelength=3.2,
    )


def _unit(axes: Axes, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_aspect("equal")


def _share(curve: Mapping[str, Any]) -> str:
    return f"{curve['positive']} of {curve['n']}"


def _named(label: str, name: str, curve: Mapping[str, Any]) -> str:
    """A class with the figure of its curve."""
    area = curve.get("area")
    if not area or area["value"] is None:
        return f"{label} (n = {_share(curve)})"
    ends = "" if area["low"] is None else f" ({area['low']:.2f} to {area['high']:.2f})"
    return f"{label}, {name} {area['value']:.2f}{ends}, n = {_share(curve)}"


def _roc(curves: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    figure, (axes,) = _figure(_ONE, 4.3)
    axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=0.8, linestyle=":")
    for label, curve in curves.items():
        _band(axes, curve, label, classes)
        axes.plot(
            _array(curve["x"]),
            _array(curve["y"]),
            label=_named(label, "AUC", curve),
            **_style_of(label, classes),
        )
    _unit(axes, "1 − specificity", "sensitivity")
    _legend(axes)
    return figure


def _precision_recall(curves: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    figure, (axes,) = _figure(_ONE, 4.3)
    for label, curve in curves.items():
        _band(axes, curve, label, classes)
        style = _style_of(label, classes)
        share = curve["positive"] / curve["n"]
        axes.axhline(share, color=style["color"], linewidth=0.8, linestyle=":")
        axes.plot(_array(curve["x"]), _array(curve["y"]), label=_named(label, "AP", curve), **style)
    _unit(axes, "recall (sensitivity)", "precision (PPV)")
    _legend(axes)
    return figure


def _calibration(found: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    figure, panels = _figure(max(_ONE, _TWO / 3 * len(found)), 2.9, len(found))
    for axes, (label, one) in zip(panels, found.items(), strict=True):
        style = _style_of(label, classes)
        axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=0.8, linestyle=":")
        told = _array([g["told"] for g in one["curve"]])
        _bars(axes, told, one["curve"], style["color"], _marker(label, classes))
        words = f"slope {_short(one['slope'])}, intercept {_short(one['intercept'])}"
        axes.set_title(f"{label}\n{words}", loc="left", fontsize=7.5)
        _unit(axes, f"probability of {label}", f"share with {label}")
    return figure


def _marker(label: str, classes: Sequence[str]) -> str:
    return _MARKERS[(classes.index(label) if label in classes else 0) % len(_MARKERS)]


def _bars(
    axes: Axes, x: np.ndarray, estimates: Sequence[Mapping[str, Any]], colour: str, marker: str
) -> None:
    value, low, high = (_array([e[key] for e in estimates]) for key in ("value", "low", "high"))
    reach = np.clip(np.nan_to_num(np.stack([value - low, high - value])), 0, None)
    axes.errorbar(
        x,
        value,
        yerr=reach,
        color=colour,
        marker=marker,
        markersize=4,
        linewidth=1.1,
        elinewidth=0.9,
        capsize=2,
        clip_on=False,
    )


def _short(estimate: Mapping[str, Any]) -> str:
    return "n.e." if estimate["value"] is None else f"{estimate['value']:.2f}"


def _decision(found: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    from matplotlib.lines import Line2D

    figure, panels = _figure(max(_ONE, _TWO / 3 * len(found)), 2.9, len(found))
    for axes, (label, one) in zip(panels, found.items(), strict=True):
        style = _style_of(label, classes)
        _band(axes, one, label, classes)
        axes.plot(_array(one["x"]), _array(one["everybody"]), color=_INK, lw=0.9, ls="--")
        axes.axhline(0, color=_INK, linewidth=0.9, linestyle=":")
        axes.plot(_array(one["x"]), _array(one["y"]), color=style["color"])
        highest = max(np.nanmax(_array([*one["y"], *one["high"], 0.05])), 0.05)
        axes.set(
            xlabel="threshold probability", xlim=(0, 1), ylim=(-0.12 * highest, 1.08 * highest)
        )
        axes.set_title(f"{label} (n = {_share(one)})", loc="left")
    panels[0].set_ylabel("net benefit")
    handles = [
        Line2D([], [], color=_INK, linewidth=1.4, label="the model"),
        Line2D([], [], color=_INK, linewidth=0.9, linestyle="--", label="act on all"),
        Line2D([], [], color=_INK, linewidth=0.9, linestyle=":", label="act on none"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _confusion(found: Mapping[str, Any], _: Sequence[str]) -> Figure:
    labels, rows = list(found["labels"]), np.array(found["rows"])
    figure, (axes,) = _figure(_ONE, 3.2)
    share = rows / np.maximum(totals := rows.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (y, x), count in np.ndenumerate(rows):
        words = f"{count}\n{100 * share[y, x]:.0f} %" if totals[y, 0] else f"{count}"
        ink = "white" if share[y, x] > 0.55 else _INK
        axes.text(x, y, words, ha="center", va="center", color=ink)
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_xticks(range(len(labels)), labels)
    named = [f"{label}\n(n = {n})" for label, n in zip(labels, totals[:, 0], strict=True)]
    axes.set_yticks(range(len(labels)), named)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _reliability(bins: Sequence[Mapping[str, Any]], _: Sequence[str]) -> Figure:
    figure, (axes,) = _figure(_ONE, 3.6)
    axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=0.8, linestyle=":")
    _bars(axes, _array([b["confidence"] for b in bins]), bins, LIGHT[0], "o")
    _unit(axes, "probability of the label given", "share that was right")
    return figure


def _risk_coverage(curve: Mapping[str, Any], _: Sequence[str]) -> Figure:
    figure, (axes,) = _figure(_ONE, 2.8)
    x, y, low, high = (_array(curve[key]) for key in ("x", "y", "low", "high"))
    if not np.isnan(low).all():
        axes.fill_between(x, low, high, color=LIGHT[0], alpha=0.18, linewidth=0)
    axes.plot(x, y, color=LIGHT[0])
    axes.set(xlabel="share of patients answered, surest first", ylabel="share of wrong answers")
    axes.set(xlim=(0, 1.01), ylim=(0, None))
    return figure


def _affected(values: Mapping[str, Sequence[float]], classes: Sequence[str]) -> Figure:
    figure, (axes,) = _figure(_ONE, 3.0)
    for place, (label, shares) in enumerate(values.items()):
        style = _style_of(label, classes)
        ordered = np.sort(np.array(shares, dtype=float))
        side = 0.09 * ((np.arange(len(ordered)) * 2) % 5 - 2)
        axes.plot(
            place + side,
            ordered,
            linestyle="none",
            marker=_marker(label, classes),
            markersize=3,
            color=style["color"],
            alpha=0.65,
            markeredgewidth=0,
        )
        if len(ordered):
            axes.hlines(np.median(ordered), place - 0.32, place + 0.32, style["color"], lw=2)
        if len(ordered) >= 4:
            low, high = np.quantile(ordered, [0.25, 0.75])
            axes.fill_between(
                [place - 0.25, place + 0.25], low, high, color=style["color"], alpha=0.16, lw=0
            )
    named = [f"{label}\n(n = {len(shares)})" for label, shares in values.items()]
    axes.set_xticks(range(len(values)), named)
    axes.set(ylabel="affected lung, %", ylim=(0, None), xlim=(-0.5, len(values) - 0.5))
    return figure


def _readers(found: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    figure, (axes,) = _figure(_ONE, 4.6)
    axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=0.8, linestyle=":")
    label, curve = found["of"], found.get("roc")
    if curve:
        _band(axes, curve, label, classes)
        style = _style_of(label, classes)
        axes.plot(_array(curve["x"]), _array(curve["y"]), color=style["color"], label="model")
    shapes = "osD^vP*Xh<>"
    for number, reader in enumerate(found["points"]):
        place = reader["sensitivity"]["value"], reader["specificity"]["value"]
        if None in place:
            continue
        axes.plot(
            1 - place[1],
            place[0],
            linestyle="none",
            marker=shapes[number % len(shapes)],
            markersize=6,
            color=_INK if number < len(shapes) else _SOFT,
            markerfacecolor="white" if number % 2 else _INK,
            label=f"{reader['name']} (n = {reader['n']})",
            clip_on=False,
            zorder=3,
        )
    _unit(axes, "1 − specificity", f"sensitivity for {label}")
    _legend(axes, columns=1 if len(found["points"]) < 4 else 2)
    return figure
