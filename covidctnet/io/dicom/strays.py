"""Whether a file that cannot be read may be a slice that a stack lacks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from covidctnet.io.archive import File
from covidctnet.io.dicom.frame import Frame, Identity
from covidctnet.io.names import digits, plain_name, shape

__all__ = ["Slot", "is_in_second_copy", "is_named_amid", "is_stray"]


def is_stray(
    file: File, known: Identity | None, frames: Sequence[Frame], *, is_copied: bool = False
) -> bool:
    """Whether a stack is whole without a file that cannot be read.

    A file whose beginning can be read is a second copy when a whole slice has its number and its
    place. One that says nothing is no slice when the instance numbers have no hole and it is not
    named as the next slice, or one in between, would be, or its name is one of a copy.

    Args:
        file: The file.
        known: What its beginning says, if it can be read.
        frames: Of a stack that forms an even grid.
        is_copied: Whether it lies in a second copy of a folder that holds its slice.
    """
    if known is not None:
        return known.number is not None and any(
            (known.number, known.position) == (f.number, f.position) for f in frames
        )
    numbers = [f.number for f in frames]
    if None in numbers or not _is_run([float(n or 0) for n in numbers]):
        return False
    if is_copied:
        return True
    return not _is_named_like(plain_name(file.name), [plain_name(f.file.name) for f in frames])


# The series, number and place of an image.
Slot = tuple[str, float | None, tuple[float, ...] | None]


def is_in_second_copy(file: File, slots: Mapping[Path, Mapping[str, Slot]]) -> bool:
    """Whether a file lies in a second copy of a folder, and the first one holds its slice.

    All images that can be read in its folder are also in the other one, by name, number and place,
    and a slice of its own name is there.

    Args:
        file: The file, which cannot be read.
        slots: Of all images of the study, by folder and name.
    """
    own = slots.get(file.parent, {})
    return bool(own) and any(
        file.name in there and own.items() <= there.items() for there in slots.values()
    )


def _is_run(numbers: Sequence[float]) -> bool:
    """Whether numbers go up by one, or down by one."""
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    return steps in ({1.0}, {-1.0})


def _is_named_like(name: str, others: Sequence[str]) -> bool:
    """Whether a name is the next, or one in between, of names that are numbered."""
    if not any(shape(other) == shape(name) for other in others):
        return False
    place = _place(name, others)
    # Names of one slice, or names made of UIDs: nothing tells.
    return place is None or place in ("amid", "next")


def is_named_amid(name: str, others: Sequence[str]) -> bool:
    """Whether a name is surely one in between of names that are numbered."""
    return _place(plain_name(name), [plain_name(other) for other in others]) == "amid"


def _place(name: str, others: Sequence[str]) -> str | None:
    """``amid``, ``next`` or ``far`` among names that are numbered; None when nothing tells."""
    alike = [digits(other) for other in others if shape(other) == shape(name)]
    own = digits(name)
    varying = [k for k in range(len(own)) if len({one[k] for one in alike}) > 1]
    if len(varying) != 1:
        return None
    (place,) = varying
    if any(own[k] != alike[0][k] for k in range(len(own)) if k != place):
        return "far"
    numbers = sorted({one[place] for one in alike})
    if numbers[0] < own[place] < numbers[-1]:
        return "amid"
    step = min(b - a for a, b in itertools.pairwise(numbers))
    return "next" if numbers[0] - step <= own[place] <= numbers[-1] + step else "far"
