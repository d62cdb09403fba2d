"""What the commands have in common: exit codes, the notice, options, paths."""

# No `from __future__ import annotations` here: `add_parameters` reads the types.
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from covidctnet.errors import UsageError

if TYPE_CHECKING:
    from covidctnet.contract import Predictor
    from covidctnet.run.cluster import Cluster
    from covidctnet.run.runner import Runner
    from covidctnet.workers.isolate import Limits

__all__ = ["NOTICE", "Exit", "Network", "Output", "StudyLimits", "cluster_of", "existing"]


class Exit(IntEnum):
    """Exit codes of the program; 128 and a signal's number beside them, as shells have it."""

    OK, ERROR, USAGE, SOME_FAILED, NONE_CLASSIFIED = range(5)
    PIPE = 141


NOTICE = "Research use only. Not a medical device."

LEAST_MEMORY_MB = 256

# The folder that a command writes, and its short name.
Output = Annotated[str, "-o"]


@dataclass(frozen=True, kw_only=True)
class Network:
    """The options that name weights and where they run.

    Attributes:
        weights: Shipped name, or a folder.
        device: One of auto, cpu, cuda, cuda:1 or mps.
        precision: 32, bf16 (nearly twice as fast where the processor knows it), or auto.
        compiled: Let torch.compile write kernels for the denoiser, in a minute or so at the first
            study; for many studies and a GPU.
    """

    weights: str = "compact"
    device: str = "auto"
    precision: str = "auto"
    compiled: bool = False

    def load(self) -> "Predictor":
        """The predictor that they name."""
        from covidctnet.run.load import load

        return load(
            self.weights, device=self.device, precision=self.precision, compiled=self.compiled
        )

    def runner(self, cluster: "Cluster", limits: "Limits", *, readers: int = 0) -> "Runner":
        """The same on a cluster."""
        from covidctnet.contract import RunSettings
        from covidctnet.run.cluster import PredictorSpec

        how = RunSettings(self.device, self.precision, self.compiled)
        return cluster.runner(PredictorSpec.of(self.weights, how), limits=limits, readers=readers)


@dataclass(frozen=True, kw_only=True)
class StudyLimits:
    """The options that say what reading a study may cost.

    Attributes:
        timeout: Seconds that reading a study may take; 0 for a minute and more for large files.
        max_memory: MiB that reading a study may take; 0 for 6144.
    """

    timeout: float = 0.0
    max_memory: int = 0

    @property
    def limits(self) -> "Limits":
        """As the processes that read take them.

        Raises:
            UsageError: If a limit is negative, or so small that no process could start.
        """
        from covidctnet.workers.isolate import Limits

        if not 0 <= self.timeout < math.inf:
            raise UsageError(f"expected --timeout SECONDS of 0 or more, got {self.timeout:g}")
        if self.max_memory and self.max_memory < LEAST_MEMORY_MB:
            raise UsageError(
                f"expected --max-memory of {LEAST_MEMORY_MB} MiB or more, got {self.max_memory}: "
                "the program itself takes some"
            )
        limits = Limits()
        if self.timeout:
            limits = replace(limits, seconds=self.timeout, seconds_per_mb=0.0)
        if self.max_memory:
            limits = replace(limits, memory_mb=self.max_memory)
        return limits


@contextmanager
def cluster_of(runner: str) -> "Iterator[Cluster | None]":
    """The cluster that ``--runner`` names; None for this machine without one.

    Raises:
        UsageError: If it names none, or it cannot be reached.
    """
    if runner == "local":
        yield None
        return
    from covidctnet.run.cluster import Cluster

    with Cluster(runner) as cluster:
        yield cluster


def existing(text: str) -> Path:
    """The path that an argument names.

    Raises:
        UsageError: If nothing is there.
    """
    path = Path(text)
    # An empty variable of a shell must not mean the current folder.
    if not text or not path.exists():
        raise UsageError(f"{text!r} does not exist; give a folder or a file that does")
    return path
