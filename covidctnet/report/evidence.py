"""How each kind of evidence is drawn: rows of slices for the picture, and lines for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import singledispatch
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape
from scipy import ndimage

from covidctnet.evidence import (
    Evidence,
    Heatmap,
    LesionVolume,
    Mask,
    Panels,
    QualityFindings,
    Regions,
    SliceEvidence,
    SliceScores,
)
from covidctnet.report import pictures, svg

__all__ = ["COLUMNS", "Drawn", "Picture", "draw", "draw_picture"]

COLUMNS = 6
"""Slices of one kind of evidence in a picture, at most."""
HEATMAP = "attention"
_LINE, _MARKED = "#d65c0e", "#2480d6"


class Drawn(NamedTuple):
    """What a report shows of one piece of evidence.

    Attributes:
        rows: Of the picture, from above.
        lines: HTML for the page.
    """

    rows: tuple[pictures.Row, ...] = ()
    lines: Markup = Markup("")


class Picture(NamedTuple):
    """A picture of one answer.

    Attributes:
        content: A WebP file's.
        kinds: Its rows, from above.
        heights_mm: Of its columns, where all rows have the same; else empty.
    """

    content: bytes
    kinds: tuple[str, ...]
    heights_mm: tuple[float, ...]


@singledispatch
def draw(evidence: Evidence) -> Drawn:
    """What a report shows of one piece of evidence, by its type.

    Args:
        evidence: Of any type; nothing is shown of one that no function is registered for.
    """
    return Drawn()


def draw_picture(evidence: Iterable[Evidence]) -> Picture | None:
    """The rows of all evidence in one picture; None where there is none."""
    rows = [row for one in evidence for row in draw(one).rows]
    if not any(row.tiles for row in rows):
        return None
    heights = {row.heights_mm for row in rows}
    common = heights.pop() if len(heights) == 1 else ()
    kinds = [
        row.kind if common or not row.heights_mm else f"{row.kind}, {_heights(row.heights_mm)}"
        for row in rows
    ]
    return Picture(pictures.paste(rows), tuple(kinds), common)


@draw.register
def _(evidence: Panels) -> Drawn:
    few = evidence.few(COLUMNS)
    rows: list[pictures.Row] = []
    for name, units, image in zip(few.names, few.units, few.images, strict=True):
        colour = pictures.grey if units == "unit" else pictures.colour_residual
        marks = few.outline if not rows else None
        rows.append(_row(few, name, [image], colour, marks))
    return Drawn(tuple(rows))


@draw.register
def _(evidence: Mask) -> Drawn:
    few = evidence.few(COLUMNS)
    below = np.zeros(few.found.shape) if few.over is None else few.over
    return Drawn((_row(few, few.name, [below], pictures.grey, few.found),))


@draw.register
def _(evidence: Heatmap) -> Drawn:
    few = evidence.few(COLUMNS)
    below = np.zeros(few.values.shape) if few.over is None else few.over
    return Drawn((_row(few, HEATMAP, [few.values, below], pictures.colour_attention),))


@draw.register
def _(evidence: Regions) -> Drawn:
    lines = [
        Markup("<li>{:.0%} at {}</li>").format(
            box.score,
            f"slice {box.slice}" if (mm := evidence.height_mm(box)) is None else f"z = {mm:.0f} mm",
        )
        for box in evidence.boxes
    ]
    what = escape(evidence.label)
    text = Markup("<p>Regions for {}:</p><ul>{}</ul>").format(what, Markup().join(lines))
    if not lines:
        text = Markup("<p>No region for {}.</p>").format(what)
    few = evidence.few(COLUMNS)
    if few.over is None:
        return Drawn((), text)
    marked = np.zeros(few.over.shape, dtype=bool)
    for box in few.boxes:
        if box.slice in few.slices:
            plane = marked[few.slices.index(box.slice)]
            plane[round(box.top) : round(box.bottom), round(box.left) : round(box.right)] = True
    return Drawn((_row(few, "regions", [few.over], pictures.grey, marked),), text)


@draw.register
def _(evidence: LesionVolume) -> Drawn:
    if not evidence.lung_ml:
        return Drawn()
    by_place = {(region.lung, region.third): region for region in evidence.regions}

    def cell(lung: str, third: str) -> str:
        region = by_place.get((lung, third))
        return f"{100 * region.share:.1f} %" if region and region.lung_ml else "-"

    thirds = Markup("\n").join(
        Markup('<tr><th scope="row">{} third</th><td>{}</td><td>{}</td></tr>').format(
            third, cell("right", third), cell("left", third)
        )
        for third in ("upper", "middle", "lower")
    )
    return Drawn(
        (),
        Markup(
            '<table class="lesions num">\n'
            "<caption>Affected: {:.1f} % of the lungs, {:.0f} of {:.0f} ml</caption>\n"
            '<thead><tr><td></td><th scope="col">right</th><th scope="col">left</th></tr></thead>\n'
            "<tbody>\n{}\n</tbody>\n</table>"
        ).format(100 * evidence.share, evidence.lesion_ml, evidence.lung_ml, thirds),
    )


@draw.register
def _(evidence: SliceScores) -> Drawn:
    if not evidence.scores:
        return Drawn()
    width, height, left, bottom = 320.0, 96.0, 34.0, 78.0
    along = evidence.heights_mm or tuple(map(float, range(len(evidence.scores))))
    low, high = min(0.0, *evidence.scores), max(1.0, *evidence.scores)
    first, last = min(along), max(along)

    def at(place: float, score: float) -> tuple[float, float]:
        x = left + (place - first) / ((last - first) or 1.0) * (width - left - 8)
        return x, bottom - (score - low) / (high - low) * (bottom - 8)

    title = f"Score of {len(along)} slices for {evidence.label or 'disease'}"
    chart = svg.Drawing(width, height, title, ground=False)
    chart.rule(bottom, left, width - 8)
    if evidence.threshold is not None:
        ends = [at(first, evidence.threshold), at(last, evidence.threshold)]
        chart.line(ends, _MARKED, width=1, dashes="4 3")
    chart.line([at(p, s) for p, s in zip(along, evidence.scores, strict=True)], _LINE)
    for value in (low, high):
        chart.text((left - 4, at(first, value)[1] + 4), f"{value:g}", size=11, anchor="end")
    unit = " mm" if evidence.heights_mm else ""
    for value, anchor in ((first, "start"), (last, "end")):
        chart.text((at(value, low)[0], height - 4), f"{value:.0f}{unit}", size=11, anchor=anchor)
    lines = Markup('<div class="scores num">{}<p class="small">{}</p></div>')
    return Drawn((), lines.format(Markup(str(chart)), title))


@draw.register
def _(evidence: QualityFindings) -> Drawn:
    lines = [
        Markup("<li><code>{}</code>: {}{}</li>").format(
            one.code, one.value, f". {one.text}" if one.text else ""
        )
        for one in evidence.findings
    ]
    return Drawn((), Markup("<ul>{}</ul>").format(Markup().join(lines)) if lines else Markup(""))


def _row(
    evidence: SliceEvidence,
    kind: str,
    stacks: list[np.ndarray],
    colour: Callable[..., np.ndarray],
    marks: np.ndarray | None = None,
) -> pictures.Row:
    """A tile a slice, coloured after it was brought to the size of a tile."""
    tiles = []
    for place in range(len(evidence.slices)):
        coloured = colour(*(pictures.fitted(stack[place]) for stack in stacks))
        if marks is not None:
            inside = pictures.fitted(marks[place]) > 0.5
            coloured[inside & ~ndimage.binary_erosion(inside)] = pictures.OUTLINE
        tiles.append(coloured)
    return pictures.Row(kind, tuple(tiles), evidence.heights_mm)


def _heights(heights_mm: Iterable[float]) -> str:
    return "z = " + ", ".join(f"{height:.0f}" for height in heights_mm) + " mm"
