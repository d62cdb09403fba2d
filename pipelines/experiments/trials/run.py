"""Other ways to run the denoiser on a CPU, next to ours: is one of them worth a dependency?

    pip install openvino onnx onnxruntime
    python -m pipelines.experiments.trials.run --weights compact

Every way that its package or a compiler lacks for says so and the others go on. How far a way's
slices lie from the trained network in float32 stands next to its time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from covidctnet.chest.gate import prepare_chest
from covidctnet.classes import CHEST_CT
from covidctnet.devices import Precision
from covidctnet.phantom import SCANNERS, make_phantom
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.denoise import denoise_slices, place
from covidctnet.systems.covidctnet.networks import BCDUNet
from covidctnet.systems.covidctnet.networks.fused import FusedBCDUNet
from covidctnet.systems.covidctnet.weights import load_weights
from pipelines.experiments.benchmark.machine import ceilings, describe
from pipelines.experiments.benchmark.run import Benchmark, Row, around_marks, put_into, render
from pipelines.experiments.benchmark.timing import by_turns
from pipelines.experiments.command import tell
from pipelines.experiments.trials.winograd import with_winograd

SLICES, CALIBRATION = 8, 16
CPU = torch.device("cpu")

Way = Callable[[np.ndarray], np.ndarray]


def main(arguments: list[str] | None = None) -> int:
    """Time every way that is here, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--matrix", type=int, default=512)
    parser.add_argument("--into", default="", help="a page whose marks the table goes between")
    options = parser.parse_args(arguments)

    def make() -> str:
        page = Path(options.into) if options.into else None
        if page:
            around_marks(page)  # now, and not when everything has been timed
        text = trials(options.weights, options.repeats, options.matrix)
        if page:
            put_into(page, text)
        return f"{text}\n"

    return tell(make)


def trials(name: str, repeats: int, matrix: int) -> str:
    """Every way that is here, timed; a table."""
    weights = load_weights(name)
    settings = PreprocessSettings(**weights.card["preprocessing"])
    phantom = make_phantom(CHEST_CT.COVID19, 0, scanner=SCANNERS["birch"], matrix=matrix)
    unit = prepare_chest(phantom.volume, settings).unit
    every = np.linspace(0, len(unit.array) - 1, SLICES + CALIBRATION).round().astype(int)
    slices = np.ascontiguousarray(unit.array[every], dtype=np.float32)
    measured, calibration = slices[:SLICES], slices[SLICES:]
    trained = weights.denoiser()
    truth = denoise_slices(trained, measured)

    with tempfile.TemporaryDirectory() as folder:
        fused = FusedBCDUNet(trained)
        made = _make(
            {
                "covidctnet, bfloat16": partial(_ours, trained, "bf16"),
                "covidctnet, float32": partial(_ours, trained, "32"),
                "torch eager, float32": lambda: partial(denoise_slices, trained),
                "Winograd in torch, float32": partial(_winograd, trained, "32"),
                "Winograd in torch, bfloat16": partial(_winograd, trained, "bf16"),
                "torch.compile, bfloat16": partial(_compiled, trained),
                "AOTInductor, bfloat16": partial(_aot, trained, measured, Path(folder)),
                "OpenVINO, bfloat16": partial(_openvino, fused, measured, "bf16"),
                "OpenVINO, float32": partial(_openvino, fused, measured, "f32"),
                "ONNX Runtime, float32": partial(_onnx, fused, measured, Path(folder)),
                "ONNX Runtime, int8": partial(_int8, fused, measured, calibration, Path(folder)),
            },
            measured[:1],
        )
        group = f"denoise a slice of {settings.size} x {settings.size}, {weights.name}"
        ready = {name: one for name, one in made.items() if isinstance(one, _Made)}
        rows = []
        for row in by_turns(
            group, {n: partial(m.way, measured) for n, m in ready.items()}, repeats
        ):
            way, seconds = ready[row.by]
            off = np.abs(way(measured) - truth)
            note = (
                f"off by {off.mean():.1e} on average, {off.max():.1e} at most; "
                f"{seconds:.1f} s until the first slice"
            )
            a_slice = tuple(one / SLICES for one in row.seconds)
            rows.append(replace(row, seconds=a_slice, note=note))
    rows += [Row(group, name, (), note) for name, note in made.items() if isinstance(note, str)]
    return render(
        Benchmark(describe(CPU), ceilings(CPU, repeats), f"{SLICES} slices of a phantom", rows)
    )


class _Made(NamedTuple):
    """A way that can run, and the seconds until it could, its first slice included."""

    way: Way
    seconds: float


def _make(ways: Mapping[str, Callable[[], Way]], one: np.ndarray) -> dict[str, _Made | str]:
    """Each way, tried on one slice, or why there is none."""
    made: dict[str, _Made | str] = {}
    for name, make in ways.items():
        start = time.perf_counter()
        try:
            way = make()
            way(one)
            made[name] = _Made(way, time.perf_counter() - start)
        except Exception as error:  # whatever a compiler or a package does, the others go on
            made[name] = f"does not run here: {type(error).__name__}"
    return made


def _ours(trained: BCDUNet, precision: Precision) -> Way:
    return partial(denoise_slices, place(trained, CPU, precision))


def _one_by_one(run: Callable[[np.ndarray], np.ndarray]) -> Way:
    """A way that takes one slice (1, 1, row, column) at a time, as its graph was traced."""
    return lambda slices: np.concatenate([run(one[None, None])[:, 0] for one in slices])


def _winograd(trained: BCDUNet, precision: Precision) -> Way:
    return partial(denoise_slices, with_winograd(place(trained, CPU, precision)))


def _compiled(trained: BCDUNet) -> Way:
    network = torch.compile(place(trained, CPU, "bf16"), dynamic=False)  # type: ignore[arg-type]
    return partial(denoise_slices, network, batch=1)


def _aot(trained: torch.nn.Module, slices: np.ndarray, folder: Path) -> Way:
    example = torch.from_numpy(slices[:1, None])
    with torch.inference_mode():
        exported = torch.export.export(place(trained, CPU, "bf16"), (example,))
        package = torch._inductor.aoti_compile_and_package(
            exported, package_path=str(folder / "denoiser.pt2")
        )
        network = torch._inductor.aoti_load_package(package)

    def run(one: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            out: np.ndarray = network(torch.from_numpy(one)).numpy()
        return out

    return _one_by_one(run)


def _openvino(network: torch.nn.Module, slices: np.ndarray, precision: str) -> Way:
    import openvino

    example = torch.from_numpy(slices[:1, None])
    graph = openvino.convert_model(network, example_input=example, input=example.shape)
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(graph, "CPU", hints)
    return _one_by_one(lambda one: compiled(one)[0])


def _onnx(network: torch.nn.Module, slices: np.ndarray, folder: Path) -> Way:
    return _session(_exported(network, slices, folder))


def _int8(
    network: torch.nn.Module, slices: np.ndarray, calibration: np.ndarray, folder: Path
) -> Way:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            one = next(self.left, None)
            return None if one is None else {"slices": one[None, None]}

    small = folder / "int8.onnx"
    quantize_static(_exported(network, slices, folder), small, Reader())
    return _session(small)


def _exported(network: torch.nn.Module, slices: np.ndarray, folder: Path) -> Path:
    path = folder / "denoiser.onnx"
    if not path.exists():
        torch.onnx.export(
            network,
            (torch.from_numpy(slices[:1, None]),),
            str(path),
            input_names=["slices"],
            dynamo=False,
        )
    return path


def _session(path: Path) -> Way:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return _one_by_one(lambda one: session.run(None, {"slices": one})[0])


if __name__ == "__main__":
    sys.exit(main())
