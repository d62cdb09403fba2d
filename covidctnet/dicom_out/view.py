"""A coarse copy of a scan and of what was found in it, for a page that lies as a file.

A browser reads no other file for a page that was opened from the disk, but loads scripts that lie
next to it. So the copy is a script that hands over its volumes as text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import numpy as np

from covidctnet.dicom_out.nifti import drawn
from covidctnet.dicom_out.place import SourceGrid
from covidctnet.io.convert import nifti_bytes
from covidctnet.results import Prediction
from covidctnet.volume import Volume

__all__ = ["MAX_VOXELS", "STEP_HU", "view_files"]

MAX_VOXELS = 256
"""Along each axis of a copy."""

STEP_HU = 4
"""What values are rounded to: less than the noise of a scan, and half of the bytes."""

# The viewer draws no residual below 100 HU: less of it may be rounded away.
_RESIDUAL_STEP_HU = 20
# Air, and the densest bone that a window of the viewer tells apart.
_RANGE_HU = (-1400, 1400)


def view_files(
    prediction: Prediction, grid: SourceGrid, reader: str, scan: Volume, study: str
) -> Iterator[tuple[str, bytes]]:
    """Name and content of the only file.

    Args:
        prediction: See `covidctnet.dicom_out.nifti.drawn`.
        grid: Likewise.
        reader: Likewise.
        scan: What was answered, in HU.
        study: Under which name the script hands its volumes over.
    """
    columns = [2, 1, 0, 3]
    volumes = {"scan": _packed(scan.array.T, scan.affine[:, columns])}
    for name, array, affine in drawn(prediction, grid, reader):
        step_hu = _RESIDUAL_STEP_HU if name == "residual" else STEP_HU
        volumes[name] = _packed(array, affine, step_hu)
    text = json.dumps(volumes, separators=(",", ":"))
    yield "volumes.js", f"covidctnetVolumes({json.dumps(study)}, {text});\n".encode("ascii")


def _packed(array: np.ndarray, affine: np.ndarray, step_hu: int = STEP_HU) -> str:
    small, placed = coarse(array, affine, step_hu)
    return base64.b64encode(nifti_bytes(small, placed)).decode("ascii")


def coarse(
    array: np.ndarray, affine: np.ndarray, step_hu: int = STEP_HU
) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of voxels as one, so that no axis has more than `MAX_VOXELS`.

    A block of a mask (uint8) is marked if one of its voxels is; of values it is the mean. What is
    left at the end of an axis is a block of its own.

    Args:
        array: uint8 or HU, three axes.
        affine: 4 x 4, from (index on each axis, 1) to mm.
        step_hu: What HU are rounded to.

    Returns:
        uint8 or int16, and its affine.
    """
    steps = [-(-n // MAX_VOXELS) for n in array.shape]
    is_mask = array.dtype == np.uint8
    small = array
    for axis, step in enumerate(steps):
        if step > 1:
            starts = np.arange(0, small.shape[axis], step)
            if is_mask:
                small = np.maximum.reduceat(small, starts, axis)
            else:
                shape = [1, 1, 1]
                shape[axis] = len(starts)
                counts = np.minimum(step, small.shape[axis] - starts).reshape(shape)
                total = np.add.reduceat(small, starts, axis, dtype=np.float32)
                small = total / counts.astype(np.float32)
    if not is_mask:
        values = np.clip(small, *_RANGE_HU)
        small = (np.rint(values / step_hu) * step_hu).astype(np.int16)
    placed = affine.copy()
    placed[:3, :3] = affine[:3, :3] * steps
    placed[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((np.array(steps) - 1) / 2)
    return small, placed
