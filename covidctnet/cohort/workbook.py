"""An XLSX file as a sheet: its sizes are checked before anything is unpacked, formulas not run."""

from __future__ import annotations

import posixpath
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from covidctnet.cohort.sheet import MAX_ROWS, Cell, Sheet, check_size, sheet_of
from covidctnet.errors import CohortError, UsageError
from covidctnet.io.archive import BadArchiveError, Member, members

__all__ = ["read_workbook"]

MAX_ENTRIES = 2_000
MAX_UNPACKED_BYTES = 256 * 2**20
# A sheet may skip lines; more than a spreadsheet has is an attack.
_MAX_LINES = 1_100_000
# Spreadsheets keep fifteen digits of a number.
_EXACT = 10**15
_OLD_OR_LOCKED = b"\xd0\xcf\x11\xe0"
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\b[^>]*?\bref=[\"']([A-Z0-9:$]{2,40})[\"']")
_OFFICE = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"


def read_workbook(path: Path, sheet: str = "") -> Sheet:
    """Read one sheet of an XLSX file.

    Args:
        path: The file.
        sheet: Its name; needed where several sheets are shown.

    Raises:
        UsageError: If there is no such sheet, several and none is named, the file is larger than
            any table of labels, or openpyxl is not installed.
        CohortError: If the file is damaged, locked, or made to do harm.
    """
    parts = _checked(path)
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise UsageError(
            f"reading {path.name} needs openpyxl, which is not installed. Install "
            "'covidctnet[tables]', or save the table as CSV."
        ) from None
    try:
        # It warns of what a sheet looks like, which is of no interest here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
            with closing(book):
                chosen, notes = _choose(path.name, book, sheet)
                lines = list(_lines(path.name, chosen))
    except (CohortError, UsageError):
        raise
    # A damaged workbook fails in more ways than can be named.
    except Exception as error:
        raise _damaged(path.name, type(error).__name__) from None
    merged = _merged(parts, str(chosen.title))
    return sheet_of(path.name, str(chosen.title), lines, merged=merged, notes=notes)


def _checked(path: Path) -> Mapping[str, Member]:
    """The parts of a workbook by name, none of them absurd.

    Raises:
        UsageError: If it unpacks to more than any table of labels.
        CohortError: If it is no workbook, or declares entities, which can grow without end.
    """
    with path.open("rb") as file:
        if file.read(4) == _OLD_OR_LOCKED:
            raise CohortError(
                f"{path.name} is locked by a password, or an old .xls. Save it as .xlsx without "
                "a password, or as CSV."
            )
    try:
        found = members(path)
    except (BadArchiveError, OSError) as error:
        raise _damaged(path.name, str(error)) from None
    total = sum(part.size for part in found)
    if len(found) > MAX_ENTRIES or total > MAX_UNPACKED_BYTES:
        raise UsageError(
            f"expected a table that unpacks to at most {MAX_UNPACKED_BYTES} bytes in "
            f"{MAX_ENTRIES} parts, {path.name} has {total} in {len(found)}. Save the labels alone "
            "in a new file."
        )
    parts = {part.inner: part for part in found}
    if not any(name.startswith("xl/") for name in parts):
        raise _damaged(path.name, "it holds no workbook")
    try:
        for name, part in parts.items():
            if name.endswith((".xml", ".rels")):
                # Two bytes a letter hide a word from who looks for one.
                content = part.open().read().replace(b"\0", b"")
                if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
                    raise CohortError(
                        f"{path.name} declares entities, as no spreadsheet does. Save it again "
                        "from the program that you made it with."
                    )
    except (BadArchiveError, OSError) as error:
        raise _damaged(path.name, str(error)) from None
    return parts


def _damaged(name: str, why: str) -> CohortError:
    return CohortError(
        f"{name} cannot be read as XLSX ({why}). Save it again from the program that you made it "
        "with, or save it as CSV."
    )


def _choose(name: str, book: Any, asked: str) -> tuple[Any, list[str]]:
    """The sheet that was asked for, or the only one that is shown."""
    sheets = {str(sheet.title): sheet for sheet in book.worksheets}
    if asked:
        if asked not in sheets:
            raise UsageError(
                f"expected one of the sheets {', '.join(map(repr, sheets))} of {name}, got "
                f"{asked!r:.80}. Name one with --sheet."
            )
        return sheets[asked], []
    shown = {t: s for t, s in sheets.items() if getattr(s, "sheet_state", "visible") == "visible"}
    if len(shown) != 1:
        raise UsageError(
            f"{name} has {len(shown)} sheets: {', '.join(map(repr, shown)) or 'none is shown'}. "
            "Say which one holds the labels: --sheet NAME."
        )
    (chosen,) = shown.values()
    hidden = len(sheets) - 1
    return chosen, [f"{hidden} hidden sheets were passed over"] if hidden else []


def _lines(name: str, sheet: Any) -> Iterator[tuple[int, tuple[Cell, ...]]]:
    count = 0
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number > _MAX_LINES:
            raise UsageError(f"{name} has more lines than any spreadsheet. Save the labels alone.")
        used = [place for place, value in enumerate(cells, start=1) if value not in (None, "")]
        if not used:
            continue
        count += 1
        check_size(name, min(count, MAX_ROWS + 1), used[-1])
        yield number, tuple(_cell(value) for value in cells[: used[-1]])


def _cell(value: Any) -> Cell:
    if value is None:
        return Cell()
    if isinstance(value, bool):
        return Cell("yes" if value else "no", "text")
    if isinstance(value, date | time | timedelta):
        return Cell("", "date")
    if isinstance(value, int | float):
        if abs(value) >= _EXACT:
            return Cell(f"{value:.6e}", "rounded")
        return Cell(str(int(value)) if value == int(value) else f"{value:.12g}", "number")
    text = str(value).strip()
    if text.startswith("#") and text.rstrip("!?").isupper():
        return Cell(text[:20], "error")
    return Cell(text, "text") if text else Cell()


def _merged(parts: Mapping[str, Member], title: str) -> list[str]:
    """Ranges of merged cells of a sheet; of all sheets where its part cannot be told."""
    sheets = [name for name in parts if re.fullmatch(r"xl/worksheets/[^/]+\.xml", name)]
    part = _part_of(parts, title)
    chosen = [part] if part in parts else sheets
    return [
        ref.decode() for name in chosen for ref in _MERGED.findall(parts[str(name)].open().read())
    ]


def _part_of(parts: Mapping[str, Member], title: str) -> str | None:
    """The name of the part that holds a sheet."""
    book, rels = parts.get("xl/workbook.xml"), parts.get("xl/_rels/workbook.xml.rels")
    if book is None or rels is None:
        return None
    try:
        targets = {
            one.get("Id"): one.get("Target", "") for one in ElementTree.parse(rels.open()).getroot()
        }
        for one in ElementTree.parse(book.open()).getroot().iter():
            if one.tag.endswith("}sheet") and one.get("name") == title:
                target = targets.get(one.get(f"{_OFFICE}id"), "")
                return posixpath.normpath(posixpath.join("/xl", target)).lstrip("/")
    except ElementTree.ParseError:
        return None
    return None
