"""A volume or an answer as a notebook shows it: a few lines of HTML with pictures inside.

No script, nothing fetched, no path and no name of a patient.
"""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from covidctnet.report.evidence import draw, draw_picture
from covidctnet.report.pictures import colour_residual
from covidctnet.report.words import flag_words
from covidctnet.results import Prediction
from covidctnet.volume import PAINTED_NOTE, SYNTHETIC_NOTE, Volume

__all__ = ["prediction_html", "volume_html"]

NOTICE = "Research use only. Not a medical device."
SIDE = 220
"""Pixels along the longer side of a plane."""
# Lung and soft tissue both keep some contrast.
WINDOW_HU = (-1200.0, 300.0)
_GAP = 4
_BAR_PX = 160
_BARS = ("#4c78a8", "#d65c0e", "#8a5aa8", "#5c6b00")


def volume_html(volume: Volume) -> str:
    """The middle axial, coronal and sagittal plane of a volume, and what is known of it."""
    spacing = " x ".join(f"{s:.3g}" for s in volume.spacing)
    size = " x ".join(map(str, volume.shape))
    facts = [f"{size} voxels (slice, row, column), {spacing} mm, {volume.units}"]
    facts += [n for n in volume.source.notes if n in (SYNTHETIC_NOTE, PAINTED_NOTE)]
    facts += [f"flags: {', '.join(volume.source.flags)}"] if volume.source.flags else []
    planes = "axial, coronal and sagittal plane through the middle"
    return (
        f"<div><b>Volume</b> of study <code>{escape(volume.source.study)}</code><br>"
        f"{'<br>'.join(map(escape, facts))}<br>"
        f"{_picture(_three_planes(volume), 'png', planes)}<br>"
        f"<small>{planes}; the patient's right is on the left, the head above</small></div>"
    )


def prediction_html(prediction: Prediction) -> str:
    """The probabilities of an answer as bars, its reservations, and what it rests on."""
    rows = "".join(
        f"<tr><td>{escape(label.title)}</td>"
        f"<td><div style='background:{_BARS[label.rank % len(_BARS)]};"
        f"height:0.8em;width:{max(1, round(_BAR_PX * p))}px'></div></td><td>{p:.3f}</td></tr>"
        for label, p in prediction.probabilities.items()
    )
    facts = [f"status: {prediction.status}"]
    if len(prediction.prediction_set) > 1:
        facts.append(
            f"labels left: {', '.join(label.title for label in prediction.prediction_set)}"
        )
    facts += [flag_words(flag) for flag in prediction.flags]
    facts += [n for n in prediction.notes if n in (SYNTHETIC_NOTE, PAINTED_NOTE)]
    shown = ""
    if (picture := draw_picture(prediction.evidence)) is not None:
        what = f"rows: {', '.join(picture.kinds)}; columns: slices, feet to head"
        shown = f"<br>{_picture(picture.content, 'webp', what)}<br><small>{escape(what)}</small>"
    return (
        f"<div><b>{escape(prediction.label.title)}</b> "
        f"for study <code>{escape(prediction.study)}</code>"
        f"<table>{rows}</table>{'<br>'.join(map(escape, facts))}"
        f"{''.join(draw(one).lines for one in prediction.evidence)}{shown}"
        f"<br><small>{NOTICE}</small></div>"
    )


def _picture(content: bytes, kind: str, words: str) -> str:
    data = base64.b64encode(content).decode()
    return f"<img alt='{escape(words)}' src='data:image/{kind};base64,{data}'>"


def _three_planes(volume: Volume) -> bytes:
    """A PNG of three planes side by side, in true proportions, the head above."""
    array, (z, y, x) = volume.array, volume.spacing
    slices, rows, columns = (n // 2 for n in volume.shape)
    planes = [
        (array[slices], (y, x)),
        (array[::-1, rows], (z, x)),
        (array[::-1, :, columns], (z, y)),
    ]
    longest = max(n * s for plane, mm in planes for n, s in zip(plane.shape, mm, strict=True))
    tiles = [_coloured(_resized(plane, mm, SIDE / longest), volume.units) for plane, mm in planes]
    width = sum(tile.shape[1] for tile in tiles) + _GAP * (len(tiles) - 1)
    canvas = Image.new("RGB", (width, max(len(tile) for tile in tiles)), (70, 74, 80))
    left = 0
    for tile in tiles:
        canvas.paste(Image.fromarray(tile), (left, 0))
        left += tile.shape[1] + _GAP
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def _resized(plane: np.ndarray, mm: tuple[float, float], pixels_per_mm: float) -> np.ndarray:
    rows, columns = (
        max(1, round(n * s * pixels_per_mm)) for n, s in zip(plane.shape, mm, strict=True)
    )
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))


def _coloured(plane: np.ndarray, units: str) -> np.ndarray:
    """Three channels, uint8: grey, or the colours of a residual."""
    if units == "residual":
        return colour_residual(plane)
    low, high = WINDOW_HU if units == "HU" else (0.0, 1.0)
    grey = np.clip((np.nan_to_num(plane, nan=low) - low) / (high - low), 0, 1) * 255
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=-1)
