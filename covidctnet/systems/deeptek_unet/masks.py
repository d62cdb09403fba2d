"""Drawn lesions of one slice: from pictures, from the outlines of the VGG Image Annotator (VIA).

VIA writes JSON (a project, or the annotations alone) and CSV; lesions are ellipses, circles,
polygons and rectangles in pixels. Version 1 and 2 are read.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covidctnet.errors import CohortError

__all__ = ["Outline", "draw_outlines", "mask_of_picture", "read_via"]

# Larger files are no outlines of slices: a polygon of a thousand corners takes 10 kB.
_MAX_BYTES = 256 << 20
_MAX_CORNERS = 100_000
# Pixels beyond the picture that an outline may reach; a number far away is a mistake.
_MAX_REACH = 100_000.0
# Sides of the polygon that an ellipse is drawn as.
_SIDES = 180


@dataclass(frozen=True)
class Outline:
    """The border of one lesion.

    Attributes:
        corners: Column and row of each corner, in pixels; pixel centres have whole numbers.
        attributes: What the annotator wrote about it, by name.
    """

    corners: tuple[tuple[float, float], ...]
    attributes: Mapping[str, str]


def read_via(path: Path) -> Mapping[str, tuple[Outline, ...]]:
    """Outlines by the name of their picture's file.

    Args:
        path: ``.json`` or ``.csv``, as VIA exports them.

    Returns:
        Also pictures without an outline, which were looked at and have no lesion.

    Raises:
        CohortError: If the file cannot be read, is too large, or has a shape that is no area.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CohortError(
                f"expected outlines of at most {_MAX_BYTES >> 20} MB, {path.name!r:.80} is larger"
            )
        text = path.read_text(encoding="utf-8-sig")
        rows = _rows_of_csv(text) if path.suffix.lower() == ".csv" else _rows_of_json(text)
        out: dict[str, list[Outline]] = {}
        for name, shape, attributes in rows:
            found = out.setdefault(name, [])
            if shape:
                texts = {str(k): str(v) for k, v in attributes.items()}
                found.append(Outline(_corners(shape), texts))
    except OSError as error:
        raise CohortError(
            f"the outlines {path.name!r:.80} cannot be read ({type(error).__name__}). Get the "
            "file again."
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        line = " ".join(str(error).split())[:200]
        raise CohortError(
            f"expected {path.name!r:.80} to hold outlines as VIA exports them, got: "
            f"{type(error).__name__} {line}. Export them from VIA again, as JSON or CSV."
        ) from None
    return {name: tuple(outlines) for name, outlines in out.items()}


_Row = tuple[str, Mapping[str, Any], Mapping[str, Any]]


def _rows_of_json(text: str) -> Iterator[_Row]:
    content = json.loads(text)
    content = content.get("_via_img_metadata", content)
    for entry in content.values():
        regions = entry["regions"]
        yield str(entry["filename"]), {}, {}
        # A list in version 2, numbered names in version 1.
        for region in regions.values() if isinstance(regions, dict) else regions:
            attributes = region.get("region_attributes", {})
            yield str(entry["filename"]), region["shape_attributes"], attributes


def _rows_of_csv(text: str) -> Iterator[_Row]:
    # Version 1 begins the line of names with a mark of comments.
    for row in csv.DictReader(io.StringIO(text.removeprefix("#"))):
        shape = json.loads(row["region_shape_attributes"] or "{}")
        yield row["filename"], shape, json.loads(row["region_attributes"] or "{}")


def _corners(shape: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    kind = shape["name"]
    if kind not in _SHAPES:
        raise ValueError(f"a {kind!r:.80}, expected one of {', '.join(_SHAPES)}")
    corners = tuple(_SHAPES[kind](shape))
    if not 3 <= len(corners) <= _MAX_CORNERS:
        raise ValueError(f"an outline of {len(corners)} corners")
    if not all(abs(value) <= _MAX_REACH for corner in corners for value in corner):
        raise ValueError("a corner that is no place near a picture")
    return corners


def _polygon(shape: Mapping[str, Any]) -> list[tuple[float, float]]:
    xs, ys = shape["all_points_x"], shape["all_points_y"]
    return [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]


def _rectangle(shape: Mapping[str, Any]) -> list[tuple[float, float]]:
    x, y, width, height = (float(shape[name]) for name in ("x", "y", "width", "height"))
    # As many pixels as it says, of which the first is the one at x and y.
    x, y = x - 0.5, y - 0.5
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _circle(shape: Mapping[str, Any]) -> list[tuple[float, float]]:
    return _ring(float(shape["cx"]), float(shape["cy"]), float(shape["r"]), float(shape["r"]), 0.0)


def _ellipse(shape: Mapping[str, Any]) -> list[tuple[float, float]]:
    cx, cy, rx, ry = (float(shape[name]) for name in ("cx", "cy", "rx", "ry"))
    return _ring(cx, cy, rx, ry, float(shape.get("theta", 0.0)))


def _ring(cx: float, cy: float, rx: float, ry: float, turn: float) -> list[tuple[float, float]]:
    out = []
    for k in range(_SIDES):
        angle = 2 * math.pi * k / _SIDES
        x, y = rx * math.cos(angle), ry * math.sin(angle)
        out.append(
            (
                cx + x * math.cos(turn) - y * math.sin(turn),
                cy + x * math.sin(turn) + y * math.cos(turn),
            )
        )
    return out


_SHAPES: Mapping[str, Callable[[Mapping[str, Any]], list[tuple[float, float]]]] = {
    "rect": _rectangle,
    "circle": _circle,
    "ellipse": _ellipse,
    "polygon": _polygon,
}


def draw_outlines(outlines: Sequence[Outline], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie within outlines.

    Args:
        outlines: Of one picture; what lies beyond its border is cut off.
        shape: Rows and columns of the picture.

    Returns:
        bool, (row, column).
    """
    from skimage.draw import polygon

    mask = np.zeros(shape, bool)
    for outline in outlines:
        columns, rows = np.array(outline.corners).T
        mask[polygon(rows, columns, shape)] = True
    return mask


def mask_of_picture(picture: np.ndarray, *, kinds: int = 1) -> np.ndarray:
    """Kinds of lesion of a drawn mask.

    Args:
        picture: Grey values, (row, column): 0 is none. With one kind every other value is a lesion;
            with several, the values are their numbers from 1.
        kinds: Of lesions that are distinguished.

    Returns:
        uint8, (row, column); 0 is none.

    Raises:
        CohortError: If it has three axes, or values that are no kind.
    """
    if picture.ndim != 2:
        raise CohortError(f"expected a grey mask, (row, column), got {picture.shape}")
    if kinds == 1:
        return (picture > 0).astype(np.uint8)
    largest = int(picture.max(initial=0))
    if largest > kinds:
        raise CohortError(
            f"expected a mask with the values 0 to {kinds}, got {largest}. Number the kinds of "
            "lesion from 1."
        )
    return picture.astype(np.uint8)
