"""Many studies in one run: does memory stay, and what do more cores bring.

With stand-ins for the networks, which take next to no time, it shows all that surrounds them; with
the networks themselves, how many studies are answered.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from covidctnet.classes import CHEST_CT
from covidctnet.phantom import SCANNERS, make_phantom
from covidctnet.phantom.series import write_series
from covidctnet.report.svg import Drawing
from covidctnet.systems.covidctnet.card import CALIBRATED
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.systems.covidctnet.weights import CovidWeights, save_weights
from pipelines.experiments.benchmark import long_run
from pipelines.experiments.benchmark.held import watch
from pipelines.experiments.benchmark.long_run import Networks

__all__ = ["Stream", "draw", "narrow_weights", "stream", "write_studies"]

# The first studies fill caches and pools.
SETTLING_SHARE = 0.1
# Each look at the memory costs the run a little.
WATCH_EVERY_S = 0.5


@dataclass(frozen=True)
class Stream:
    """One run over many studies.

    Attributes:
        studies: How many.
        cores: That the run could use.
        seconds: From the first answer to the last.
        held: Bytes of all its processes, evenly over the run.
        stages: Medians in seconds, by stage.
        networks: That answered.
        matrix: Rows and columns of the studies.
    """

    studies: int
    cores: int
    seconds: float
    held: tuple[int, ...]
    stages: Mapping[str, float] = field(default_factory=dict)
    networks: str = "stand-ins"
    matrix: int = 0

    @property
    def a_second(self) -> float:
        """Studies answered in one."""
        return (self.studies - 1) / self.seconds if self.seconds else math.nan

    @property
    def drift(self) -> float:
        """Bytes a study by which memory grows: the line through all but the first tenth."""
        settled = np.array(self.held[round(SETTLING_SHARE * len(self.held)) :], float)
        if len(settled) < 2:
            return 0.0
        at = np.linspace(0, (1 - SETTLING_SHARE) * self.studies, len(settled))
        return float(np.polyfit(at, settled, 1)[0])


def narrow_weights(folder: Path, like: CovidWeights) -> None:
    """The narrowest networks there are, with all else of others: the same work around them."""
    torch.manual_seed(0)
    architecture = {
        "denoiser": {"base": 2, "depth": 1, "bidirectional": False, "gates": "sigmoid"},
        "classifier": {**like.card["architecture"]["classifier"], "base": 1},
    }
    networks: dict[str, nn.Module] = {
        "denoiser": BCDUNet(**architecture["denoiser"]),
        "classifier": CNN3D(**architecture["classifier"]),
    }
    copied = ("preprocessing", "residual", *CALIBRATED)
    card = {
        **{name: like.card[name] for name in copied if name in like.card},
        "architecture": architecture,
        "synthetic_only": True,
    }
    if (detector := like.ood_detector()) is not None:
        architecture["out_of_distribution"] = like.card["architecture"]["out_of_distribution"]
        networks["out_of_distribution"] = detector
    save_weights(folder, networks, card=card)


def write_studies(folder: Path, count: int, matrix: int) -> Path:
    """So many studies of one phantom, a different patient each; returns the folder."""
    phantom = make_phantom(CHEST_CT.COVID19, 0, scanner=SCANNERS["birch"], matrix=matrix)
    for number in range(count):
        own = folder / f"{number:05d}"
        own.mkdir()
        write_series(phantom, own, patient=f"stream {number}")
    return folder


def stream(
    folder: Path,
    weights: Path | str,
    device: str,
    *,
    studies: int,
    cores: int,
    precision: str = "auto",
    networks: Networks = "stand-ins",
    matrix: int = 0,
) -> Stream:
    """Classify so many of them in a process of its own that may use so many cores.

    Args:
        folder: From `write_studies`.
        weights: Shipped name or folder.
        device: See `covidctnet.devices.pick_device`.
        studies: How many.
        cores: How many.
        precision: See `covidctnet.devices.pick_precision`.
        networks: See `pipelines.experiments.benchmark.long_run`.
        matrix: Rows and columns of the studies, to be told.
    """
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    chosen = sorted(folder.iterdir())[:studies]
    command = [sys.executable, long_run.__file__, str(weights), device, precision, networks]
    with tempfile.TemporaryDirectory() as output:
        run = subprocess.Popen(
            [*command, output, *map(str, chosen)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": str(len(allowed))},
        )
        os.sched_setaffinity(run.pid, allowed)
        held = watch(run, every_s=WATCH_EVERY_S)
    assert run.stdout is not None
    with run.stdout:
        printed = run.stdout.read()
    if run.returncode:
        raise RuntimeError(f"the run ended with {run.returncode}")
    report = json.loads(printed)
    seconds, stages = report["seconds"], report["stages"]
    name = networks if networks == "stand-ins" else f"{Path(weights).name}, {networks}"
    return Stream(studies, len(allowed), seconds, tuple(held), stages, name, matrix)


def draw(run: Stream) -> str:
    """The curve of memory, an SVG."""
    drawing = Drawing(760, 300, "Memory over a run of many studies")
    left, top, wide, high = 70.0, 30.0, 660.0, 210.0
    most = max(max(run.held), 1) / 2**30 * 1.15
    step = max(1, len(run.held) // 600)
    drawing.frame((left, top), (wide, high))
    drawing.line(
        [
            (left + wide * at / (len(run.held) - 1), top + high * (1 - held / 2**30 / most))
            for at, held in list(enumerate(run.held))[::step]
        ],
        "#b3541e",
    )
    for share in (0.0, 0.5, 1.0):
        y = top + high * (1 - share)
        drawing.text((left - 8, y + 4), f"{most * share:.2f}", size=11, anchor="end")
        at = (left + wide * share, top + high + 18)
        drawing.text(at, f"{run.studies * share:.0f}", size=11)
    title = "studies (phantoms); GiB held by all processes of the run"
    drawing.text((left + wide / 2, top + high + 40), title, size=12, faint=True)
    return str(drawing)
