"""Log lines with time, level and study: for a person on standard error, and into files."""

from __future__ import annotations

import copy
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covidctnet.errors import UsageError

__all__ = ["about", "configure_logs"]

_LOG = logging.getLogger(__name__)
_OURS = "covidctnet"
_FORMAT = "%(asctime)s %(levelname)s %(message)s"
# Their warnings cite what they choke on, and headers hold names.
_CHATTY = ("matplotlib", "fontTools", "PIL", "pydicom", "fsspec", "h5py", "nibabel")


def about(
    study: str, facts: Mapping[str, object], *, is_routine: bool = False
) -> dict[str, object]:
    """What a log line is about, for the ``extra`` of a logger.

    Args:
        study: Short id.
        facts: More entries of the line in JSON; nothing of a patient, no path.
        is_routine: For files, not for standard error, unless it is asked for details.
    """
    return {"facts": {"study": study, **facts}, "is_routine": is_routine}


def configure_logs(*, verbose: bool, text_file: str = "", json_file: str = "") -> None:
    """Send log lines to standard error and to files.

    Args:
        verbose: Details of this package, on standard error and in the files. Those of libraries
            are left out: they are many, and may cite what they read.
        text_file: Receives lines for a person, behind those that are there; none where empty.
        json_file: Receives a JSON object a line, likewise.

    Raises:
        UsageError: If a file cannot be opened.
    """
    shown = _StandardError()
    shown.addFilter(lambda record: verbose or not getattr(record, "is_routine", False))
    handlers: list[logging.Handler] = [shown]
    shown.setFormatter(_Text(_FORMAT))
    for name, formatter in ((text_file, _FileText(_FORMAT)), (json_file, _Json())):
        if name:
            handlers.append(_opened(name))
            handlers[-1].setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.getLogger(_OURS).setLevel(logging.DEBUG if verbose else logging.INFO)
    # A library's thread that breaks, as TensorBoard's does on a full disk, breaks no promise.
    threading.excepthook = lambda failure: _LOG.debug("in a thread: %s", failure.exc_type.__name__)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.ERROR)


def _opened(name: str) -> logging.Handler:
    try:
        return _File(name, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"expected a log file to write to, {Path(name).name!r} cannot be opened "
            f"({error.strerror}). Give another name."
        ) from None


class _StandardError(logging.Handler):
    """Writes to standard error as it is now: a bar moves down for it, a test sees it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except OSError:
            self.handleError(record)


class _File(logging.FileHandler):
    """A file whose disk may be full: the work goes on without the line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        pass


class _Text(logging.Formatter):
    """Times in UTC, as ISO 8601 has them."""

    def formatTime(  # noqa: N802 - the library's name
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        return _moment(record)


def _moment(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


class _FileText(_Text):
    """Traces without what errors say: files are kept, and errors may cite names and paths."""

    def format(self, record: logging.LogRecord) -> str:
        # A handler before this one has left its own trace in the record.
        record = copy.copy(record)
        record.exc_text = None
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        return _trace(ei)


def _trace(exc_info: Any) -> str:
    """Where an error came from, in one line: places in the program and the type."""
    kind, _, trace = exc_info
    frames = traceback.extract_tb(trace)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return " > ".join([*places, kind.__name__])


class _Json(logging.Formatter):
    """An object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            entry["trace"] = _trace(record.exc_info)
        return json.dumps(entry, default=str)
