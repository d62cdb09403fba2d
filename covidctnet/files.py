"""Files that are written whole or not at all, and tables that people write."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from covidctnet.errors import CohortError, StorageError, UsageError

__all__ = [
    "Table",
    "TableRow",
    "claim_folder",
    "harmless",
    "is_leftover",
    "make_folder",
    "number_text",
    "read_table",
    "remove_leftovers",
    "table_text",
    "unwritable",
    "write_folder_whole",
    "write_whole",
]

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_SUFFIX = ".unfinished"
# The second is that of preprocessed volumes.
_SUFFIXES = (_SUFFIX, ".part")


def write_whole(path: Path, content: str | bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file so that no reader ever sees a part of it.

    The bytes go to a temporary file next to `path`, which takes its name once they are all on disk.

    Args:
        path: The file to write or replace; its folder exists.
        content: Text, which becomes UTF-8, or bytes, whole or in pieces.

    Raises:
        StorageError: If the disk is full or refuses; `path` is then as it was before.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
    if isinstance(content, str):
        content = content.encode()
    pieces = [content] if isinstance(content, bytes) else content
    try:
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the one call that is atomic on every system
    except OSError as error:
        raise unwritable(path.name, error) from error
    finally:
        # Gone already when all went well; left by an error or an interrupt otherwise.
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_folder_whole(folder: Path, files: Iterable[tuple[str, bytes]]) -> list[str]:
    """Write a folder of files that is there with all of them, or as it was before.

    Args:
        folder: Replaced with all that is in it; without files it is removed.
        files: Name and content of each; made while they are written.

    Returns:
        The names.

    Raises:
        StorageError: If the disk is full or refuses.
    """
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{_SUFFIX}")
    names = []
    try:
        for name, content in files:
            temporary.mkdir(parents=True, exist_ok=True)
            write_whole(temporary / name, content)
            names.append(name)
        if folder.exists():
            shutil.rmtree(folder)
        if names:
            temporary.rename(folder)
    except OSError as error:
        raise unwritable(folder.name, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return names


def make_folder(path: Path) -> None:
    """Make a folder for results, and those above it.

    Raises:
        UsageError: If there is a file of that name, or the folder above may not be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise UsageError(f"expected a folder, {path.name!r} is a file; give another name") from None
    except OSError as error:
        raise UsageError(
            f"the folder {path.name!r} cannot be made ({error.strerror}); check the rights of the "
            "one above, or give another"
        ) from None


def claim_folder(folder: Path, plan_file: str, plan: object, *, what: str) -> None:
    """Make a new folder for a plan, or take up one of the very same plan.

    Args:
        folder: New, empty, or of an earlier run.
        plan_file: Name of the file in it that tells the plan.
        plan: Ready for JSON.
        what: What the folder holds, for messages.

    Raises:
        UsageError: If it holds something else, or another plan's files.
    """
    plain = json.loads(json.dumps(plan))
    file = folder / plan_file
    if file.is_file():
        try:
            same = json.loads(file.read_text(encoding="utf-8")) == plain
        except ValueError:
            same = False
        if not same:
            raise UsageError(f"the folder holds another {what}; pick a new folder, or remove it")
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"expected a new or empty folder for the {what}, got one with other files")
    make_folder(folder)
    write_whole(file, json.dumps(plain, indent=1) + "\n")


def unwritable(what: str, error: OSError) -> StorageError:
    """The error of a disk that is full or says no.

    Args:
        what: Could not be written; no path.
        error: What the system said.
    """
    # pydicom raises the error again without its number; the first of the chain has it.
    cause: BaseException | None = error
    while cause is not None and not getattr(cause, "strerror", None):
        cause = cause.__cause__ or cause.__context__
    reason = getattr(cause, "strerror", None) or type(error).__name__
    return StorageError(
        f"expected to write {what}, got: {reason}. Make room or pick another folder, then run "
        "again: what was finished is kept."
    )


def table_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as comma-separated text, one line a row, safe to open in a spreadsheet."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([harmless(x) if isinstance(x, str) else x for x in row] for row in rows)
    return text.getvalue()


def harmless(cell: str) -> str:
    """A cell that no spreadsheet runs as a formula and no reader takes for several rows.

    Names of files and folders may hold anything. What is no text, or moves to another line or
    column, is escaped; what begins a formula gets a quotation mark in front, unless it is a number.
    """
    escaped = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cell
    )
    if not escaped.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")):
        return escaped
    return escaped if _NUMBER.fullmatch(escaped) else f"'{escaped}"


def number_text(value: float | None) -> str:
    """A number for a cell of a table, with six digits; empty where it is not known or NaN."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


@dataclass(frozen=True)
class TableRow:
    """One row of a table that a person wrote.

    Attributes:
        line: Where it ends in the file, from 1.
        cells: Text by the name of the column; empty where a cell or a column is missing.
        has_surplus: Whether it has more cells than there are columns.
        others: Text by the name of the columns that were not asked for.
    """

    line: int
    cells: Mapping[str, str]
    has_surplus: bool
    others: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table that a person wrote.

    Attributes:
        rows: At least one.
        other_columns: Names that were not asked for.
    """

    rows: tuple[TableRow, ...]
    other_columns: tuple[str, ...]


def read_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), *, entry: str = "entry"
) -> Table:
    """Read a comma-separated table with a line of names; their case does not matter.

    Args:
        path: The file, in UTF-8.
        required: Columns that it must have.
        optional: Columns that it may have.
        entry: What a row is of, for messages.

    Raises:
        CohortError: If it is no such table, lacks a column, names one twice, or has no rows.
    """
    try:
        # utf-8-sig: spreadsheets put a mark at the start.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            missing = [name for name in required if name not in names]
            if missing:
                separated = any(mark in names[0] for mark in ";\t") if names else False
                raise CohortError(
                    f"{path.name} lacks the columns {', '.join(missing)}"
                    + ("; expected commas between the cells" if separated else "")
                )
            doubled = sorted({name for name in names if name and names.count(name) > 1})
            if doubled:
                raise CohortError(f"{path.name} has the columns {', '.join(doubled)} twice")
            reader.fieldnames = names
            asked = (*required, *optional)
            others = [name for name in names if name and name not in asked]
            rows = tuple(
                TableRow(
                    reader.line_num,
                    {name: (record.get(name) or "").strip() for name in asked},
                    None in record,
                    {name: (record.get(name) or "").strip() for name in others},
                )
                for record in reader
            )
    except (UnicodeDecodeError, csv.Error):
        raise CohortError(f"{path.name} is no comma-separated table in UTF-8") from None
    except OSError as error:
        raise CohortError(
            f"{path.name} cannot be read ({error.strerror}); check its rights"
        ) from None
    if not rows:
        raise CohortError(f"expected a row for every {entry} in {path.name}, got none. Add them.")
    return Table(rows, tuple(others))


def is_leftover(path: Path) -> bool:
    """Whether a killed run left this file half-written."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIXES)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed run left half-written in `folder`; only for its sole writer.

    What another run is writing looks the same: see `covidctnet.writer.SoleWriter`.
    """
    for path in folder.glob(".*"):
        if is_leftover(path):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
