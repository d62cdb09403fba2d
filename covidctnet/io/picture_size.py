"""How large a picture may be: looked at before anything is decoded."""

from __future__ import annotations

from covidctnet.errors import StudyError

__all__ = ["MAX_PIXELS", "MAX_SIDE", "MIN_SIDE", "check_shape"]

# A smaller picture shows no lung. The smallest slice cut out of a published figure is 61 wide.
MIN_SIDE = 32
# The largest detector of a radiograph has about 4,300 pixels along a side.
MAX_SIDE = 8192
# Decoding takes seconds for each 2**24 pixels of colour.
MAX_PIXELS = 2**25


def check_shape(rows: int, columns: int) -> None:
    """Refuse a picture by its size.

    Raises:
        StudyError: ``SMALL_PICTURE`` or ``ABSURD_SIZE``.
    """
    if min(rows, columns) < MIN_SIDE:
        raise StudyError(
            "SMALL_PICTURE",
            f"expected a picture of at least {MIN_SIDE} x {MIN_SIDE} pixels, got "
            f"{rows} x {columns}. Give the original picture.",
        )
    if max(rows, columns) > MAX_SIDE:
        raise StudyError(
            "ABSURD_SIZE",
            f"expected a picture of at most {MAX_SIDE} x {MAX_SIDE} pixels, got {rows} x {columns}."
            " Check the file, or make the picture smaller.",
        )
    if rows * columns > MAX_PIXELS:
        raise StudyError(
            "ABSURD_SIZE",
            f"expected a picture of at most {MAX_PIXELS} pixels, got {rows} x {columns}. Check the "
            "file, or make the picture smaller.",
        )
