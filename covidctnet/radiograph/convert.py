"""From any picture of a radiograph to a grey PNG of 8 bits, without a further loss."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from covidctnet.errors import StudyError
from covidctnet.files import write_whole
from covidctnet.io.picture import Picture, grey_bytes

__all__ = ["grey_of", "save_png"]


def grey_of(picture: Picture) -> np.ndarray:
    """The grey values of a picture in 8 bits.

    Args:
        picture: Of 8 bits: as it is; of more: stretched between the percentiles 0.5 and 99.5.

    Returns:
        uint8, (row, column).

    Raises:
        StudyError: ``NOT_RADIOGRAPH`` for a slice of a CT, whose values are HU.
    """
    if picture.units == "HU":
        raise StudyError(
            "NOT_RADIOGRAPH",
            "expected a radiograph, got a slice of a CT. Give CT to a system that reads it.",
        )
    return grey_bytes(picture.pixels)


def save_png(grey: np.ndarray, target: Path) -> None:
    """Write grey values as a PNG.

    Args:
        grey: uint8, (row, column).
        target: A file that is not there yet.

    Raises:
        FileExistsError: If the file is there.
        StorageError: If the disk is full or refuses.
    """
    if target.exists():
        raise FileExistsError(target.name)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    write_whole(target, buffer.getvalue())
