"""Seeded damage to the bytes of a file, and to the elements of a DICOM header."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable

import numpy as np
from pydicom import dcmread
from pydicom.dataelem import DataElement

__all__ = ["damaged", "retagged"]

EXTREMES = (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
TEXTS = ("", "0", "-1", "1e308", "nan", "1\\2", "\\", "9" * 16, "1.2.3", "HU", "CORONAL")
Bytes = Callable[[bytes, np.random.Generator], bytes]


def damaged(content: bytes, rng: np.random.Generator, *, head: int) -> bytes:
    """One to three wounds, half of them within the first `head` bytes.

    Args:
        content: Of a file, not empty.
        rng: What is drawn.
        head: Where the header ends, about.
    """
    for _ in range(int(rng.integers(1, 4))):
        wound = WOUNDS[int(rng.integers(len(WOUNDS)))]
        if rng.random() < 0.5 and len(content) > head > 1:
            content = wound(content[:head], rng) + content[head:]
        elif content:
            content = wound(content, rng)
    return content


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(content)
    for place in rng.integers(len(out), size=int(rng.integers(1, 9))):
        out[place] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _overwrite(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + rng.bytes(end - start) + content[end:]


def _blank(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _remove(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(content, rng)
    return content[:end] + content[start:end] * int(rng.integers(1, 4)) + content[end:]


def _exchange(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _span(content, rng)
    other = int(rng.integers(len(content)))
    part = content[start:end]
    rest = content[:start] + content[end:]
    return rest[:other] + part + rest[other:]


def _extreme(content: bytes, rng: np.random.Generator) -> bytes:
    """A length, a size or a count set to the edge of what fits."""
    place = int(rng.integers(len(content)))
    value = EXTREMES[int(rng.integers(len(EXTREMES)))]
    form = ("<H", ">H", "<I", ">I")[int(rng.integers(4))]
    packed = struct.pack(form, value & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
    return content[:place] + packed + content[place + len(packed) :]


def _append(content: bytes, rng: np.random.Generator) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 2000)))


def _span(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    start = int(rng.integers(len(content)))
    return start, min(len(content), start + int(2 ** rng.uniform(0, 8)))


WOUNDS: tuple[Bytes, ...] = (
    _flip,
    _flip,
    _overwrite,
    _blank,
    _cut,
    _remove,
    _repeat,
    _exchange,
    _extreme,
    _extreme,
    _append,
)


def retagged(content: bytes, rng: np.random.Generator) -> bytes:
    """A DICOM file with one element removed, emptied, doubled or set to something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(io.BytesIO(content))
        elements = [element for element in dataset if element.tag.group != 0x7FE0]
        element = elements[int(rng.integers(len(elements)))]
        deed = int(rng.integers(4))
        if deed == 0:
            del dataset[element.tag]
        else:
            value = _another(element, rng)
            try:
                dataset[element.tag] = DataElement(element.tag, element.VR, value)
            except (ValueError, TypeError):
                del dataset[element.tag]
        out = io.BytesIO()
        try:
            dataset.save_as(out)
        # Not every value can be written; the wound is then another one.
        except (ValueError, TypeError, AttributeError, OverflowError, struct.error):
            return _flip(content, rng)
    return out.getvalue()


def _another(element: DataElement, rng: np.random.Generator) -> object:
    """A value that the element might hold, near its own or far from it."""
    values = element.value if element.VM > 1 else [element.value]
    if element.VR in ("DS", "IS", "US", "SS"):
        numbers = [float(value or 0) for value in values]
        place = int(rng.integers(len(numbers)))
        changed = (
            numbers[place] * (1 + float(rng.normal()) * 10 ** rng.uniform(-4, 1)),
            numbers[place] + float(rng.normal()) * 10 ** rng.uniform(-3, 3),
            float(rng.integers(-5, 70000)),
            -numbers[place],
        )[int(rng.integers(4))]
        numbers[place] = changed
        if element.VR == "DS":
            return [f"{number:.10g}"[:16] for number in numbers]
        limit = 65535 if element.VR != "SS" else 32767
        return [
            int(np.clip(number, 0 if element.VR == "US" else -limit, limit)) for number in numbers
        ]
    return TEXTS[int(rng.integers(len(TEXTS)))]
