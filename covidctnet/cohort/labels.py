"""Which columns of a table of labels say what: the key of a study, its label, site and split."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from covidctnet.classes import Classes, Label
from covidctnet.cohort.export import ExportedStudy
from covidctnet.cohort.sheet import Cell, Sheet
from covidctnet.errors import CohortError, UsageError

__all__ = ["KEYS", "Columns", "Key", "find_columns", "index_of", "key_text", "read_map"]

Key = Literal["study", "accession", "patient"]
# The most specific first.
KEYS: tuple[Key, ...] = ("study", "accession", "patient")
_TITLES: Mapping[Key, str] = {
    "study": "StudyInstanceUID",
    "accession": "accession number",
    "patient": "PatientID",
}
_NAMES: Mapping[str, frozenset[str]] = {
    "study": frozenset({"studyinstanceuid", "studyuid", "study", "uid", "suid"}),
    "accession": frozenset(
        {
            "accession",
            "accessionnumber",
            "accessionno",
            "accessionid",
            "accessionnr",
            "acc",
            "accno",
        }
    ),
    "patient": frozenset({"patientid", "patient", "pid", "mrn", "patid", "patientno", "subject"}),
    "label": frozenset({"label", "class", "diagnosis", "group", "category", "dx", "truth"}),
    "site": frozenset({"site", "hospital", "centre", "center", "institution", "clinic"}),
    "split": frozenset({"split", "set", "partition", "subset"}),
}
# A column is a key by its cells where so many of them name a study.
_MOSTLY = 0.5


@dataclass(frozen=True)
class Columns:
    """Which column of a sheet says what, by its number.

    Attributes:
        kind: What the key is.
        key: Of the key.
        label: Of the label.
        site: Of the site, if there is one.
        split: Of the split, if there is one.
        others: Keys besides, which must not contradict the first.
        extra: All others with a name.
    """

    kind: Key
    key: int
    label: int
    site: int | None
    split: int | None
    others: tuple[tuple[Key, int], ...]
    extra: tuple[int, ...]


def read_map(pairs: Sequence[str], classes: Classes) -> dict[str, Label]:
    """What ``--map "Pneumonia=CAP"`` says.

    Raises:
        UsageError: If one is no pair, names no class, or is there twice with two.
    """
    out: dict[str, Label] = {}
    for pair in pairs:
        text, equals, title = (part.strip() for part in pair.rpartition("="))
        if not text or not equals:
            raise UsageError(
                f'expected --map "THEIRS=OURS", got {pair!r:.80}. Ours are '
                f"{', '.join(classes.titles)}."
            )
        try:
            label = classes.parse(title)
        except CohortError as error:
            raise UsageError(f"--map {pair!r:.80}: {error}") from None
        if out.setdefault(plain(text), label) is not label:
            raise UsageError(f"--map gives {text!r:.80} two labels. Leave one out.")
    return out


def plain(text: str) -> str:
    """A label as it is compared, whatever its case and blanks."""
    return " ".join(text.casefold().split())


def key_text(text: str) -> str:
    """A key as it is compared."""
    return text.strip().removeprefix("'").casefold()


def index_of(studies: Sequence[ExportedStudy], kind: Key) -> dict[str, list[ExportedStudy]]:
    """Studies by a key, as it is compared."""
    out: dict[str, list[ExportedStudy]] = {}
    for one in studies:
        texts = {"study": one.uid, "accession": one.accession, "patient": one.patient}
        if text := key_text(texts[kind]):
            out.setdefault(text, []).append(one)
    return out


def find_columns(
    sheet: Sheet,
    studies: Sequence[ExportedStudy],
    *,
    join: str,
    label_column: str,
    labels: Mapping[str, Label],
    classes: Classes,
) -> Columns:
    """Find out which column says what; what is not clear must be said.

    Args:
        sheet: The table.
        studies: Of the export.
        join: ``accession``, ``patient`` or ``study``, with ``=COLUMN`` where the column's name does
            not tell; empty to look for it.
        label_column: Name of the column of the labels; empty to look for it.
        labels: See `read_map`.
        classes: Of the labels.

    Raises:
        UsageError: If it is not clear, or a column that was named is not there.
    """
    keys = _keys(sheet, studies, join)
    kind, key = keys[0]
    label = _label(sheet, label_column, labels, classes, {column for _, column in keys})
    taken = {label, *(column for _, column in keys)}
    site, split = (_named(sheet, what, taken) for what in ("site", "split"))
    taken |= {column for column in (site, split) if column is not None}
    extra = tuple(
        n for n, title in enumerate(sheet.header) if n not in taken and title != "no name"
    )
    return Columns(kind, key, label, site, split, tuple(keys[1:]), extra)


def _keys(sheet: Sheet, studies: Sequence[ExportedStudy], join: str) -> list[tuple[Key, int]]:
    """The key that studies are found by, and those that it is checked against."""
    named, _, column = (part.strip() for part in join.partition("="))
    by_name = [(kind, c) for kind in KEYS if (c := _named(sheet, kind, set())) is not None]
    if named:
        found = next((kind for kind in KEYS if plain_name(named) in (kind, *_NAMES[kind])), None)
        if found is None:
            raise UsageError(f"expected --join {', '.join(KEYS)}, got {named!r:.80}")
        place = _column(sheet, column, "--join") if column else _named(sheet, found, set())
        if place is None:
            raise UsageError(
                f"no column of {sheet.where()} is named as a {_TITLES[found]} is. Say which one: "
                f"--join {found}=COLUMN; its columns are {', '.join(sheet.header)}."
            )
        return [(found, place), *(k for k in by_name if k[0] != found and k[1] != place)]
    known = {kind: set(index_of(studies, kind)) for kind in KEYS}
    hits = {
        (kind, place): _hits(sheet, place, known[kind])
        for kind in KEYS
        for place in range(len(sheet.header))
    }
    if live := [key for key in by_name if hits[key] > 0]:
        return live
    likely = [key for key, share in hits.items() if share > _MOSTLY]
    if len(likely) == 1:
        return likely
    if likely:
        words = " or ".join(f"--join {kind}={sheet.header[place]!r}" for kind, place in likely)
        raise UsageError(f"several columns of {sheet.where()} name the studies. Add {words}.")
    if by_name:
        return by_name
    raise UsageError(
        f"no column of {sheet.where()} has the accession numbers, PatientIDs or UIDs of this "
        f"export; its columns are {', '.join(sheet.header)}. If one has: --join accession=COLUMN."
    )


def _hits(sheet: Sheet, place: int, known: set[str]) -> float:
    """The share of a column's cells that name a study, with leading zeros or without."""
    short = {text.lstrip("0") for text in known}
    texts = [key_text(row.cells[place].text) for row in sheet.rows if row.cells[place].text]
    found = sum(text in known or text.lstrip("0") in short for text in texts)
    return found / len(texts) if texts else 0.0


def _label(
    sheet: Sheet,
    column: str,
    labels: Mapping[str, Label],
    classes: Classes,
    taken: set[int],
) -> int:
    if column:
        return _column(sheet, column, "--label-column")
    if (place := _named(sheet, "label", taken)) is not None:
        return place
    likely = [
        place
        for place in range(len(sheet.header))
        if place not in taken and _are_labels([r.cells[place] for r in sheet.rows], labels, classes)
    ]
    if len(likely) == 1:
        return likely[0]
    raise UsageError(
        f"{'several columns' if likely else 'no column'} of {sheet.where()} may hold the label; "
        f"its columns are {', '.join(sheet.header)}. Say which: --label-column NAME."
    )


def _are_labels(cells: Sequence[Cell], labels: Mapping[str, Label], classes: Classes) -> bool:
    texts = [cell.text for cell in cells if cell.text]
    known = 0
    for text in texts:
        with suppress(CohortError):
            known += plain(text) in labels or bool(classes.parse(text).title)
    return bool(texts) and known > _MOSTLY * len(texts)


def _named(sheet: Sheet, what: str, taken: set[int]) -> int | None:
    """The first column with a name that is known for this."""
    for place, title in enumerate(sheet.header):
        if place not in taken and plain_name(title) in _NAMES[what]:
            return place
    return None


def _column(sheet: Sheet, name: str, option: str) -> int:
    for place, title in enumerate(sheet.header):
        if plain(title) == plain(name):
            return place
    raise UsageError(
        f"{option}: {sheet.where()} has no column {name!r:.80}; its columns are "
        f"{', '.join(sheet.header)}."
    )


def plain_name(title: str) -> str:
    """The name of a column as it is compared: its letters and digits."""
    return re.sub(r"[\W_]", "", title).casefold()
