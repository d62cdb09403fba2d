"""Labelled pictures for training: read once in a child process, kept as arrays, divided by patient.

A folder of pictures with ``images.csv`` (see `covidctnet.slicewise.table`) becomes small files in
the work folder, which loader processes map.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from covidctnet.errors import CohortError, StudyError, UsageError
from covidctnet.files import make_folder
from covidctnet.io.child import PictureChild
from covidctnet.io.picture import Picture
from covidctnet.progress import track
from covidctnet.slicewise.folds import make_folds
from covidctnet.slicewise.leak import Fingerprint, find_copies, fingerprint
from covidctnet.slicewise.table import Images, LabelledImage
from covidctnet.slicewise.window import LUNG_WINDOW, Window, slice_8_bit
from covidctnet.volume import SYNTHETIC_NOTE

__all__ = ["Division", "StoredImage", "describe_images", "divide_images", "store_images"]

_SIDES = ("train", "val", "test")
_SPELLINGS = {"validation": "val", "valid": "val"}


@dataclass(frozen=True)
class StoredImage:
    """A picture in the work folder.

    Attributes:
        image: What the table says of it.
        file: Its grey values, uint8 (row, column), in NumPy's format.
        mask: Its numbers of findings in the same format, or None.
        print: To find its copies.
        scan: What a card calls the scan that it is a slice of (`covidctnet.volume.Source.mark`);
            empty for a picture.
        is_synthetic: Whether its file says that it is of a phantom.
    """

    image: LabelledImage
    file: Path
    mask: Path | None
    print: Fingerprint
    scan: str = ""
    is_synthetic: bool = False

    @property
    def mark(self) -> str:
        """The first twelve digits of its digest: by these a card names it."""
        return self.print.digest[:12]

    def pixels(self) -> np.ndarray:
        """Grey values, uint8 (row, column), mapped."""
        found: np.ndarray = np.load(self.file, mmap_mode="r", allow_pickle=False)
        return found

    def labels(self) -> np.ndarray:
        """Numbers of findings, uint8 (row, column); 0 everywhere without a mask."""
        if self.mask is None:
            return np.zeros(self.pixels().shape, np.uint8)
        found: np.ndarray = np.load(self.mask, mmap_mode="r", allow_pickle=False)
        return found


def store_images(
    images: Images,
    folder: Path,
    *,
    window: Window = LUNG_WINDOW,
    grey: Callable[[Picture], np.ndarray] | None = None,
    mask_of: Callable[[np.ndarray], np.ndarray] | None = None,
    drawn: Mapping[str, Callable[[tuple[int, int]], np.ndarray]] | None = None,
) -> tuple[StoredImage, ...]:
    """Read pictures, and their masks, in a child process and keep them as arrays.

    Args:
        images: From a table.
        folder: Receives the files; those that are there are replaced.
        window: For pictures in HU.
        grey: Grey values of a picture, uint8; by default those of a slice through the window, which
            refuse radiographs.
        mask_of: Turns the values of a mask's picture into numbers of findings; None leaves masks
            out.
        drawn: Findings that lie in another file: by the name of a picture's file, what gives their
            numbers, uint8, for rows and columns. All pictures must be there.

    Returns:
        In the order of `images`.

    Raises:
        CohortError: If a picture or mask cannot be read, or they differ in size.
        OSError: If the disk is full or refuses.
    """
    if drawn is not None:
        _check_drawn(images, drawn)
    make_folder(folder)
    grey = grey or partial(slice_8_bit, window=window)
    stored: list[StoredImage] = []
    with PictureChild() as read:
        for place, image in enumerate(track(list(images), "reading pictures")):
            try:
                picture = read(image.file)
                pixels = grey(picture)
                labels = None if image.mask is None or mask_of is None else read.mask(image.mask)
            except StudyError as error:
                raise CohortError(f"{image.where}: {error.message}") from None
            file, mask = folder / f"{place:06d}.npy", None
            np.save(file, np.ascontiguousarray(pixels), allow_pickle=False)
            if labels is not None and mask_of is not None:
                if labels.shape != pixels.shape:
                    raise CohortError(
                        f"{image.where}: expected a mask of {pixels.shape[0]} x {pixels.shape[1]} "
                        f"pixels like its picture, got {labels.shape[0]} x {labels.shape[1]}. "
                        "Give the mask of this picture."
                    )
                labels = mask_of(labels)
            if drawn is not None:
                labels = drawn[image.file.name]((pixels.shape[0], pixels.shape[1]))
            if labels is not None:
                mask = folder / f"{place:06d}.mask.npy"
                np.save(mask, labels, allow_pickle=False)
            synthetic = SYNTHETIC_NOTE in picture.notes
            stored.append(
                StoredImage(image, file, mask, fingerprint(pixels), is_synthetic=synthetic)
            )
    return tuple(stored)


def _check_drawn(images: Images, drawn: Mapping[str, object]) -> None:
    names = Counter(image.file.name for image in images)
    for image in images:
        name = image.file.name
        if name not in drawn:
            raise CohortError(
                f"{image.where}: expected the picture among those with outlines, got none of its "
                "name. Export the outlines of all pictures, also of those without a finding."
            )
        if names[name] > 1:
            raise CohortError(
                f"{image.where}: expected a file name of its own, as outlines are found by it, got "
                f"{names[name]} pictures of one name. Rename them."
            )


@dataclass(frozen=True)
class Division:
    """How pictures are divided where the table does not say it.

    Attributes:
        folds: So many parts, patients and sources whole; the next one after the test fold chooses
            the epoch.
        fold: Which part nothing is trained or chosen on, from 0.
        seed: Of the parts.
    """

    folds: int = 5
    fold: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 3 or not 0 <= self.fold < self.folds:
            raise UsageError(
                "expected 3 folds or more and one of them by its number from 0, got "
                f"{self.folds} and {self.fold}"
            )


def divide_images(
    stored: Sequence[StoredImage], images: Images, division: Division
) -> dict[str, list[StoredImage]]:
    """Which pictures train, which choose the epoch and which test.

    Pictures of one patient or source, and copies of one picture, stay together.

    Args:
        stored: As `store_images` gives them.
        images: The same, from the table.
        division: Used where no picture has a split.

    Returns:
        Pictures by ``train``, ``val`` and ``test``.

    Raises:
        CohortError: If copies of a picture have two labels or are on two sides, only some pictures
            have a split, or one is unknown.
    """
    copies = [(copy.first, copy.second) for copy in find_copies([one.print for one in stored])]
    _check_labels(stored, copies)
    named = [image.split for image in images]
    if not any(named):
        groups = images.groups(copies)
        parts = make_folds(
            images.labels.tolist(), groups.tolist(), division.folds, seed=division.seed
        )
        roles = {division.fold: "test", (division.fold + 1) % division.folds: "val"}
        sides = [roles.get(int(part), "train") for part in parts]
    else:
        sides = [_side(image) for image in images]
        leaking = [pair for pair in copies if sides[pair[0]] != sides[pair[1]]]
        if leaking:
            first, second = (stored[place].image.where for place in leaking[0])
            raise CohortError(
                f"expected copies of a picture in one split, got {len(leaking)} pairs in two, "
                f"such as {first} and {second}: what was tested would have been learned before. "
                "Remove the copies, or give them one split."
            )
    out: dict[str, list[StoredImage]] = {side: [] for side in _SIDES}
    for one, side in zip(stored, sides, strict=True):
        out[side].append(one)
    for side in ("train", "val"):
        if not out[side]:
            raise CohortError(f"expected pictures in the split {side}, got none. Add some.")
    return out


def _check_labels(stored: Sequence[StoredImage], copies: Sequence[tuple[int, int]]) -> None:
    """Refuse copies with two labels; flat pictures are alike without being copies."""
    pairs = ((stored[first], stored[second]) for first, second in copies)
    torn = [
        (one.image, other.image)
        for one, other in pairs
        if one.image.label != other.image.label and one.print.cosines is not None
    ]
    if torn:
        one, other = torn[0]
        raise CohortError(
            f"expected one label for a picture, got {len(torn)} pairs of copies with two, such as "
            f"{one.where} ({one.label}) and {other.where} ({other.label}). Keep the right ones."
        )


def _side(image: LabelledImage) -> str:
    side = (image.split or "").strip().casefold()
    side = _SPELLINGS.get(side, side)
    if side not in _SIDES:
        raise CohortError(
            f"{image.where}: expected train, val or test as split, got {image.split!r:.80}. Give "
            "every picture one, or leave the column out."
        )
    return side


def describe_images(
    taught: Sequence[StoredImage], attribution: str, *, synthetic: bool = False
) -> dict[str, Any]:
    """What a stage has learned from, for the card: evaluation refuses these pictures.

    Args:
        taught: That trained the network, or chose its epoch.
        attribution: Whom the licence of the data requires to be named.
        synthetic: Whether all of them are of phantoms.
    """
    patients = {one.image.patient for one in taught}
    kind = "synthetic patients (phantoms)" if synthetic else "patients"
    known = patients - {None}
    return {
        "pictures": len(taught),
        "pictures_by_class": dict(sorted(Counter(one.image.label.title for one in taught).items())),
        "patients": None if None in patients else len(known),
        "studies_by_kind": {kind: len(taught)},
        # A slice of a scan is known again by its scan.
        "seen": " ".join(sorted({one.scan or one.mark for one in taught})),
        **({"attribution": attribution} if attribution else {}),
    }
