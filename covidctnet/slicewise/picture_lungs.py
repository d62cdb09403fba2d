"""The lungs in a picture of a slice, so that they can be blacked out.

Pictures have no Hounsfield units and are often cut close to the lungs, so this is no segmentation:
it finds a region that holds all of the lungs, with what lies between them. For a control, too much
is right and too little is wrong.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.morphology import convex_hull_image

__all__ = ["lung_region", "without_lungs"]

# Shapes are looked for in a picture of this longer side.
_SIDE = 128
# Less of the picture than this is no lung; parts smaller than the second share are spots.
_LEAST, _SPOT = 0.04, 0.005
# A dark part of which more than this lies in the region belongs to the lungs; air around the body
# lies outside of it.
_PART = 0.25
# Greys of 8 bits that are background, outside of every patient.
_BACKGROUND = 8
# Where no lungs are found, this share of each side is blacked out, in the middle.
_MIDDLE = 0.8


def lung_region(grey: np.ndarray) -> np.ndarray | None:
    """A convex region that holds the lungs.

    Dark parts within the body that do not touch the picture's border; where there are none, as in
    a picture cut close to the lungs, all dark parts but the background. What is found on one side
    is taken on the other as well.

    Args:
        grey: uint8, (row, column), in a lung window.

    Returns:
        bool, the same shape; None where no lungs are found.
    """
    rows, columns = grey.shape
    scale = min(1.0, _SIDE / max(rows, columns))
    size = max(8, round(columns * scale)), max(8, round(rows * scale))
    small = np.asarray(
        Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.BILINEAR)
    )
    if small.min() == small.max():
        return None
    dark = small <= threshold_otsu(small)
    inner = _large_parts(dark, small, inside=True)
    if inner is None:
        inner = _large_parts(dark & (small > _BACKGROUND), small, inside=False)
    if inner is None:
        return None
    # Lungs come in pairs: one that touches the border, or is full of lesions, may have been missed.
    region = convex_hull_image(inner | inner[:, ::-1])
    labels, count = ndimage.label(dark)
    within = ndimage.mean(region, labels, np.arange(1, count + 1))
    belongs = np.concatenate([[False], np.asarray(within) > _PART])
    hull = Image.fromarray(convex_hull_image(region | belongs[labels]).astype(np.uint8))
    return np.asarray(hull.resize((columns, rows), Image.Resampling.NEAREST)) > 0


def _large_parts(dark: np.ndarray, small: np.ndarray, *, inside: bool) -> np.ndarray | None:
    """Dark parts without spots; without those that touch the border where that is asked for."""
    labels, count = ndimage.label(dark)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    keep = areas >= _SPOT * small.size
    keep[0] = False
    if inside:
        edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        keep[np.unique(edges)] = False
    found: np.ndarray = keep[labels]
    return found if found.sum() >= _LEAST * small.size else None


def without_lungs(grey: np.ndarray) -> np.ndarray:
    """A picture with its lungs blacked out.

    Args:
        grey: See `lung_region`.

    Returns:
        A copy, 0 over the lungs; over the middle where none are found.
    """
    region = lung_region(grey)
    out = grey.copy()
    if region is not None:
        out[region] = 0
        return out
    rows, columns = grey.shape
    top, left = (round(side * (1 - _MIDDLE) / 2) for side in (rows, columns))
    out[top : rows - top, left : columns - left] = 0
    return out
