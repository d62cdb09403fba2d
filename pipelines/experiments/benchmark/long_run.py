"""What the process of a long run does: classify, with a stand-in for the denoiser or without.

    python long_run.py WEIGHTS DEVICE PRECISION NETWORKS OUTPUT STUDY...

NETWORKS is one of `Networks`.

It loads no more than ``covidctnet classify`` does, and prints what it measured as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import defaultdict
from typing import Literal, get_args

from torch import nn

from covidctnet.errors import UsageError
from covidctnet.report import Results
from covidctnet.run.classify import classify_into, default_readers
from covidctnet.systems.covidctnet.predictor import CovidCTNet

__all__ = ["Networks", "main"]

Networks = Literal["as they are", "compiled", "stand-ins"]


def main(
    weights: str, device: str, precision: str, networks: str, output: str, *studies: str
) -> None:
    """Classify the studies and tell the seconds from the first answer to the last, and by stage."""
    if networks not in get_args(Networks):
        raise UsageError(f"NETWORKS must be one of {get_args(Networks)}, got {networks!r}")
    compiled = networks == "compiled"
    model = CovidCTNet.load(weights, device=device, precision=precision, compiled=compiled)
    if networks == "stand-ins":
        # Even the narrowest BCDU-Net takes longer for a scan than all that is measured here.
        smoothing = nn.Conv2d(1, 1, 3, padding=1, bias=False).requires_grad_(False)
        smoothing.weight.fill_(1 / 9)
        model.denoiser = smoothing.to(model.device)
    results = Results(output)
    answered: list[float] = []
    counts = classify_into(
        results,
        studies,
        model,
        progress=lambda done, _: answered.append(time.perf_counter()) if done else None,
        readers=default_readers(model.device.type),
    )
    stages: defaultdict[str, list[float]] = defaultdict(list)
    for record in results.records:
        for stage, seconds in record.seconds.items():
            stages[stage].append(seconds)
    report = {
        "answered": counts.answered,
        "seconds": answered[-1] - answered[0],
        "stages": {stage: statistics.median(every) for stage, every in stages.items()},
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
