"""Tables of labels as people save them: text with separators, or XLSX; nothing in them is run."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from covidctnet.cohort.sheet import Cell, Sheet, check_size, sheet_of
from covidctnet.errors import CohortError, UsageError

__all__ = ["MAX_BYTES", "read_sheet"]

# Far more than any cohort has.
MAX_BYTES = 64 * 2**20
_SEPARATORS = ",;\t"


def read_sheet(path: Path, sheet: str = "") -> Sheet:
    """Read a table of labels; nothing in it is run.

    Args:
        path: ``.csv``, ``.tsv`` or ``.txt`` with commas, semicolons or tabs, or ``.xlsx``.
        sheet: Which sheet of an ``.xlsx``; needed where several are shown.

    Raises:
        UsageError: If it is of another kind, too large, or has no such sheet.
        CohortError: If it cannot be read, or has no names of columns or no rows.
    """
    suffix = path.suffix.lower()
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(
            f"expected a table, {path.name} cannot be read ({error.strerror}). Check its name "
            "and its rights."
        ) from None
    if not path.is_file():
        raise UsageError(f"expected a table, {path.name} is a folder or a device. Name a file.")
    if size > MAX_BYTES:
        raise UsageError(
            f"expected a table of at most {MAX_BYTES} bytes, {path.name} has {size}. Keep the "
            "labels in a file of their own."
        )
    if suffix == ".xlsx":
        # Imported here: it is needed by few.
        from covidctnet.cohort.workbook import read_workbook

        return read_workbook(path, sheet)
    if suffix not in (".csv", ".tsv", ".txt"):
        raise UsageError(
            f"expected a table as .csv or .xlsx, got {path.name}. Save it as one of these."
        )
    if sheet:
        raise UsageError(f"{path.name} has no sheets. Leave --sheet out.")
    return _of_text(path)


def _of_text(path: Path) -> Sheet:
    text, notes = _decoded(path)
    if "\0" in text:
        raise CohortError(f"{path.name} is no table of text. Save it as CSV.")
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=first.count)
    if separator != ",":
        notes.append("the cells are separated by " + ("tabs" if separator == "\t" else separator))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    lines: list[tuple[int, list[Cell]]] = []
    try:
        for record in reader:
            lines.append((reader.line_num, [Cell.of_text(cell) for cell in record]))
            check_size(path.name, len(lines), len(record))
    except csv.Error:
        raise CohortError(
            f"{path.name}, line {reader.line_num}: a cell has no end, or is longer than any label."
            " Check the quotation marks."
        ) from None
    return sheet_of(path.name, "", lines, notes=notes)


def _decoded(path: Path) -> tuple[str, list[str]]:
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16"), []
        except UnicodeDecodeError:
            raise CohortError(f"{path.name} is no table of text. Save it as CSV.") from None
    try:
        return content.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        # What spreadsheets of Western Europe write when nobody asks them for UTF-8.
        return content.decode("cp1252", errors="replace"), ["read as Windows-1252, it is no UTF-8"]
