"""Gives work to a cluster: bounded, in order, and again where it was lost."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from covidctnet.run.cluster.errors import ClusterError, in_one_line
from covidctnet.run.cluster.tasks import Refused

if TYPE_CHECKING:
    from covidctnet.run.cluster.connection import Cluster

__all__ = ["TRIES", "Flow"]

_LOG = logging.getLogger(__name__)
# A study that loses its worker is asked so often.
TRIES = 3
# Answers that may wait for one before them, for every study that is being worked on.
_WAITING = 8


@dataclass
class _Job:
    number: int
    item: Any
    tries: int = 0


class Flow:
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
        except ray.exceptions.RayError as error:
            self._ended(ref, error)
            # What was read on a node that died fails the task that waits for it.
            cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
            if not isinstance(cause, ray.exceptions.RayError):
                raise ClusterError(
                    f"a worker of the cluster failed: {in_one_line(cause)}"
                ) from None
            job.tries += 1
            _LOG.info(
                "a worker of the cluster was lost (%s); its work is done again",
                type(cause).__name__,
            )
            return None if job.tries < TRIES else (self._give_up(job.item),)
        self._ended(ref, None)
        if isinstance(result, Refused):
            raise ClusterError(result.message)
        return (result,)
