"""The flow of studies as STARD and CLAIM ask for it: a box a step, and who was lost beside it."""

from __future__ import annotations

from collections.abc import Sequence

from covidctnet.evaluation.flow import Flow, FlowStep, Group
from covidctnet.report.svg import LINE, Drawing

__all__ = ["flow_chart", "flow_rows"]

_WIDTH, _ASIDE, _GAP = 300.0, 270.0, 56.0
_EDGE = 10.0
_SPACE = 34.0
# Further reasons are added up: the table below the chart has them all.
_MOST_REASONS = 6
_CARD, _RULE = "var(--card, #ffffff)", "var(--soft, #545c66)"


def flow_chart(flow: Flow) -> str:
    """The flow as SVG text, for a page that is light or dark.

    Args:
        flow: The steps, in their order.
    """
    boxes = [_lines_of(step) for step in flow.steps]
    asides = [_aside(step) for step in flow.steps]
    heights = [_height(lines) for lines in boxes]
    spaces = [max(_SPACE, _height(aside) + 2 * _EDGE if aside else 0.0) for aside in asides]
    total = sum(heights) + sum(spaces[:-1]) + 2 * _EDGE
    words = ", ".join(f"{step.name} {step.group.studies}" for step in flow.steps)
    drawing = Drawing(
        _WIDTH + _GAP + _ASIDE + 2 * _EDGE, total, f"Flow of studies: {words}", ground=False
    )
    middle, top = _EDGE + _WIDTH / 2, _EDGE
    for number, (lines, aside) in enumerate(zip(boxes, asides, strict=True)):
        drawing.box(
            f"flow-{number}", (_EDGE, top), (_WIDTH, heights[number]), lines, fill=_CARD, edge=_RULE
        )
        bottom = top + heights[number]
        if number == len(boxes) - 1:
            break
        _arrow(drawing, (middle, bottom), (middle, bottom + spaces[number]))
        if aside:
            height = _height(aside)
            left, high = _EDGE + _WIDTH + _GAP, bottom + (spaces[number] - height) / 2
            _arrow(drawing, (middle, high + height / 2), (left, high + height / 2))
            drawing.box(
                f"flow-left-{number}", (left, high), (_ASIDE, height), aside,
                fill=_CARD, edge=_RULE,
            )  # fmt: skip
        top = bottom + spaces[number]
    return str(drawing)


def flow_rows(flow: Flow) -> list[Sequence[object]]:
    """The same as a table, with every reason."""
    labels = list(dict.fromkeys(k for step in flow.steps for k in step.group.by_label))
    rows: list[Sequence[object]] = [("step", "reason", "studies", "patients", *labels)]
    for step in flow.steps:
        counts = [step.group.by_label.get(label, 0) for label in labels]
        rows.append((step.name, "", step.group.studies, step.group.patients, *counts))
        rows += [(step.name, f"left out: {why}", n, "", *[""] * len(labels)) for why, n in
                 step.left.items()]  # fmt: skip
    return rows


def _lines_of(step: FlowStep) -> list[str]:
    group = step.group
    return [
        f"{step.name}: {_studies(group.studies)}",
        *([_patients(group)] if group.patients != group.studies else []),
        ", ".join(f"{n} {label}" for label, n in group.by_label.items()) or "none",
    ]


def _aside(step: FlowStep) -> list[str]:
    if not step.left:
        return []
    reasons = list(step.left.items())
    lines = [f"{_studies(sum(step.left.values()))} left out"]
    lines += [f"{n} {why}" for why, n in reasons[:_MOST_REASONS]]
    if rest := reasons[_MOST_REASONS:]:
        lines.append(f"{sum(n for _, n in rest)} for {len(rest)} other reasons")
    return lines


def _patients(group: Group) -> str:
    return "of 1 patient" if group.patients == 1 else f"of {group.patients} patients"


def _studies(count: int) -> str:
    return "1 study" if count == 1 else f"{count} studies"


def _height(lines: Sequence[str]) -> float:
    return len(lines) * LINE + 16 if lines else 0.0


def _arrow(drawing: Drawing, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A line with a head at its end, down or to the right."""
    drawing.line([start, end], _RULE, width=1.4)
    (x, y), size = end, 5.0
    is_down = start[0] == end[0]
    back = [(x - size, y - 2 * size), (x + size, y - 2 * size)]
    if not is_down:
        back = [(x - 2 * size, y - size), (x - 2 * size, y + size)]
    drawing.area([end, *back], _RULE, opacity=1.0)
