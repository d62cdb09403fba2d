"""Figures of a run in the text format of Prometheus, in a file that its node exporter reads."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from covidctnet.errors import StorageError
from covidctnet.files import write_whole
from covidctnet.report.words import STATUS_WORDS

__all__ = ["Metrics"]

_LOG = logging.getLogger(__name__)
_EVERY_S = 5.0


class Metrics:
    """Counts what a run does, and writes it every few seconds and at the end.

    Args:
        file: Written whole each time; a name that ends in ``.prom`` is what the textfile collector
            of Prometheus' node exporter looks for.
        clock: Seconds since 1970.
    """

    def __init__(self, file: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._started = clock()
        self._answered_at = 0.0
        self._next = 0.0
        self._found = 0
        self._statuses: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()
        self._has_failed = False

    def found(self, count: int, statuses: Mapping[str, int]) -> None:
        """Studies were found.

        Args:
            count: How many this run is about.
            statuses: Those of them that have their answer from an earlier run.
        """
        self._found = count
        self._statuses.update(statuses)
        self._write(is_running=True)

    def answered(self, status: str, seconds: Mapping[str, float]) -> None:
        """A study has its record.

        Args:
            status: Of the record.
            seconds: Wall-clock seconds by stage.
        """
        self._statuses[status] += 1
        self._seconds.update(seconds)
        self._answered_at = self._clock()
        if self._clock() >= self._next:
            self._write(is_running=True)

    def ended(self) -> None:
        """The run is over, whatever ended it."""
        self._write(is_running=False)

    def _write(self, *, is_running: bool) -> None:
        self._next = self._clock() + _EVERY_S
        try:
            write_whole(self._file, self._text(is_running))
        except StorageError as error:
            # Answers are worth more than figures about them.
            if not self._has_failed:
                _LOG.warning("no metrics: %s", error)
            self._has_failed = True

    def _text(self, is_running: bool) -> str:
        waiting = self._found - sum(self._statuses.values())
        families: list[tuple[str, str, str, Mapping[str, float]]] = [
            (
                "studies",
                "gauge",
                "Studies of the run that have a record, by status.",
                {f'{{status="{name}"}}': self._statuses[name] for name in STATUS_WORDS},
            ),
            ("studies_waiting", "gauge", "Studies of the run that have none yet.", {"": waiting}),
            (
                "stage_seconds_total",
                "counter",
                "Wall-clock seconds of this run, by stage.",
                {f'{{stage="{name}"}}': n for name, n in sorted(self._seconds.items())},
            ),
            ("running", "gauge", "1 while the run works, 0 when it has ended.", {"": is_running}),
            ("start_time_seconds", "gauge", "When the run began, since 1970.", {"": self._started}),
            (
                "last_record_time_seconds",
                "gauge",
                "When its last record was written; 0 for none.",
                {"": self._answered_at},
            ),
        ]
        lines = []
        for name, kind, meaning, values in families:
            lines += [f"# HELP covidctnet_{name} {meaning}", f"# TYPE covidctnet_{name} {kind}"]
            lines += [f"covidctnet_{name}{labels} {float(n):.16g}" for labels, n in values.items()]
        return "\n".join(lines) + "\n"
