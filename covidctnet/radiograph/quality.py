"""Checks of picture files: what was done to a radiograph on its way from the detector.

A picture that was compressed, annotated, cropped or stretched can tell its source to a network
that should look at the lungs. Every check is one function that gives a finding with the value it
measured, or nothing. A finding is a reason to look at the file, not a verdict.

Source: the checks that Xividocx names (dpi, colour, lossy compression, encoding, annotations), of
which its published code has two. Differs in: all are there, and each gives what it measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage

from covidctnet.evidence import Finding
from covidctnet.io.picture import StoredPicture, grey_bytes

__all__ = ["CHECKS", "Subject", "check_picture", "jpeg_quality"]

# Below this quality of a JPEG blocks and ringing show.
MIN_QUALITY = 90
# Share of the values of a coefficient's histogram that are empty although both neighbours of the
# pattern are not: what a first, coarser compression leaves.
TWICE_ABOVE = 0.25
# Fewer grey values than this are no radiograph of 8 bits any more.
MIN_LEVELS = 100
# The published network looks at 324 x 324 pixels.
MIN_SIDE_PIXELS = 324
# Dots an inch that programs write when they know nothing.
UNKNOWN_DPI = (72, 96)
# Rows or columns of one value from an edge: this share of the side is a frame.
FRAME_SHARE = 0.02
# Marks are sharp, as bright as the picture gets, and small: letters, arrows, boxes.
MARK_PIXELS = (8, 4000)
MIN_MARKS = 3
# Grey values of a plain radiograph vary far less within a tile than over the picture.
FLAT_ABOVE = 0.75
_TILES = 8

_SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "TIFF": (".tif", ".tiff"),
    "DICOM": (".dcm", ".dicom", ".ima", ""),
}
# Annex K of the JPEG standard (ISO/IEC 10918-1), table K.1: what a quality of 50 divides by.
_STANDARD = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


class Subject(NamedTuple):
    """A picture to check.

    Attributes:
        stored: The picture, and how its file stores it.
        suffix: Of the file's name, with its dot, in small letters.
        grey: 8 bits, uint8 (row, column).
    """

    stored: StoredPicture
    suffix: str
    grey: np.ndarray


Check = Callable[[Subject], Finding | None]


def check_picture(stored: StoredPicture, suffix: str) -> tuple[Finding, ...]:
    """All findings of one picture.

    Args:
        stored: From `covidctnet.io.picture.read_stored`.
        suffix: Of the file's name, with its dot; empty for none.
    """
    subject = Subject(stored, suffix.lower(), grey_bytes(stored.picture.pixels))
    return tuple(found for check in CHECKS if (found := check(subject)) is not None)


def container(subject: Subject) -> Finding | None:
    """The name promises another format than the content is."""
    kind = subject.stored.picture.format
    if subject.suffix in _SUFFIXES[kind]:
        return None
    named = subject.suffix or "no suffix"
    return Finding("container", f"{kind} named {named}", f"the content is {kind}, named {named}")


def compression(subject: Subject) -> Finding | None:
    """A JPEG of low quality."""
    table = subject.stored.quantisation
    if table is None or (quality := jpeg_quality(table)) >= MIN_QUALITY:
        return None
    text = f"compressed with a loss, quality {quality:.0f} of 100"
    return Finding("jpeg_quality", round(quality), text)


def compressed_twice(subject: Subject) -> Finding | None:
    """A JPEG that was a coarser JPEG before, on the same blocks."""
    table = subject.stored.quantisation
    if table is None or subject.stored.orientation != 1:
        return None
    share = _empty_share(subject.grey, table)
    if share <= TWICE_ABOVE:
        return None
    text = f"compressed more than once: {share:.0%} of the values between others are missing"
    return Finding("jpeg_twice", round(share, 2), text)


def bit_depth(subject: Subject) -> Finding | None:
    """Too few grey values, or more bits than 8."""
    picture = subject.stored.picture
    levels = len(np.unique(picture.pixels))
    if levels < MIN_LEVELS:
        return Finding("bit_depth", levels, f"only {levels} different grey values")
    # DICOM keeps what the detector gave.
    if picture.bits != 8 and picture.format != "DICOM":
        return Finding("bit_depth", picture.bits, f"{picture.bits} bits for a pixel, not 8")
    return None


def colour(subject: Subject) -> Finding | None:
    """Colours in a picture that has none: equal channels waste, different ones were added."""
    stored = subject.stored
    if stored.colours is None or stored.picture.mode in ("P", "PA"):
        return None
    apart = np.ptp(stored.colours.astype(np.int16), axis=2)
    largest, mean = int(apart.max()), float(apart.mean())
    if largest == 0:
        return Finding("colour", 0, "stored in colours that are all grey")
    text = f"colours: channels differ by up to {largest}, {mean:.2f} on average"
    return Finding("colour", largest, text)


def palette(subject: Subject) -> Finding | None:
    """A palette of colours, which may have been chosen by a program."""
    mode = subject.stored.picture.mode
    return Finding("palette", mode, "colours of a palette") if mode in ("P", "PA") else None


def alpha(subject: Subject) -> Finding | None:
    """Transparency, which no detector gives."""
    if not subject.stored.has_alpha:
        return None
    return Finding("alpha", subject.stored.picture.mode, "transparency is stored")


def resolution(subject: Subject) -> Finding | None:
    """No dots an inch, or those of a screen."""
    stored = subject.stored
    if stored.picture.format == "DICOM":
        return None
    if stored.dpi is None:
        return Finding("dpi", "none", "no dots an inch are named")
    if round(stored.dpi[0]) in UNKNOWN_DPI:
        text = f"{stored.dpi[0]:.0f} dots an inch, which programs write when they know nothing"
        return Finding("dpi", round(stored.dpi[0]), text)
    return None


def size(subject: Subject) -> Finding | None:
    """Fewer pixels than a network looks at."""
    rows, columns = subject.grey.shape
    if min(rows, columns) >= MIN_SIDE_PIXELS:
        return None
    text = f"{rows} x {columns} pixels, fewer than {MIN_SIDE_PIXELS} along a side"
    return Finding("size", min(rows, columns), text)


def borders(subject: Subject) -> Finding | None:
    """A frame of one value at the edges."""
    grey = subject.grey
    widths = {
        "top": _even_lines(grey),
        "bottom": _even_lines(grey[::-1]),
        "left": _even_lines(grey.T),
        "right": _even_lines(grey.T[::-1]),
    }
    sides = {"top": len(grey), "bottom": len(grey), "left": grey.shape[1], "right": grey.shape[1]}
    wide = {name: width for name, width in widths.items() if width >= FRAME_SHARE * sides[name]}
    if not wide:
        return None
    text = "a frame of one value: " + ", ".join(f"{w} pixels {name}" for name, w in wide.items())
    return Finding("borders", max(wide.values()), text)


def marks(subject: Subject) -> Finding | None:
    """Text, arrows or boxes: small, sharp and as bright as the picture gets."""
    grey = subject.grey.astype(np.int16)
    brightest = int(grey.max())
    labels, count = ndimage.label(grey >= max(brightest - 3, 200), np.ones((3, 3)))
    if not count:
        return None
    pixels = np.bincount(labels.ravel(), minlength=count + 1)
    # The rim of a mark falls off within two pixels; bone and metal shade off.
    near = ndimage.maximum_filter(grey, 3) - ndimage.minimum_filter(grey, 5)
    steep = ndimage.mean(near, labels, np.arange(count + 1))
    low, high = MARK_PIXELS
    found = (pixels >= low) & (pixels <= high) & (steep > 100)
    found[0] = False
    if found.sum() < MIN_MARKS:
        return None
    number = int(found.sum())
    return Finding("marks", number, f"{number} small sharp shapes: text, arrows or boxes burned in")


def orientation(subject: Subject) -> Finding | None:
    """A rotation that only some programs carry out."""
    number = subject.stored.orientation
    if number == 1:
        return None
    return Finding("exif_rotation", number, f"stored turned, EXIF orientation {number}")


def equalised(subject: Subject) -> Finding | None:
    """Contrast stretched tile by tile (CLAHE and the like)."""
    spread = float(subject.grey.std())
    if spread < 1:
        return None
    rows, columns = (n // _TILES for n in subject.grey.shape)
    tiles = subject.grey[: rows * _TILES, : columns * _TILES].astype(np.float32)
    tiles = tiles.reshape(_TILES, rows, _TILES, columns).std(axis=(1, 3))
    ratio = float(np.median(tiles)) / spread
    if ratio <= FLAT_ABOVE:
        return None
    text = f"grey values spread within tiles {ratio:.2f} times as far as over the picture"
    return Finding("equalised", round(ratio, 2), text)


CHECKS: tuple[Check, ...] = (
    container,
    compression,
    compressed_twice,
    bit_depth,
    colour,
    palette,
    alpha,
    resolution,
    size,
    borders,
    marks,
    orientation,
    equalised,
)


def jpeg_quality(table: np.ndarray) -> float:
    """The quality that the JPEG library was asked for, from 1 to 100.

    Args:
        table: Of brightness, int (8, 8).

    Returns:
        That whose table is nearest; exact for tables of the standard's form.
    """
    qualities = np.arange(1, 101)
    scale = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    tables = (_STANDARD[None] * scale[:, None, None] + 50) // 100
    tables = np.clip(tables, 1, 255)
    return float(qualities[np.abs(tables - table).sum(axis=(1, 2)).argmin()])


def _empty_share(grey: np.ndarray, table: np.ndarray) -> float:
    """How many values of the coefficients are empty between ones that are not.

    A coefficient that was divided by a larger number before can take few values after the second
    division: its histogram has holes at even distances.
    """
    rows, columns = (n // 8 * 8 for n in grey.shape)
    blocks = grey[:rows, :columns].astype(np.float32) - 128
    blocks = blocks.reshape(rows // 8, 8, columns // 8, 8).transpose(0, 2, 1, 3)
    found = fft.dctn(blocks, axes=(2, 3), norm="ortho", workers=1)
    shares = []
    for row, column in ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0)):
        values = np.rint(found[..., row, column] / table[row, column]).astype(np.int64).ravel()
        counts = np.bincount(np.abs(values[np.abs(values) <= 20]), minlength=21)
        # Up to the last value that is common; beyond it holes mean nothing.
        common = np.flatnonzero(counts > 0.002 * counts.sum())
        last = int(common[-1]) if len(common) else 0
        if last < 4:
            continue
        inside = counts[1:last]
        level = np.median(inside[inside > 0]) if (inside > 0).any() else 0
        shares.append(float((inside < 0.1 * level).mean()))
    return float(np.median(shares)) if shares else 0.0


def _even_lines(lines: np.ndarray) -> int:
    """Lines from the first on that hold one value, all the same (within 2)."""
    ranges = np.ptp(lines, axis=1) <= 2
    same = np.abs(lines[:, 0].astype(np.int16) - int(lines[0, 0])) <= 2
    uneven = np.flatnonzero(~(ranges & same))
    return int(uneven[0]) if len(uneven) else len(lines)
