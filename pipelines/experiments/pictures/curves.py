"""Learning curves of shipped weights, drawn from the tables next to them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from covidctnet.report.svg import Drawing, Point

__all__ = ["draw_curves", "read_curves"]

PANEL, MARGIN, TOP = (400.0, 230.0), 70.0, 70.0
TRAIN, VAL = "#7b8794", "#b3541e"
# Steps differ from one to the next by chance: so many are shown as one.
SMOOTH = 15

Curve = tuple[np.ndarray, np.ndarray]


def read_curves(folder: Path) -> dict[str, dict[str, Curve]]:
    """Steps and losses by stage and by ``train_loss`` and ``val_loss``.

    Args:
        folder: ``curves`` of a weights folder; stages without a table are left out.
    """
    out: dict[str, dict[str, Curve]] = {}
    for stage in ("lungs", "denoiser", "classifier"):
        file = folder / f"{stage}.csv"
        if not file.is_file():
            continue
        with file.open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
        out[stage] = {}
        for name in ("train_loss", "val_loss"):
            points = [(int(r["step"]), float(r[name])) for r in rows if r.get(name)]
            steps, losses = np.array(points, dtype=float).reshape(-1, 2).T
            out[stage][name] = (steps, _smoothed(losses) if name == "train_loss" else losses)
    return out


def draw_curves(curves: Mapping[str, Mapping[str, Curve]], title: str) -> str:
    """A panel a stage, losses on a logarithmic scale."""
    width = len(curves) * (PANEL[0] + MARGIN) + MARGIN
    drawing = Drawing(width, PANEL[1] + TOP + 70, title)
    drawing.text((width / 2, 34), title, size=16, bold=True)
    for number, (stage, lines) in enumerate(curves.items()):
        corner = (MARGIN + number * (PANEL[0] + MARGIN), TOP)
        _panel(drawing, corner, stage, lines)
    return str(drawing)


def _panel(drawing: Drawing, corner: Point, stage: str, lines: Mapping[str, Curve]) -> None:
    left, top = corner
    wide, high = PANEL
    steps = max(float(x.max()) for x, _ in lines.values() if len(x))
    losses = np.concatenate([y for _, y in lines.values()])
    low, high_loss = math.log(losses.min() * 0.93), math.log(losses.max() * 1.07)

    def place(step: float, loss: float) -> Point:
        share = (math.log(loss) - low) / (high_loss - low)
        return left + wide * step / steps, top + high * (1 - share)

    drawing.box(stage, corner, PANEL, [])
    for loss in _ticks(math.exp(low), math.exp(high_loss)):
        drawing.text((left - 8, place(0, loss)[1] + 4), f"{loss:g}", size=11, anchor="end")
    for share in (0.0, 0.5, 1.0):
        at = (left + wide * share, top + high + 18)
        drawing.text(at, f"{steps * share:.0f}", size=11)
    drawing.text((left + wide / 2, top + high + 38), f"steps of the {stage}", size=12, faint=True)
    for name, colour, label in (("train_loss", TRAIN, "training"), ("val_loss", VAL, "validation")):
        x, y = lines[name]
        drawing.line([place(a, b) for a, b in zip(x, y, strict=True)], colour)
        row = top + 20 + 18 * (name == "val_loss")
        drawing.line([(left + wide - 120, row - 4), (left + wide - 96, row - 4)], colour)
        drawing.text((left + wide - 90, row), label, size=12, anchor="start")


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two losses, 1, 2 and 5 of every power of ten."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    round_ones = [n * 10.0**p for p in powers for n in (1, 2, 5)]
    return [n for n in round_ones if low <= n <= high]


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean that is narrower at the ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(0, index - SMOOTH // 2), np.minimum(len(values), index + SMOOTH // 2 + 1)
    mean: np.ndarray = (total[high] - total[low]) / (high - low)
    return mean
