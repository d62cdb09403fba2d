"""One writer at a time in a folder, also when runs are killed and on several hosts."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from covidctnet.errors import UsageError
from covidctnet.files import write_whole

__all__ = ["WRITER_FILES", "SoleWriter"]

_LOG = logging.getLogger(__name__)

_LOCK, _WHO = ".writer.lock", ".writer.json"
WRITER_FILES = frozenset({_LOCK, _WHO})
"""Names of what a lock leaves in its folder."""
_POLL_S = 0.5
# What file systems answer that know no locks.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})


class SoleWriter:
    """The right to write into a folder, which one process has at a time.

    The system keeps it and takes it back when the process ends, however it ends; hosts that share
    the folder respect it where their file system has locks. The file of the lock stays: deleting it
    would let two processes lock two files of one name.

    Args:
        folder: That exists when it is asked for.
        wait: Wait until a process that has it ends, instead of refusing.
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        self.folder = folder
        self.wait = wait
        # Answers are written, and the lock is given back, by several threads.
        self._lock = FileLock(folder / _LOCK, thread_local=False)

    def take(self) -> None:
        """Take it.

        Raises:
            UsageError: If another process has it and this one does not wait.
            OSError: If the folder cannot be written.
        """
        try:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                if not self.wait:
                    raise UsageError(
                        f"another run writes into this folder ({_who(self.folder)}). Wait for its "
                        "end, with --wait where the command has it, or give another folder."
                    ) from None
                _LOG.info("waiting for the end of another run (%s)", _who(self.folder))
                self._lock.acquire(poll_interval=_POLL_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _LOG.warning(
                "the file system of the folder knows no locks: let no other run write into it"
            )
        owner = {"host": socket.gethostname(), "process": os.getpid()}
        write_whole(self.folder / _WHO, json.dumps(owner) + "\n")

    def release(self) -> None:
        """Give it back; nothing where it was not taken."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self.folder / _WHO).unlink()
            self._lock.release(force=True)

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _who(folder: Path) -> str:
    """Who writes into a folder, as far as it says."""
    try:
        owner = json.loads((folder / _WHO).read_text(encoding="utf-8"))
        return f"host {str(owner['host'])[:100]}, process {int(owner['process'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return "host and process unknown"
