"""Training from the command line: LightningCLI around a task and its data."""

from __future__ import annotations

import logging
import math
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from covidctnet.contract import Stage
from covidctnet.errors import UsageError
from covidctnet.files import make_folder
from covidctnet.progress import bar, lines
from covidctnet.stopping import Stopped, note_stops
from covidctnet.training.checkpoints import LAST, read_whole
from covidctnet.training.command import TrainCLI
from covidctnet.training.curves import write_curve
from covidctnet.training.learning_rate import CURVE, find_learning_rate
from covidctnet.training.recipe import Recipe
from covidctnet.training.stop import StopAtStep
from covidctnet.training.work import origin
from covidctnet.weights.bundle import save_weights
from covidctnet.weights.shipped import presets_root
from covidctnet.writer import SoleWriter

__all__ = ["shareable_command", "train"]

_LOG = logging.getLogger(__name__)

# Lightning counts the cores and asks for as many loader processes. Memory-mapped slices need none
# on a CPU, and `--data.workers` is there for those who do.
_ADVICE = (
    ".*does not have many workers.*",
    ".*The number of training batches.*smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*Experiment logs directory .* exists and is not empty.*",
    ".*LightningCLI's args parameter is intended to run from within Python.*",
    # Lightning calls jsonargparse by names that it will drop in 5.0; setup.cfg keeps below.
    "(?s).*JsonargparseDeprecationWarning.*",
    "(?s).*deprecated.*in v4.*v5.0.0.*",
    # A run without a validation is told by _export, in the project's words.
    ".*could not find the monitored key.*",
    # The loader is wound on to where the checkpoint left it, see StopAtStep.
    ".*resuming from a checkpoint that ended before the epoch ended.*",
    ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
)


def train(stage: Stage, arguments: Sequence[str], *, program: str) -> Path:
    """Train one stage of a system.

    Args:
        stage: What to train.
        arguments: Command-line flags (``--data.work``, ``--trainer.devices`` ...).
        program: Name shown in the help.

    Returns:
        The weights folder, with the trained network and its card.

    Raises:
        UsageError: For wrong flags or data; ``--help`` of the stage tells the right ones.
    """
    recipe = stage.recipe()
    with ExitStack() as until_export:
        cli = _fit(recipe, stage.name, arguments, program, until_export)
        if cli.config.estimate:
            sys.stdout.write(f"{cli.measure.estimate(stage.name, cli.config.trainer)}\n")
        if cli.is_trial:
            return cli.weights_folder()
        return _export(cli, recipe, shareable_command(program, arguments), stage.name)


def _fit(
    recipe: Recipe, stage: str, arguments: Sequence[str], program: str, until_export: ExitStack
) -> TrainCLI:
    if not _LOG.isEnabledFor(logging.DEBUG):
        # It announces every seed and device, and advertises in between; its warnings still come.
        for chatty in ("pytorch_lightning", "lightning_fabric"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for advice in _ADVICE:
            warnings.filterwarnings("ignore", message=advice)
        try:
            cli_class = type(recipe.cli.__name__, (recipe.cli,), {"stage": stage})
            cli = cli_class(
                recipe.task,
                recipe.data,
                args=list(arguments),
                run=False,
                seed_everything_default=0,
                save_config_kwargs={"overwrite": True},
                parser_kwargs={
                    "prog": program,
                    "description": (recipe.task.__doc__ or "").partition("\n")[0],
                    "exit_on_error": False,
                },
                trainer_defaults={
                    "max_epochs": 100,
                    "enable_model_summary": False,
                    "enable_progress_bar": sys.stderr.isatty(),
                    "log_every_n_steps": 10,
                },
            )
        except (ValueError, TypeError, MisconfigurationException) as error:
            line = " ".join(str(error).split())[:500]
            raise UsageError(f"{line}; {program} --help tells the options") from None
        except ModuleNotFoundError as error:
            line = f"the package {error.name}" if error.name else " ".join(str(error).split())
            raise UsageError(
                "expected a package that these settings need, it is not installed: "
                f"{line:.300}. Install it with pip, or change the settings."
            ) from None
        if cli.trainer.is_global_zero and not cli.config.trainer.fast_dev_run:
            folder = Path(cli.config.trainer.default_root_dir)
            make_folder(folder)
            until_export.enter_context(SoleWriter(folder))
        if cli.config.find_lr:
            _find_learning_rate(cli, stage)
            return cli
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            with (
                _progress_lines(cli.trainer, f"training the {cli.stage}"),
                _stopping_at_steps(cli.trainer) as stops,
            ):
                cli.trainer.fit(
                    cli.model, cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True
                )
        except SystemExit:
            # Lightning turns Ctrl-C into an exit with 1, and turns Ctrl-C off.
            if not cli.trainer.interrupted:
                raise
            signal.signal(signal.SIGINT, on_interrupt)
            raise Stopped(stops[0] if stops else signal.SIGINT) from None
        if stops:
            # It came in the last epoch; the next run with --ckpt_path last writes the weights.
            raise Stopped(stops[0])
    return cli


def _find_learning_rate(cli: TrainCLI, stage: str) -> None:
    """Write which learning rate is suggested."""
    if getattr(cli.model, "sets_rates", False):
        raise UsageError(
            f"expected a stage with one learning rate to be found, {stage} sets its own for groups "
            "of layers before every step. Leave --find-lr out."
        )
    found = find_learning_rate(cli.trainer, cli.model, cli.datamodule, cli.config.find_lr)
    sys.stdout.write(
        f"suggested for the {stage}: --model.learning_rate {found:.2g}, where the loss falls most "
        f"steeply; it was {cli.config.model.learning_rate:g}. The curve is in {CURVE}, in the "
        "folder of the stage.\n"
    )


@contextmanager
def _stopping_at_steps(trainer: pl.Trainer) -> Iterator[list[int]]:
    """Signals that ask for an end are noted, and obeyed where a checkpoint can be whole."""
    if trainer.world_size > 1:
        # Each process would stop at a step of its own; the checkpoint of the last epoch stands.
        yield []
        return
    with note_stops() as stops:
        callback = StopAtStep(stops)
        trainer.callbacks.append(callback)  # type: ignore[attr-defined]
        try:
            yield stops
        finally:
            trainer.callbacks.remove(callback)  # type: ignore[attr-defined]


@contextmanager
def _progress_lines(trainer: pl.Trainer, description: str) -> Iterator[None]:
    """Lines on standard error where Lightning draws no bar; one process of several writes them."""
    if sys.stderr.isatty() or not trainer.is_global_zero:
        yield
        return
    with lines(description) as report:
        reporter = _Reporter(report)
        trainer.callbacks.append(reporter)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            trainer.callbacks.remove(reporter)  # type: ignore[attr-defined]


class _Reporter(pl.Callback):
    """Hands on how far training is, in words, about once a second."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._next_s = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        """After every step."""
        # Reading a loss makes a GPU wait, so not at every step.
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + 1.0
        epoch, step = trainer.current_epoch + 1, trainer.fit_loop.batch_idx + 1
        loss = trainer.callback_metrics.get("val_loss")
        validated = "" if loss is None else f", val_loss {float(loss):.4f}"
        self._report(
            f"epoch {epoch} of at most {trainer.max_epochs}, step {step} of "
            f"{trainer.num_training_batches}{validated}"
        )


def _export(cli: TrainCLI, recipe: Recipe, command: str, stage: str) -> Path:
    """The best network as weights with a card; one process writes, all know where.

    Raises:
        UsageError: If no epoch was validated, or none with a finite loss; the weights stay what
            they were.
    """
    target = cli.weights_folder()
    if cli.config.trainer.fast_dev_run:
        _LOG.info("a trial run of a few batches: no weights written")
        return target
    checkpoints = cli.trainer.checkpoint_callback
    assert isinstance(checkpoints, ModelCheckpoint)
    if checkpoints.best_model_score is None:
        raise UsageError(
            "training ended before its first validation, so no network was chosen. No weights "
            "written; the checkpoint is kept. Train longer with --ckpt_path last, or validate more "
            "often with --trainer.val_check_interval."
        )
    best = Path(checkpoints.best_model_path)
    score = float(checkpoints.best_model_score)
    if not math.isfinite(score):
        raise UsageError(
            f"training diverged: no epoch had a finite val_loss (best {score}). No weights "
            "written. Train with a smaller --model.learning_rate or --trainer.precision 32-true."
        )
    if cli.config.checkpoint == "last":
        best = Path(str(checkpoints.dirpath)) / LAST
    if cli.trainer.is_global_zero:
        state = read_whole(best)
        if state is None:
            raise UsageError(
                f"expected the checkpoint of the chosen epoch, {best.name!r} is damaged or gone. "
                "No weights written. Take the last epoch with --checkpoint last --ckpt_path last, "
                "or train from the beginning."
            )
        network = cli.model.network.to("cpu")
        prefix = "network."
        parameters = state["state_dict"].items()
        network.load_state_dict(
            {k.removeprefix(prefix): v for k, v in parameters if k.startswith(prefix)}
        )
        # Checkpoints of older versions tell no figures.
        metrics = {k: round(v, 6) for k, v in state.get("metrics", {"val_loss": score}).items()}
        metrics = {**metrics, "epoch": int(state["epoch"]), "step": int(state["global_step"])}
        # What is fitted after training, as a calibration, may take minutes on many scans.
        with bar(f"finishing the {stage}"):
            made = recipe.export(cli.model, cli.datamodule, cli.config.attribution)
        config = {**_plain(cli.config), **made.config}
        entry = {"command": command, "data": made.data, "config": config}
        card = {
            **made.card,
            **origin(cli.config.licence),
            "training": {**made.card.get("training", {}), stage: entry},
            "metrics": {**made.card.get("metrics", {}), stage: metrics},
        }
        save_weights(target, made.networks, card=card)
        write_curve(Path(cli.config.trainer.default_root_dir), target / "curves", stage)
        _LOG.info("wrote %s weights from epoch %d", stage, state["epoch"])
    cli.trainer.strategy.barrier()
    return target


_PROSE = ("--attribution", "--licence")


def shareable_command(program: str, arguments: Sequence[str]) -> str:
    """The command for the card: paths shortened to names, as they may tell who and where.

    It can be pasted into a shell; an attribution and a licence are prose and stay whole.
    """
    words = program.split()
    is_prose = False
    for argument in arguments:
        if is_prose or argument.startswith(tuple(f"{option}=" for option in _PROSE)):
            words.append(argument)
            is_prose = False
            continue
        is_prose = argument in _PROSE
        name, equals, value = argument.rpartition("=")
        path = Path(value)
        if presets_root() in path.parents:
            if not equals:
                words.pop()
            words += ["--preset", path.parent.name]
        else:
            words.append(f"{name}{equals}{path.name if len(path.parts) > 1 else value}")
    return shlex.join(words)


def _plain(config: Namespace) -> dict[str, Any]:
    """The settings that decide the result, without folders."""
    model = config.model.as_dict()
    trainer = {
        k: config.trainer[k]
        for k in ("max_epochs", "max_steps", "precision", "limit_train_batches")
    }
    return {
        "model": model,
        "batch_size": config.data.get("batch_size"),
        "trainer": trainer,
        "seed": config.seed_everything,
    }
