"""What surrounds the chain: training, start, memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import ConcatDataset
from torch.utils.flop_counter import FlopCounterMode

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.store import Store
from covidctnet.systems.covidctnet.denoise import compile_in_place
from covidctnet.systems.covidctnet.training.data import Slices, loader
from covidctnet.systems.covidctnet.training.noise import corrupt
from covidctnet.systems.covidctnet.training.tasks import DenoiserTask
from pipelines.experiments.benchmark.goals import RESIDENT
from pipelines.experiments.benchmark.held import watch
from pipelines.experiments.benchmark.stages import PAPER_WIDTH, Scan
from pipelines.experiments.benchmark.timing import Row, by_turns

__all__ = ["loading", "memory", "starting", "step_of", "training"]

# Slices or patches of a training step.
BATCH = 8


def training(scan: Scan) -> list[Row]:
    """A step of the denoiser: as `compact` takes it; on a GPU in the paper's width as well."""
    rows = _steps(scan, _compact_task)
    if scan.model.device.type == "cuda":  # a CPU would take minutes
        rows += _steps(scan, partial(DenoiserTask, base=PAPER_WIDTH["base"]))
    return rows


def step_of(scan: Scan) -> tuple[str, Callable[[], None]]:
    """The step that `compact` takes, in words, and to be taken."""
    task = _compact_task().to(scan.model.device).train()
    step = _stepping(task, *_batch(scan), rounded=True)
    return f"a training step, {_size_of(task, scan)}", step


def _compact_task() -> DenoiserTask:
    return DenoiserTask(bidirectional=False, patch=144)


def _size_of(task: DenoiserTask, scan: Scan) -> str:
    patch = task.patch or scan.unit.shape[1]
    return f"base {task.architecture['base']}, {BATCH} patches of {patch} x {patch}"


def _batch(scan: Scan) -> tuple[torch.Tensor, torch.Tensor]:
    """Slices and what is taken for their lungs, (batch, 1, row, column) each."""
    clean = torch.from_numpy(scan.needed[:BATCH])[:, None].to(scan.model.device)
    return clean, (clean < 0.5).float()


def _stepping(
    task: DenoiserTask, clean: torch.Tensor, inside: torch.Tensor, *, rounded: bool
) -> Callable[[], None]:
    optimizer = torch.optim.Adam(task.parameters())
    generator = torch.Generator(device=clean.device).manual_seed(0)

    def step() -> None:
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=rounded):
            loss = task.loss_of((clean, inside), generator)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _steps(scan: Scan, make: Callable[[], DenoiserTask]) -> list[Row]:
    """A step of eight slices or patches, and what it is made of."""
    device = scan.model.device
    task = make().to(device).train()
    patch = task.patch or scan.unit.shape[1]
    clean, inside = _batch(scan)
    generator = torch.Generator(device=device).manual_seed(0)

    def forward() -> None:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            task(clean[..., :patch, :patch])

    steps = {
        "covidctnet, bfloat16": _stepping(task, clean, inside, rounded=True),
        "float32": _stepping(task, clean, inside, rounded=False),
    }
    if scan.compiled:
        other = make().to(device).train()
        compile_in_place(other.network, device)
        steps["covidctnet, bfloat16, compiled"] = _stepping(other, clean, inside, rounded=True)
    with FlopCounterMode(display=False) as counter:
        steps["float32"]()
    flops = float(counter.get_total_flops())
    parts: dict[str, Callable[[], object]] = {
        "of it: noise": lambda: corrupt(
            clean[..., :patch, :patch],
            inside[..., :patch, :patch],
            task.noise,
            generator=generator,
        ),
        "of it: the network, forward": forward,
    }
    group = f"a training step, {_size_of(task, scan)}"
    rows = by_turns(group, {**steps, **parts}, scan.repeats)
    return [_with_share(row, flops, scan.ceilings) if row.by in steps else row for row in rows]


def _with_share(row: Row, flops: float, ceilings: Mapping[str, float]) -> Row:
    """The row with the share of the matrix products that its fastest run reached."""
    kind = "bfloat16" if "bfloat16" in row.by else "TF32" if "TF32" in ceilings else "float32"
    reached = flops / min(row.seconds)
    share = f"{reached / ceilings[kind]:.0%} of the products in {kind}"
    return replace(row, note=f"at best {reached / 1e9:.0f} GFLOP/s, {share}")


def loading(scan: Scan) -> list[Row]:
    """Slices with their lungs from memory-mapped NIfTI, in batches, shuffled."""
    mask = scan.chest.lungs
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        settings = {"spacing_mm": 1.0}
        for number in range(4):
            source = replace(scan.unit.source, study=f"{number:012x}")
            store.put(
                replace(scan.unit, source=source),
                lungs=mask,
                content_key=str(number),
                settings=settings,
                settings_digest="benchmark",
                label=CHEST_CT.CONTROL,
            )
        data: ConcatDataset[tuple[torch.Tensor, torch.Tensor]] = ConcatDataset(
            [Slices(study, None, False) for study in store.index()]
        )
        for workers in (0, 1, 2):
            every = loader(data, 16, workers, shuffle_seed=0)
            [row] = by_turns("", {"": partial(_exhaust, every)}, scan.repeats)
            a_slice = tuple(one / len(data) for one in row.seconds)
            rows.append(
                Row(
                    "a training slice with its lungs, from the store",
                    f"{workers} loader processes" if workers else "the training process itself",
                    a_slice,
                    f"{1 / min(a_slice):.0f} slices a second at best",
                )
            )
    return rows


def starting(scan: Scan) -> list[Row]:
    """What it takes until anything happens; the interpreter alone is the floor."""

    def run(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    rows = by_turns(
        "start",
        {
            "import covidctnet": run("-c", "import covidctnet"),
            "the interpreter alone": run("-c", "pass"),
            "covidctnet --help": run("-m", "covidctnet", "--help"),
            "covidctnet classify --help": run("-m", "covidctnet", "classify", "--help"),
            "import torch": run("-c", "import torch"),
        },
        scan.repeats,
    )
    return [replace(row, compared="") for row in rows]


def memory(scan: Scan) -> list[Row]:
    """A run over one study of many slices, and the most that its processes hold at once."""
    peaks: list[int] = []

    def classify() -> None:
        with tempfile.TemporaryDirectory() as output:
            command = [sys.executable, "-m", "covidctnet", "classify", str(scan.thin)]
            run = subprocess.Popen(
                [*command, "-o", output, "--weights", scan.weights],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            peaks.append(max(watch(run)))

    files = sum(1 for _ in scan.thin.iterdir())
    group = f"covidctnet classify, a process of its own, {files} files"
    rows = by_turns(group, {"covidctnet": classify}, scan.repeats)
    return [replace(row, note=f"{max(peaks) / 2**30:.2f} {RESIDENT}") for row in rows]


def _exhaust(batches: object) -> None:
    for _ in batches:  # type: ignore[attr-defined]
        pass
