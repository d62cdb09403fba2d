"""Whether the head node of a cluster answers, and how this process ends when Ray ends it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Head", "host_and_port", "keep_signals", "last_message"]


# The head node of a cluster is asked so often, and given up after so long a silence. Ray itself
# ends the whole process after 60 s.
_PING_S, _SILENCE_S = 2.0, 20.0

# Ray ends this process, without an error that could be caught, when the node of this machine dies.
_LAST_MESSAGE = """
import shutil, sys
if not sys.stdin.read():
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    sys.stderr.write(
        "covidctnet: the command was ended from outside, or by Ray as its node on this machine is "
        "gone. What was finished is kept: start the cluster again, and run this command again.\\n"
    )
"""


@contextmanager
def last_message(folder: Path) -> Iterator[None]:
    """A process that says so in one line when this one ends within, and removes its folder."""
    watching = subprocess.Popen(
        [sys.executable, "-I", "-c", _LAST_MESSAGE, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        # A signal to the group of this process is no end of it.
        start_new_session=True,
        text=True,
    )
    try:
        yield
    finally:
        watching.communicate("ended")


class Head:
    """Whether the head node of a cluster answers, asked in a thread of its own."""

    def __init__(self, address: str) -> None:
        self._where = host_and_port(address)
        self._heard_s = time.monotonic()
        self._closed = threading.Event()
        threading.Thread(target=self._listen, name="head node", daemon=True).start()

    @property
    def answers(self) -> bool:
        """Whether it answered a moment ago."""
        return time.monotonic() - self._heard_s < _SILENCE_S

    def _listen(self) -> None:
        while not self._closed.wait(_PING_S):
            with suppress(OSError), socket.create_connection(self._where, timeout=_PING_S):
                self._heard_s = time.monotonic()

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()


def host_and_port(address: str) -> tuple[str, int]:
    """Of an address, ``ray://`` or not."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def keep_signals() -> Iterator[None]:
    """Keep our handlers of signals, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in former.items():
            if handler is not None:
                signal.signal(number, handler)
