"""Tables for a paper: CSV as they are, LaTeX with intervals in one cell, one workbook of all."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

__all__ = ["escape_latex", "for_print", "latex", "read_rows", "workbook"]

Row = Sequence[str]

_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
# Ids may look like numbers: 000123456789 and 12345e67.
_TEXT_COLUMNS = {"study", "patient", "reader", "accession", "series"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": r"$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "µ": r"\textmu{}",
    "·": r"\textperiodcentered{}",
    "’": "'",
}
_NOT_ESTIMABLE = "n.e."
# Longer tables break over pages.
_MOST_ROWS = 40
# A sheet's name has at most 31 letters.
_LONGEST_SHEET = 31


def read_rows(text: str) -> list[list[str]]:
    """Rows of a comma-separated table, its line of names first."""
    return [row for row in csv.reader(io.StringIO(text)) if row]


def is_number(cell: str) -> bool:
    """Whether a cell is a number that a spreadsheet may take for one."""
    return bool(_NUMBER.fullmatch(cell))


def for_print(rows: Sequence[Row]) -> list[list[str]]:
    """A table for readers: three decimals, a figure and its interval in one cell.

    Args:
        rows: The line of names first. Columns ``value``, ``low`` and ``high``, or a figure ``x``
            with ``x_low`` and ``x_high``, become one column.
    """
    if not rows:
        return []
    names = list(rows[0])
    ends: dict[int, tuple[int, int]] = {}
    for place, name in enumerate(names):
        pair = (f"{name}_low", f"{name}_high")
        if name not in ("low", "high") and all(p in names for p in pair):
            ends[place] = (names.index(pair[0]), names.index(pair[1]))
    if "low" in names and "high" in names and names.index("low") > 0:
        ends[names.index("low") - 1] = (names.index("low"), names.index("high"))
    gone = {place for pair in ends.values() for place in pair}
    kept = [place for place in range(len(names)) if place not in gone]
    out = [[_title(names[place], place in ends) for place in kept]]
    for row in rows[1:]:
        cells = [*row, *[""] * (len(names) - len(row))]
        out.append([_printed(cells, place, names[place], ends.get(place)) for place in kept])
    return out


def _title(name: str, has_interval: bool) -> str:
    words = name.replace("_", " ")
    return f"{words} (95 % CI)" if has_interval else words


def _printed(row: Row, place: int, name: str, ends: tuple[int, int] | None) -> str:
    cell = row[place]
    if ends is None:
        return cell if name in _TEXT_COLUMNS or not is_number(cell) else _rounded(cell)
    if not cell:
        return _NOT_ESTIMABLE
    low, high = (row[end] for end in ends)
    inside = f"{_decimals(low)} to {_decimals(high)}" if low and high else _NOT_ESTIMABLE
    return f"{_decimals(cell)} ({inside})"


def _decimals(cell: str) -> str:
    return f"{float(cell):.3f}" if is_number(cell) else cell


def _rounded(cell: str) -> str:
    return cell if re.fullmatch(r"[+-]?\d+", cell) else _decimals(cell)


def escape_latex(text: str) -> str:
    """Text as LaTeX sets it, whatever it holds; what is no printable letter becomes a space."""
    return "".join(_LATEX.get(c, c if c.isprintable() else " ") for c in text)


def latex(rows: Sequence[Row], *, caption: str, label: str) -> str:
    """A table for LaTeX with the packages booktabs and, when it is long, longtable.

    Args:
        rows: The line of names first; see `for_print`.
        caption: In plain words.
        label: What LaTeX's ref calls it; letters, digits and hyphens.
    """
    printed = for_print(rows)
    width = len(printed[0]) if printed else 1
    columns = "".join("r" if _is_numeric(printed, place) else "l" for place in range(width))
    head, *body = [" & ".join(map(escape_latex, row)) + r" \\" for row in printed or [[""]]]
    note = f"% needs \\usepackage{{booktabs}}{_MORE if len(body) > _MOST_ROWS else ''}"
    title = f"\\caption{{{escape_latex(caption)}}}\\label{{tab:{label}}}"
    if len(body) > _MOST_ROWS:
        begin = [f"\\begin{{longtable}}{{{columns}}}", title + r" \\"]
        top = [r"\toprule", head, r"\midrule", r"\endhead"]
        lines = [note, *begin, *top, *body, r"\bottomrule", r"\end{longtable}"]
    else:
        begin = [r"\begin{table}", r"\centering", title, f"\\begin{{tabular}}{{{columns}}}"]
        top = [r"\toprule", head, r"\midrule"]
        lines = [note, *begin, *top, *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


_MORE = r" and \usepackage{longtable}"


def _is_numeric(rows: Sequence[Row], place: int) -> bool:
    cells = [row[place] for row in rows[1:] if row[place]]
    return bool(cells) and all(is_number(cell) for cell in cells)


def workbook(sheets: Mapping[str, Sequence[Row]], *, title: str) -> bytes:
    """All tables as one workbook, a sheet each; numbers are numbers, ids stay text.

    Args:
        sheets: Tables by name, the line of names first.
        title: Of the document.
    """
    from openpyxl import Workbook
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook()
    book.remove(book.active)
    book.properties.title = title
    book.properties.creator = "covidctnet"
    for name, rows in sheets.items():
        sheet = book.create_sheet(_sheet_name(name, book.sheetnames))
        names = list(rows[0]) if rows else []
        for number, row in enumerate(rows, start=1):
            for place, cell in enumerate(row):
                here = sheet.cell(number, place + 1)
                is_text = number == 1 or names[place : place + 1] == [] or _is_text(names[place])
                if cell and not is_text and is_number(cell):
                    here.value = float(cell) if set(cell) & set(".eE") else int(cell)
                    continue
                here.value = "".join(c for c in cell if c.isprintable())
                # Never a formula, whatever it begins with.
                here.data_type = "s"
        for place, column in enumerate(names, start=1):
            widest = max([len(column), *(len(r[place - 1]) for r in rows[1:] if len(r) >= place)])
            sheet.column_dimensions[get_column_letter(place)].width = min(60, widest + 3)
            sheet.cell(1, place).font = Font(bold=True)
        sheet.freeze_panes = "A2"
    if not sheets:
        book.create_sheet("empty")
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _sheet_name(name: str, taken: Sequence[str]) -> str:
    """A name that workbooks allow and that no other sheet has."""
    plain = re.sub(r"[\[\]:*?/\\]", "-", name)
    short, number = plain[:_LONGEST_SHEET], 1
    while short.casefold() in (other.casefold() for other in taken):
        number += 1
        short = f"{plain[: _LONGEST_SHEET - 1 - len(str(number))]}-{number}"
    return short


def _is_text(column: str) -> bool:
    return column in _TEXT_COLUMNS
