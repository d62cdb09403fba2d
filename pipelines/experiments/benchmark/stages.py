"""The stages of the chain, each compared with what else does its work."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from covidctnet.chest.gate import ChestScan
from covidctnet.chest.lungs import lung_mask
from covidctnet.io import read_volume
from covidctnet.preprocess import preprocess
from covidctnet.results import Prediction
from covidctnet.systems.covidctnet import perlin
from covidctnet.systems.covidctnet.denoise import denoise_slices, place
from covidctnet.systems.covidctnet.networks import BCDUNet
from covidctnet.systems.covidctnet.networks.fused import fused_cnn3d
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.systems.covidctnet.training.noise import NoiseSettings, corrupt
from covidctnet.volume import Volume
from pipelines.experiments.benchmark import peers
from pipelines.experiments.benchmark.goals import OFF
from pipelines.experiments.benchmark.port import BATCH, port
from pipelines.experiments.benchmark.timing import Row, by_turns

__all__ = [
    "Scan",
    "classifying",
    "denoising",
    "lungs",
    "noise",
    "preprocessing",
    "reading",
    "whole",
]

PAPER_WIDTH: dict[str, Any] = {"base": 64, "depth": 3, "bidirectional": True, "gates": "sigmoid"}
# The paper's network denoises so many slices of the port; the others are reckoned.
PORT_SLICES = 2 * BATCH


@dataclass(frozen=True)
class Scan:
    """What is measured, and on what.

    Attributes:
        folder: A DICOM series.
        thin: Another one, of many slices, for what it takes of memory.
        weights: Shipped name or folder.
        model: Of these weights.
        repeats: Runs of every way.
        ceilings: FLOP/s of large matrix products by format.
        compiled: Whether kernels that `torch.compile` writes are measured as well.
    """

    folder: Path
    thin: Path
    weights: str
    model: CovidCTNet
    repeats: int
    ceilings: Mapping[str, float]
    compiled: bool = False

    @property
    def base(self) -> int:
        """Width of the denoiser."""
        return int(self.model.weights.card["architecture"]["denoiser"]["base"])

    @cached_property
    def volume(self) -> Volume:
        """As read."""
        return read_volume(self.folder)

    @cached_property
    def chest(self) -> ChestScan:
        """As the weights read it, with its lungs."""
        return self.model.preprocess(self.volume)

    @property
    def unit(self) -> Volume:
        """The voxels alone."""
        return self.chest.unit

    @cached_property
    def needed(self) -> np.ndarray:
        """Slices that the residual reads, float32 (slice, row, column)."""
        plan = self.model.residual.plan(len(self.unit.array))
        return np.ascontiguousarray(self.unit.array[plan.needed], dtype=np.float32)


def reading(scan: Scan) -> list[Row]:
    """From a folder of DICOM files to Hounsfield units."""
    return by_turns(
        f"read {scan.volume.shape[0]} DICOM slices",
        {
            "covidctnet, all checks": lambda: read_volume(scan.folder),
            "SimpleITK": lambda: peers.simpleitk_read(scan.folder),
            "pydicom": lambda: peers.pydicom_read(scan.folder, 1),
            "pydicom, two threads": lambda: peers.pydicom_read(scan.folder, 2),
        },
        scan.repeats,
    )


def preprocessing(scan: Scan) -> list[Row]:
    """Isotropic, windowed, resized; how far from ours on average, in shares of the window."""
    volume, settings = scan.volume, scan.model.settings
    ways: dict[str, Callable[[], np.ndarray]] = {
        "covidctnet": lambda: preprocess(volume, settings).array,
        "SimpleITK, then torch's antialiased resizing": partial(
            peers.simpleitk_and_torch_preprocess, volume, settings
        ),
        "SimpleITK": partial(peers.simpleitk_preprocess, volume, settings),
        "TorchIO": partial(peers.torchio_preprocess, volume, settings),
        "MONAI": partial(peers.monai_preprocess, volume, settings),
        "scipy, linear, and scikit-image": partial(peers.scipy_preprocess, volume, settings, 1),
        "scipy, cubic, and scikit-image (the published way)": partial(
            peers.scipy_preprocess, volume, settings, 3
        ),
    }
    ours = preprocess(volume, settings).array
    notes = {}
    for name in list(ways)[1:]:
        with contextlib.suppress(ImportError):
            theirs = ways[name]()
            count = min(len(ours), len(theirs))
            gap = np.abs(ours[:count] - theirs[:count]).mean()
            notes[name] = f"{gap:.1e} {OFF}"
    shape = f"{len(ours)} slices of {settings.size} x {settings.size}"
    rows = by_turns(
        f"{settings.spacing_mm:g} mm, window, {shape}",
        ways,
        scan.repeats,
    )
    return [replace(row, note=notes.get(row.by, row.note)) for row in rows]


def lungs(scan: Scan) -> list[Row]:
    """The gate."""
    unit = preprocess(scan.volume, scan.model.settings)
    return by_turns(
        "lung mask of the preprocessed scan",
        {"covidctnet": lambda: lung_mask(unit)},
        scan.repeats,
    )


def noise(scan: Scan) -> list[Row]:
    """A field of Perlin noise, as training makes it and as the package `noise` does."""
    device, many, size = scan.model.device, 16, 240
    rng = torch.Generator(device=device).manual_seed(0)
    offsets = torch.rand(many, 2, generator=rng, device=device) * perlin.LATTICE
    scale = torch.full((many,), 50.0, device=device)
    clean = torch.full((many, 1, size, size), 0.1, device=device)
    batch = f"a batch of {many}"
    works = {
        "covidctnet, as training makes it": lambda: perlin.fields(
            size, size, scale=scale, octaves=6, persistence=0.01 * scale, offsets=offsets
        ),
        "noise, point by point": lambda: peers.noise_field(size, size, 50.0, 6),
        "covidctnet, all of an opacity": lambda: corrupt(
            clean, torch.ones_like(clean), NoiseSettings(share=1.0), generator=rng
        ),
    }
    notes = {
        "covidctnet, as training makes it": f"of {batch}",
        "covidctnet, all of an opacity": f"of {batch}: blobs, cores, lobes and their grain",
    }
    rows = by_turns(
        f"a Perlin field of {size} x {size}, 6 octaves", works, scan.repeats, notes=notes
    )
    return [_each(row, many) if batch in row.note else row for row in rows]


def denoising(scan: Scan) -> list[Row]:
    """A slice, in the width of the weights and in the paper's."""
    model, few = scan.model, scan.needed[: 4 * BATCH]
    rows = []
    shipped = model.weights.denoiser()
    torch.manual_seed(0)
    for width, trained in (
        (f"base {scan.base}", shipped),
        (f"base {PAPER_WIDTH['base']}, both ways (paper)", BCDUNet(**PAPER_WIDTH).eval()),
    ):
        slices = few if trained is shipped else few[:BATCH]
        if model.device.type == "cuda":  # which takes all of a scan at once
            slices = scan.needed
        trained = trained.to(model.device)
        trained.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        flops = _flops(trained, slices[:1], model.device)
        ways = {
            "covidctnet, as it classifies": place(trained, model.device, model.precision),
            "fused, float32": place(trained, model.device),
            "torch eager, float32": trained,
            "torch eager, autocast to bfloat16": _Autocast(trained),
        }
        if scan.compiled:
            ways["covidctnet, compiled"] = place(
                trained, model.device, model.precision, compiled=True
            )
        works = {name: partial(denoise_slices, network, slices) for name, network in ways.items()}
        group = f"denoise a slice, {width}, {flops / 1e9:.1f} GFLOP"
        for row in by_turns(group, works, scan.repeats):
            each = _each(row, len(slices))
            rows.append(
                replace(each, note=f"at best {flops / min(each.seconds) / 1e9:.0f} GFLOP/s")
            )
    return rows


def classifying(scan: Scan) -> list[Row]:
    """The 3D CNN on one residual."""
    model = scan.model
    trained = model.weights.classifier().to(model.device)
    depth, size = model.residual.depth, model.settings.size
    residual = torch.rand(1, model.residual.channels, depth, size, size, device=model.device)
    ways = {
        "covidctnet, as it classifies": model.classifier,
        "fused, float32": fused_cnn3d(model.weights.classifier(), torch.float32).to(model.device),
        "torch eager, float32": trained,
    }
    works = {name: _inferring(partial(network, residual)) for name, network in ways.items()}
    return by_turns(f"the 3D CNN on {depth} x {size} x {size}", works, scan.repeats)


def whole(scan: Scan) -> list[Row]:
    """From the DICOM folder to the answer, in the width of the weights and in the paper's."""
    model, weights = scan.model, scan.model.weights
    count = len(scan.unit.array)
    group = f"folder to answer, {scan.volume.shape[0]} files, {count} slices of the networks"
    answers: list[Prediction] = []
    straight_port = "a straight port: splines, every slice, float32"
    if model.device.type != "cpu":
        straight_port += ", on the CPU"
    works: dict[str, Callable[[], object]] = {
        "covidctnet": lambda: answers.append(model(read_volume(scan.folder))),
        straight_port: lambda: port(weights, scan.folder, scan.volume),
    }
    if scan.compiled:
        device, precision = str(model.device), model.precision
        faster = CovidCTNet(weights, device=device, precision=precision, compiled=True)
        works["covidctnet, compiled"] = lambda: faster(read_volume(scan.folder))
    rows = by_turns(f"{group}, base {scan.base}", works, scan.repeats)
    stages_text = ", ".join(
        f"{stage} {statistics.median(answer.seconds[stage] for answer in answers):.2f}"
        for stage in answers[0].seconds
    )
    rows[0] = replace(
        rows[0], note=f"behind reading, medians: {stages_text} s (denoise: and what is made of it)"
    )
    torch.manual_seed(0)
    wide = BCDUNet(**PAPER_WIDTH).eval()
    paper = CovidCTNet(weights, device=str(model.device), precision=model.precision)
    paper.denoiser = place(wide, model.device, model.precision)
    [ours] = by_turns(
        f"{group}, base {PAPER_WIDTH['base']}, both ways (the paper's, with random weights)",
        {"covidctnet": lambda: paper(read_volume(scan.folder))},
        scan.repeats,
    )
    slices = scan.needed[:PORT_SLICES]
    [straight] = by_turns("", {"": lambda: denoise_slices(wide, slices)}, scan.repeats)
    [rest] = by_turns(
        "", {"": lambda: port(weights, scan.folder, scan.volume, slices=0)}, scan.repeats
    )
    reckoned = tuple(
        other + one / len(slices) * count
        for one, other in zip(straight.seconds, rest.seconds, strict=True)
    )
    note = f"reckoned: {len(slices)} slices measured, taken {count / len(slices):.0f} times"
    return [*rows, ours, Row(ours.group, straight_port, reckoned, note)]


def _each(row: Row, many: int) -> Row:
    """The row of one, where many were made."""
    return replace(row, seconds=tuple(one / many for one in row.seconds))


class _Autocast(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        with torch.autocast(slices.device.type, torch.bfloat16):
            out: torch.Tensor = self.network(slices)
        return out.float()


def _flops(network: torch.nn.Module, slices: np.ndarray, device: torch.device) -> float:
    """Of one slice, multiplications and additions counted apart."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.from_numpy(slices[:1])[:, None].to(device))
    return float(counter.get_total_flops())


def _inferring(work: Callable[[], object]) -> Callable[[], object]:
    def wrapped() -> None:
        with torch.inference_mode():
            work()

    return wrapped
