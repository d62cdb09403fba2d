"""Whether a patient, a source or a picture is on both sides of a split.

A digest of the grey values finds files that differ in their format alone. A picture that was
resized or compressed again has other values; a perceptual hash finds it. Crops, turns and mirror
images are not found, nor is every picture whose contrast was bent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from scipy import fft
from scipy.spatial import KDTree

from covidctnet.errors import UsageError
from covidctnet.io.picture import grey_digest
from covidctnet.slicewise.table import Images

__all__ = [
    "COPY_DISTANCE",
    "Copy",
    "Fingerprint",
    "Leak",
    "find_conflicts",
    "find_copies",
    "find_leaks",
    "fingerprint",
]

# Pictures whose hashes are nearer are copies. Chosen between the distances of copies and those of
# neighbouring slices of one scan: see docs/measured/slices.md.
COPY_DISTANCE = 0.03

# Greys that are compared, and cosines along each side that are kept of them.
_SIDE = 32
_COSINES = 16
# A picture that varies less, in grey values of 8 bits, has nothing to compare but its pixels.
_MIN_SPREAD = 1.0
# Cosines by which near hashes are looked up; the others are compared for those found.
_LOOKED_UP = 14


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of a picture to find its copies.

    Attributes:
        digest: SHA-256 of its grey values and its shape, hexadecimal.
        cosines: Perceptual hash, a unit vector of 255 numbers; None of a flat picture.
    """

    digest: str
    cosines: np.ndarray | None


def fingerprint(grey: np.ndarray) -> Fingerprint:
    """The digest and the perceptual hash of a picture.

    The hash is made of 16 x 16 cosines of the picture at 32 x 32 greys, each weighted by its
    frequency: neighbouring slices have the same large shapes and differ in small ones. Neither
    brightness nor contrast changes it.

    Args:
        grey: uint8, shape (row, column).
    """
    rows, columns = grey.shape
    digest = grey_digest(grey)
    small = _means(rows) @ grey.astype(np.float32) @ _means(columns).T
    if small.std() < _MIN_SPREAD:
        return Fingerprint(digest, None)
    cosines = fft.dctn(small, norm="ortho")[:_COSINES, :_COSINES] * _FREQUENCIES
    # By frequency, without the mean.
    vector = cosines.ravel()[_BY_FREQUENCY][1:]
    return Fingerprint(digest, (vector / np.linalg.norm(vector)).astype(np.float32))


_FREQUENCIES = np.add.outer(np.arange(_COSINES), np.arange(_COSINES)).astype(np.float32)
_BY_FREQUENCY = np.argsort(_FREQUENCIES.ravel(), kind="stable")


@lru_cache(maxsize=4096)
def _means(count: int) -> np.ndarray:
    """Weights that average `count` pixels over equal parts, to fractions of a pixel."""
    edges = np.linspace(0, count, _SIDE + 1)
    low = np.maximum(edges[:-1, None], np.arange(count))
    high = np.minimum(edges[1:, None], np.arange(1, count + 1))
    weights = np.clip(high - low, 0, None)
    found: np.ndarray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    found.setflags(write=False)
    return found


class Copy(NamedTuple):
    """Two pictures that are one.

    Attributes:
        first: Place of one.
        second: Place of the other, larger.
        distance: Between the hashes; 0 where the pixels are the same.
    """

    first: int
    second: int
    distance: float


def find_copies(
    prints: Sequence[Fingerprint], *, distance: float = COPY_DISTANCE
) -> tuple[Copy, ...]:
    """Pictures that are copies of each other; the time grows about as their number.

    Args:
        prints: Of all pictures.
        distance: Hashes that are nearer are of copies.

    Returns:
        Sorted. Of many pictures with the same pixels, each is paired with the first one, and the
        first one alone with near copies of it.
    """
    first: dict[str, int] = {}
    copies = [
        Copy(first[one.digest], place, 0.0)
        for place, one in enumerate(prints)
        if first.setdefault(one.digest, place) != place
    ]
    hashed = [
        (place, cosines)
        for place in first.values()
        if (cosines := prints[place].cosines) is not None
    ]
    if len(hashed) > 1:
        vectors = np.stack([cosines for _, cosines in hashed])
        # No two vectors are nearer to each other than their first numbers are.
        pairs = KDTree(vectors[:, :_LOOKED_UP]).query_pairs(distance, output_type="ndarray")
        apart = np.linalg.norm(vectors[pairs[:, 0]] - vectors[pairs[:, 1]], axis=1)
        for (a, b), found in zip(pairs.tolist(), apart.tolist(), strict=True):
            if found <= distance:
                one, other = sorted((hashed[a][0], hashed[b][0]))
                copies.append(Copy(one, other, found))
    return tuple(sorted(copies))


class Leak(NamedTuple):
    """Pictures that must not be where they are.

    Attributes:
        what: What they share: a ``patient``, a ``source``, the ``pixels``, or the looks of a
            ``copy``.
        places: Of the pictures, rising.
        among: Where they are: the parts, labels or number of patients.
    """

    what: Literal["patient", "source", "pixels", "copy"]
    places: tuple[int, ...]
    among: tuple[str, ...]


def find_leaks(
    images: Images, parts: Sequence[str], prints: Sequence[Fingerprint] = ()
) -> tuple[Leak, ...]:
    """Patients, sources and pictures that are in several parts of the data.

    Args:
        images: Of all parts.
        parts: The part of each picture: a split, a fold, or a data set.
        prints: Of each picture; without them no pixels are compared.

    Returns:
        Patients first, then sources, then pictures; none when nothing leaks.
    """
    if len(parts) != len(images) or (prints and len(prints) != len(images)):
        raise UsageError(
            f"expected a part and a fingerprint of each of {len(images)} pictures, got "
            f"{len(parts)} and {len(prints)}. Give one of each."
        )
    return (
        *_shared("patient", [image.patient for image in images], parts),
        *_shared("source", [image.source for image in images], parts),
        *_across(find_copies(prints), parts),
    )


def find_conflicts(images: Images, prints: Sequence[Fingerprint]) -> tuple[Leak, ...]:
    """Copies of one picture that have two labels, or two patients.

    Args:
        images: The pictures.
        prints: Of each.

    Returns:
        In `Leak.among`, the labels or the places of the two patients' pictures in the table; never
        a patient's name.
    """
    copies = find_copies(prints)
    labels = [image.label.title for image in images]
    patients = [image.patient for image in images]
    two_labels = tuple(_across(copies, labels))
    known = {leak.places for leak in two_labels}
    two_patients = (
        Leak(
            "copy" if copy.distance else "pixels",
            copy[:2],
            tuple(images[i].where for i in copy[:2]),
        )
        for copy in copies
        if None not in (patients[copy.first], patients[copy.second])
        and patients[copy.first] != patients[copy.second]
        and copy[:2] not in known
    )
    return (*two_labels, *two_patients)


def _shared(
    what: Literal["patient", "source"], values: Iterable[str | None], parts: Sequence[str]
) -> Iterator[Leak]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, value in enumerate(values):
        if value is not None:
            places[value].append(place)
    for found in places.values():
        among = tuple(sorted({parts[place] for place in found}))
        if len(among) > 1:
            yield Leak(what, tuple(found), among)


def _across(copies: Iterable[Copy], parts: Sequence[str]) -> Iterator[Leak]:
    for first, second, distance in copies:
        if parts[first] != parts[second]:
            among = (parts[first], parts[second])
            yield Leak("copy" if distance else "pixels", (first, second), among)
