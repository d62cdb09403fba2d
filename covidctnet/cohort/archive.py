"""A labelled archive: which study belongs to which patient, label, site and split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.errors import CohortError, UsageError
from covidctnet.files import read_table
from covidctnet.io.discover import Found, Study, find_studies

__all__ = ["CohortStudy", "read_cohort"]

_REQUIRED = ("study", "patient", "label")
_OPTIONAL = ("site", "split", "lesions")
# What a patient's name ends before, where a scan is a file.
_SUFFIXES = (".gz", ".nii", ".mha", ".nrrd", ".dcm")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True)
class CohortStudy:
    """One labelled study.

    Attributes:
        study: Its files.
        path: Where it lies, relative to its archive.
        patient: The archive's name for the patient; may be a real one, so never shown.
        label: Its class.
        site: Where it was scanned, if known.
        split: Which split it must be in, if given.
        root: The archive.
        lesions: A NIfTI mask of its lesions, if there is one.
    """

    study: Study
    path: Path
    patient: str
    label: Label
    site: str | None = None
    split: str | None = None
    root: Path = Path()
    lesions: Path | None = None


@dataclass(frozen=True)
class _Row:
    where: str
    path: Path
    patient: str
    label: Label
    site: str | None = None
    split: str | None = None
    root: Path = Path()
    lesions: Path | None = None


Finder = Callable[[Sequence[Path | str] | Path | str], Found]


def read_cohort(
    *roots: Path, classes: Sequence[Classes] = (CHEST_CT,), find: Finder = find_studies
) -> tuple[CohortStudy, ...]:
    """Read the layout of one archive or more: ``cohort.csv``, or a folder a class.

    ``cohort.csv`` has the columns study (path relative to the archive), patient, label and,
    optionally, site, split and lesions (path of a NIfTI mask, for evaluations). Without it, folders
    named after the classes, such as ``Control``, ``Covid-19`` and ``CAP`` (case does not matter),
    hold a folder or file a patient; folders of other names hold no scans.

    Patients of the same name in two archives are taken for the same patient, as the safe side is:
    a patient never is in two splits.

    Args:
        roots: The archives.
        classes: Of the labels; of several sets, the first that knows a label decides.
        find: Finds the studies under a path: those of CT by default.

    Returns:
        Sorted by archive and path; a patient may have several studies.

    Raises:
        UsageError: If there is no such folder.
        CohortError: If neither layout is there, or they contradict themselves or each other.
    """
    rows: list[_Row] = []
    for number, root in enumerate(map(Path, roots), start=1):
        if not root.is_dir():
            raise UsageError(
                f"expected the folder of a labelled archive, got {str(root)!r}. Check the path."
            )
        table = root / "cohort.csv"
        listed = (
            _rows_of_table(root, table, classes)
            if table.is_file()
            else _rows_of_folders(root, classes, find)
        )
        of_many = f" of archive {number}" if len(roots) > 1 else ""
        rows += [replace(r, root=root, where=r.where + of_many) for r in listed]
    _check_patients(rows)
    cohort = _apart([study for row in rows for study in _studies(row, find)], find)
    places: dict[str, str] = {}
    for entry, where in cohort:
        if entry.study.id in places:
            raise CohortError(
                f"{where} and {places[entry.study.id]} hold the same study. Remove one of them."
            )
        places[entry.study.id] = where
    order = {Path(root): number for number, root in enumerate(roots)}
    return tuple(
        sorted((e for e, _ in cohort), key=lambda e: (order[e.root], str(e.path), e.study.id))
    )


def _parse(text: str, classes: Sequence[Classes]) -> Label:
    for known in classes:
        with suppress(CohortError):
            return known.parse(text)
    raise CohortError(f"unknown label {text!r}; known labels are {_titles(classes)}")


def _titles(classes: Sequence[Classes], *, mark: str = "") -> str:
    titles = dict.fromkeys(title for known in classes for title in known.titles)
    return ", ".join(f"{title}{mark}" for title in titles)


def _rows_of_folders(root: Path, classes: Sequence[Classes], find: Finder) -> Iterator[_Row]:
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
            f"expected {_titles(classes, mark='/')} or cohort.csv in the archive, got none of "
            "them. Add one."
        )
    for number, folder in enumerate(others, start=1):
        if count := len(find(folder)):
            raise CohortError(
                f"folder {number} of {len(others)} in the archive that name no class holds {count} "
                f"scans; classes are {_titles(classes)}. Rename it, or move it out of the "
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
            yield _Row(where, entry, _patient_name(entry), label)


def _entries(folder: Path, what: str) -> list[Path]:
    """What lies in a folder, hidden files and links left out."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise CohortError(f"{what} cannot be read ({error.strerror}); check its rights") from None
    return [e for e in entries if not e.name.startswith(".") and not e.is_symlink()]


def _patient_name(entry: Path) -> str:
    name = entry.name
    if entry.is_file():
        for suffix in (*_SUFFIXES, *_PICTURE_SUFFIXES):
            name = name.removesuffix(suffix)
    return name


def _rows_of_table(root: Path, table: Path, classes: Sequence[Classes]) -> Iterator[_Row]:
    inside = root.resolve()
    for row in read_table(table, _REQUIRED, _OPTIONAL, entry="study").rows:
        where, cells = f"cohort.csv line {row.line}", row.cells
        empty = [name for name in _REQUIRED if not cells[name]]
        if empty or row.has_surplus:
            raise CohortError(
                f"{where}: expected {', '.join(_REQUIRED)}, "
                + (f"{', '.join(empty)} is empty" if empty else "got more cells than columns")
            )
        path = _inside(inside, root / cells["study"], where, "study")
        lesions = None
        if cells["lesions"]:
            lesions = _inside(inside, root / cells["lesions"], where, "lesion mask")
        try:
            label = _parse(cells["label"], classes)
        except CohortError as error:
            raise CohortError(f"{where}: {error}") from None
        yield _Row(
            where,
            path,
            cells["patient"],
            label,
            cells["site"] or None,
            cells["split"] or None,
            lesions=lesions,
        )


def _inside(archive: Path, path: Path, where: str, what: str) -> Path:
    if not path.resolve().is_relative_to(archive):
        raise CohortError(f"{where}: the path leaves the archive; give one relative to it")
    if not path.exists():
        raise CohortError(f"{where}: the {what} is missing; check its path")
    return path


def _check_patients(rows: list[_Row]) -> None:
    labels: dict[str, _Row] = {}
    splits: dict[str, _Row] = {}
    for row in rows:
        first = labels.setdefault(row.patient, row)
        if first.label is not row.label:
            raise CohortError(
                f"{row.where}: its patient is {row.label} here and {first.label} in {first.where}. "
                "Give a patient one label; if they are two people, rename one, or tell them apart "
                "in cohort.csv."
            )
        if row.split is not None:
            first = splits.setdefault(row.patient, row)
            if first.split != row.split:
                raise CohortError(
                    f"{row.where}: its patient is in split {row.split} here and in {first.split} "
                    f"in {first.where}. Give a patient one split."
                )


def _studies(row: _Row, find: Finder) -> list[tuple[CohortStudy, str]]:
    studies = find(row.path)
    if not studies:
        raise CohortError(f"{row.where} holds no scan; remove it or add its files")
    return [
        (
            CohortStudy(
                study,
                row.path.relative_to(row.root),
                row.patient,
                row.label,
                row.site,
                row.split,
                row.root,
                row.lesions,
            ),
            row.where,
        )
        for study in studies
    ]


def _apart(cohort: list[tuple[CohortStudy, str]], find: Finder) -> list[tuple[CohortStudy, str]]:
    """The studies, those apart that share an id and have nothing but a study UID in common.

    Anonymisers write one UID for all patients. Found together, such scans are distinguished.
    """
    alike: dict[str, list[int]] = {}
    for place, (entry, _) in enumerate(cohort):
        alike.setdefault(entry.study.id, []).append(place)
    out = list(cohort)
    for places in alike.values():
        if len(places) < 2:
            continue
        owner_of = {file: place for place in places for file in cohort[place][0].study.files}
        together = find([cohort[place][0].study.path for place in places])
        owners = [{owner_of.get(file) for file in study.files} for study in together]
        # Each must hold one of them and no other.
        if sorted(map(len, owners)) != [1] * len(places) or len(set.union(*owners)) != len(places):
            continue
        for study, (owner,) in zip(together, owners, strict=True):
            if owner is not None:
                out[owner] = (replace(cohort[owner][0], study=study), cohort[owner][1])
    return out
