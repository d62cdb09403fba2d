"""The server of the web page: the page, the process that answers, and what is deleted in time."""

from __future__ import annotations

import ipaddress
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from covidctnet.errors import UsageError
from covidctnet.files import make_folder
from covidctnet.serve.web.app import LIMITS, Limits, make_app
from covidctnet.serve.web.jobs import Jobs
from covidctnet.stopping import Stopped, note_stops
from covidctnet.weights import load_weights
from covidctnet.writer import SoleWriter

__all__ = ["WebServer"]

_LOG = logging.getLogger(__name__)
MIN_TOKEN = 20
_CLEAN_EVERY_S = 60.0
# For the head of a request; a body has limits of its own.
HEAD_S = 20.0
_WATCH_EVERY_S = 1.0
# A process that answers and ends at once is started again after a while, not in a loop.
_RESTART_S = 5.0


class WebServer:
    """Serves the web page until a signal ends it.

    Args:
        state: Folder for uploads and results.
        weights: Shipped name, or a folder.
        device: Where the networks run.
        address: Host and port to listen on.
        names: Names under which browsers reach it, with port.
        token: That a browser must show; needed beyond the loopback address.
        is_behind_https: These names are those of a proxy that speaks https; None where it listens
            on the loopback address.
        keep_s: Age at which uploads and results are deleted, seconds.
        limits: How much may be uploaded.

    Raises:
        UsageError: If it would listen beyond the loopback address without a token.
        WeightsError: If the weights are missing or damaged.
    """

    def __init__(
        self,
        state: Path,
        *,
        weights: str,
        device: str = "auto",
        address: tuple[str, int] = ("127.0.0.1", 8000),
        names: tuple[str, ...] = (),
        token: str = "",
        is_behind_https: bool | None = None,
        keep_s: float = 24 * 3600.0,
        limits: Limits = LIMITS,
    ) -> None:
        host, port = address
        if not _is_loopback(host) and len(token) < MIN_TOKEN:
            raise UsageError(
                f"expected a token of {MIN_TOKEN} characters or more in COVIDCTNET_WEB_TOKEN to "
                f"listen beyond 127.0.0.1, got {'a shorter one' if token else 'none'}. Set one, "
                "or leave --host out."
            )
        if token and len(token) < MIN_TOKEN:
            raise UsageError(
                f"expected a token of {MIN_TOKEN} characters or more, got {len(token)}."
            )
        if not 0 < keep_s < math.inf:
            raise UsageError(f"expected --keep-hours of more than 0, got {keep_s / 3600:g}")
        if not 0 <= port < 2**16:
            raise UsageError(f"expected a port from 0 to 65535, got {port}")
        load_weights(weights)
        self._weights = weights if not Path(weights).exists() else str(Path(weights).absolute())
        self._device, self._keep_s = device, keep_s
        self._address, self._names = address, names
        self._token, self._limits = token, limits
        self._is_behind_https = _is_loopback(host) if is_behind_https is None else is_behind_https
        self._state = state.absolute()
        self._ended = threading.Event()

    def run(self) -> None:
        """Serve until a signal comes.

        Raises:
            UsageError: If the address is taken, or another server has the folder.
            Stopped: When a signal came.
        """
        try:
            import uvicorn
        except ImportError:
            raise UsageError(
                "expected the package uvicorn for a web page, which is not installed. Install it "
                "with pip install covidctnet[serve]."
            ) from None
        make_folder(self._state)
        sole = SoleWriter(self._state)
        sole.take()
        try:
            with self._listening() as listening:
                jobs = Jobs(self._state)
                app = make_app(
                    jobs,
                    hosts=self._names,
                    is_behind_https=self._is_behind_https,
                    token=self._token,
                    limits=self._limits,
                )
                server = uvicorn.Server(
                    uvicorn.Config(
                        app,
                        log_level="warning",
                        access_log=False,
                        server_header=False,
                        proxy_headers=False,
                        http=_protocol(),
                        timeout_keep_alive=10,
                        limit_concurrency=200,
                        h11_max_incomplete_event_size=16 * 1024,
                        timeout_graceful_shutdown=5,
                    )
                )
                host, port = listening.getsockname()[:2]
                watching = threading.Thread(target=self._watch, args=(jobs,), daemon=True)
                watching.start()
                sys.stdout.write(f"http://{host}:{port}/  (Ctrl-C ends it)\n")
                sys.stdout.flush()
                # Uvicorn puts handlers of its own in place of ours while it runs.
                with note_stops() as stops:
                    server.run(sockets=[listening])
                self._ended.set()
                watching.join(30)
                jobs.close()
        finally:
            self._ended.set()
            sole.release()
        if stops:
            raise Stopped(stops[0])

    def _listening(self) -> socket.socket:
        host, port = self._address
        try:
            return socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
        except OSError as error:
            raise UsageError(
                f"expected an address that is free, {host} port {port} is not "
                f"({error.strerror}). Give another --port."
            ) from None

    def _watch(self, jobs: Jobs) -> None:
        """Keep a process that answers, and delete what is old."""
        command = [sys.executable, "-P", "-m", "covidctnet.serve.web.worker"]
        command += [str(self._state), self._weights, self._device]
        worker: subprocess.Popen[bytes] | None = None
        started_s = cleaned_s = -math.inf
        while not self._ended.wait(_WATCH_EVERY_S if worker else 0):
            now = time.monotonic()
            if worker is None or worker.poll() is not None:
                if worker is not None:
                    _LOG.warning("the process that answers has ended; it is started again")
                if now - started_s < _RESTART_S:
                    self._ended.wait(_RESTART_S)
                worker = subprocess.Popen(command, cwd=self._state, env=_environment())
                started_s = time.monotonic()
            if now - cleaned_s > _CLEAN_EVERY_S:
                with suppress(Exception):
                    jobs.remove_old(self._keep_s)
                cleaned_s = now
        if worker is not None:
            worker.terminate()
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()


def _protocol() -> type[Any]:
    """HTTP/1.1 of uvicorn, without connections that hold a place and ask for nothing."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Impatient(H11Protocol):
        """Ends a connection that has had no whole head of a request for a while."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._asked_s = time.monotonic()
            self._look()

        def _look(self) -> None:
            if self.transport.is_closing():
                return
            if self.cycle is not None and not self.cycle.response_complete:
                self._asked_s = time.monotonic()
            elif time.monotonic() - self._asked_s > HEAD_S:
                self.transport.close()
                return
            self.loop.call_later(HEAD_S / 4, self._look)

    return Impatient


def _environment() -> dict[str, str]:
    """Of the process that answers: it needs no token."""
    return {k: v for k, v in os.environ.items() if not k.startswith("COVIDCTNET_WEB")}


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
