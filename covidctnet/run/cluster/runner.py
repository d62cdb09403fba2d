"""Answers studies on a cluster."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from covidctnet._version import __version__
from covidctnet.contract import PredictorInfo
from covidctnet.errors import UsageError
from covidctnet.evidence import Keep
from covidctnet.run.cluster.errors import ClusterError, in_one_line
from covidctnet.run.cluster.flow import TRIES, Flow
from covidctnet.run.cluster.spec import PredictorSpec
from covidctnet.run.cluster.tasks import Actor, ReadingWork, Refused, run_task
from covidctnet.run.runner import (
    NO_LESIONS,
    Answers,
    Asked,
)
from covidctnet.workers.isolate import Limits

if TYPE_CHECKING:
    from covidctnet.io.lesions import MaskFile
    from covidctnet.run.cluster.connection import Cluster

__all__ = ["RayRunner"]

_LOG = logging.getLogger(__name__)
_GPU_READERS, _CPU_READERS = 8, 2


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
        lesions: Mapping[str, MaskFile] = NO_LESIONS,
        with_scans: bool = False,
    ) -> Answers:
        """See `covidctnet.run.runner.Runner.answers`.

        Raises:
            ClusterError: If the head node is gone, or a worker has other weights or versions.
            StartError: If no reader can start on a node.
        """
        ray = self._cluster.ray
        reading = ray.remote(num_cpus=0, max_retries=0)(run_task)
        work = ReadingWork(self._limits, self.info.modality)
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

        flow = Flow(
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
                self._cluster.ray.remote(**self._needs, max_restarts=0, max_concurrency=2)(Actor)
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
                if self._deaths >= TRIES and not self._workers:
                    raise ClusterError(
                        f"expected workers that load the weights, {self._deaths} ended instead "
                        f"({in_one_line(error)}). Check that covidctnet {__version__} is installed "
                        "on every node, and that a node has the memory for it."
                    ) from None
                continue
            if isinstance(outcome, Refused):
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
