"""Signals that ask the program to end: all of them end it as Ctrl-C does, with its work kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Stopped", "ignore_stops", "note_stops", "stop_on_signals"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
# Windows has the first two alone.
_STOPS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = int(number)
        super().__init__(f"stopped by {signal.Signals(number).name}")

    @property
    def exit_code(self) -> int:
        """128 and the number of the signal, as shells have it."""
        return 128 + self.number


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let INT, TERM, HUP and QUIT raise `Stopped` in the main thread, once.

    Signals that follow the first one are ignored: a batch system sends several, and what is written
    on the way out must not be cut. A signal that was ignored before, as nohup does with HUP, stays
    so. The first process of a container gets no signal that it has no handler for; now it has one.
    """

    def stop(number: int) -> None:
        raise Stopped(number)

    with _handled(stop):
        yield


@contextmanager
def note_stops() -> Iterator[list[int]]:
    """Let these signals be noted and nothing else; whoever asked for the list must look at it.

    Yields:
        Their numbers, as they come.
    """
    noted: list[int] = []
    with _handled(noted.append):
        yield noted


def ignore_stops() -> None:
    """Ignore these signals: what the parent of this process decides about its children counts.

    Batch systems and terminals send them to all processes of a job at once.
    """
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handled(act: Callable[[int], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        # Python lets no other thread set a handler.
        yield
        return
    is_asked = False

    def handle(number: int, frame: object) -> None:
        nonlocal is_asked
        if not is_asked:
            is_asked = True
            act(number)

    former = {number: signal.getsignal(number) for number in _STOPS}
    # None is a handler that was not set from Python and could not be put back.
    ours = [n for n, handler in former.items() if handler not in (signal.SIG_IGN, None)]
    for number in ours:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, former[number])
