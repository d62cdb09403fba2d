"""The program with a stand-in for the networks, as `make resilience` starts and disturbs it.

    python -m pipelines.experiments.resilience.program classify FOLDER -o RESULTS

Everything but the networks is the program's own. The stand-in answers from the voxels, so a wrong
answer shows; it thinks for a moment, so a run can be met in the middle.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import types
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from covidctnet import cli
from covidctnet.classes import CHEST_CT
from covidctnet.commands.common import Network
from covidctnet.contract import PredictorInfo
from covidctnet.evidence import Keep
from covidctnet.results import Prediction
from covidctnet.stopping import Stopped
from covidctnet.volume import Volume

__all__ = ["Run", "StandIn", "stand_in", "start"]

# How long an answer takes.
THINKING_S = 0.03
# A run of a dozen small studies that takes longer hangs.
PATIENCE_S = 120.0
DIGEST = "0123456789ab"


class StandIn:
    """Answers by a sum over the voxels."""

    info = PredictorInfo("covidctnet", "stand-in", DIGEST, CHEST_CT)

    def prepare(self, volume: Volume) -> Volume:
        """Nothing."""
        return volume

    def __call__(self, volume: Volume, *, keep: Keep = "numbers") -> Prediction:
        """Three probabilities that no other scan has."""
        time.sleep(THINKING_S)
        number = zlib.crc32(volume.array.tobytes())
        parts = [1 + (number >> shift) % 997 for shift in (0, 10, 20)]
        values = [part / sum(parts) for part in parts]
        answer = dict(zip(CHEST_CT, values, strict=True))
        return Prediction(volume.source.study, answer, weights=DIGEST)


def stand_in() -> None:
    """Let the commands of this process ask the stand-in, and load no torch."""
    Network.load = lambda self: StandIn()  # type: ignore[method-assign]
    devices = types.ModuleType("covidctnet.devices")
    devices.pick_device = lambda name: types.SimpleNamespace(type="cpu")  # type: ignore[attr-defined]
    sys.modules["covidctnet.devices"] = devices


@dataclass(frozen=True)
class Run:
    """The program at work in a process of its own group.

    Attributes:
        process: Its number.
        output: Receives what it prints.
    """

    process: int
    output: Path

    def wait(self, seconds: float = PATIENCE_S) -> int | None:
        """How it ended: its exit code, less than 0 for a signal; None if it had to be killed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            done, status = os.waitpid(self.process, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        self.kill()
        return None

    def kill(self) -> None:
        """End it by force, as a machine that is short of memory does."""
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)

    def children(self) -> list[int]:
        """The processes that read for it."""
        found: list[int] = []
        for task in Path(f"/proc/{self.process}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
        return found

    def has_left_nobody(self, seconds: float = 30.0) -> bool:
        """Whether all processes of its group end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                os.killpg(self.process, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.02)
        return False


def start(arguments: Sequence[str], output: Path, before: Callable[[], None] | None = None) -> Run:
    """Start the program with the stand-in, without loading anything again.

    Args:
        arguments: Of the program.
        output: Receives what it prints.
        before: What the new process does first.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return Run(process, output)
    code = 1
    try:
        os.setsid()
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        for number, stream in ((nowhere, 0), (target, 1), (target, 2)):
            os.dup2(number, stream)
        # As a shell starts it, whatever started this one.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        if before:
            before()
        code = cli.main(list(arguments))
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Stopped) else 128 + signal.SIGINT
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    stand_in()
    sys.exit(cli.main())
