"""Labelled pictures: ``images.csv``, or a folder for each class and each patient in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, overload

import numpy as np

from covidctnet.classes import Classes, Label
from covidctnet.errors import CohortError, StudyError, UsageError
from covidctnet.files import read_table
from covidctnet.io.picture import picture_shape
from covidctnet.slicewise.folds import joined_groups

__all__ = ["Images", "ImagesError", "LabelledImage", "PatientImages", "read_images"]

_REQUIRED = ("file", "label")
_OPTIONAL = ("patient", "source", "split", "scan", "z_mm", "mask", "stage")
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm"})
_UNKNOWN = "unknown"
# So many mistakes are in the error's text; `ImagesError.mistakes` has all.
_SHOWN = 20


class ImagesError(CohortError):
    """A table or folder of pictures contradicts itself.

    Attributes:
        mistakes: All that were found, one sentence each, with the line or the place of the picture.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__(tuple(mistakes))
        self.mistakes = tuple(mistakes)

    def __str__(self) -> str:
        more = len(self.mistakes) - _SHOWN
        shown = " ".join(self.mistakes[:_SHOWN]) + (f" And {more} more." if more > 0 else "")
        count = len(self.mistakes)
        return f"the pictures have {count} mistake{'s' if count > 1 else ''}. {shown}"


@dataclass(frozen=True)
class LabelledImage:
    """One picture of a slice.

    Attributes:
        file: The picture.
        label: Its class.
        where: Its line in the table, or its place in a class's folder; fit to be shown.
        patient: Whose it is, as the data name the patient: never shown. None when unknown.
        source: Where it comes from: a site, a paper, a data set.
        split: The split that it must be in.
        scan: Which scan of the patient.
        z_mm: Its position in the scan.
        mask: A picture of its findings, of the same size.
        stage: The stage of training that it is for.
    """

    file: Path
    label: Label
    where: str
    patient: str | None = None
    source: str | None = None
    split: str | None = None
    scan: str | None = None
    z_mm: float | None = None
    mask: Path | None = None
    stage: str | None = None


@dataclass(frozen=True)
class Images(Sequence[LabelledImage]):
    """Labelled pictures, of patients who may be unknown: no figure by patient can be made of them.

    Attributes:
        images: In the order of the table.
        classes: Of their labels.
        passed_over: What was not read: columns without a meaning, and files that are no pictures.
    """

    images: tuple[LabelledImage, ...]
    classes: Classes
    passed_over: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item):  # type: ignore[no-untyped-def]
        return self.images[item]

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self.images)

    @cached_property
    def labels(self) -> np.ndarray:
        """Place of each picture's class, int."""
        return np.array([int(image.label) for image in self.images])

    @cached_property
    def positive(self) -> np.ndarray:
        """Whether each picture is of another class than the normal one, bool."""
        return np.array([image.label.title != self.classes.normal for image in self.images])

    def groups(
        self, copies: Iterable[tuple[int, int]] = (), *, by_source: bool = True
    ) -> np.ndarray:
        """Number of the group of each picture: those of one patient or one source, and copies.

        Args:
            copies: Places of pictures that are the same.
            by_source: Keep each source together too, for folds; figures count patients.
        """
        keys = [[image.patient for image in self.images]]
        if by_source:
            keys.append([image.source for image in self.images])
        return joined_groups(*keys, pairs=copies)


@dataclass(frozen=True)
class PatientImages(Images):
    """Labelled pictures of known patients."""

    def __post_init__(self) -> None:
        if unknown := sum(image.patient is None for image in self.images):
            raise UsageError(
                f"expected the patient of every picture, got {unknown} of {len(self.images)} "
                "without. Use Images for unknown patients."
            )

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """Of each picture."""
        return tuple(str(image.patient) for image in self.images)


@overload
def read_images(
    root: Path,
    classes: Classes,
    *,
    patients_unknown: Literal[False] = False,
    patient_in_name: bool = False,
) -> PatientImages: ...
@overload
def read_images(
    root: Path, classes: Classes, *, patients_unknown: bool, patient_in_name: bool = False
) -> Images: ...
def read_images(
    root: Path,
    classes: Classes,
    *,
    patients_unknown: bool = False,
    patient_in_name: bool = False,
) -> Images:
    """Read whose the pictures of a folder are and what they show; the pictures are not decoded.

    ``images.csv`` has the columns file (path relative to the folder), patient, label and, if they
    are known, source, split, scan, z_mm, mask (path of a picture) and stage. Without it, a folder
    for each class holds a folder for each patient with pictures, or with a folder for each scan.

    Args:
        root: The folder.
        classes: That the labels are of.
        patients_unknown: Allow pictures without a patient. What comes back then makes no figure by
            patient, even where some patients are known; those that are known still stay together.
        patient_in_name: A picture that lies in the folder of a class itself is named
            ``PATIENT_*``: its patient is what stands before the first ``_``.

    Returns:
        In the order of the table, or sorted by path.

    Raises:
        UsageError: If there is no such folder.
        CohortError: If neither layout is there, or the table cannot be read.
        ImagesError: With every mistake that was found.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"expected a folder of pictures, {root.name!r} is none. Check the path.")
    mistakes: list[str] = []
    if (root / "images.csv").is_file():
        images, passed_over = _of_table(root, classes, mistakes)
    else:
        images, passed_over = _of_folders(root, classes, mistakes, patient_in_name)
    if not patients_unknown:
        mistakes += [
            f"{image.where}: expected a patient, got none. Name the patient, or say that patients "
            "are unknown."
            for image in images
            if image.patient is None
        ]
    mistakes += _contradictions(images)
    mistakes += _mask_mistakes(root, images)
    if mistakes:
        raise ImagesError(mistakes)
    if not images:
        raise CohortError(
            "expected pictures in images.csv or in the folders of classes, got none. Add them."
        )
    kind = Images if patients_unknown else PatientImages
    return kind(tuple(images), classes, tuple(passed_over))


def _of_table(
    root: Path, classes: Classes, mistakes: list[str]
) -> tuple[list[LabelledImage], list[str]]:
    table = read_table(root / "images.csv", _REQUIRED, _OPTIONAL, entry="picture")
    images: list[LabelledImage] = []
    for row in table.rows:
        where = f"images.csv line {row.line}"
        if row.has_surplus:
            mistakes.append(
                f"{where}: expected a cell for each column, got more. Check the commas."
            )
        cells = {name: value or None for name, value in row.cells.items()}
        try:
            images.append(_image(root.resolve(), classes, where, cells))
        except CohortError as error:
            mistakes.append(f"{where}: {str(error).rstrip('.')}.")
    return images, [f"column {name!r}" for name in table.other_columns]


def _image(root: Path, classes: Classes, where: str, cells: dict[str, str | None]) -> LabelledImage:
    empty = [name for name in _REQUIRED if not cells[name]]
    if empty:
        raise CohortError(f"expected file and label, {' and '.join(empty)} is empty. Fill it")
    patient = cells["patient"]
    return LabelledImage(
        _file(root, str(cells["file"]), "picture"),
        classes.parse(str(cells["label"])),
        where,
        patient=None if patient is None or patient.casefold() == _UNKNOWN else patient,
        source=cells["source"],
        split=cells["split"],
        scan=cells["scan"],
        z_mm=_position(cells["z_mm"]),
        mask=_file(root, cells["mask"], "mask") if cells["mask"] else None,
        stage=cells["stage"],
    )


def _file(root: Path, path: str, what: str) -> Path:
    try:
        found = (root / path).resolve()
        is_inside, is_there = found.is_relative_to(root), found.is_file()
    except (OSError, ValueError):  # a name that no file can have
        is_inside, is_there = True, False
    if not is_inside:
        raise CohortError(
            f"expected a {what} within the folder, got a path that leaves it. Give one relative to "
            "the folder"
        )
    if not is_there:
        raise CohortError(f"expected a {what}, its file is missing. Check the path")
    return found


def _position(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CohortError("expected a number of mm in z_mm, got none. Correct it")
    return value


def _of_folders(
    root: Path, classes: Classes, mistakes: list[str], patient_in_name: bool
) -> tuple[list[LabelledImage], list[str]]:
    images: list[LabelledImage] = []
    others = 0
    of_no_class = 0
    is_class = False
    for folder in _entries(root):
        if not folder.is_dir():
            others += 1
            continue
        files = [path for path in sorted(folder.rglob("*")) if _is_plain_file(path, folder)]
        pictures = [path for path in files if path.suffix.lower() in _SUFFIXES]
        try:
            label = classes.parse(folder.name)
        except CohortError:
            of_no_class += len(pictures)
            others += len(files) - len(pictures)
            continue
        is_class = True
        others += len(files) - len(pictures)
        for number, path in enumerate(pictures, start=1):
            where = f"picture {number} of {len(pictures)} in {folder.name}/"
            above = path.relative_to(folder).parts[:-1]
            if len(above) > 2:
                mistakes.append(
                    f"{where}: expected CLASS/PATIENT/SCAN/ at most, got {len(above) + 1} folders. "
                    "Move it up, or write images.csv."
                )
                continue
            patient = above[0] if above else None
            if patient_in_name and not above:
                name, mark, _ = path.stem.partition("_")
                patient = name if mark and name else None
            scan = above[1] if len(above) > 1 else None
            images.append(LabelledImage(path, label, where, patient=patient, scan=scan))
    if not is_class:
        names = ", ".join(f"{title}/" for title in classes.titles)
        raise CohortError(
            f"expected images.csv or {names} in the folder, got none. Add one of them."
        )
    if of_no_class:
        mistakes.append(
            f"expected pictures in folders of the classes {', '.join(classes.titles)}, got "
            f"{of_no_class} in folders of other names. Rename these, or move them away."
        )
    return images, [f"{others} files that are no pictures"] if others else []


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, hidden files and links left out."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise CohortError(
            f"expected a folder of pictures, got: {error.strerror}. Check its rights."
        ) from None
    return [path for path in found if not path.name.startswith(".") and not path.is_symlink()]


def _is_plain_file(path: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not is_hidden and not path.is_symlink() and path.is_file()


def _contradictions(images: Sequence[LabelledImage]) -> Iterator[str]:
    """What two rows say against each other."""
    files: dict[Path, LabelledImage] = {}
    masks: dict[Path, LabelledImage] = {}
    patients: dict[str, LabelledImage] = {}
    splits: dict[str, LabelledImage] = {}
    positions: dict[tuple[str | None, str, float], LabelledImage] = {}
    for image in images:
        where = image.where
        first = files.setdefault(image.file, image)
        if first.label != image.label:
            yield (
                f"{where}: expected one label for a picture, it is {image.label} here and "
                f"{first.label} in {first.where}. Keep the right one."
            )
        elif first is not image:
            yield f"{where}: expected each picture once, it is in {first.where} too. Remove one."
        if image.mask is not None and (first := masks.setdefault(image.mask, image)) is not image:
            yield (
                f"{where}: expected a mask of its own, got that of {first.where}. Give the right "
                "one."
            )
        if image.patient is None:
            continue
        first = patients.setdefault(image.patient, image)
        if first.label != image.label and files[image.file] is image:
            yield (
                f"{where}: expected one class for a patient, the patient is {image.label} here and "
                f"{first.label} in {first.where}. Give the patient one class; if they are two "
                "people, rename one."
            )
        if image.split is not None:
            first = splits.setdefault(image.patient, image)
            if first.split != image.split:
                yield (
                    f"{where}: expected a patient in one split, the patient is in {image.split} "
                    f"here and in {first.split} in {first.where}. Give one split."
                )
        if image.scan is not None and image.z_mm is not None:
            first = positions.setdefault((image.patient, image.scan, image.z_mm), image)
            if first is not image:
                yield (
                    f"{where}: expected slices of a scan at positions of their own, got that of "
                    f"{first.where}. Correct z_mm, or give each scan a name of its own."
                )


def _mask_mistakes(root: Path, images: Sequence[LabelledImage]) -> Iterator[str]:
    """Masks of another size than their picture, and masks that no picture has."""
    masks = {image.mask for image in images if image.mask is not None}
    for image in images:
        if image.mask is None:
            continue
        try:
            shape, of_mask = picture_shape(image.file), picture_shape(image.mask)
        except StudyError as error:
            yield f"{image.where}: {error.message}"
            continue
        if shape != of_mask:
            yield (
                f"{image.where}: expected a mask of {shape[0]} x {shape[1]} pixels like its "
                f"picture, got {of_mask[0]} x {of_mask[1]}. Give the mask of this picture."
            )
    pictures = {image.file for image in images}
    lonely = Counter(
        folder.relative_to(root.resolve()).as_posix()
        for folder in {mask.parent for mask in masks}
        for path in _entries(folder)
        if path.suffix.lower() in _SUFFIXES and path not in masks and path not in pictures
    )
    for name, count in sorted(lonely.items()):
        yield (
            f"{name}/: expected a picture for each mask, got {count} masks that no line names. Add "
            "their pictures to images.csv, or remove them."
        )
