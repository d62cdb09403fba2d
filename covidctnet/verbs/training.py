"""Verbs that train networks, and those that look after weights."""

from __future__ import annotations

import sys
from pathlib import Path

from covidctnet.errors import UsageError
from covidctnet.progress import bar
from covidctnet.verbs.common import EXIT_OK, existing, parser_of

__all__ = ["cross_fit", "train", "train_classifier", "train_denoiser", "train_lungs", "weights"]


def train(arguments: list[str]) -> int:
    """``covidctnet train SYSTEM STAGE``; returns the exit code."""
    from covidctnet.registry import find_system, system_names

    if arguments[:1] in (["-h"], ["--help"]):
        stages = []
        for name in system_names():
            try:
                found = find_system(name).stages
            except UsageError as error:  # one that is broken hides no other
                stages.append(f"  {error}")
                continue
            stages += [f"  {name} {stage.name:<14}{stage.summary}" for stage in found]
        lines = [
            "usage: covidctnet train SYSTEM STAGE --work FOLDER [--preset NAME] [options]",
            "",
            "Train a stage of a system; covidctnet train SYSTEM STAGE --help tells its options.",
            "",
            *stages,
        ]
        sys.stdout.write("\n".join(lines) + "\n")
        return EXIT_OK
    if len(arguments) < 2 or any(a.startswith("-") for a in arguments[:2]):
        raise UsageError(
            f"expected covidctnet train SYSTEM STAGE, with one of {', '.join(system_names())}; "
            "covidctnet train --help tells the stages"
        )
    system, stage, *rest = arguments
    return _train(system, stage, rest, f"covidctnet train {system} {stage}")


def train_lungs(arguments: list[str]) -> int:
    """``covidctnet train-lungs``; returns the exit code."""
    return _train("covidctnet", "lungs", arguments, "covidctnet train-lungs")


def train_denoiser(arguments: list[str]) -> int:
    """``covidctnet train-denoiser``; returns the exit code."""
    return _train("covidctnet", "denoiser", arguments, "covidctnet train-denoiser")


def train_classifier(arguments: list[str]) -> int:
    """``covidctnet train-classifier``; returns the exit code."""
    return _train("covidctnet", "classifier", arguments, "covidctnet train-classifier")


def _train(system: str, stage: str, arguments: list[str], program: str) -> int:
    from covidctnet.registry import find_system

    chosen = find_system(system).stage(stage)
    # After the names: a misspelt one is told before the seconds that Lightning takes.
    from covidctnet.training.run import train

    train(chosen, _with_work(arguments), program=program)
    return EXIT_OK


def cross_fit(arguments: list[str]) -> int:
    """``covidctnet cross-fit``; returns the exit code."""
    from covidctnet.systems.covidctnet.training.crossfit import CrossFit, CrossFitSettings

    parser = parser_of("cross-fit")
    parser.add_argument("work", type=str, help="work folder that preprocess filled")
    parser.add_argument(
        "--networks", type=str, default="compact", help="preset of the networks' own training"
    )
    parser.add_argument(
        "--until",
        choices=["networks", "examples", "classifiers"],
        default="classifiers",
        help="the last step to take",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that draw examples")
    parser.add_argument(
        "--device", type=str, default="auto", help="of training, see train-denoiser"
    )
    parser.add_argument(
        "--attribution", type=str, default="", help="whom the licence of the data wants named"
    )
    parser.add_class_arguments(CrossFitSettings, "settings")
    given = parser.parse_args(arguments)
    made = parser.instantiate(given)
    fitted = CrossFit(existing(given.work), made.settings)
    more = ["--device", given.device]
    if given.attribution:
        more += ["--attribution", given.attribution]
    fitted.train_networks(given.networks, more)
    if given.until != "networks":
        with bar("drawing examples") as progress:
            fitted.draw_examples(workers=given.workers, device=given.device, progress=progress)
    if given.until == "classifiers":
        fitted.train_classifiers(given.networks, more)
        fitted.calibrate(device=given.device)
    return EXIT_OK


def weights(arguments: list[str]) -> int:
    """``covidctnet weights``; returns the exit code."""
    parser = parser_of("weights")
    parser.add_argument(
        "action",
        choices=["list", "verify", "import-keras"],
        help="list the shipped, verify, or make a folder of weights that Keras saved",
    )
    parser.add_argument(
        "names", nargs="*", type=str, default=[], help="names or folders; all shipped by default"
    )
    parser.add_argument(
        "--denoiser", type=str | None, default=None, help="BCDU-Net: .h5, .hdf5, .weights.h5"
    )
    parser.add_argument("--classifier", type=str | None, default=None, help="3D CNN, likewise")
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
        from covidctnet.systems.covidctnet.keras_import import import_weights

        denoiser, classifier = map(existing, files[:2])
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


def _with_work(arguments: list[str]) -> list[str]:
    """``--work`` is short for ``--data.work`` of the training verbs."""
    return [f"--data.{a[2:]}" if a.partition("=")[0] == "--work" else a for a in arguments]
