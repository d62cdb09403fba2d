"""A Ray cluster, from the beginning of the context to its end."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import tempfile
import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from covidctnet.errors import UsageError
from covidctnet.run.cluster.errors import ClusterError, in_one_line
from covidctnet.run.cluster.flow import Flow
from covidctnet.run.cluster.head import Head, host_and_port, keep_signals, last_message
from covidctnet.run.cluster.runner import RayRunner
from covidctnet.run.cluster.spec import PredictorSpec
from covidctnet.run.cluster.tasks import run_task
from covidctnet.run.runner import (
    DEFAULT_LIMITS,
    Work,
)
from covidctnet.workers.isolate import Limits

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Cluster"]

_CONNECT_S = 10.0


class Cluster:
    """A Ray cluster, from the beginning of the context to its end.

    Args:
        address: ``ray`` for one on this machine alone, which ends with the context; else of one
            that runs: ``ray://HOST:PORT``, ``HOST:PORT`` or ``auto``.

    Raises:
        UsageError: If Ray is not installed, or it is no address.
    """

    def __init__(self, address: str) -> None:
        is_local = address == "ray"
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not (is_local or address == "auto" or (host and port.isdigit() and "/" not in host)):
            raise UsageError(
                "expected --runner local, ray, ray://HOST:PORT, HOST:PORT or auto, got "
                f"{address!r:.80}"
            )
        self._address = "local" if is_local else address
        self._ending = ExitStack()
        self._head: Head | None = None
        # Ray reads these when it is imported.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if is_local:
            # Nothing listens beyond this machine, nobody else on it may send work, and no token is
            # left in the home.
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            # Else workers would wait for every other program of the machine.
            os.environ.setdefault("RAY_worker_niceness", "0")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        try:
            import ray
        except ImportError:
            raise UsageError(
                "expected the engine Ray for --runner, which is not installed. Install it with "
                "pip install covidctnet[ray]."
            ) from None
        # What its nodes report would go to standard output, among our results.
        ray._private.worker.print_to_stdstream = lambda *args, **options: None
        self.ray: Any = ray

    def __enter__(self) -> Self:
        with ExitStack() as ending:
            folder = Path(tempfile.mkdtemp(prefix="ray-"))
            ending.callback(shutil.rmtree, folder, ignore_errors=True)
            empty = folder / "w"
            empty.mkdir()
            # Else workers would look for modules in the working folder, which may hold anything.
            how: dict[str, Any] = {"runtime_env": {"working_dir": str(empty)}}
            if self._address == "local":
                how |= {"include_dashboard": False, "_temp_dir": str(folder)}
            ending.enter_context(last_message(folder))
            with keep_signals():
                self._connect(how)
            ending.callback(self._disconnect)
            self._head = Head(self._head_address())
            ending.callback(self._head.close)
            self._ending = ending.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.close()

    def _connect(self, how: Mapping[str, Any]) -> None:
        try:
            if ":" in self._address:
                # Ray asks for a minute or more, and says so many times.
                socket.create_connection(host_and_port(self._address), timeout=_CONNECT_S).close()
            self.ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR, **how)
        except (ConnectionError, TimeoutError, RuntimeError, OSError, ValueError) as error:
            where = "on this machine" if self._address == "local" else f"at {self._address}"
            raise UsageError(
                f"expected a Ray cluster {where}, none could be reached "
                f"({in_one_line(error)}). Check the address, and that Python and Ray have the same "
                "versions on both sides."
            ) from None

    def _disconnect(self) -> None:
        if self._head is None or self._head.answers:
            with suppress(Exception), warnings.catch_warnings():
                # A client of Ray warns of a head node that is gone.
                warnings.simplefilter("ignore")
                self.ray.shutdown()

    def _head_address(self) -> str:
        if ":" in self._address:
            return self._address
        return str(self.ray.get_runtime_context().gcs_address)

    def map(
        self, work: Work, items: Iterable[Any], *, ahead: int = 1
    ) -> Generator[tuple[Any, Any], None, None]:
        """Have work done on items by tasks, and give the results in the items' order.

        Args:
            work: That can travel.
            items: Likewise.
            ahead: Items that are worked on, or done and waiting, for every CPU of the cluster.
        """
        task = self.ray.remote(num_cpus=1, max_retries=0)(run_task)
        most = max(1, int(ahead * self._most("CPU", self.ray.cluster_resources())))

        def begin(item: Any, running: int) -> Any:
            return task.remote(work, item) if running < most else None

        flow = Flow(self, begin, ended=lambda ref, error: None, give_up=work.give_up)
        yield from flow.results(items)

    def runner(
        self, spec: PredictorSpec, *, limits: Limits | None = DEFAULT_LIMITS, readers: int = 0
    ) -> RayRunner:
        """Who answers on this cluster.

        Args:
            spec: Of the predictor.
            limits: See `covidctnet.run.runner.LocalRunner`.
            readers: Studies that are read at once for every worker; 0 for two on a CPU and eight
                on a GPU.
        """
        return RayRunner(self, spec, limits=limits, readers=readers)

    def nodes(self) -> list[Mapping[str, float]]:
        """What the nodes that are there have, each by itself."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    @staticmethod
    def _most(name: str, resources: Mapping[str, float]) -> float:
        return float(resources.get(name, 0))

    def check(self) -> None:
        """Look whether the cluster is still there.

        Raises:
            ClusterError: If its head node no longer answers.
        """
        if self._head is not None and not self._head.answers:
            raise ClusterError(
                "the head node of the Ray cluster no longer answers. What was finished is kept: "
                "start the cluster again, and run this command again."
            )
