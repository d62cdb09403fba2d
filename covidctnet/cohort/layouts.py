"""Layouts of a labelled archive, read to rows: ``cohort.csv``, or a folder a class.

That of nnU-Net is in `covidctnet.cohort.nnunet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from covidctnet.classes import Classes, Label
from covidctnet.errors import CohortError
from covidctnet.files import read_table
from covidctnet.io.discover import Found

__all__ = [
    "TABLE",
    "CohortRow",
    "Finder",
    "patient_name",
    "plain_id",
    "refuse",
    "rows_of_folders",
    "rows_of_table",
    "titles",
]

TABLE = "cohort.csv"
_REQUIRED = ("study", "patient", "label")
_OPTIONAL = ("site", "split", "lesions", "id")
# What a patient's name ends before, where a scan is a file.
_SUFFIXES = (".gz", ".nii", ".mha", ".nrrd", ".dcm")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

Finder = Callable[[Sequence[Path | str] | Path | str], Found]


@dataclass(frozen=True)
class CohortRow:
    """One line of a layout.

    Attributes:
        where: Its place in words, without a name.
        path: Of its scans.
        patient: See `covidctnet.cohort.archive.CohortStudy`, as the others are.
        label: Its class.
        site: Where it was scanned.
        split: That is asked for.
        root: The archive.
        lesions: A mask.
        lesion_values: What of it is lesion; empty for the codes of `covidctnet.io.lesions`.
        id: Of the only study under the path that is meant; empty for all of them.
        others: Cells of the other columns by name.
        traits: Those of them that are kept.
    """

    where: str
    path: Path
    patient: str
    label: Label
    site: str | None = None
    split: str | None = None
    root: Path = Path()
    lesions: Path | None = None
    lesion_values: tuple[int, ...] = ()
    id: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    traits: tuple[tuple[str, str], ...] = ()


def _parse(text: str, classes: Sequence[Classes]) -> Label:
    for known in classes:
        with suppress(CohortError):
            return known.parse(text)
    raise CohortError(f"unknown label {text!r}; known labels are {titles(classes)}")


def titles(classes: Sequence[Classes], *, mark: str = "") -> str:
    """Titles of all classes, each once, with a mark behind."""
    named = dict.fromkeys(title for known in classes for title in known.titles)
    return ", ".join(f"{title}{mark}" for title in named)


def rows_of_folders(root: Path, classes: Sequence[Classes], find: Finder) -> Iterator[CohortRow]:
    """A row a patient of the folders that name a class.

    Raises:
        CohortError: If there are none, or another folder holds scans.
    """
    folders: dict[Path, Label] = {}
    others: list[Path] = []
    for folder in _entries(root, "the archive"):
        if folder.is_dir():
            try:
                folders[folder] = _parse(folder.name, classes)
            except CohortError:
                others.append(folder)
    if not folders:
        raise CohortError(
            f"expected {titles(classes, mark='/')} or cohort.csv in the archive, or imagesTr/ of "
            "nnU-Net, got none of them. Add one."
        )
    for number, folder in enumerate(others, start=1):
        if count := len(find(folder)):
            raise CohortError(
                f"folder {number} of {len(others)} in the archive that name no class holds {count} "
                f"scans; classes are {titles(classes)}. Rename it, or move it out of the "
                "archive."
            )
    for folder, label in folders.items():
        entries = _entries(folder, f"{folder.name}/")
        if not entries:
            raise CohortError(
                f"expected a folder or file for every patient in {folder.name}/, got "
                "none. Add them."
            )
        for number, entry in enumerate(entries, start=1):
            where = f"entry {number} of {len(entries)} in {folder.name}/"
            yield CohortRow(where, entry, patient_name(entry), label)


def _entries(folder: Path, what: str) -> list[Path]:
    """What lies in a folder, hidden files and links left out."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise CohortError(f"{what} cannot be read ({error.strerror}); check its rights") from None
    return [e for e in entries if not e.name.startswith(".") and not e.is_symlink()]


def patient_name(entry: Path) -> str:
    """The name of a folder or a file, without what tells the format."""
    name = entry.name
    if entry.is_file():
        for suffix in (*_SUFFIXES, *_PICTURE_SUFFIXES):
            name = name.removesuffix(suffix)
    return name


def rows_of_table(
    root: Path, table: Path, classes: Sequence[Classes], *, anywhere: bool
) -> list[CohortRow]:
    """The rows of a table; what is wrong with them is told all at once."""
    inside = None if anywhere else root.resolve()
    rows: list[CohortRow] = []
    mistakes: list[str] = []
    for row in read_table(table, _REQUIRED, _OPTIONAL, entry="study").rows:
        where, cells = f"{table.name} line {row.line}", row.cells
        empty = [name for name in _REQUIRED if not cells[name]]
        if empty or row.has_surplus:
            mistakes.append(
                f"{where}: expected {', '.join(_REQUIRED)}, "
                + (f"{', '.join(empty)} is empty" if empty else "got more cells than columns")
            )
            continue
        try:
            path = _inside(inside, root / cells["study"], "study")
            lesions = None
            if cells["lesions"]:
                lesions = _inside(inside, root / cells["lesions"], "lesion mask")
            label = _parse(cells["label"], classes)
        except CohortError as error:
            mistakes.append(f"{where}: {error}")
            continue
        rows.append(
            CohortRow(
                where,
                path,
                cells["patient"],
                label,
                cells["site"] or None,
                cells["split"] or None,
                lesions=lesions,
                id=plain_id(cells["id"]),
                others=row.others,
            )
        )
    refuse(mistakes)
    return rows


def refuse(mistakes: Sequence[str]) -> None:
    """Tell all that is wrong in one line.

    Raises:
        CohortError: If anything is.
    """
    if mistakes:
        count = f"{len(mistakes)} mistakes: " if len(mistakes) > 1 else ""
        raise CohortError(count + "; ".join(mistakes))


def plain_id(text: str) -> str:
    """A study's id without the letter in front that keeps spreadsheets from reading it."""
    return text.removeprefix("s")


def _inside(archive: Path | None, path: Path, what: str) -> Path:
    if archive is not None and not path.resolve().is_relative_to(archive):
        raise CohortError("the path leaves the archive; give one relative to it")
    if not path.exists():
        raise CohortError(f"the {what} is missing; check its path")
    return path
