"""What an answer costs: time a patient, memory and parameters of some weights, in this process.

    python -m pipelines.experiments.systems.cost WEIGHTS PATH [PATH ...] --output FILE.json

Each path is a patient, answered alone, from files to probabilities. Started as a program of its
own, so that memory is that of these weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from covidctnet.files import write_whole
from covidctnet.results import Prediction
from covidctnet.run.classify import classify_studies
from covidctnet.run.load import load
from covidctnet.weights import load_weights
from pipelines.experiments.systems.memory import peak_mib


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    weights = load_weights(given.weights)
    parameters = 0
    for kind in weights.card["architecture"]:
        parameters += sum(p.numel() for p in weights.network(kind).parameters())
    del weights
    model = load(given.weights, device="cpu")
    seconds = []
    for path in given.paths:
        start = time.perf_counter()
        # In this process, so that its memory counts.
        answered = list(classify_studies([path], model, limits=None))
        if all(isinstance(one, Prediction) for one in answered):
            seconds.append(time.perf_counter() - start)
    # The first answer also sets up the networks.
    timed = seconds[1:] or seconds
    told = {
        "parameters": parameters,
        "patients": len(timed),
        "seconds": statistics.median(timed) if timed else None,
        "slowest_seconds": max(timed) if timed else None,
        "peak_mib": peak_mib(),
        "threads": torch.get_num_threads(),
        "device": "cpu",
    }
    write_whole(given.output, json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
