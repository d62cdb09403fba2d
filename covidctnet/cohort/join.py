"""Labels of a table to studies of an export, and everything about the table that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from covidctnet.classes import Classes, Label
from covidctnet.cohort.export import ExportedStudy
from covidctnet.cohort.labels import Columns, find_columns, index_of, key_text, plain
from covidctnet.cohort.members import SPLITS, split_named
from covidctnet.cohort.mistakes import Mistake
from covidctnet.cohort.sheet import Cell, Row, Sheet
from covidctnet.errors import CohortError

__all__ = ["Labelled", "join_labels"]

_BAD_KEYS = {
    "date": "expected {what}, got a date: the spreadsheet took it for one. Format the column as "
    "text and enter it again",
    "rounded": "expected {what}, got a number with an exponent: the spreadsheet has rounded it. "
    "Format the column as text and enter it again",
    "error": "expected {what}, got the error of a formula. Enter the value",
    "empty": "expected {what}, got an empty cell. Fill it, or remove the line",
}
# Stands for the dates of a column of dates, which is not kept.
_SOME_DATE = "1900-01-01"
_KEY_WORDS = {"study": "a StudyInstanceUID", "accession": "an accession", "patient": "a PatientID"}


@dataclass(frozen=True)
class Labelled:
    """What a table says of a study.

    Attributes:
        label: Its class.
        line: Of the table.
        site: If the table names one.
        split: If the table names one.
        extra: Other cells by the name of their column.
    """

    label: Label
    line: int
    site: str = ""
    split: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


def join_labels(
    sheet: Sheet,
    studies: Sequence[ExportedStudy],
    *,
    classes: Classes,
    labels: Mapping[str, Label],
    join: str = "",
    label_column: str = "",
) -> tuple[dict[str, Labelled], list[Mistake]]:
    """Find the study, or the studies of the patient, of every row.

    Args:
        sheet: The table.
        studies: Of the export.
        classes: Of the labels.
        labels: What other words stand for, see `covidctnet.cohort.labels.read_map`.
        join: See `covidctnet.cohort.labels.find_columns`.
        label_column: Likewise.

    Returns:
        What the table says by the study's id, and all that is wrong.

    Raises:
        UsageError: If it is not clear which column says what.
    """
    columns = find_columns(
        sheet,
        studies,
        join=join,
        label_column=label_column,
        labels=labels,
        classes=classes,
    )
    joining = _Joining(sheet, studies, columns, classes, labels)
    for row in sheet.rows:
        joining.add(row)
    joining.check_whole()
    return joining.found, sorted(joining.mistakes)


def _columns_of_dates(sheet: Sheet) -> frozenset[int]:
    """Columns of which more than half of the cells are dates."""
    count = Counter(
        n for row in sheet.rows for n, cell in enumerate(row.cells) if cell.kind == "date"
    )
    return frozenset(n for n, dates in count.items() if 2 * dates > len(sheet.rows))


def _lines(lines: Sequence[int]) -> str:
    """The first lines, as words."""
    return f"lines {', '.join(map(str, lines[:8]))}" + (" and others" if len(lines) > 8 else "")


class _Joining:
    """The state of going through the rows of a table."""

    def __init__(
        self,
        sheet: Sheet,
        studies: Sequence[ExportedStudy],
        columns: Columns,
        classes: Classes,
        labels: Mapping[str, Label],
    ) -> None:
        self.found: dict[str, Labelled] = {}
        self.mistakes: list[Mistake] = []
        self._sheet, self._studies, self._columns = sheet, studies, columns
        self._classes, self._labels = classes, labels
        self._index = index_of(studies, columns.kind)
        self._short: dict[str, set[str]] = {}
        for text in self._index:
            self._short.setdefault(text.lstrip("0"), set()).add(text)
        self._others = [(c, index_of(studies, kind)) for kind, c in columns.others]
        self._rows_of: dict[str, Row] = {}
        self._without_zeros: list[int] = []
        self._unlabelled: set[str] = set()
        # Labels that nobody knows: the lines and spellings of each.
        self._unknown: dict[str, list[tuple[int, str]]] = {}
        self._used: set[str] = set()
        self._dated = _columns_of_dates(sheet)
        for ref in sheet.merged:
            text = "expected one value in each cell, got merged cells: all but the first are empty"
            where = f"{sheet.where()}, cells {ref}"
            line = int("".join(c for c in ref.split(":")[0] if c.isdigit()) or 0)
            self.mistakes.append(Mistake(line, where, f"{text}. Unmerge and fill them"))

    def add(self, row: Row) -> None:
        """Take up one row."""
        columns = self._columns
        studies = self._studies_of(row)
        label = self._label_of(row, studies)
        if not studies:
            return
        split = row.cells[columns.split].text if columns.split is not None else ""
        if split and split_named(split) not in SPLITS:
            known = ", ".join(SPLITS)
            self._say(row, columns.split, f"expected one of the splits {known}, got {split!r:.40}")
        extra = {self._sheet.header[n]: self._extra(row, n) for n in columns.extra}
        self._check_sex(row, studies, extra)
        if label is None:
            return
        site = row.cells[columns.site].text if columns.site is not None else ""
        for one in studies:
            self.found[one.study.id] = Labelled(label, row.line, site, split, extra)

    def check_whole(self) -> None:
        """What can be said when all rows are known."""
        for one in self._studies:
            if one.study.id not in self.found and one.study.id not in self._unlabelled:
                text = f"no line of {self._sheet.where()} names this study. Add one"
                self.mistakes.append(Mistake(0, one.where, text, "gap"))
        self._tell_unknown_labels()
        lines = self._without_zeros
        if lines:
            text = (
                f"{len(lines)} cells have lost their leading zeros ({_lines(lines)}). Each was "
                "taken for the only study that differs from it by zeros alone"
            )
            where = self._sheet.where(None, self._columns.key)
            self.mistakes.append(Mistake(lines[0], where, text, "doubt"))
        patients: dict[str, tuple[Label, int]] = {}
        for one in self._studies:
            if (own := self.found.get(one.study.id)) is None:
                continue
            label, line = patients.setdefault(one.patient, (own.label, own.line))
            if label is not own.label:
                where = self._sheet.where(own.line, self._columns.label)
                text = (
                    f"expected one label for a patient, got {own.label} here and {label} in line "
                    f"{line}. Give both studies one label, or leave one out"
                )
                self.mistakes.append(Mistake(own.line, where, text))
        for text in sorted(self._labels.keys() - self._used):
            what = f"no cell says {text!r:.40}. Leave it out, or correct its spelling"
            self.mistakes.append(Mistake(0, "--map", what))
        for note in self._sheet.notes:
            self.mistakes.append(Mistake(0, self._sheet.where(), note, "doubt"))

    def _tell_unknown_labels(self) -> None:
        """Name a word that many lines have once."""
        known = ", ".join(self._classes.titles)
        for places in self._unknown.values():
            lines = [line for line, _ in places]
            word = places[0][1]
            also = f" in {len(lines)} lines ({_lines(lines)})" if len(lines) > 1 else ""
            text = (
                f"expected one of {known}, got {word!r:.40}{also}. Correct it, or add --map "
                f'"{word:.40}={self._classes.titles[-1]}" or what it stands for'
            )
            where = self._sheet.where(lines[0], self._columns.label)
            self.mistakes.append(Mistake(lines[0], where, text))

    def _say(self, row: Row, column: int | None, text: str, kind: str = "mistake") -> None:
        where = self._sheet.where(row.line, column)
        self.mistakes.append(Mistake(row.line, where, text, kind))  # type: ignore[arg-type]

    def _studies_of(self, row: Row) -> list[ExportedStudy]:
        """Those that the row names, once."""
        columns = self._columns
        cell, what = row.cells[columns.key], _KEY_WORDS[columns.kind]
        text = key_text(cell.text)
        # Letters among the digits of an accession may look like an exponent.
        is_known = cell.kind == "rounded" and text in self._index
        if cell.kind in _BAD_KEYS and not is_known:
            self._say(row, columns.key, _BAD_KEYS[cell.kind].format(what=what))
            return []
        if text not in self._index:
            alike = self._short.get(text.lstrip("0"), set())
            if len(alike) > 1:
                self._say(
                    row,
                    columns.key,
                    f"expected {what}, got a number that {len(alike)} studies have but for "
                    "leading zeros. Format the column as text and enter it again",
                )
                return []
            if not alike:
                self._say(
                    row, columns.key, f"no study of the export has this {what.split()[-1]}", "gap"
                )
                return []
            text = next(iter(alike))
            self._without_zeros.append(row.line)
        studies = self._index[text]
        if (first := self._rows_of.setdefault(text, row)) is not row:
            if [c.text for c in first.cells] == [c.text for c in row.cells]:
                self._say(row, columns.key, f"line {first.line} says the same again", "doubt")
            else:
                self._say(
                    row,
                    columns.key,
                    f"expected {what} once, line {first.line} has it too and says something else. "
                    "Remove one of the lines"
                    + ("" if columns.kind != "patient" else ", or join by accession"),
                )
            return []
        return [] if self._contradicts(row, studies) else studies

    def _contradicts(self, row: Row, studies: Sequence[ExportedStudy]) -> bool:
        """Whether another key of the row is that of another study."""
        own = {one.study.id for one in studies}
        for column, index in self._others:
            text = key_text(row.cells[column].text)
            named = {one.study.id for one in index.get(text, ())}
            if named and not named & own:
                self._say(
                    row,
                    column,
                    f"this is another study than the one of column "
                    f"{self._sheet.header[self._columns.key]}. Correct one of the two",
                )
                return True
        return False

    def _label_of(self, row: Row, studies: Sequence[ExportedStudy]) -> Label | None:
        column = self._columns.label
        cell = row.cells[column]
        known = ", ".join(self._classes.titles)
        label: Label | None = None
        if cell.kind == "empty":
            self._say(row, column, f"expected a label ({known}), got an empty cell", "gap")
        elif cell.kind in ("date", "error"):
            what = "a date" if cell.kind == "date" else "the error of a formula"
            self._say(row, column, f"expected one of {known}, got {what}. Enter the label")
        else:
            label = self._parsed(cell)
            if label is None:
                self._unknown.setdefault(plain(cell.text), []).append((row.line, cell.text))
        if label is None:
            self._unlabelled |= {one.study.id for one in studies}
        return label

    def _parsed(self, cell: Cell) -> Label | None:
        text = plain(cell.text)
        if text in self._labels:
            self._used.add(text)
            return self._labels[text]
        try:
            return self._classes.parse(cell.text)
        except CohortError:
            return None

    def _extra(self, row: Row, column: int) -> str:
        """Text of a cell that may become a stratum; single dates and errors are reported."""
        cell = row.cells[column]
        if cell.kind not in ("date", "error"):
            return cell.text
        if cell.kind == "date" and column in self._dated:
            return _SOME_DATE
        what = "a date" if cell.kind == "date" else "the error of a formula"
        self._say(row, column, f"expected a value, got {what}; it is left empty", "doubt")
        return ""

    def _check_sex(
        self, row: Row, studies: Sequence[ExportedStudy], extra: Mapping[str, str]
    ) -> None:
        """A sex that contradicts the headers speaks for a wrong line."""
        for column in self._columns.extra:
            title = self._sheet.header[column]
            if title.casefold() not in ("sex", "gender"):
                continue
            said = extra[title].upper()[:1].replace("W", "F")
            if any(one.sex and said in ("F", "M") and one.sex != said for one in studies):
                self._say(
                    row,
                    column,
                    "the headers of the study say another sex: is this the right line? The table's "
                    "is taken",
                    "doubt",
                )
