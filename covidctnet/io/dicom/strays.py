"""Whether a file that cannot be read may be a slice that a stack lacks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from covidctnet.io.archive import File
from covidctnet.io.dicom.frame import Frame, Identity
from covidctnet.io.names import digits, plain_name, shape

__all__ = ["is_named_amid", "is_stray"]


def is_stray(file: File, known: Identity | None, frames: Sequence[Frame]) -> bool:
    """Whether a stack is whole without a file that cannot be read.

    A file whose beginning can be read is a second copy when a whole slice has its number and its
    place. One that says nothing is no slice when the instance numbers have no hole and it is not
    named as the next slice, or one in between, would be.

    Args:
        file: The file.
        known: What its beginning says, if it can be read.
        frames: Of a stack that forms an even grid.
    """
    if known is not None:
        return known.number is not None and any(
            (known.number, known.position) == (f.number, f.position) for f in frames
        )
    numbers = [f.number for f in frames]
    if None in numbers or not _is_run([float(n or 0) for n in numbers]):
        return False
    return not _is_named_like(plain_name(file.name), [plain_name(f.file.name) for f in frames])


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
