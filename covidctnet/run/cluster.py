"""Studies on many machines by the engine Ray: workers read and answer, this process alone writes.

A `PredictorSpec` travels, never a model: every worker loads the weights from its own disk and
proves that they are the same. Readers are tasks, with the limits that a child process has here. A
worker that is lost costs time only: its studies are asked again, each is given out once.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from covidctnet._version import __version__
from covidctnet.contract import Predictor, PredictorInfo, RunSettings
from covidctnet.errors import CovidCTNetError, UsageError
from covidctnet.evidence import Keep
from covidctnet.report.provenance import library_versions
from covidctnet.run.runner import (
    DEFAULT_LIMITS,
    NO_LESIONS,
    Answered,
    Answers,
    Asked,
    Reading,
    Work,
    answer,
    lost,
    prepare,
    read,
    reader_of,
)
from covidctnet.workers.isolate import Limits

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Cluster", "ClusterError", "PredictorSpec", "RayRunner"]

_LOG = logging.getLogger(__name__)
# So often a study is asked that loses its worker.
_TRIES = 3
# Answers that may wait for one before them, for every study that is being worked on.
_WAITING = 8
# The head node of a cluster is asked so often, and given up after so long a silence. Ray itself
# ends the whole process after 60 s.
_PING_S, _SILENCE_S = 2.0, 20.0
_CONNECT_S = 10.0
_GPU_READERS, _CPU_READERS = 8, 2


class ClusterError(CovidCTNetError):
    """The cluster, or a worker of it, cannot do the work; what is written stays."""


@dataclass(frozen=True)
class PredictorSpec:
    """What a worker needs to become the predictor that was asked for.

    Attributes:
        weights: Name of shipped weights, or an absolute path, the same on every node.
        digest: Of the weights.
        settings: How the networks run.
        threads: Of the networks on a CPU: sums in another order may differ in the last bits.
        versions: Of this package and of the libraries that answers depend on.
    """

    weights: str
    digest: str
    settings: RunSettings = field(default_factory=RunSettings)
    threads: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, weights: str | Path, settings: RunSettings) -> Self:
        """The spec of weights that lie here.

        Args:
            weights: Shipped name, or a folder.
            settings: How the networks run.

        Raises:
            WeightsError: If they are missing or damaged.
        """
        import torch

        from covidctnet.weights import load_weights
        from covidctnet.weights.shipped import weights_root

        loaded = load_weights(weights)
        is_shipped = str(weights) == loaded.name and (weights_root() / loaded.name).is_dir()
        name = loaded.name if is_shipped else str(Path(weights).absolute())
        return cls(name, loaded.digest, settings, torch.get_num_threads(), _versions())

    def load(self) -> Predictor:
        """The predictor, on a worker.

        Raises:
            ClusterError: If the versions or the weights are others than where the run was started.
            WeightsError: If the weights are missing or damaged.
        """
        ours = _versions()
        for name in sorted({*self.versions, *ours}):
            here, there = ours.get(name, "none"), self.versions.get(name, "none")
            if here != there:
                raise ClusterError(
                    f"expected {name} {there} on every node, as where the run was started, got "
                    f"{here}. Install the same versions everywhere."
                )
        import torch

        from covidctnet.run.load import load

        torch.set_num_threads(self.threads)
        how = self.settings
        model = load(
            self.weights, device=how.device, precision=how.precision, compiled=how.compiled
        )
        if model.info.digest != self.digest:
            raise ClusterError(
                f"expected the weights {Path(self.weights).name} ({self.digest}) on every node, "
                f"got {model.info.digest}. Copy the same folder to every node."
            )
        return model


def _versions() -> dict[str, str]:
    return {"covidctnet": __version__, **library_versions()}


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
        self._head: _Head | None = None
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
            ending.enter_context(_last_word(folder))
            with _own_signals():
                self._connect(how)
            ending.callback(self._disconnect)
            self._head = _Head(self._head_address())
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
                socket.create_connection(_host_and_port(self._address), timeout=_CONNECT_S).close()
            self.ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR, **how)
        except (ConnectionError, TimeoutError, RuntimeError, OSError, ValueError) as error:
            where = "on this machine" if self._address == "local" else f"at {self._address}"
            raise UsageError(
                f"expected a Ray cluster {where}, none could be reached "
                f"({_line(error)}). Check the address, and that Python and Ray have the same "
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
        task = self.ray.remote(num_cpus=1, max_retries=0)(_do)
        most = max(1, int(ahead * self._most("CPU", self.ray.cluster_resources())))

        def begin(item: Any, running: int) -> Any:
            return task.remote(work, item) if running < most else None

        flow = _Flow(self, begin, ended=lambda ref, error: None, give_up=work.give_up)
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


class RayRunner:
    """Answers studies on a cluster; a `covidctnet.run.runner.Runner`.

    Workers are started one after the other as long as the cluster has room for them, so that a node
    that joins is used, and one that is lost is replaced.

    Args:
        cluster: That it works on.
        spec: Of the predictor.
        limits: See `covidctnet.run.runner.LocalRunner`.
        readers: See `Cluster.runner`.

    Raises:
        UsageError: If no node has what a worker needs.
    """

    def __init__(
        self, cluster: Cluster, spec: PredictorSpec, *, limits: Limits | None, readers: int
    ) -> None:
        nodes = cluster.nodes()
        has_gpu = any(node.get("GPU") for node in nodes)
        device = spec.settings.device
        if device == "auto":
            device = "cuda" if has_gpu else "cpu"
        needs_gpu = device.startswith("cuda")
        if needs_gpu and not has_gpu:
            raise UsageError(
                f"expected a node with a GPU for --device {device}, got none in the cluster. Use "
                "--device cpu."
            )
        cores = max((int(node.get("CPU", 0)) for node in nodes), default=0)
        threads = max(1, min(spec.threads, cores))
        self._spec = replace(spec, settings=replace(spec.settings, device=device), threads=threads)
        self._needs = {"num_gpus": 1} if needs_gpu else {"num_cpus": threads}
        self._limits = limits
        self._readers = readers or (_GPU_READERS if needs_gpu else _CPU_READERS)
        self._cluster = cluster
        self._workers: dict[Any, _Worker] = {}
        self._starting: dict[Any, _Worker] = {}
        self._deaths = 0
        self._info: PredictorInfo | None = None

    @property
    def info(self) -> PredictorInfo:
        """Of the predictor that answers, as the first worker says.

        Raises:
            ClusterError: See `answers`.
        """
        while self._info is None:
            self._cluster.check()
            self._start(1)
            self._collect(self._cluster.ray.wait(list(self._starting), timeout=1.0)[0])
        return self._info

    def answers(
        self,
        studies: Iterable[Asked],
        *,
        keep: Keep = "numbers",
        lesions: Mapping[str, Path] = NO_LESIONS,
        with_scans: bool = False,
    ) -> Answers:
        """See `covidctnet.run.runner.Runner.answers`.

        Raises:
            ClusterError: If the head node is gone, or a worker has other weights or versions.
            StartError: If no reader can start on a node.
        """
        ray = self._cluster.ray
        reading = ray.remote(num_cpus=0, max_retries=0)(_do)
        work = _ReadingWork(self._limits, self.info.modality)
        busy: dict[Any, _Worker] = {}

        def begin(study: Asked, running: int) -> Any:
            self._start(1 + running // self._each)
            free = [w for w in self._workers.values() if w.studies < self._each]
            if not free:
                return None
            worker = min(free, key=lambda w: w.studies)
            # Voxels stay on the node where they are used, if it is still there.
            there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                worker.node, soft=True
            )
            scan = reading.options(scheduling_strategy=there).remote(work, study)
            ref = worker.actor.answer.remote(study, scan, keep, lesions.get(study.id), with_scans)
            worker.studies += 1
            busy[ref] = worker
            return ref

        def ended(ref: Any, error: Exception | None) -> None:
            worker = busy.pop(ref)
            worker.studies -= 1
            if isinstance(error, ray.exceptions.RayActorError):
                self._workers.pop(worker.ready, None)

        flow = _Flow(
            self._cluster,
            begin,
            ended,
            give_up=work.give_up,
            also=self._starting,
            collect=self._collect,
        )
        try:
            for study, answered in flow.results(studies):
                yield answered._replace(study=study)
        finally:
            for ref in busy:
                with suppress(Exception):
                    ray.cancel(ref, force=False)

    @property
    def _each(self) -> int:
        """Studies of a worker that are read, wait or are answered."""
        return self._readers + 1

    def _start(self, most: int) -> None:
        """Ask for more workers: as many as there are, so that a large cluster fills quickly.

        Args:
            most: Workers that there is work for.
        """
        there = len(self._workers)
        while len(self._starting) < max(1, there) and there + len(self._starting) < most:
            actor = (
                self._cluster.ray.remote(**self._needs, max_restarts=0, max_concurrency=2)(_Actor)
            ).remote()
            ready = actor.start.remote(self._spec)
            self._starting[ready] = _Worker(actor, ready)

    def _collect(self, refs: Iterable[Any]) -> None:
        """Take up the workers that have started."""
        ray = self._cluster.ray
        for ref in refs:
            worker = self._starting.pop(ref, None)
            if worker is None:
                continue
            try:
                outcome = ray.get(ref)
            except ray.exceptions.RayError as error:
                self._deaths += 1
                _LOG.debug("a worker did not start", exc_info=True)
                if self._deaths >= _TRIES and not self._workers:
                    raise ClusterError(
                        f"expected workers that load the weights, {self._deaths} ended instead "
                        f"({_line(error)}). Check that covidctnet {__version__} is installed on "
                        "every node, and that a node has the memory for it."
                    ) from None
                continue
            if isinstance(outcome, _Refused):
                raise ClusterError(outcome.message)
            self._info, worker.node = self._info or outcome[0], outcome[1]
            self._workers[ref] = worker
            self._deaths = 0


@dataclass(eq=False)
class _Worker:
    """An actor, and how many studies it has."""

    actor: Any
    ready: Any
    node: str = ""
    studies: int = 0


class _Actor:
    """Keeps the predictor, on a node of the cluster."""

    def __init__(self) -> None:
        self._model: Predictor | None = None
        self._turn = threading.Lock()

    def start(self, spec: PredictorSpec) -> tuple[PredictorInfo, str] | _Refused:
        """Load the predictor: what it is and where; or why it cannot be used."""
        import ray

        try:
            self._model = spec.load()
        except CovidCTNetError as error:
            return _Refused(_on_node(error))
        return self._model.info, ray.get_runtime_context().get_node_id()

    def answer(
        self,
        study: Any,
        reading: Reading | _Refused,
        keep: Keep,
        lesions: Path | None,
        with_scan: bool,
    ) -> Answered | _Refused:
        """Answer a study; the next one is prepared meanwhile."""
        if isinstance(reading, _Refused):
            return reading
        assert self._model is not None
        prepared = prepare(study, reading, self._model, with_scan=with_scan)
        del reading
        with self._turn:
            answered = answer(study, prepared, self._model, keep=keep, lesions=lesions)
        # Who asked has it.
        return answered._replace(study=None)


@dataclass(frozen=True)
class _ReadingWork:
    """Reads studies on a node."""

    limits: Limits | None
    modality: str

    def helper(self) -> Any:
        """A child process, or nothing."""
        return reader_of(self.limits, self.modality)

    def __call__(self, helper: Any, study: Any) -> Reading:
        return read(study, helper)

    def give_up(self, study: Any) -> Answered:
        """A study that loses every worker."""
        return Answered(study, lost(study.id), {}, "")


@lru_cache(maxsize=1)
def _helper(work: Work) -> Any:
    """What a process of Ray keeps for the next task, such as a child process that reads."""
    return work.helper()


@dataclass(frozen=True)
class _Refused:
    """What ends the run, said on a worker."""

    message: str


def _do(work: Work, item: Any) -> Any:
    """A task of Ray."""
    try:
        return work(_helper(work), item)
    except CovidCTNetError as error:
        return _Refused(_on_node(error))


def _on_node(error: CovidCTNetError) -> str:
    return f"node {socket.gethostname()} of the cluster: {error}"


@dataclass
class _Job:
    number: int
    item: Any
    tries: int = 0


class _Flow:
    """Gives work to a cluster, bounded, asks again for what is lost, and keeps the order.

    Args:
        cluster: That works.
        begin: Begins an item and gives the reference of its result; None when there is no room.
            Called with the item and the number of those that run.
        ended: Called with every reference that has ended, and with what ended it.
        give_up: The result of an item that lost its worker too often.
        also: References that are waited for besides.
        collect: Takes those of them that are there.
    """

    def __init__(
        self,
        cluster: Cluster,
        begin: Callable[[Any, int], Any],
        ended: Callable[[Any, Exception | None], None],
        *,
        give_up: Callable[[Any], Any],
        also: Mapping[Any, Any] | None = None,
        collect: Callable[[list[Any]], None] = lambda refs: None,
    ) -> None:
        self._cluster = cluster
        self._begin, self._ended, self._give_up = begin, ended, give_up
        self._also, self._collect = also if also is not None else {}, collect
        self._running: dict[Any, _Job] = {}

    def results(self, items: Iterable[Any]) -> Generator[tuple[Any, Any], None, None]:
        """Every item with its result, once and in order."""
        ray = self._cluster.ray
        coming: Iterator[_Job] = (_Job(n, item) for n, item in enumerate(items))
        again: deque[_Job] = deque()
        done: dict[int, tuple[Any, Any]] = {}
        following = 0
        while True:
            # What was lost is what the others wait for.
            while again or len(done) <= _WAITING * max(1, len(self._running)):
                job = again.popleft() if again else next(coming, None)
                if job is None:
                    break
                ref = self._begin(job.item, len(self._running))
                if ref is None:
                    again.appendleft(job)
                    break
                self._running[ref] = job
            if not (self._running or again or done):
                return
            self._cluster.check()
            refs = [*self._running, *self._also]
            ready = ray.wait(refs, num_returns=1, timeout=1.0)[0] if refs else []
            self._collect([ref for ref in ready if ref not in self._running])
            for ref in ready:
                if ref in self._running:
                    job = self._running.pop(ref)
                    if (result := self._result(ref, job)) is None:
                        again.append(job)
                    else:
                        done[job.number] = (job.item, result[0])
            del ready, refs
            while following in done:
                yield done.pop(following)
                following += 1

    def _result(self, ref: Any, job: _Job) -> tuple[Any] | None:
        """The result of a job; None when it must be begun again."""
        ray = self._cluster.ray
        try:
            result = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            self._ended(ref, error)
            raise ClusterError(f"a worker of the cluster failed: {_line(error.cause)}") from None
        except ray.exceptions.RayError as error:
            self._ended(ref, error)
            job.tries += 1
            _LOG.info(
                "a worker of the cluster was lost (%s); its work is done again",
                type(error).__name__,
            )
            return None if job.tries < _TRIES else (self._give_up(job.item),)
        self._ended(ref, None)
        if isinstance(result, _Refused):
            raise ClusterError(result.message)
        return (result,)


# Ray ends this process, without an error that could be caught, when the node of this machine dies.
_LAST_WORD = """
import shutil, sys
if not sys.stdin.read():
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    sys.stderr.write(
        "covidctnet: the command was ended from outside, or by Ray as its node on this machine is "
        "gone. What was finished is kept: start the cluster again, and run this command again.\\n"
    )
"""


@contextmanager
def _last_word(folder: Path) -> Iterator[None]:
    """A process that says so in one line when this one ends within, and removes its folder."""
    watching = subprocess.Popen(
        [sys.executable, "-I", "-c", _LAST_WORD, str(folder)],
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


class _Head:
    """Whether the head node of a cluster answers, asked in a thread of its own."""

    def __init__(self, address: str) -> None:
        self._where = _host_and_port(address)
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


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def _own_signals() -> Iterator[None]:
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


def _line(error: BaseException | None) -> str:
    """An error in a line, without paths: those name people."""
    words = [word for word in str(error).split() if "/" not in word and "\\" not in word]
    return f"{type(error).__name__}: {' '.join(words)}"[:200]
