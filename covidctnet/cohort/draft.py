"""A draft of ``cohort.csv`` from an export and a table of labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.cohort.export import ExportedStudy, read_export
from covidctnet.cohort.join import Labelled, join_labels
from covidctnet.cohort.label_table import read_sheet
from covidctnet.cohort.labels import read_map
from covidctnet.cohort.mistakes import Mistake
from covidctnet.cohort.traits import RESERVED, kept_columns
from covidctnet.errors import UsageError
from covidctnet.files import harmless, make_folder, table_text, write_whole

__all__ = ["Draft", "draft_cohort"]

_HEAD = ("study", "id", "patient", "label", "site", "split", "accession", "visit")
_SPELLINGS = {"gender": "sex"}


@dataclass(frozen=True)
class Draft:
    """What became of an export.

    Attributes:
        rows: Of ``cohort.csv``, the names of the columns first; without rows where nothing may be
            written.
        mistakes: All that is wrong or doubtful.
        studies: Found in the export.
        labels: Patients by the title of their label.
    """

    rows: tuple[tuple[str, ...], ...]
    mistakes: tuple[Mistake, ...]
    studies: int
    labels: Mapping[str, int]

    def write(self, file: Path) -> None:
        """Write the table."""
        make_folder(file.parent)
        write_whole(file, table_text(self.rows))


def draft_cohort(
    export: Path,
    file: Path,
    *,
    table: Path | None = None,
    sheet: str = "",
    join: str = "",
    label_column: str = "",
    relabel: Sequence[str] = (),
    partial: bool = False,
    classes: Classes = CHEST_CT,
    progress: Callable[[int, int], None] | None = None,
) -> Draft:
    """Draft a cohort; nothing is written.

    Args:
        export: Folder of DICOM or other scans, flat or nested.
        file: Where the table will lie. Paths in it are relative to its folder where the export
            lies in that, else absolute.
        table: Labels, see `covidctnet.cohort.label_table.read_sheet`; without, none are given.
        sheet: Of the table.
        join: See `covidctnet.cohort.labels.find_columns`.
        label_column: Likewise.
        relabel: See `covidctnet.cohort.labels.read_map`.
        partial: Leave out studies without a label, and labels without a study.
        classes: Of the labels.
        progress: See `read_export`.

    Raises:
        UsageError: If the export or the table is not there, or it is not clear which column says
            what.
        CohortError: If the table cannot be read.
    """
    labels = read_map(relabel, classes)
    if table is None and (sheet or join or label_column or relabel):
        raise UsageError(
            "--sheet, --join, --label-column and --map are of a table. Name it with --table."
        )
    asked = read_sheet(table, sheet) if table else None
    studies, mistakes = read_export(export, progress=progress)
    found: dict[str, Labelled] | None = None
    if asked:
        found, more = join_labels(
            asked,
            studies,
            classes=classes,
            labels=labels,
            join=join,
            label_column=label_column,
        )
        mistakes = [*mistakes, *more]
    chosen = [one for one in studies if found is None or one.study.id in found]
    columns, more = _columns(chosen, found or {}, asked.where() if asked else "")
    folder = file.resolve().parent
    rows = [_row(one, (found or {}).get(one.study.id), folder, columns, n)
            for n, one in enumerate(chosen)]  # fmt: skip
    more += [
        Mistake(0, one.where, "expected a path that a table can hold, got "
                "one with control characters. Rename it")
        for one, row in zip(chosen, rows, strict=True)
        if harmless(row[0]) != row[0]
    ]  # fmt: skip
    mistakes = [*mistakes, *more]
    stops = {"mistake"} if partial else {"mistake", "gap"}
    if any(one.kind in stops for one in mistakes) or (found is not None and not rows):
        rows = []
    patients = {one.patient: found[one.study.id].label.title for one in chosen} if found else {}
    head = (*_HEAD, *columns)
    return Draft(
        (head, *rows) if rows else (), tuple(mistakes), len(studies), Counter(patients.values())
    )


def _columns(
    studies: Sequence[ExportedStudy], found: Mapping[str, Labelled], table: str
) -> tuple[dict[str, Sequence[str]], list[Mistake]]:
    """Values of the columns that figures may be grouped by, of headers and table."""
    of_headers = {
        "age": ["" if math.isnan(one.age) else f"{one.age:.3g}" for one in studies],
        "sex": [one.sex for one in studies],
        "scanner": [one.scanner for one in studies],
        "kernel": [one.kernel for one in studies],
    }
    said: dict[str, list[str]] = {}
    for own in found.values():
        for title in own.extra:
            said.setdefault(title, [])
    for title, texts in said.items():
        texts += [found[one.study.id].extra.get(title, "") for one in studies]
    kept, left_out = kept_columns(said)
    doubts = [
        Mistake(0, f"{table}, column {title}", f"it is not kept as a stratum: {why}", "doubt")
        for title, why in left_out.items()
    ]
    out: dict[str, Sequence[str]] = dict(of_headers)
    for title, values in kept.items():
        name = " ".join(title.casefold().split())
        name = _SPELLINGS.get(name, name)
        if name in of_headers:
            # The table is the owner's word, the header the scanner's.
            out[name] = [v or header for v, header in zip(values, out[name], strict=True)]
        elif name in (*_HEAD, *RESERVED, "lesions", *out):
            text = "it is not kept as a stratum: cohort.csv has a column of this name"
            doubts.append(Mistake(0, f"{table}, column {title}", text, "doubt"))
        else:
            out[name] = values
    return out, doubts


def _row(
    one: ExportedStudy,
    said: Labelled | None,
    folder: Path,
    columns: Mapping[str, Sequence[str]],
    number: int,
) -> tuple[str, ...]:
    inside = one.path.is_relative_to(folder)
    path = (one.path.relative_to(folder) if inside else one.path).as_posix()
    if harmless(path) != path:
        # A path that begins as a formula does, or is none.
        path = f"./{path}"
    return (
        path,
        # A letter in front: a spreadsheet would take some ids for numbers.
        f"s{one.study.id}",
        one.patient,
        said.label.title if said else "",
        (said.site if said else "") or one.site,
        said.split if said else "",
        one.accession,
        "" if one.visit is None else str(one.visit),
        *(values[number] for values in columns.values()),
    )
