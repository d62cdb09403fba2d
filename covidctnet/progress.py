"""Progress on standard error: a bar on a terminal, a line every 30 seconds elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["LINE_EVERY_S", "bar", "lines", "track"]

_LOG = logging.getLogger(__name__)
LINE_EVERY_S = 30.0
"""Seconds between two lines where there is no terminal."""

T = TypeVar("T")


@contextmanager
def bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """Progress on standard error that is moved by calls of (done, total).

    Args:
        description: What is being done, a word or two.
    """
    if not sys.stderr.isatty():
        pace = _Pace()
        with lines(description) as report:
            yield lambda done, total: report(pace.words(done, total))
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _Pace:
    """How fast work goes, from the first report on: what was there before took no time."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def words(self, done: int, total: int) -> str:
        """How far it is, and once that is known, how fast it goes and how long it will take."""
        now_s = time.monotonic()
        if self._first is None:
            self._first = (done, now_s)
        before, since_s = self._first
        text = f"{done} of {total}"
        if done <= before or now_s <= since_s:
            return text
        a_minute = 60 * (done - before) / (now_s - since_s)
        return f"{text}, {a_minute:.3g} a minute, {_duration(60 * (total - done) / a_minute)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def lines(description: str, *, every_s: float | None = None) -> Iterator[Callable[[str], None]]:
    """A line on standard error now and then, with what was reported last; none if all is quick.

    The lines also come while one long step is under way, so that nobody takes it for dead.

    Args:
        description: What is being done, a word or two.
        every_s: Seconds between two lines; `LINE_EVERY_S` by default.
    """
    start = time.monotonic()
    last = ["started"]
    ended = threading.Event()

    def write() -> None:
        between_s = LINE_EVERY_S if every_s is None else every_s
        # The first line comes early: loading libraries has been silent for a while by then.
        wait_s = between_s / 4
        while not ended.wait(wait_s):
            wait_s = between_s
            took_s = time.monotonic() - start
            line = f"{description}: {last[0]}, {took_s:.0f} s so far"
            _LOG.info("%s", line, extra={"is_routine": True})
            try:
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()
            except (OSError, ValueError):
                # Nobody reads any more, or the stream is closed: the work goes on.
                return

    thread = threading.Thread(target=write, name="progress", daemon=True)
    thread.start()
    try:
        yield lambda text: last.__setitem__(0, text)
    finally:
        ended.set()
        thread.join()


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """The items, with a bar over them.

    Args:
        items: What is worked on.
        description: What is being done, a word or two.
    """
    with bar(description) as show:
        for done, item in enumerate(items):
            show(done, len(items))
            yield item
