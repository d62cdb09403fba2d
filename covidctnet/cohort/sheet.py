"""A table of labels that a person keeps, as cells that know where they stand and what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from covidctnet.errors import CohortError, UsageError

__all__ = ["MAX_COLUMNS", "MAX_ROWS", "Cell", "Row", "Sheet", "check_size", "sheet_of"]

# Far more than any cohort has.
MAX_ROWS = 100_000
MAX_COLUMNS = 512
# What a spreadsheet makes of a long number when it is saved as text.
_ROUNDED = re.compile(r"[+-]?\d+([.,]\d+)?[eE]\+?\d+")

Kind = Literal["empty", "text", "number", "date", "rounded", "error"]


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it holds, blanks around it taken off; of a date nothing.
        kind: ``number`` is a number for the program that wrote it: leading zeros are lost.
            ``rounded`` has more digits than the program keeps; ``error`` is a formula's.
    """

    text: str = ""
    kind: Kind = "empty"

    @classmethod
    def of_text(cls, text: str) -> Cell:
        """A cell of a table of text, which tells no numbers from text."""
        text = text.strip()
        if not text:
            return cls()
        return cls(text, "rounded" if _ROUNDED.fullmatch(text) else "text")


@dataclass(frozen=True)
class Row:
    """One row below the names of the columns.

    Attributes:
        line: In the file, from 1.
        cells: One a column.
    """

    line: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Sheet:
    """A table with its names of columns.

    Attributes:
        file: Name of the file.
        name: Of the sheet; empty for a file that has no sheets.
        header: Names of the columns, as they are written.
        rows: Those that are not empty.
        merged: Ranges of merged cells, such as ``A2:A5``.
        notes: What was decided about the file.
    """

    file: str
    name: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    merged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def where(self, line: int | None = None, column: int | None = None) -> str:
        """A place in words, such as ``labels.xlsx, sheet One, line 7, column C (Diagnosis)``."""
        words = [self.file]
        words += [f"sheet {self.name}"] if self.name else []
        words += [f"line {line}"] if line is not None else []
        if column is not None:
            words.append(f"column {letters(column)} ({self.header[column]})")
        return ", ".join(words)


def letters(column: int) -> str:
    """The name of a column as spreadsheets have it: A for 0, AA for 26."""
    text, number = "", column + 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("A") + rest) + text
    return text


def check_size(file: str, rows: int, columns: int) -> None:
    """A table is no larger than any cohort.

    Raises:
        UsageError: If it is.
    """
    if rows > MAX_ROWS or columns > MAX_COLUMNS:
        raise UsageError(
            f"expected a table of at most {MAX_ROWS} rows and {MAX_COLUMNS} columns, {file} has "
            "more. Keep the labels in a table of their own."
        )


def sheet_of(
    file: str,
    name: str,
    lines: Iterable[tuple[int, Sequence[Cell]]],
    *,
    merged: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Sheet:
    """A sheet of its lines: the first that is not empty names the columns.

    Raises:
        CohortError: If there are no rows below the names, or a name is there twice.
    """
    there = [(line, cells) for line, cells in lines if any(c.kind != "empty" for c in cells)]
    what = f"{file}, sheet {name}" if name else file
    if len(there) < 2:
        raise CohortError(
            f"expected names of columns and a row for every label in {what}, got "
            f"{'one line' if there else 'nothing'}. Fill it."
        )
    header = [cell.text for cell in there[0][1]]
    while header and not header[-1]:
        header.pop()
    plain = [title.casefold() for title in header if title]
    if doubled := sorted({title for title in plain if plain.count(title) > 1}):
        raise CohortError(
            f"{what}, line {there[0][0]}: the columns {', '.join(doubled)} are there twice. "
            "Rename or remove one of each."
        )
    width = max(len(header), *(_used(cells) for _, cells in there))
    header += [""] * (width - len(header))
    rows = tuple(
        Row(line, tuple(cells[:width]) + (Cell(),) * (width - len(cells)))
        for line, cells in there[1:]
    )
    names = tuple(title or "no name" for title in header)
    return Sheet(file, name, names, rows, tuple(merged), tuple(notes))


def _used(cells: Sequence[Cell]) -> int:
    return max((n for n, cell in enumerate(cells, start=1) if cell.kind != "empty"), default=0)
