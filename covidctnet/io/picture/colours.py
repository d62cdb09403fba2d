"""Which colours and numbers have a grey value, and how pixels become grey or labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from covidctnet.errors import StudyError
from covidctnet.io.picture.damage import DECODE_ERRORS, corrupt

# Pillow's modes of grey and of colours that have a grey value.
_SHALLOW_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
ALPHA_MODES = ("LA", "PA", "RGBA")
_WHITE_IS_ZERO = 0
# Tags of TIFF and their values.
TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_COMPRESSION, _TIFF_FORMAT = 258, 262, 259, 339
_UNSIGNED, _SIGNED = 1, 2
_UNCOMPRESSED = 1


def check_colours(image: Image.Image) -> None:
    """Refuse colours and numbers without a grey value that is known; nothing is decoded.

    Raises:
        StudyError: ``COLOUR_MODEL``.
    """
    mode = image.mode
    if mode not in _SHALLOW_MODES + DEEP_MODES:
        raise StudyError(
            "COLOUR_MODEL",
            f"expected grey or RGB, got {mode}, whose grey values depend on a device. "
            "Save the picture as PNG in grey.",
        )
    tags = getattr(image, "tag_v2", {})
    if mode in DEEP_MODES and tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        raise StudyError(
            "COLOUR_MODEL",
            "expected numbers that grow with brightness, got a TIFF of more than 8 bits in which "
            "0 is white. Save the picture as PNG.",
        )
    if tags:
        _check_numbers(image, tags)


def _check_numbers(image: Image.Image, tags: Mapping[int, Any]) -> None:
    """Refuse a TIFF whose numbers Pillow takes for others."""
    bits = int(np.max(tags.get(TIFF_BITS, 1)))
    number = int(np.max(tags.get(_TIFF_FORMAT, _UNSIGNED)))
    what = None
    if bits == 8 and number == _SIGNED:
        what = "signed numbers of 8 bits"
    elif (
        bits > 8
        and (bits, number) != (16, _UNSIGNED)
        and tags.get(_TIFF_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED
        and image.tag_v2.prefix == b"MM"  # type: ignore[attr-defined]
    ):
        what = f"compressed numbers of {bits} bits in big endian"
    if what is not None:
        raise StudyError(
            "COLOUR_MODEL",
            f"expected grey or RGB of 8 bits, or grey of 16 or 32 bits, got a TIFF of {what}, "
            "which are not read. Save the picture as PNG.",
        )


def grey_of(image: Image.Image, bits: int, notes: list[str]) -> np.ndarray:
    """Decode to one grey value a pixel, and note what was decided."""
    orientation = orientation_of(image)
    image.load()  # turns a TIFF by itself
    if orientation not in (1, None):
        if orientation_of(image) == orientation:
            image = ImageOps.exif_transpose(image)
        notes.append(f"the picture was turned, as its EXIF orientation {orientation} says")
    if image.mode in DEEP_MODES:
        return _deep(np.asarray(image), _is_unsigned(image))
    if bits > 8:
        notes.append(f"{bits} bits of a channel: the upper 8 were kept")
    if image.mode == "P":
        notes.append("the colours of a palette were taken")
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            notes.append("transparent parts were laid on black")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
        if apart := _channels_apart(np.asarray(image)):
            notes.append(f"colours that differ by up to {apart} became grey (ITU-R 601)")
    return np.array(image.convert("L"))


def _is_unsigned(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {_TIFF_FORMAT: _SIGNED})
    return int(np.max(tags.get(_TIFF_FORMAT, _UNSIGNED))) == _UNSIGNED


def _deep(stored: np.ndarray, is_unsigned: bool) -> np.ndarray:
    """Numbers of more than 8 bits in the byte order of this machine."""
    if is_unsigned and stored.dtype.kind == "i" and stored.min() < 0:
        raise StudyError(
            "COLOUR_MODEL",
            f"expected numbers up to {2**31 - 1}, got a TIFF with higher ones. Save the picture "
            "as PNG.",
        )
    if not np.isfinite(stored).all():
        raise corrupt("it holds numbers that are not finite")
    return np.array(stored, dtype=stored.dtype.newbyteorder("="))


def labels_of(image: Image.Image) -> np.ndarray:
    """Decode a mask to its labels, unsigned, shape (row, column).

    Raises:
        StudyError: ``COLOUR_MODEL`` if its values are no labels.
    """
    image.load()
    if orientation_of(image) not in (1, None):
        image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise StudyError(
            "COLOUR_MODEL", "expected labels in a mask, got fractions. Save the mask as PNG."
        )
    if image.mode in ("1", "L", "P", *DEEP_MODES):
        labels = np.array(image)
        if labels.dtype.kind == "i" and labels.min() < 0:
            raise StudyError(
                "COLOUR_MODEL",
                "expected labels from 0 in a mask, got negative numbers. Save the mask as PNG.",
            )
        return labels.astype(np.uint8 if labels.max() < 256 else np.uint32)
    colours = np.asarray(image.convert("RGB"))
    if apart := _channels_apart(colours):
        raise StudyError(
            "COLOUR_MODEL",
            f"expected a mask in grey or with a palette, got colours that differ by up to {apart}. "
            "Save each class as a grey value.",
        )
    return np.ascontiguousarray(colours[:, :, 0])


def _channels_apart(colours: np.ndarray) -> int:
    """The largest difference between the channels of a pixel."""
    # Over the last axis, numpy takes ten times as long.
    first, second, third = (colours[:, :, k] for k in range(3))
    highest = np.maximum(np.maximum(first, second), third)
    return int((highest - np.minimum(np.minimum(first, second), third)).max())


def orientation_of(image: Image.Image) -> int | None:
    """EXIF orientation; None when there is none, or none that can be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(0x0112)
    except DECODE_ERRORS:
        return None
    return value if isinstance(value, int) and 1 <= value <= 8 else None
