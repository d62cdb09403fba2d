"""The verbs of the command line: their options, and what each one calls."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from covidctnet.errors import UsageError
from covidctnet.progress import bar

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = [
    "EXIT_ERROR",
    "EXIT_INTERRUPTED",
    "EXIT_NONE_CLASSIFIED",
    "EXIT_OK",
    "EXIT_PIPE",
    "EXIT_SOME_FAILED",
    "EXIT_USAGE",
    "NOTICE",
    "VERBS",
    "Verb",
]

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_NONE_CLASSIFIED = range(5)
# 128 and the signal's number, as shells have it.
EXIT_INTERRUPTED, EXIT_PIPE = 130, 141

NOTICE = "Research use only. Not a medical device."


class Verb(NamedTuple):
    """One verb of the command line.

    Attributes:
        summary: What it does, in a line.
        run: Does it with the arguments behind the verb; returns the exit code.
    """

    summary: str
    run: Callable[[list[str]], int]


def _classify(arguments: list[str]) -> int:
    parser = _parser("classify")
    parser.add_argument(
        "paths", nargs="+", type=str, help="DICOM folders, NIfTI, MHA, NRRD; nested"
    )
    parser.add_argument(
        "-o", "--output", type=str, default="results", help="folder for the results"
    )
    _add_network(parser)
    parser.add_argument(
        "--every-series",
        action="store_true",
        help="an answer for every series, not only for the best one of a study",
    )
    given = parser.parse_args(arguments)

    from covidctnet.batch import classify_into
    from covidctnet.classify import CovidCTNet
    from covidctnet.report import Results

    paths = [_existing(path) for path in given.paths]
    results = Results(Path(given.output))
    model = CovidCTNet.load(given.weights, device=given.device)
    with bar("classifying") as progress:
        counts = classify_into(
            results, paths, model, every_series=given.every_series, progress=progress
        )
    sys.stdout.write(f"{counts}\n{NOTICE}\n")
    return counts.exit_code


def _inspect(arguments: list[str]) -> int:
    parser = _parser("inspect")
    parser.add_argument("paths", nargs="+", type=str, help="folders or files")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="headers of DICOM only; without the gates that need voxels",
    )
    given = parser.parse_args(arguments)

    from covidctnet.io.inspect import inspect_paths, render

    paths = [_existing(path) for path in given.paths]
    with bar("inspecting") as progress:
        found = inspect_paths(paths, voxels=not given.quick, progress=progress)
    text = json.dumps(found, indent=1) if given.json else render(found)
    sys.stdout.write(text + "\n")
    return EXIT_OK if found["studies"] else EXIT_NONE_CLASSIFIED


def _phantom(arguments: list[str]) -> int:
    parser = _parser("phantom")
    parser.add_argument("-o", "--output", type=str, required=True, help="folder for the cohort")
    parser.add_argument("--patients", type=int, default=4, help="patients of each class")
    parser.add_argument(
        "--controls", type=int | None, default=None, help="Control patients, if another number"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="0 or more; the same seed draws the same patients"
    )
    parser.add_argument(
        "--scanners",
        type=list[str] | None,
        default=None,
        help="names, as [amber, dune]; an unknown one lists all; the training scanners by default",
    )
    parser.add_argument(
        "--matrix",
        type=int | None,
        default=None,
        help="rows and columns, 16 to 2048; the scanner's 512 or 768 by default",
    )
    parser.add_argument(
        "--spacing-mm",
        type=float | None,
        default=None,
        help="slice distance in mm, 0.3 to 20; the scanner's by default",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="processes, about 1 GB of memory each"
    )
    given = parser.parse_args(arguments)

    from covidctnet.phantom import TRAINING_SCANNERS, CohortPlan, write_cohort
    from covidctnet.results import Label

    patients = {label.title: given.patients for label in Label}
    if given.controls is not None:
        patients[Label.CONTROL.title] = given.controls
    plan = CohortPlan(
        patients,
        seed=given.seed,
        scanners=tuple(given.scanners or TRAINING_SCANNERS),
        matrix=given.matrix,
        spacing_mm=given.spacing_mm,
    )
    with bar("phantoms") as progress:
        write_cohort(Path(given.output), plan, workers=given.workers, progress=progress)
    sys.stdout.write(f"{sum(patients.values())} synthetic patients (phantoms)\n")
    return EXIT_OK


def _paint(arguments: list[str]) -> int:
    parser = _parser("paint")
    parser.add_argument("archive", type=str, help="folder with Control/ or cohort.csv")
    parser.add_argument("-o", "--output", type=str, required=True, help="folder for the cohort")
    parser.add_argument(
        "--copies", type=int, default=8, help="painted patients of each class from every scan"
    )
    parser.add_argument(
        "--validation", type=int, default=1, help="scans whose copies go to the split val"
    )
    parser.add_argument("--seed", type=int, default=0, help="0 or more; the same seed, the same")
    given = parser.parse_args(arguments)

    from covidctnet.phantom import PaintPlan, paint_cohort

    plan = PaintPlan(copies=given.copies, validation=given.validation, seed=given.seed)
    with bar("painting") as progress:
        count = paint_cohort(Path(given.archive), Path(given.output), plan, progress=progress)
    sys.stdout.write(f"{count} painted patients (real lungs, drawn lesions)\n")
    return EXIT_OK


def _preprocess(arguments: list[str]) -> int:
    from covidctnet.evaluation.splits import SplitSettings
    from covidctnet.preprocess import PreprocessSettings

    parser = _parser("preprocess")
    parser.add_argument(
        "data", nargs="+", type=str, help="folders with Control/ Covid-19/ CAP/ or cohort.csv"
    )
    parser.add_argument(
        "-o", "--work", type=str, required=True, help="work folder of this training"
    )
    parser.add_class_arguments(PreprocessSettings, "settings")
    parser.add_class_arguments(SplitSettings, "split")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args(arguments)

    from covidctnet.prepare import prepare

    made = parser.instantiate(given)
    with bar("preprocessing") as progress:
        done = prepare(
            [Path(data) for data in given.data],
            Path(given.work),
            settings=made.settings,
            split=made.split,
            workers=given.workers,
            progress=progress,
        )
    sys.stdout.write(
        f"{done.made} studies preprocessed, {done.kept} were there, {len(done.failures)} refused\n"
    )
    for split, counts in done.splits.counts().items():
        sys.stdout.write(f"  {split}: " + ", ".join(f"{n} {k}" for k, n in counts.items()) + "\n")
    return EXIT_SOME_FAILED if done.failures else EXIT_OK


def _train_lungs(arguments: list[str]) -> int:
    from covidctnet.training.run import train_lungs

    train_lungs(_with_work(arguments), program="covidctnet train-lungs")
    return EXIT_OK


def _train_denoiser(arguments: list[str]) -> int:
    from covidctnet.training.run import train_denoiser

    train_denoiser(_with_work(arguments), program="covidctnet train-denoiser")
    return EXIT_OK


def _train_classifier(arguments: list[str]) -> int:
    from covidctnet.training.run import train_classifier

    train_classifier(_with_work(arguments), program="covidctnet train-classifier")
    return EXIT_OK


def _evaluate(arguments: list[str]) -> int:
    parser = _parser("evaluate")
    parser.add_argument("--data", type=str | None, default=None, help="labelled folder to classify")
    parser.add_argument(
        "--work", type=str | None, default=None, help="work folder: its held-back test split"
    )
    parser.add_argument(
        "-o", "--output", type=str, default="evaluation", help="folder for the tables"
    )
    _add_network(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    given = parser.parse_args(arguments)
    if (given.data is None) == (given.work is None):
        raise UsageError("evaluate wants either --data FOLDER or --work FOLDER, and one of them")

    from covidctnet.classify import CovidCTNet
    from covidctnet.evaluation.run import evaluate_data, evaluate_work

    source = _existing(given.data or given.work)
    model = CovidCTNet.load(given.weights, device=given.device)
    run = evaluate_data if given.data else evaluate_work
    with bar("evaluating") as progress:
        done = run(source, model, Path(given.output), seed=given.seed, progress=progress)
    sys.stdout.write(f"{done.table}\n{NOTICE}\n")
    return EXIT_SOME_FAILED if done.failed else EXIT_OK


def _weights(arguments: list[str]) -> int:
    parser = _parser("weights")
    parser.add_argument(
        "action",
        choices=["list", "verify", "import-keras"],
        help="list the shipped, verify, or make a folder of weights that Keras saved",
    )
    parser.add_argument(
        "names", nargs="*", type=str, default=[], help="names or folders; all shipped by default"
    )
    parser.add_argument("--denoiser", type=str | None, default=None, help="BCDU-Net, .h5 or .hdf5")
    parser.add_argument("--classifier", type=str | None, default=None, help="3D CNN, .h5 or .hdf5")
    parser.add_argument("-o", "--output", type=str | None, default=None, help="folder to make")
    parser.add_argument(
        "--preset", type=str, default="upstream", help="whose preprocessing they were trained with"
    )
    parser.add_argument(
        "--gates",
        type=str | None,
        default=None,
        help="of the ConvLSTMs, if the file does not tell: hard_sigmoid (Keras 2) or sigmoid (3)",
    )
    given = parser.parse_args(arguments)
    files = (given.denoiser, given.classifier, given.output)
    if given.action == "import-keras":
        if given.names or None in files:
            raise UsageError(
                "weights import-keras wants --denoiser FILE --classifier FILE -o FOLDER"
            )
        from covidctnet.keras_import import import_weights

        denoiser, classifier = map(_existing, files[:2])
        made = import_weights(
            denoiser, classifier, Path(given.output), preset=given.preset, gates=given.gates
        )
        sys.stdout.write(f"{made.name}  {made.digest}  imported from Keras\n")
        return EXIT_OK
    if any(files) or given.gates:
        raise UsageError(f"weights {given.action} takes names only; the rest is of import-keras")

    from covidctnet.weights import list_weights, verify_weights

    if given.action == "list":
        for weights in list_weights():
            sys.stdout.write(f"{weights.name}  {weights.digest}  has seen {weights.seen}\n")
        return EXIT_OK
    for name in given.names or [weights.name for weights in list_weights()]:
        sys.stdout.write(f"{name}  {verify_weights(name).digest}  ok\n")
    return EXIT_OK


def _benchmark(arguments: list[str]) -> int:
    parser = _parser("benchmark")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--repeats", type=int, default=5, help="runs a row; the median is shown")
    _add_network(parser)
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        raise UsageError(f"--repeats must be 1 or more, got {given.repeats}")

    from covidctnet.benchmark import benchmark, render

    rows = benchmark(weights=given.weights, device=given.device, repeats=given.repeats)
    sys.stdout.write((json.dumps(rows, indent=1) if given.json else render(rows)) + "\n")
    return EXIT_OK


def _parser(verb: str) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=f"covidctnet {verb}", description=VERBS[verb].summary + ".", exit_on_error=False
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    return parser


def _add_network(parser: ArgumentParser) -> None:
    parser.add_argument("--weights", type=str, default="compact", help="shipped name, or a folder")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def _existing(text: str) -> Path:
    path = Path(text)
    # An empty variable of a shell must not mean the current folder.
    if not text or not path.exists():
        raise UsageError(f"{text!r} does not exist; give a folder or a file that does")
    return path


def _with_work(arguments: list[str]) -> list[str]:
    """``--work`` is short for ``--data.work`` of the training verbs."""
    return [f"--data.{a[2:]}" if a.partition("=")[0] == "--work" else a for a in arguments]


VERBS: Mapping[str, Verb] = {
    "classify": Verb("Covid-19, CAP or Control for every study under some paths", _classify),
    "inspect": Verb("what was found under a path and what would be done with it", _inspect),
    "phantom": Verb("write a cohort of synthetic patients as DICOM, with their truth", _phantom),
    "paint": Verb("paint lesions into the Control scans of an archive: a cohort", _paint),
    "preprocess": Verb("a labelled archive to network input, and its splits", _preprocess),
    "train-lungs": Verb("train the BCDU-Net on lungs, to start a denoiser from", _train_lungs),
    "train-denoiser": Verb("train the BCDU-Net on the Controls set aside for it", _train_denoiser),
    "train-classifier": Verb("train the 3D CNN on the denoiser's residuals", _train_classifier),
    "evaluate": Verb("accuracy and AUC with intervals on labelled patients", _evaluate),
    "weights": Verb("list the shipped weights, verify hashes, or import Keras weights", _weights),
    "benchmark": Verb("measure every stage beside a reference", _benchmark),
}
