"""One scan alone and beside busy programs, by how torch's threads wait for each other.

    python -m pipelines.experiments.loaded.run SCAN --weights compact --output FILE

torch's OpenMP lets threads look for work in turns before they sleep, at every barrier. Where other
programs use the cores, these turns cost time and CPU; this shows how much, for the ways to set it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from covidctnet.errors import UsageError
from covidctnet.surroundings import usable_cores
from pipelines.experiments.command import tell

# What the program sets itself, if nobody else does, is the second.
WAYS: Mapping[str, Mapping[str, str]] = {
    "300,000 turns, as OpenMP has it": {"GOMP_SPINCOUNT": "300000"},
    "1,000 turns, as the program sets it": {"GOMP_SPINCOUNT": "1000"},
    "none (OMP_WAIT_POLICY=PASSIVE)": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
# Above this, other programs decide what is measured.
MOST_LOAD = 1.5
BUSY = "while True: pass"


class Cost(NamedTuple):
    """Of one run, in seconds.

    Attributes:
        wall: From start to end.
        cpu: Of all its processes.
    """

    wall: float
    cpu: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--busy", type=int, default=2, help="programs beside it")
    parser.add_argument("--times", type=int, default=3, help="runs of each way; medians are shown")
    parser.add_argument("--any-load", action="store_true", help="measure on a busy machine too")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)

    def make() -> str:
        load = os.getloadavg()[0]
        if load > MOST_LOAD and not options.any_load:
            raise UsageError(
                f"expected an idle machine (load below {MOST_LOAD}), got a load of {load:.1f}. End "
                "other programs, or wait."
            )
        costs: dict[str, list[list[Cost]]] = {way: [[], []] for way in WAYS}
        # In turns, so that what changes over time meets every way alike.
        for _ in range(options.times):
            for place, count in enumerate((0, options.busy)):
                with busy(count):
                    for way, environment in WAYS.items():
                        cost = answer(options.scan, options.weights, environment)
                        costs[way][place].append(cost)
        return render(costs, options.busy, options.times)

    return tell(make, options.output)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many programs that use a core each."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def answer(scan: Path, weights: str, environment: Mapping[str, str]) -> Cost:
    """Classify a scan in a process of its own.

    Raises:
        UsageError: If it has no answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "covidctnet", "classify", str(scan), "-o", folder]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--weights", weights, "--device", "cpu"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise UsageError(f"expected an answer, got the exit code {code}. Classify the scan alone.")
    return Cost(wall, used.ru_utime + used.ru_stime)


def render(costs: Mapping[str, Sequence[Sequence[Cost]]], count: int, times: int) -> str:
    """The table."""
    lines = [
        f"Medians of {times} runs of `classify` for one scan, on {usable_cores()} cores, alone and "
        f"beside {count} programs that use a core each; seconds.",
        "",
        "| turns before a thread sleeps | alone | CPU | beside others | CPU |",
        "|---|---|---|---|---|",
    ]
    for way, places in costs.items():
        cells = [
            f"{statistics.median(getattr(cost, name) for cost in place):.1f}"
            for place in places
            for name in ("wall", "cpu")
        ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
