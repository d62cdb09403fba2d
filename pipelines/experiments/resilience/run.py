"""What faults of machine, disk, neighbour and user cost: answers lost, doubled, wrong.

    python -m pipelines.experiments.resilience.run --output docs/measured/resilience.md

Every fault is tried many times on a dozen small scans with a stand-in for the networks; then the
run is continued undisturbed and compared, answer by answer, with one that nothing disturbed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from covidctnet.errors import CovidCTNetError
from pipelines.experiments.command import tell
from pipelines.experiments.resilience.faults import FAULTS, STUDIES, Lab
from pipelines.experiments.resilience.program import stand_in
from pipelines.experiments.resilience.toll import Toll


class UncleanError(CovidCTNetError):
    """A fault has cost something."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every fault and print the table; returns 1 if any cost something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="each fault a few times")
    parser.add_argument("--only", default="", help=f"some of {','.join(FAULTS)}")
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="of the full numbers, where they are not a list of cases",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all moments")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)
    chosen = options.only.split(",") if options.only else list(FAULTS)
    stand_in()
    tolls: list[Toll] = []

    def make() -> str:
        with tempfile.TemporaryDirectory(prefix="resilience-") as folder:
            lab = Lab(Path(folder), options.seed)
            for name in chosen:
                trial = FAULTS[name]
                share = 1.0 if trial.is_list else options.share
                times = trial.short if options.short else max(1, round(share * trial.full))
                began = time.monotonic()
                tolls.append(trial.attempt(lab, times))
                sys.stderr.write(f"{tolls[-1].fault}: {time.monotonic() - began:.0f} s\n")
                for example in tolls[-1].examples[:5]:
                    sys.stderr.write(f"  {' '.join(example.split())}\n")
        return render(tolls, options.seed)

    code = tell(make, options.output)
    return code or int(not all(toll.is_clean for toll in tolls))


def render(tolls: Sequence[Toll], seed: int) -> str:
    """The page."""
    lines = [
        "# What faults cost",
        "",
        f"Made by `make resilience` (seed {seed}): {STUDIES} small scans a run, read by the "
        "program's own processes, answered by a stand-in for the networks. After each fault the "
        "run is continued and compared with one that nothing disturbed. *Other ends*: a run that "
        "ended with another exit code than documented, or left a process behind.",
        "",
        "| fault | times tried | answers lost | doubled | wrong | other ends |",
        "|---|---|---|---|---|---|",
    ]
    for toll in tolls:
        name = f"{toll.fault} ({toll.note})" if toll.note else toll.fault
        figures = (toll.tried, toll.lost, toll.doubled, toll.wrong, toll.ends)
        lines.append(f"| {name} | {' | '.join(map(str, figures))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
