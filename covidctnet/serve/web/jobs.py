"""Uploads and their answers: a queue that survives a restart.

The web page writes it and the process that answers reads it; both open the same database. A job
belongs to the browser session that made it, which is known by a keyed digest of its secret.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from covidctnet.errors import UsageError
from covidctnet.files import make_folder
from covidctnet.serve.base import database_errors, open_database

__all__ = ["ANSWERING", "DONE", "FAILED", "QUEUED", "UPLOADING", "Job", "Jobs"]

FORMAT = 1
UPLOADING, QUEUED, ANSWERING, DONE, FAILED = "uploading", "queued", "answering", "done", "failed"
# A job that ends its process so often is given up.
TRIES = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, session TEXT NOT NULL, state TEXT NOT NULL, made_s REAL NOT NULL,
    queued_s REAL NOT NULL, ended_s REAL NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL,
    tries INTEGER NOT NULL, message TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state, queued_s);
"""


@dataclass(frozen=True)
class Job:
    """One upload and its answer.

    Attributes:
        id: 32 random hexadecimal digits.
        session: Digest of the session that made it.
        state: ``uploading``, ``queued``, ``answering``, ``done`` or ``failed``.
        made_s: Wall-clock time, seconds.
        queued_s: When the upload ended; 0 before.
        ended_s: When it was answered or given up; 0 before.
        files: Uploaded so far.
        bytes: Of these files.
        tries: Attempts to answer it.
        message: What came of it, for the one who uploaded it.
    """

    id: str
    session: str
    state: str
    made_s: float
    queued_s: float = 0.0
    ended_s: float = 0.0
    files: int = 0
    bytes: int = 0
    tries: int = 0
    message: str = ""


class Jobs:
    """The jobs of one server, and the folders of their files.

    Args:
        state: Folder of the server.
        clock: Wall-clock time in seconds.

    Raises:
        UsageError: If the folder holds something else.
        StorageError: If it cannot be written.
    """

    def __init__(self, state: Path, *, clock: Callable[[], float] = time.time) -> None:
        make_folder(state)
        state.chmod(0o700)
        self._folder = state / "jobs"
        make_folder(self._folder)
        self._clock = clock
        self._base, self._key = open_database(state / "jobs.sqlite", _TABLES, FORMAT)

    def close(self) -> None:
        """End the connection."""
        self._base.close()

    def session_of(self, secret: str) -> str:
        """The digest by which a session is known."""
        return hmac.new(self._key, secret.encode(), hashlib.sha256).hexdigest()[:32]

    def uploads(self, job: Job) -> Path:
        """The folder of the files that were uploaded."""
        return self._folder / job.id / "uploads"

    def results(self, job: Job) -> Path:
        """The folder of the answers."""
        return self._folder / job.id / "results"

    def make(self, session: str) -> Job:
        """A new job."""
        job = Job(secrets.token_hex(16), session, UPLOADING, self._clock())
        with database_errors():
            self._base.execute(
                "INSERT INTO jobs VALUES (?, ?, ?, ?, 0, 0, 0, 0, 0, '')",
                (job.id, session, UPLOADING, job.made_s),
            )
        # Not before: folders of no job are removed.
        make_folder(self.uploads(job))
        return job

    def get(self, job: str, session: str) -> Job | None:
        """A job of a session; None for one of another, or none."""
        with database_errors():
            row = self._base.execute(
                "SELECT * FROM jobs WHERE id = ? AND session = ?", (job, session)
            ).fetchone()
        return Job(*row) if row else None

    def of(self, session: str) -> list[Job]:
        """The jobs of a session, the newest first."""
        with database_errors():
            rows = self._base.execute(
                "SELECT * FROM jobs WHERE session = ? ORDER BY made_s DESC", (session,)
            ).fetchall()
        return [Job(*row) for row in rows]

    def count(self, *states: str, session: str = "") -> int:
        """Jobs in some states, of a session or of all."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT COUNT(*) FROM jobs WHERE state IN ({marks})"
        values: tuple[str, ...] = states
        if session:
            query, values = f"{query} AND session = ?", (*states, session)
        with database_errors():
            return int(self._base.execute(query, values).fetchone()[0])

    def total_bytes(self) -> int:
        """Of all uploads that are not answered."""
        with database_errors():
            query = "SELECT COALESCE(SUM(bytes), 0) FROM jobs WHERE ended_s = 0"
            return int(self._base.execute(query).fetchone()[0])

    def add_file(self, job: Job, size: int) -> None:
        """Count a file that has come."""
        with database_errors():
            self._base.execute(
                "UPDATE jobs SET files = files + 1, bytes = bytes + ? WHERE id = ?", (size, job.id)
            )

    def submit(self, job: Job) -> bool:
        """Put a job into the queue; whether it was waiting for that."""
        with database_errors():
            done = self._base.execute(
                "UPDATE jobs SET state = ?, queued_s = ? WHERE id = ? AND state = ? AND files > 0",
                (QUEUED, self._clock(), job.id, UPLOADING),
            )
        return done.rowcount == 1

    def before(self, job: Job) -> int:
        """Jobs that are answered before this one."""
        if job.state != QUEUED:
            return 0
        with database_errors():
            row = self._base.execute(
                "SELECT COUNT(*) FROM jobs WHERE state = ? OR (state = ? AND queued_s < ?)",
                (ANSWERING, QUEUED, job.queued_s),
            ).fetchone()
        return int(row[0])

    def take(self) -> Job | None:
        """The oldest job of the queue, which is answered from now on."""
        with database_errors():
            row = self._base.execute(
                "UPDATE jobs SET state = ?, tries = tries + 1 WHERE id = (SELECT id FROM jobs "
                "WHERE state = ? ORDER BY queued_s, id LIMIT 1) RETURNING *",
                (ANSWERING, QUEUED),
            ).fetchone()
        return Job(*row) if row else None

    def end(self, job: Job, state: str, message: str) -> None:
        """Say what came of a job; its uploads go."""
        with database_errors():
            self._base.execute(
                "UPDATE jobs SET state = ?, ended_s = ?, message = ? WHERE id = ?",
                (state, self._clock(), message, job.id),
            )
        shutil.rmtree(self.uploads(job), ignore_errors=True)

    def take_up(self) -> None:
        """Put jobs that a process left behind into the queue again, or give them up."""
        with database_errors():
            rows = self._base.execute("SELECT * FROM jobs WHERE state = ?", (ANSWERING,)).fetchall()
        for job in (Job(*row) for row in rows):
            if job.tries >= TRIES:
                self.end(
                    job,
                    FAILED,
                    "The program ended twice while it answered this. Ask for a smaller upload, or "
                    "use covidctnet classify.",
                )
                continue
            with database_errors():
                self._base.execute("UPDATE jobs SET state = ? WHERE id = ?", (QUEUED, job.id))

    def remove(self, job: Job) -> None:
        """Forget a job and delete all of its files."""
        if not job.id.isalnum():
            raise UsageError("expected the id of a job")
        with database_errors():
            self._base.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
        shutil.rmtree(self._folder / job.id, ignore_errors=True)

    def remove_old(self, age_s: float) -> int:
        """Remove jobs that ended so long ago, uploads that stopped, and folders of no job.

        Returns:
            How many jobs went.
        """
        limit = self._clock() - age_s
        with database_errors():
            rows = self._base.execute(
                "SELECT * FROM jobs WHERE (ended_s > 0 AND ended_s < ?) "
                "OR (state = ? AND made_s < ?)",
                (limit, UPLOADING, limit),
            ).fetchall()
            kept = {row[0] for row in self._base.execute("SELECT id FROM jobs")}
        for row in rows:
            self.remove(Job(*row))
        for folder in self._folder.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
        return len(rows)
