"""The flow of studies as a figure for a paper: a box a step, and beside it who was left out."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_flow"]

_INK = "#1a1a1a"
# Inches.
_WIDTH, _BOX, _GAP, _LINE, _MARGIN, _SPACE = 7.2, 3.3, 0.5, 0.155, 0.14, 0.3
_LETTERS = 46


def draw_flow(steps: Sequence[Mapping[str, Any]], _: Sequence[str] = ()) -> Figure:
    """Draw the flow that ``evaluation.json`` holds.

    Args:
        steps: Each with ``step``, ``studies``, ``patients``, ``by_label`` and ``left_out``.
    """
    from matplotlib.figure import Figure

    boxes = [_box_lines(step) for step in steps]
    asides = [_aside_lines(step) for step in steps[:-1]]
    spaces = [_height(lines) + _SPACE if lines else _SPACE for lines in asides]
    total = sum(map(_height, boxes)) + sum(spaces)
    figure = Figure(figsize=(_WIDTH, total + 0.1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH), ylim=(-total - 0.05, 0.05))
    axes.set_axis_off()

    def arrow(start: tuple[float, float], end: tuple[float, float]) -> None:
        axes.annotate(
            "", end, start, arrowprops={"arrowstyle": "-|>", "color": _INK, "lw": 0.8, "shrinkA": 0,
                                        "shrinkB": 0}
        )  # fmt: skip

    top, middle = 0.0, 0.05 + _BOX / 2
    for lines, aside, space in zip(boxes, [*asides, []], [*spaces, 0.0], strict=True):
        bottom = top - _height(lines)
        _box(axes, 0.05, top, _BOX, lines)
        if space:
            arrow((middle, bottom), (middle, bottom - space))
        if aside:
            left, high = 0.05 + _BOX + _GAP, bottom - _SPACE / 2
            place = high - _height(aside) / 2
            arrow((middle, place), (left, place))
            _box(axes, left, high, _WIDTH - left - 0.05, aside)
        top = bottom - space
    return figure


def _box(axes: Any, left: float, top: float, width: float, lines: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    height = _height(lines)
    axes.add_patch(
        Rectangle((left, top - height), width, height, facecolor="white", edgecolor=_INK, lw=0.8)
    )
    for number, line in enumerate(lines):
        y = top - _MARGIN / 2 - (number + 0.5) * _LINE
        axes.text(left + 0.1, y, line, va="center", weight="bold" if number == 0 else "normal")


def _height(lines: Sequence[str]) -> float:
    return len(lines) * _LINE + _MARGIN


def _box_lines(step: Mapping[str, Any]) -> list[str]:
    labels = ", ".join(f"{n} {label}" for label, n in step["by_label"].items())
    count = f"{_counted(step['studies'], 'study', 'studies')} of "
    count += _counted(step["patients"], "patient", "patients")
    return [step["step"], count, *textwrap.wrap(labels, _LETTERS)]


def _aside_lines(step: Mapping[str, Any]) -> list[str]:
    if not step["left_out"]:
        return []
    lost = _counted(sum(step["left_out"].values()), "study", "studies")
    lines = [f"{lost} left out"]
    for why, n in step["left_out"].items():
        lines += textwrap.wrap(f"{n} {why}", _LETTERS, subsequent_indent="   ")
    return lines


def _counted(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
