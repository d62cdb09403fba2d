"""A small database of a server: one SQLite file, for its owner alone, whose errors are one line."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covidctnet.errors import StorageError, UsageError

__all__ = ["database_errors", "open_database"]

_ABOUT = "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);"


def open_database(path: Path, tables: str, version: int) -> tuple[sqlite3.Connection, bytes]:
    """Open a database, or make it.

    Args:
        path: Made where it is not there, for its owner alone.
        tables: SQL that makes what is not there.
        version: Of the tables.

    Returns:
        The connection, each statement of which is on the disk when it returns, and a secret key
        that lies in the database.

    Raises:
        UsageError: If it is something else, or of another version.
        StorageError: If it cannot be written.
    """
    with database_errors():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        base = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        base.execute("PRAGMA synchronous=FULL")
        base.executescript(_ABOUT + tables)
        base.execute("INSERT OR IGNORE INTO about VALUES ('format', ?)", (str(version),))
        base.execute("INSERT OR IGNORE INTO about VALUES ('key', ?)", (secrets.token_hex(32),))
        told = dict(base.execute("SELECT name, value FROM about"))
    if told["format"] != str(version):
        base.close()
        raise UsageError(
            f"expected a --state folder of format {version}, got format {told['format']:.10}. Use "
            "the version of covidctnet that made it, or another folder."
        )
    return base, bytes.fromhex(told["key"])


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn errors of the database into ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error) or "malformed" in str(error):
            raise UsageError(
                "expected the database of an earlier run in the --state folder, got a file that "
                "is damaged or something else. Move it away, and start again."
            ) from None
        raise StorageError(
            f"the database in the --state folder cannot be written ({error}). Make room on its "
            "disk, and start again."
        ) from None
    except OSError as error:
        raise StorageError(
            f"the database in the --state folder cannot be written ({error.strerror}). Check the "
            "disk and the rights of the folder."
        ) from None
