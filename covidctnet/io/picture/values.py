"""What is read from a picture file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Format = Literal["PNG", "JPEG", "TIFF", "DICOM"]
Units = Literal["grey", "HU"]


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """A grey picture, with what its file says of it.

    Attributes:
        pixels: Shape (row, column), read-only: uint8, uint16, int32 or float32 grey values, or
            int16 or float32 HU.
        units: ``grey``, or ``HU`` of a CT slice.
        format: ``PNG``, ``JPEG``, ``TIFF`` or ``DICOM``, by the content.
        mode: How the file stores colours: ``L``, ``RGB``, ``RGBA``, ``P`` and the like, as Pillow
            names them; the photometric interpretation of DICOM.
        bits: Stored for a channel.
        notes: What the reader did, one sentence each.
        flags: Short machine-readable reservations of a radiograph in DICOM.
        spacing_mm: Between rows and between columns; None where the file does not say it.
    """

    pixels: np.ndarray
    units: Units
    format: Format
    mode: str
    bits: int
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    spacing_mm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or 0 in self.pixels.shape:
            raise ValueError(f"a picture has shape (row, column), got {self.pixels.shape}")
        view = self.pixels.view()
        view.setflags(write=False)
        object.__setattr__(self, "pixels", view)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.pixels.shape
        return rows, columns

    @property
    def is_radiograph(self) -> bool:
        """Whether its file says that it is a radiograph; other formats say nothing."""
        return self.format == "DICOM" and self.units == "grey"

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"<Picture {rows} x {columns}, {self.format} {self.mode}, {self.bits} bits>"


@dataclass(frozen=True, eq=False, repr=False)
class StoredPicture:
    """A picture, and how its file stores it.

    Attributes:
        picture: What `read_picture` makes of it.
        colours: uint8 (row, column, 3) as stored, not turned; None for a picture without colours.
        has_alpha: Whether it stores transparency.
        dpi: Dots an inch that it names, across and down; None where it names none.
        orientation: EXIF orientation; 1 where it names none.
        quantisation: The table of brightness of a JPEG, int (8, 8); None for others.
    """

    picture: Picture
    colours: np.ndarray | None = None
    has_alpha: bool = False
    dpi: tuple[float, float] | None = None
    orientation: int = 1
    quantisation: np.ndarray | None = None
