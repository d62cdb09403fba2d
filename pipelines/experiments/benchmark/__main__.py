"""Measure every stage and a reference.

    python -m pipelines.experiments.benchmark --weights compact [--into PAGE.md]

Half an hour on two cores; `--only` measures some stages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from covidctnet.commands.common import Network, existing
from covidctnet.commands.parser import add_parameters
from covidctnet.errors import UsageError
from covidctnet.files import write_whole
from pipelines.experiments.benchmark.run import STAGES, around_marks, benchmark, put_into, render
from pipelines.experiments.benchmark.streaming import draw
from pipelines.experiments.command import tell

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = ArgumentParser(
        prog="python -m pipelines.experiments.benchmark",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("--json", action="store_true", help="print JSON, every run in it")
    parser.add_argument("--repeats", type=int, default=5, help="runs of every way, by turns")
    parser.add_argument("--scan", type=str, default="", help="a DICOM series; a phantom if empty")
    parser.add_argument(
        "--only", type=str, default="", help=f"stages, separated by commas: {', '.join(STAGES)}"
    )
    parser.add_argument(
        "--studies", type=int, default=0, help="phantoms of the long runs: memory, studies a second"
    )
    parser.add_argument("--picture", type=str, default="", help="where its curve goes, an SVG")
    parser.add_argument(
        "--into", type=str, default="", help="a page in Markdown; the tables go between its marks"
    )
    add_parameters(parser, Network)
    options = parser.parse_args(arguments)
    return tell(lambda: measure(options))


def measure(options: Namespace) -> str:
    """What is printed.

    Raises:
        UsageError: If an option makes no sense, before anything is measured.
    """
    for name, least in (("repeats", 1), ("studies", 0)):
        if options[name] < least:
            raise UsageError(f"--{name} must be {least} or more, got {options[name]}")
    if options.picture and not options.studies:
        raise UsageError("--picture draws the long run; ask for one with --studies 200")
    # Measuring takes half an hour: what cannot be written is said now.
    if options.into:
        around_marks(Path(options.into))
    if options.picture and not Path(options.picture).parent.is_dir():
        raise UsageError("the folder of --picture does not exist; make it, or name another file")
    scan = existing(options.scan) if options.scan else None
    if scan is not None and not scan.is_dir():
        raise UsageError("--scan expects a folder of DICOM files: the other readers know no other")
    measured = benchmark(
        options.weights,
        options.device,
        options.repeats,
        precision=options.precision,
        compiled=options.compiled,
        scan=scan,
        only=[name.strip() for name in options.only.split(",") if name.strip()] or STAGES,
        studies=options.studies,
    )
    text = render(measured)
    if options.into:
        put_into(Path(options.into), text)
    if options.picture:
        write_whole(Path(options.picture), draw(measured.streams[0]))
    return (json.dumps(measured.as_plain(), indent=1) if options.json else text) + "\n"


if __name__ == "__main__":
    sys.exit(main())
