"""Commands that train networks, and those that look after weights."""

# No `from __future__ import annotations` here: `add_parameters` reads the types.
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from covidctnet.commands.common import existing
from covidctnet.errors import UsageError
from covidctnet.progress import bar

if TYPE_CHECKING:
    from covidctnet.systems.covidctnet.training.folds import CrossFitSettings

# A short name, one that an option had before, and one as other commands write theirs.
_NAMES = {"--work": "--data.work", "--keep": "--checkpoint", "--find-lr": "--find_lr"}
__all__ = ["cross_fit", "train", "train_classifier", "train_denoiser", "train_lungs", "weights"]


def train(*words: str) -> None:
    """Train a stage of any system."""
    from covidctnet.registry import system_names

    if words[:1] in (("-h",), ("--help",)):
        lines = [
            "usage: covidctnet train SYSTEM STAGE --work FOLDER [--preset NAME] [options]",
            "",
            "Train a stage of a system; covidctnet train SYSTEM STAGE --help shows its options.",
            "",
            *_stages(),
        ]
        sys.stdout.write("\n".join(lines) + "\n")
        return
    if len(words) < 2 or any(word.startswith("-") for word in words[:2]):
        raise UsageError(
            f"expected covidctnet train SYSTEM STAGE, with one of {', '.join(system_names())}; "
            "covidctnet train --help lists the stages"
        )
    system, stage, *rest = words
    flags = _with_system_preset(system, stage, rest)
    _train(system, stage, flags, f"train {system} {stage}")


def train_lungs(*flags: str) -> None:
    """Train the BCDU-Net on lungs, to start a denoiser from."""
    _train("covidctnet", "lungs", flags, "train-lungs")


def train_denoiser(*flags: str) -> None:
    """Train the BCDU-Net on the Controls set aside for it."""
    _train("covidctnet", "denoiser", flags, "train-denoiser")


def train_classifier(*flags: str) -> None:
    """Train the 3D CNN on the denoiser's residuals."""
    _train("covidctnet", "classifier", flags, "train-classifier")


def _stages() -> list[str]:
    """A line for every stage of every system; a broken system hides no other."""
    from covidctnet.registry import find_system, system_names

    lines = []
    for name in system_names():
        try:
            stages = find_system(name).stages
        except UsageError as error:
            lines.append(f"  {error}")
        else:
            lines += [f"  {name} {stage.name:<14}{stage.summary}" for stage in stages]
    return lines


def _with_system_preset(system: str, stage: str, flags: Sequence[str]) -> list[str]:
    """``--preset NAME`` stands for ``pipelines/SYSTEM/NAME/STAGE.yaml``.

    Those of CovidCTNet are older: ``pipelines/NAME/train-STAGE.yaml``.
    """
    from covidctnet.weights.shipped import presets_root

    root = presets_root()
    own = system == "covidctnet"
    paths = root.glob(f"*/train-{stage}.yaml") if own else (root / system).glob(f"*/{stage}.yaml")
    files = {file.parent.name: file for file in sorted(paths)}
    out: list[str] = []
    rest = iter(flags)
    for flag in rest:
        name, _, value = flag.partition("=")
        if name != "--preset":
            out.append(flag)
            continue
        value = value or next(rest, "")
        if value not in files:
            known = ", ".join(files) or "none"
            raise UsageError(
                f"expected a preset of {system} {stage}, got {value!r:.80}; presets: {known}"
            )
        # In front, so that files and flags of the caller win.
        out = ["--config", str(files[value]), *out]
    return out


def _train(system: str, stage: str, flags: Sequence[str], command: str) -> None:
    from covidctnet.registry import find_system

    chosen = find_system(system).stage(stage)
    _check_classes(system, flags)
    # After the names: a misspelt one is reported before the seconds that Lightning takes.
    from covidctnet.training.run import train

    words = []
    for flag in flags:
        name, equals, value = flag.partition("=")
        words.append(f"{_NAMES.get(name, name)}{equals}{value}")
    train(chosen, words, program=f"covidctnet {command}")


def _check_classes(system: str, flags: Sequence[str]) -> None:
    """The patients of a work folder are of classes that a system can learn."""
    from covidctnet.cohort.splits import Splits
    from covidctnet.registry import find_system

    # What follows an option is its value, behind a space or an equals sign.
    words = [part for flag in flags for part in flag.split("=", 1)]
    named = [value for word, value in pairwise(words) if word in ("--work", "--data.work")]
    if "" in named:
        raise UsageError("expected a folder behind --work, got an empty name. Name one.")
    for folder in named[-1:]:
        file, classes = Path(folder) / "splits.json", find_system(system).classes
        if file.is_file() and not classes.covers(there := Splits.load(file).classes):
            raise UsageError(
                f"expected a work folder of {classes.in_words}, as {system} tells them apart, got "
                f"one of {there.in_words}. Preprocess with --system {system} into another folder."
            )


def cross_fit(
    work: str,
    *,
    networks: str = "compact",
    until: Literal["networks", "examples", "classifiers"] = "classifiers",
    workers: int = 2,
    device: str = "auto",
    attribution: str = "",
    licence: str = "",
    settings: "CrossFitSettings",
) -> None:
    """Train networks for every fold of sites, from drawn examples, and for all.

    Args:
        work: Work folder that preprocess filled.
        networks: Preset of the networks' own training.
        until: The last step to take.
        workers: Processes that draw examples.
        device: Of training, see train-denoiser.
        attribution: Whom the licence of the data requires to be named.
        licence: Of the weights, for their card; not stated by default.
        settings: How the work folder is cross-fitted.
    """
    from covidctnet.systems.covidctnet.training.crossfit import CrossFit

    fitted = CrossFit(existing(work), settings)
    more = ["--device", device]
    if attribution:
        more += ["--attribution", attribution]
    if licence:
        more += ["--licence", licence]
    fitted.train_networks(networks, more)
    if until != "networks":
        with bar("drawing examples") as progress:
            fitted.draw_examples(workers=workers, device=device, progress=progress)
    if until == "classifiers":
        fitted.train_classifiers(networks, more)
        fitted.calibrate(device=device)


def weights(
    action: Literal["list", "verify", "import-keras"],
    names: Sequence[str] = (),
    *,
    denoiser: str | None = None,
    classifier: str | None = None,
    output: Annotated[str | None, "-o"] = None,
    preset: str = "upstream",
    gates: Literal["hard_sigmoid", "sigmoid"] | None = None,
) -> None:
    """List the shipped weights, verify hashes, or import Keras weights.

    Args:
        action: List the shipped, verify, or make a folder of weights that Keras saved.
        names: Names or folders; all shipped by default.
        denoiser: BCDU-Net: .h5, .hdf5, .weights.h5.
        classifier: 3D CNN, likewise.
        output: Folder to make.
        preset: Whose preprocessing they were trained with.
        gates: Of the ConvLSTMs, if the file does not say: hard_sigmoid (Keras 2) or sigmoid (3).
    """
    from covidctnet.weights import list_weights, verify_weights

    if action == "import-keras":
        if names or denoiser is None or classifier is None or output is None:
            raise UsageError(
                "expected weights import-keras --denoiser FILE --classifier FILE -o FOLDER, got "
                f"{'names too' if names else 'fewer options'}. Give these three."
            )
        from covidctnet.systems.covidctnet.keras_import import import_weights

        made = import_weights(
            existing(denoiser), existing(classifier), Path(output), preset=preset, gates=gates
        )
        sys.stdout.write(f"{made.name}  {made.digest}  imported from Keras\n")
    elif denoiser or classifier or output or gates:
        raise UsageError(f"weights {action} takes names only; the rest is of import-keras")
    elif action == "list":
        for shipped in list_weights():
            sys.stdout.write(f"{shipped.name}  {shipped.digest}  has seen {shipped.trained_on}\n")
    else:
        for name in names or [shipped.name for shipped in list_weights()]:
            sys.stdout.write(f"{name}  {verify_weights(name).digest}  ok\n")
