"""Compare what the package says with the recording, or record it again.

    python -m tests.recording                      # compare everything; a few minutes
    python -m tests.recording --because "reason"   # record again what differs, and say why
    python -m tests.recording --output FILE        # what this version says, to a file of its own

Without a reason nothing is written, and a difference ends with exit code 1.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from covidctnet import CovidCTNet, Volume
from tests.conftest import real_data
from tests.recording.answers import (
    PAIRS,
    SHIPPED,
    answer,
    environment,
    losses,
    phantoms,
    real_scans,
    shipped_digest,
    small_pair,
)
from tests.recording.compare import differences

RECORDED = Path(__file__).with_name("recorded.json")


def recording(data: Path) -> dict[str, Any]:
    """Everything that is recorded, of the package as it is.

    Args:
        data: Folder with ``covid_ct_md``.
    """
    torch.set_num_threads(1)
    scans = [*phantoms(), *real_scans(data)]
    answers_now: dict[str, Any] = {"environment": environment()}
    with tempfile.TemporaryDirectory() as folder:
        for name in PAIRS:
            weights = small_pair(Path(folder) / name, name)
            for precision in ("32", "bf16"):
                network = CovidCTNet.load(weights, device="cpu", precision=precision)
                answers_now[f"small {name} {precision}"] = answers(network, scans)
        shipped = CovidCTNet.load(SHIPPED, device="cpu", precision="32")
        answers_now["shipped"] = {"digest": shipped_digest(), **answers(shipped, scans)}
        answers_now["losses"] = losses(Path(folder) / "training")
    return answers_now


def answers(network: CovidCTNet, scans: Iterable[tuple[str, Volume]]) -> dict[str, Any]:
    """The answer for each scan, by its name."""
    return {name: answer(network, volume) for name, volume in scans}


def load() -> dict[str, Any]:
    """The recording: ``now``, ``before`` (an earlier version) and ``history``."""
    held: dict[str, Any] = json.loads(RECORDED.read_text())
    return held


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.recording", description=__doc__)
    parser.add_argument("--because", default="", help="record again, for this reason")
    parser.add_argument("--output", type=Path, help="write what is found here, compare nothing")
    parser.add_argument("--before", type=Path, help="with --because: what an earlier version said")
    settings = parser.parse_args()
    now = recording(real_data())
    if settings.output:
        write(settings.output, now)
        return 0
    held = load() if RECORDED.is_file() else {"now": {}, "before": {}, "history": []}
    changes = list(differences(held["now"], now))
    for difference in changes:
        sys.stdout.write(f"{difference.where}: {difference.before} -> {difference.now}\n")
    sys.stdout.write(f"{len(changes)} values differ from the recording\n")
    if not settings.because:
        return 1 if changes else 0
    if settings.before:
        held["before"] = json.loads(settings.before.read_text())
    if held["before"].get("shipped", {}).get("digest") != now["shipped"]["digest"]:
        # Other networks: the earlier version said nothing of these.
        held["before"].pop("shipped", None)
    largest = max((d.size for d in changes if d.size != float("inf")), default=0.0)
    held["history"].append(
        {"because": settings.because, "values": len(changes), "largest_difference": largest}
    )
    write(RECORDED, {**held, "now": now})
    return 0


def write(path: Path, what: dict[str, Any]) -> None:
    """JSON, one value a line, so that a change can be read."""
    path.write_text(json.dumps(what, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
