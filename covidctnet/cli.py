"""The command line: one verb a stage."""

from __future__ import annotations

import errno
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from covidctnet import __version__
from covidctnet.errors import CovidCTNetError, UsageError
from covidctnet.progress import bar

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

__all__ = ["main"]

_LOG = logging.getLogger(__name__)

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_NONE_CLASSIFIED = range(5)
EXIT_INTERRUPTED = 130

NOTICE = "Research use only. Not a medical device."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: Without the program's name; those of the process by default.

    Returns:
        0 every study classified (or the verb did its work), 1 an unexpected error, 2 wrong usage,
        3 some studies refused or failed, 4 none classified.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_overview())
        return EXIT_OK if arguments else EXIT_USAGE
    if arguments[0] == "--version":
        sys.stdout.write(f"covidctnet {__version__}\n")
        return EXIT_OK
    name, *rest = arguments
    if name not in _VERBS:
        return _complain(f"unknown verb {name!r}; verbs are {', '.join(_VERBS)}", EXIT_USAGE)
    verbose = "--verbose" in rest
    rest = [argument for argument in rest if argument != "--verbose"]
    _configure_logging(verbose)
    try:
        return _VERBS[name].run(_with_preset(name, rest))
    except CovidCTNetError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept", EXIT_INTERRUPTED)
    except SystemExit as error:
        # jsonargparse prints its own line and leaves with 2 for wrong usage, 0 for help.
        return error.code if isinstance(error.code, int) else EXIT_USAGE
    except OSError as error:
        _LOG.debug("traceback", exc_info=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _complain("the disk is full; make room and run again, finished work is kept", 1)
        return _complain(f"the system refused: {error.strerror or type(error).__name__}", 1)
    except Exception as error:  # the last resort of a program that promises no traceback
        _LOG.debug("traceback", exc_info=True)
        line = " ".join(str(error).split())[:300]
        return _complain(f"unexpected {type(error).__name__}: {line} (--verbose shows more)", 1)


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
    given = parser.parse_args(arguments)

    from covidctnet.io.inspect import inspect_paths, render

    found = inspect_paths([_existing(path) for path in given.paths])
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


def _preprocess(arguments: list[str]) -> int:
    from covidctnet.evaluation.splits import SplitSettings
    from covidctnet.preprocess import PreprocessSettings

    parser = _parser("preprocess")
    parser.add_argument("data", type=str, help="folder with Control/ Covid-19/ CAP/ or cohort.csv")
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
            Path(given.data),
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
        table = run(source, model, Path(given.output), seed=given.seed, progress=progress)
    sys.stdout.write(table + f"\n{NOTICE}\n")
    return EXIT_OK


def _weights(arguments: list[str]) -> int:
    parser = _parser("weights")
    parser.add_argument("action", choices=["list", "verify"], help="list the shipped, or verify")
    parser.add_argument(
        "names", nargs="*", type=str, help="names or folders; all shipped by default"
    )
    given = parser.parse_args(arguments)

    from covidctnet.weights import list_weights, verify_weights

    if given.action == "list":
        for weights in list_weights():
            seen = "synthetic patients only" if weights.card["synthetic_only"] else "real patients"
            sys.stdout.write(f"{weights.name}  {weights.digest}  trained on {seen}\n")
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

    from covidctnet.benchmark import benchmark, render

    rows = benchmark(weights=given.weights, device=given.device, repeats=given.repeats)
    sys.stdout.write((json.dumps(rows, indent=1) if given.json else render(rows)) + "\n")
    return EXIT_OK


class _Verb(NamedTuple):
    summary: str
    run: Callable[[list[str]], int]


_VERBS: Mapping[str, _Verb] = {
    "classify": _Verb("Covid-19, CAP or Control for every study under some paths", _classify),
    "inspect": _Verb("what was found under a path and what would be done with it", _inspect),
    "phantom": _Verb("write a cohort of synthetic patients as DICOM, with their truth", _phantom),
    "preprocess": _Verb("a labelled archive to network input, and its splits", _preprocess),
    "train-denoiser": _Verb("train the BCDU-Net on the Controls set aside for it", _train_denoiser),
    "train-classifier": _Verb("train the 3D CNN on the denoiser's residuals", _train_classifier),
    "evaluate": _Verb("accuracy and AUC with intervals on labelled patients", _evaluate),
    "weights": _Verb("list the shipped weights, or verify their hashes", _weights),
    "benchmark": _Verb("measure every stage beside a reference", _benchmark),
}


def _overview() -> str:
    lines = [
        "usage: covidctnet VERB [--config FILE.yaml] [--verbose] [options]",
        "",
        "Chest CT in (DICOM, NIfTI, MHA, NRRD), Covid-19, CAP or Control out.",
        NOTICE,
        "",
        *(f"  {name:<18}{verb.summary}" for name, verb in _VERBS.items()),
        "",
        "covidctnet VERB --help tells the options, their units and defaults.",
    ]
    return "\n".join(lines) + "\n"


def _parser(verb: str) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=f"covidctnet {verb}", description=_VERBS[verb].summary + ".")
    parser.add_argument("--config", action="config", help="YAML file with any of these settings")
    return parser


def _add_network(parser: ArgumentParser) -> None:
    parser.add_argument("--weights", type=str, default="compact", help="shipped name, or a folder")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise UsageError(f"{text!r} does not exist; give a folder or a file that does")
    return path


def _with_preset(verb: str, arguments: list[str]) -> list[str]:
    """``--preset NAME`` stands for the YAML file of that preset and verb."""
    out: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if name != "--preset":
            out.append(argument)
            continue
        value = value or next(rest, "")
        from covidctnet.shipped import presets_root

        root = presets_root()
        file = root / value / f"{verb}.yaml"
        known = sorted(
            folder.name for folder in root.iterdir() if (folder / f"{verb}.yaml").is_file()
        )
        if value not in known:
            raise UsageError(f"unknown preset {value!r} for {verb}; presets are {', '.join(known)}")
        out = ["--config", str(file), *out]
    return out


def _with_work(arguments: list[str]) -> list[str]:
    """``--work`` is short for ``--data.work`` of the training verbs."""
    return [f"--data.{a[2:]}" if a.partition("=")[0] == "--work" else a for a in arguments]


def _configure_logging(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(levelname)s %(message)s",
        stream=sys.stderr,
        force=True,
    )
    for chatty in ("matplotlib", "PIL", "pydicom", "fsspec", "h5py", "nibabel"):
        logging.getLogger(chatty).setLevel(logging.ERROR)


def _complain(line: str, code: int) -> int:
    sys.stderr.write(f"covidctnet: {line}\n")
    return code
