"""The run: what is asked for, measured, told as tables, put into a page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from covidctnet.classes import CHEST_CT
from covidctnet.errors import UsageError
from covidctnet.files import write_whole
from covidctnet.phantom import SCANNERS, make_phantom
from covidctnet.phantom.series import write_series
from covidctnet.progress import track
from covidctnet.surroundings import usable_cores
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from pipelines.experiments.benchmark import around, stages
from pipelines.experiments.benchmark.goals import goals
from pipelines.experiments.benchmark.machine import ceilings, describe
from pipelines.experiments.benchmark.operations import operations
from pipelines.experiments.benchmark.stages import Scan
from pipelines.experiments.benchmark.streaming import Stream, narrow_weights, stream, write_studies
from pipelines.experiments.benchmark.timing import MISSING, Row, ratio

__all__ = [
    "MISSING",
    "STAGES",
    "Benchmark",
    "Row",
    "around_marks",
    "benchmark",
    "put_into",
    "render",
]

STAGES: Mapping[str, Callable[[Scan], list[Row]]] = MappingProxyType(
    {
        "read": stages.reading,
        "preprocess": stages.preprocessing,
        "lungs": stages.lungs,
        "noise": stages.noise,
        "denoise": stages.denoising,
        "classify": stages.classifying,
        "whole": stages.whole,
        "train": around.training,
        "operations": operations,
        "load": around.loading,
        "start": around.starting,
        "memory": around.memory,
    }
)
# The phantom whose memory is measured has more than 300 files.
THIN = "granite"
# Rows and columns of the long runs: of the longest, for a disk's sake, and of the others.
SMALL, USUAL = 128, 512
START, END = "<!-- measured: from here on by the command -->", "<!-- measured: to here -->"


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and on what.

    Attributes:
        machine: See `pipelines.experiments.benchmark.machine.describe`.
        ceilings: FLOP/s of large matrix products by format.
        scan: What the stages worked on.
        rows: Grouped; the first of a group is ours.
        streams: Runs over many studies.
    """

    machine: Mapping[str, str]
    ceilings: Mapping[str, float]
    scan: str
    rows: Sequence[Row]
    streams: Sequence[Stream] = ()

    def as_plain(self) -> dict[str, Any]:
        """Values fit for JSON, every run of every row among them."""
        return asdict(self)


def benchmark(
    weights: str,
    device: str,
    repeats: int,
    *,
    precision: str = "auto",
    compiled: bool = False,
    scan: Path | None = None,
    only: Iterable[str] = tuple(STAGES),
    studies: int = 0,
    matrix: int | None = None,
) -> Benchmark:
    """Measure the stages asked for.

    Args:
        weights: Shipped name or folder.
        device: See `covidctnet.devices.pick_device`.
        repeats: Runs of every way; medians are told.
        precision: See `covidctnet.devices.pick_precision`.
        compiled: Measure what `torch.compile` makes of the networks as well.
        scan: A DICOM series; a phantom by default.
        only: Names in `STAGES`.
        studies: Studies of a long run, phantoms, that shows memory and throughput; none by default.
        matrix: Rows and columns of the phantoms; 512 by default, 128 in the longest run.

    Raises:
        UsageError: If a stage is unknown.
    """
    only = list(only)
    if unknown := [name for name in only if name not in STAGES]:
        raise UsageError(f"unknown stage {unknown[0]!r}; stages are {', '.join(STAGES)}")
    model = CovidCTNet.load(weights, device=device, precision=precision)
    with ExitStack() as stack:

        def new_folder() -> Path:
            return Path(stack.enter_context(tempfile.TemporaryDirectory()))

        folder = thin = scan
        if folder is None or thin is None:
            folder, thin = new_folder(), new_folder()
            for place, scanner in ((folder, "birch"), (thin, THIN)):
                phantom = make_phantom(
                    CHEST_CT.COVID19, 0, scanner=SCANNERS[scanner], matrix=matrix
                )
                write_series(phantom, place, patient="benchmark")
        products = ceilings(model.device, repeats)
        measured = Scan(folder, thin, weights, model, repeats, products, compiled)
        shape = " x ".join(str(n) for n in measured.volume.shape)
        mm = " x ".join(f"{s:.3g}" for s in measured.volume.spacing)
        what = f"{'a phantom' if scan is None else 'a scan'} of {shape} voxels of {mm} mm"
        rows = [row for name in track(only, "measuring") for row in STAGES[name](measured)]
        streams: list[Stream] = []
        if studies:
            narrow = new_folder() / "narrow"
            narrow_weights(narrow, model.weights)
            cores = usable_cores()
            small, usual = matrix or SMALL, matrix or USUAL
            many = write_studies(new_folder(), studies, small)
            run = partial(stream, many, narrow, device, studies=studies)
            streams.append(run(cores=cores, matrix=small))
            # As many on every number of cores, or they could not be compared.
            few = max(2, studies // 5)
            many = write_studies(new_folder(), few, usual)
            run = partial(stream, many, narrow, device, studies=few, matrix=usual)
            streams += [run(cores=n) for n in (1, 2, 4, 8, 16, 32, 64) if n <= cores > 1]
            real = partial(
                stream, many, weights, device, precision=precision, cores=cores, matrix=usual
            )
            streams.append(real(studies=few, networks="as they are"))
            if compiled:
                streams.append(real(studies=few, networks="compiled"))
        return Benchmark(describe(model.device), products, what, rows, streams)


def render(benchmark: Benchmark) -> str:
    """Everything as Markdown: the machine, then a table a piece of work."""
    lines = [f"Measured on {benchmark.scan}.", ""]
    lines += [f"- {name}: {value}" for name, value in benchmark.machine.items()]
    lines += [
        f"- Matrix products, {name}: {value / 1e9:.0f} GFLOP/s"
        for name, value in benchmark.ceilings.items()
    ]
    runs = sorted({len(row.seconds) for row in benchmark.rows if row.seconds})
    if runs:
        lines.append(f"- runs: {' or '.join(map(str, runs))} of every way, by turns")
    if reached := goals(benchmark.rows):
        lines += ["", "| goal | expected | measured | reached |", "|---|---|---|---|"]
        lines += [f"| {g.what} | {g.expected} | {g.measured} | {g.verdict} |" for g in reached]
    ours: Row | None = None
    for row in benchmark.rows:
        if ours is None or row.group != ours.group:
            ours = row
            lines += ["", f"**{row.group}**", "", f"| by | median | range | {row.compared} | |"]
            lines += ["|---|---|---|---|---|"]
        lines.append(_line(row, ours))
    if benchmark.streams:
        lines += [
            "",
            "**many studies (phantoms) in one run, networks or stand-ins for them**",
            "",
            "| networks | matrix | studies | cores | first answer to last | a second "
            "| GiB at most in all processes | growth a study | stages of a study, medians |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
    for run in benchmark.streams:
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in run.stages.items())
        lines.append(
            f"| {run.networks} | {run.matrix} | {run.studies} | {run.cores} | {run.seconds:.0f} s "
            f"| {run.a_second:.2f} | {max(run.held) / 2**30:.2f} "
            f"| {run.drift / 2**10:+.1f} KiB | {stages} s |"
        )
    return "\n".join(lines)


def _line(row: Row, ours: Row) -> str:
    if row.median is None or row.spread is None:
        return f"| {row.by} | | | | {row.note} |"
    times = f"{ratio(row, ours):.3g}" if row is not ours and row.compared else ""
    low, high = (_seconds(one) for one in row.spread)
    return f"| {row.by} | {_seconds(row.median)} | {low} to {high} | {times} | {row.note} |"


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.1 else f"{value * 1000:.3g} ms"


def around_marks(page: Path) -> tuple[str, str]:
    """What a page has before and behind its marks; nothing where it is not there yet.

    Raises:
        UsageError: If the page is there without its marks, or its folder is missing.
    """
    if not page.parent.is_dir():
        raise UsageError(f"the folder of {page.name} does not exist; make it, or name another file")
    text = f"{START}\n{END}\n"
    if page.exists():
        text = page.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise UsageError(f"{page.name} has no lines {START!r} and {END!r}; name another file")
    return before, after


def put_into(page: Path, text: str) -> None:
    """Write a text between the marks of a page, or a page that has nothing else.

    Raises:
        UsageError: See `around_marks`.
    """
    before, after = around_marks(page)
    write_whole(page, f"{before}{START}\n\n{text}\n\n{END}{after}")
