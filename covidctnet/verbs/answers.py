"""Verbs that answer: from scans to results and figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from covidctnet.errors import UsageError
from covidctnet.progress import bar
from covidctnet.verbs.common import (
    EXIT_NONE_CLASSIFIED,
    EXIT_OK,
    EXIT_SOME_FAILED,
    NOTICE,
    add_network,
    existing,
    load_network,
    parser_of,
)

__all__ = ["classify", "compare", "evaluate", "inspect"]


def classify(arguments: list[str]) -> int:
    """``covidctnet classify``; returns the exit code."""
    parser = parser_of("classify")
    parser.add_argument(
        "paths", nargs="+", type=str, help="DICOM folders, NIfTI, MHA, NRRD; nested"
    )
    parser.add_argument(
        "-o", "--output", type=str, default="results", help="folder for the results"
    )
    add_network(parser)
    parser.add_argument(
        "--every-series",
        action="store_true",
        help="an answer for every series, not only for the best one of a study",
    )
    parser.add_argument(
        "--readers",
        type=int,
        default=0,
        help="studies read at once, each some 0.5 GB; 0 takes two on a CPU of two cores and more, "
        "beside a GPU two fewer than cores, sixteen at most",
    )
    given = parser.parse_args(arguments)
    if given.readers < 0:
        raise UsageError(f"--readers must be 0 or more, got {given.readers}")

    from covidctnet.devices import pick_device
    from covidctnet.report import Results
    from covidctnet.run.classify import classify_into, readers_beside

    paths = [existing(path) for path in given.paths]
    results = Results(Path(given.output))
    model = load_network(given)
    with bar("classifying") as progress:
        counts = classify_into(
            results,
            paths,
            model,
            every_series=given.every_series,
            progress=progress,
            readers=given.readers or readers_beside(pick_device(given.device).type),
        )
    sys.stdout.write(f"{counts}\n{NOTICE}\n")
    return counts.exit_code


def inspect(arguments: list[str]) -> int:
    """``covidctnet inspect``; returns the exit code."""
    parser = parser_of("inspect")
    parser.add_argument("paths", nargs="+", type=str, help="folders or files")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="headers of DICOM only; without the gates that need voxels",
    )
    parser.add_argument(
        "--show-ids",
        action="store_true",
        help="show patient and accession of every study, on a terminal and nowhere else",
    )
    given = parser.parse_args(arguments)
    if given.show_ids and (given.json or not sys.stdout.isatty()):
        raise UsageError(
            "--show-ids shows names and numbers of patients on a terminal alone, got "
            f"{'--json' if given.json else 'a file or a pipe'}. Leave it out."
        )

    from covidctnet.run.inspect import ids_of, inspect_paths, render

    paths = [existing(path) for path in given.paths]
    with bar("inspecting") as progress:
        found = inspect_paths(
            paths,
            voxels=not given.quick,
            progress=progress,
            note=(lambda study, told: told.update(ids=ids_of(study))) if given.show_ids else None,
        )
    text = json.dumps(found, indent=1) if given.json else render(found)
    sys.stdout.write(text + "\n")
    outcomes = [study["outcome"] for study in found["studies"]]
    if "readable" not in outcomes:
        return EXIT_NONE_CLASSIFIED
    return EXIT_OK if set(outcomes) == {"readable"} else EXIT_SOME_FAILED


def evaluate(arguments: list[str]) -> int:
    """``covidctnet evaluate``; returns the exit code."""
    parser = parser_of("evaluate")
    parser.add_argument(
        "--data", nargs="+", type=str, default=None, help="labelled folders to classify"
    )
    parser.add_argument(
        "--work", type=str | None, default=None, help="work folder: its held-back test split"
    )
    parser.add_argument(
        "--predictions",
        type=str | None,
        default=None,
        help="answers made elsewhere: a .csv with study, patient, truth, p_control, p_covid19, "
        "p_cap, or .jsonl; with --work only those of its test split are taken",
    )
    parser.add_argument(
        "-o", "--output", type=str, default="evaluation", help="folder for the tables"
    )
    add_network(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    given = parser.parse_args(arguments)
    output, seed = Path(given.output), given.seed
    if given.predictions is not None:
        if given.data is not None:
            raise UsageError(
                "expected --predictions FILE alone or with --work FOLDER, got --data too. The "
                "file brings its true labels, or --work does; leave --data out."
            )
        from covidctnet.run.elsewhere import evaluate_predictions

        work = existing(given.work) if given.work is not None else None
        done = evaluate_predictions(existing(given.predictions), output, work=work, seed=seed)
        sys.stdout.write(f"{done.table}\n{NOTICE}\n")
        return EXIT_SOME_FAILED if done.failed else EXIT_OK
    if (given.data is None) == (given.work is None):
        raise UsageError(
            "expected one of --data FOLDER, --work FOLDER or --predictions FILE, got "
            f"{'none' if given.data is None else 'both --data and --work'}."
        )

    from covidctnet.run.evaluate import evaluate_data, evaluate_work

    data = [existing(folder) for folder in given.data or ()]
    work = existing(given.work) if given.work is not None else None
    model = load_network(given)
    with bar("evaluating") as progress:
        if work is not None:
            done = evaluate_work(work, model, output, seed=seed, progress=progress)
        else:
            done = evaluate_data(data, model, output, seed=seed, progress=progress)
    sys.stdout.write(f"{done.table}\n{NOTICE}\n")
    return EXIT_SOME_FAILED if done.failed else EXIT_OK


def compare(arguments: list[str]) -> int:
    """``covidctnet compare``; returns the exit code."""
    parser = parser_of("compare")
    parser.add_argument("first", type=str, help="predictions.csv of an evaluation")
    parser.add_argument(
        "second", nargs="?", type=str, default=None, help="another, on the same patients"
    )
    parser.add_argument(
        "--readers",
        type=str | None,
        default=None,
        help="table with the columns study, reader and label: human readers of the same studies",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    given = parser.parse_args(arguments)
    if not given.second and not given.readers:
        raise UsageError("compare wants a second predictions.csv, or --readers, or both")

    import numpy as np

    from covidctnet.evaluation.compare import compare as against
    from covidctnet.evaluation.compare import score_readers
    from covidctnet.evaluation.predictions import read_predictions, read_readers
    from covidctnet.evaluation.tables import comparison_table, readers_table

    first = read_predictions(Path(given.first))
    rng = np.random.default_rng(given.seed)
    tables = []
    if given.second:
        tables.append(
            comparison_table(against(first, read_predictions(Path(given.second)), rng=rng))
        )
    if given.readers:
        labels = read_readers(Path(given.readers))
        tables.append(readers_table(*score_readers(first, labels, rng=rng)))
    sys.stdout.write("\n\n".join(tables) + f"\n\n{NOTICE}\n")
    return EXIT_OK
