"""What was done with each study of a PACS, kept over restarts and kills.

No identifier of a patient is in it: a study is known by a keyed digest of its UID, whose key lies
in the same file, which only its owner can read.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, fields, replace
from pathlib import Path

from covidctnet.serve.base import database_errors, open_database

__all__ = ["Ledger", "Row"]

FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS studies (
    id TEXT PRIMARY KEY, total INTEGER NOT NULL, files INTEGER NOT NULL, changed_s REAL NOT NULL,
    answered_files INTEGER NOT NULL, weights TEXT NOT NULL, outcome TEXT NOT NULL,
    record TEXT NOT NULL, is_stored INTEGER NOT NULL, tries INTEGER NOT NULL, next_s REAL NOT NULL
);
"""


@dataclass(frozen=True)
class Row:
    """What is known of a study.

    Attributes:
        id: Keyed digest of its UID, 16 hexadecimal digits behind an s.
        total: Files of all its series when it was last looked at; -1 unknown.
        files: Of the series that are answered.
        changed_s: Wall-clock time at which their number last changed, seconds.
        answered_files: Their number when it was answered; -1 before.
        weights: Digest of those that answered.
        outcome: Status of the answer; empty before.
        record: Short id of the study in the results folder.
        is_stored: Whether the results are in the PACS, or none are to be.
        tries: Attempts that failed, one after the other.
        next_s: Wall-clock time before which it is not tried again.
    """

    id: str
    total: int = -1
    files: int = -1
    changed_s: float = 0.0
    answered_files: int = -1
    weights: str = ""
    outcome: str = ""
    record: str = ""
    is_stored: bool = False
    tries: int = 0
    next_s: float = 0.0

    def is_answered(self, weights: str) -> bool:
        """Whether these weights have answered all of its files."""
        return self.files >= 0 and (self.answered_files, self.weights) == (self.files, weights)

    def is_done(self, weights: str) -> bool:
        """Whether nothing is left to do."""
        return self.is_answered(weights) and self.is_stored


class Ledger:
    """A file of rows, each written at once.

    Args:
        path: SQLite; made where it is not there, for its owner alone.

    Raises:
        UsageError: If it is something else.
        StorageError: If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._base, self._key = open_database(path, _TABLES, FORMAT)

    def close(self) -> None:
        """End the connection."""
        self._base.close()

    def id_of(self, uid: str) -> str:
        """The digest by which a study is known."""
        return "s" + hmac.new(self._key, uid.encode(), hashlib.sha256).hexdigest()[:16]

    def __getitem__(self, uid: str) -> Row:
        """What is known of a study; a new row for a new one."""
        study = self.id_of(uid)
        with database_errors():
            found = self._base.execute("SELECT * FROM studies WHERE id = ?", (study,)).fetchone()
        if found is None:
            return Row(study)
        row = Row(*found)
        return replace(row, is_stored=bool(row.is_stored))

    def write(self, row: Row) -> None:
        """Keep what is known of a study.

        Raises:
            StorageError: If the disk is full.
        """
        values = [getattr(row, field.name) for field in fields(Row)]
        marks = ", ".join("?" * len(values))
        with database_errors():
            self._base.execute(f"INSERT OR REPLACE INTO studies VALUES ({marks})", values)

    def outcomes(self) -> dict[str, int]:
        """Studies by outcome."""
        query = "SELECT outcome, COUNT(*) FROM studies WHERE outcome != '' GROUP BY outcome"
        with database_errors():
            return dict(self._base.execute(query))
