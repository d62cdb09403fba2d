"""What runs on a node of the cluster: the actor that answers, and tasks that read."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from covidctnet.contract import Predictor, PredictorInfo
from covidctnet.errors import CovidCTNetError
from covidctnet.evidence import Keep
from covidctnet.run.cluster.spec import PredictorSpec
from covidctnet.run.runner import (
    Answered,
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
    from covidctnet.io.lesions import MaskFile

__all__ = ["Actor", "ReadingWork", "Refused", "run_task"]


class Actor:
    """Keeps the predictor, on a node of the cluster."""

    def __init__(self) -> None:
        self._model: Predictor | None = None
        self._turn = threading.Lock()

    def start(self, spec: PredictorSpec) -> tuple[PredictorInfo, str] | Refused:
        """Load the predictor: what it is and where; or why it cannot be used."""
        import ray

        try:
            self._model = spec.load()
        except CovidCTNetError as error:
            return Refused(with_node(error))
        return self._model.info, ray.get_runtime_context().get_node_id()

    def answer(
        self,
        study: Any,
        reading: Reading | Refused,
        keep: Keep,
        lesions: MaskFile | None,
        with_scan: bool,
    ) -> Answered | Refused:
        """Answer a study; the next one is prepared meanwhile."""
        if isinstance(reading, Refused):
            return reading
        assert self._model is not None
        prepared = prepare(study, reading, self._model, with_scan=with_scan)
        del reading
        with self._turn:
            answered = answer(study, prepared, self._model, keep=keep, lesions=lesions)
        # Who asked has it.
        return answered._replace(study=None)


@dataclass(frozen=True)
class ReadingWork:
    """Reads studies on a node."""

    limits: Limits | None
    modality: str

    def helper(self) -> Any:
        """A child process, or nothing."""
        return reader_of(self.limits, self.modality)

    def __call__(self, helper: Any, study: Any) -> Reading:
        """What came of reading a study."""
        return read(study, helper)

    def give_up(self, study: Any) -> Answered:
        """A study that loses every worker."""
        return Answered(study, lost(study.id), {}, "")


@lru_cache(maxsize=1)
def _helper(work: Work) -> Any:
    """What a process of Ray keeps for the next task, such as a child process that reads."""
    return work.helper()


@dataclass(frozen=True)
class Refused:
    """What ends the run, said on a worker."""

    message: str


def run_task(work: Work, item: Any) -> Any:
    """A task of Ray."""
    try:
        return work(_helper(work), item)
    except CovidCTNetError as error:
        return Refused(with_node(error))


def with_node(error: CovidCTNetError) -> str:
    """An error with the node that it happened on."""
    return f"node {socket.gethostname()} of the cluster: {error}"
