"""A labelled archive: which study belongs to which patient, label, site and split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.cohort.layouts import (
    TABLE,
    CohortRow,
    Finder,
    plain_id,
    refuse,
    rows_of_folders,
    rows_of_table,
)
from covidctnet.cohort.nnunet import is_nnunet, rows_of_nnunet
from covidctnet.cohort.traits import kept_columns
from covidctnet.errors import CohortError, UsageError
from covidctnet.io.discover import Study, find_studies
from covidctnet.io.lesions import MaskFile

__all__ = ["CohortStudy", "read_cohort"]


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
        traits: What the other columns say of it, text by name, where figures may be grouped by it.
        lesion_values: Of the mask, those that are lesions; empty for the codes of
            `covidctnet.io.lesions`.
    """

    study: Study
    path: Path
    patient: str
    label: Label
    site: str | None = None
    split: str | None = None
    root: Path = Path()
    lesions: Path | None = None
    traits: tuple[tuple[str, str], ...] = ()
    lesion_values: tuple[int, ...] = ()

    @property
    def mask(self) -> MaskFile | None:
        """The mask of its lesions, with what its values mean."""
        return None if self.lesions is None else MaskFile(self.lesions, self.lesion_values)


def read_cohort(
    *roots: Path, classes: Sequence[Classes] = (CHEST_CT,), find: Finder = find_studies
) -> tuple[CohortStudy, ...]:
    """Read the layout of one archive or more: ``cohort.csv``, that of nnU-Net, or a folder a class.

    ``cohort.csv`` has the columns study (path relative to the archive), patient, label and,
    optionally, site, split, lesions (path of a NIfTI mask, for evaluations) and id (which study of
    those under the path, as `covidctnet.cohort.draft` writes it). Other columns become traits, but
    for those that could identify a person (see `covidctnet.cohort.traits`). Without it, folders
    named after the classes, such as ``Control``, ``Covid-19`` and ``CAP`` (case does not matter),
    hold a folder or file a patient; folders of other names hold no scans.

    A folder with ``dataset.json`` and ``imagesTr`` is read as nnU-Net has it, a case as a patient;
    see `covidctnet.cohort.nnunet`.

    Patients of the same name in two archives are taken for the same patient, as the safe side is:
    a patient never is in two splits.

    Args:
        roots: The archives; instead of a folder, a table that the caller names, whose paths may be
            absolute.
        classes: Of the labels; of several sets, the first that knows a label decides.
        find: Finds the studies under a path: those of CT by default.

    Returns:
        Sorted by archive and path; a patient may have several studies.

    Raises:
        UsageError: If there is no such folder.
        CohortError: If neither layout is there, or they contradict themselves or each other.
    """
    rows: list[CohortRow] = []
    for number, given in enumerate(map(Path, roots), start=1):
        is_table = given.is_file() and given.suffix.lower() == ".csv"
        root, table = (given.parent, given) if is_table else (given, given / TABLE)
        if not root.is_dir():
            raise UsageError(
                f"expected the folder of a labelled archive, got {str(root)!r}. Check the path."
            )
        listed: Iterable[CohortRow]
        if table.is_file():
            listed = rows_of_table(root, table, classes, anywhere=is_table)
        elif is_nnunet(root):
            listed = rows_of_nnunet(root, classes)
        else:
            listed = rows_of_folders(root, classes, find)
        of_many = f" of archive {number}" if len(roots) > 1 else ""
        rows += [replace(r, root=root, where=r.where + of_many) for r in listed]
    _check_patients(rows)
    rows = _with_traits(rows)
    by_id = _found_by_id(rows, find)
    cohort = _apart([study for row in rows for study in _studies(row, find, by_id)], find)
    places: dict[str, str] = {}
    for entry, where in cohort:
        if entry.study.id in places:
            raise CohortError(
                f"{where} and {places[entry.study.id]} hold the same study. Remove one of them."
            )
        places[entry.study.id] = where
    order = {row.root: number for number, row in enumerate(rows)}
    return tuple(
        sorted((e for e, _ in cohort), key=lambda e: (order[e.root], str(e.path), e.study.id))
    )


def _check_patients(rows: list[CohortRow]) -> None:
    labels: dict[str, CohortRow] = {}
    splits: dict[str, CohortRow] = {}
    mistakes: list[str] = []
    for row in rows:
        first = labels.setdefault(row.patient, row)
        if first.label is not row.label:
            mistakes.append(
                f"{row.where}: its patient is {row.label} here and {first.label} in {first.where}. "
                "Give a patient one label; if they are two people, rename one, or tell them apart "
                "in cohort.csv."
            )
        if row.split is not None:
            first = splits.setdefault(row.patient, row)
            if first.split != row.split:
                mistakes.append(
                    f"{row.where}: its patient is in split {row.split} here and in {first.split} "
                    f"in {first.where}. Give a patient one split."
                )
    refuse(mistakes)


def _with_traits(rows: Sequence[CohortRow]) -> list[CohortRow]:
    """The rows with what their other columns may say, of all archives together."""
    names = dict.fromkeys(name for row in rows for name in row.others)
    kept, _ = kept_columns({name: [row.others.get(name, "") for row in rows] for name in names})
    return [
        replace(row, traits=tuple((name, text) for name in kept if (text := row.others.get(name))))
        for row in rows
    ]


def _found_by_id(rows: Sequence[CohortRow], find: Finder) -> dict[tuple[Path, str], Study]:
    """The studies of the rows that name one by its id, by archive and id.

    Looked for at once: a flat export has one path for all of them.
    """
    out: dict[tuple[Path, str], Study] = {}
    for root in dict.fromkeys(row.root for row in rows if row.id):
        paths = dict.fromkeys(row.path for row in rows if row.id and row.root == root)
        out |= {(root, plain_id(study.id)): study for study in find(list(paths))}
    refuse(
        [
            f"{row.where}: no study under its path has this id: the files have changed since the "
            "table was drafted. Draft it again with covidctnet cohort"
            for row in rows
            if row.id and (row.root, row.id) not in out
        ]
    )
    return out


def _studies(
    row: CohortRow, find: Finder, by_id: Mapping[tuple[Path, str], Study]
) -> list[tuple[CohortStudy, str]]:
    studies = [by_id[row.root, row.id]] if row.id else find(row.path)
    if not studies:
        raise CohortError(f"{row.where} holds no scan; remove it or add its files")
    is_inside = row.path.is_relative_to(row.root)
    return [
        (
            CohortStudy(
                study,
                row.path.relative_to(row.root) if is_inside else row.path,
                row.patient,
                row.label,
                row.site,
                row.split,
                row.root,
                row.lesions,
                row.traits,
                row.lesion_values,
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
