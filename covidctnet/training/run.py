"""Training from the command line: LightningCLI around a task and its data."""

from __future__ import annotations

import logging
import math
import pickle
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import Namespace
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn

from covidctnet.denoise import pick_device
from covidctnet.errors import UsageError
from covidctnet.shipped import presets_root
from covidctnet.training.data import ResidualData, SliceData, WorkFolder
from covidctnet.training.export import export_classifier, export_denoiser
from covidctnet.training.tasks import ClassifierTask, DenoiserTask
from covidctnet.weights import load_weights

__all__ = ["train_classifier", "train_denoiser"]

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
    ".*`isinstance.treespec, LeafSpec.` is deprecated.*",
)


class _TrainCLI(LightningCLI):
    """A LightningCLI without subcommands that keeps its files in the work folder."""

    stage: str = ""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="checkpoint to resume from exactly: a file, or `last` for the last of this folder",
        )
        parser.add_argument(
            "--device",
            type=str | None,
            default=None,
            help="auto, cpu, cuda, cuda:1 or mps; short for --trainer.accelerator and .devices",
        )
        parser.add_argument(
            "--patience",
            type=int,
            default=20,
            help="epochs without a better val_loss before training stops early",
        )
        parser.add_argument(
            "--attribution",
            type=str,
            default="",
            help="whom the licence of the data wants named; goes into the card",
        )
        for seeded in ("model.seed", "data.seed"):
            parser.link_arguments("seed_everything", seeded, compute_fn=int)

    def needed(self) -> dict[str, str]:
        """Files of the work folder that training starts from, and the verbs that write them."""
        return {"splits.json": "preprocess"}

    def before_instantiate_classes(self) -> None:
        config = self.config
        work = Path(config.data.work)
        if not work.is_dir():
            raise UsageError(
                f"the work folder {work.name!r} does not exist; run covidctnet preprocess first"
            )
        # Before the loggers write into what may be the wrong folder.
        for needed, verb in self.needed().items():
            if not (work / needed).is_file():
                raise UsageError(
                    f"the work folder {work.name!r} has no {needed}; run covidctnet {verb} first"
                )
        config.trainer.default_root_dir = str(work / self.stage)
        if config.ckpt_path:
            config.ckpt_path = _checkpoint(config.ckpt_path, work / self.stage)
        if config.device:
            if config.trainer.accelerator != "auto" or config.trainer.devices != "auto":
                raise UsageError(
                    "--device is short for --trainer.accelerator and --trainer.devices; give "
                    "either it or them"
                )
            device = pick_device(config.device)
            config.trainer.accelerator = "gpu" if device.type == "cuda" else device.type
            config.trainer.devices = 1 if device.index is None else [device.index]

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        folder = Path(self.config.trainer.default_root_dir)
        if self.config.trainer.logger in (None, True):
            # A resumed run writes beside the one before, never over it.
            run = f"run{1 + len(list((folder / 'log').glob('run*')))}"
            kwargs["logger"] = [
                CSVLogger(str(folder), name="log", version=run),
                TensorBoardLogger(str(folder), name="tensorboard", version=run),
            ]
        best = ModelCheckpoint(
            dirpath=folder / "checkpoints",
            filename="best",
            monitor="val_loss",
            save_last=True,
            enable_version_counter=False,
        )
        kwargs["callbacks"] = [
            *(self.config_init.trainer.callbacks or []),
            # Only after a validation: a run of a few steps ends before the first one.
            EarlyStopping(
                "val_loss", patience=self.config.patience, check_on_train_epoch_end=False
            ),
            best,
        ]
        trainer: pl.Trainer = super().instantiate_trainer(**kwargs)
        return trainer


class _DenoiserCLI(_TrainCLI):
    stage = "denoiser"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--init",
            type=str | None,
            default=None,
            help="weights to start from, as of train-lungs: what fits is taken, the rest is told",
        )

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        # A resumed run has its weights from the checkpoint.
        if self.config.init and not self.config.ckpt_path:
            start_from(self.model.network, load_weights(self.config.init).denoiser())


class _ClassifierCLI(_TrainCLI):
    stage = "classifier"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.link_arguments("data.depth", "model.depth")
        parser.link_arguments("data", "model.size", lambda data: data.size, apply_on="instantiate")

    def needed(self) -> dict[str, str]:
        own = {} if self.config.data.denoiser else {"weights/card.json": "train-denoiser"}
        return {**super().needed(), **own}

    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        if self.config.device:
            self.config.data.device = self.config.device


def train_denoiser(arguments: Sequence[str], *, program: str) -> Path:
    """Train the denoiser on the Control patients set aside for it.

    Args:
        arguments: Command-line flags (``--data.work``, ``--trainer.devices`` ...).
        program: Name shown in the help.

    Returns:
        The weights folder, with ``denoiser.safetensors`` and its card.
    """
    cli = _fit(_DenoiserCLI, DenoiserTask, SliceData, arguments, program)
    return _export(cli, export_denoiser, shareable_command(program, arguments))


def start_from(network: nn.Module, other: nn.Module) -> tuple[str, ...]:
    """Take over every weight of another network that fits, and tell what did not.

    Args:
        network: Changed in place.
        other: Where the weights come from.

    Returns:
        Names of `network`'s weights that stay as they were.

    Raises:
        UsageError: If nothing fits.
    """
    own, given = network.state_dict(), other.state_dict()
    fitting = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    left = tuple(k for k in own if k not in fitting)
    if not any(own[k].is_floating_point() and own[k].dim() > 1 for k in fitting):
        raise UsageError(
            "nothing of the weights to start from fits the network; wanted the same --model.base"
        )
    network.load_state_dict(fitting, strict=False)
    _LOG.info("started from %d of %d tensors of other weights", len(fitting), len(own))
    if left:
        _LOG.warning("not taken over, of another shape or missing: %s", ", ".join(left))
    return left


def train_classifier(arguments: Sequence[str], *, program: str) -> Path:
    """Train the classifier on the residuals of the frozen denoiser.

    Args:
        arguments: Command-line flags.
        program: Name shown in the help.

    Returns:
        The weights folder, complete now.
    """
    cli = _fit(_ClassifierCLI, ClassifierTask, ResidualData, arguments, program)
    return _export(cli, export_classifier, shareable_command(program, arguments))


def _checkpoint(wanted: str, folder: Path) -> str | None:
    last = folder / "checkpoints" / "last.ckpt"
    if wanted == "last" and not last.is_file():
        _LOG.warning("the work folder has no checkpoint yet; training starts at the beginning")
        return None
    path = last if wanted == "last" else Path(wanted)
    if not path.is_file():
        raise UsageError(
            f"the checkpoint {Path(wanted).name!r} does not exist; give a file, or `last` for the "
            "last one of the work folder"
        )
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        is_checkpoint = isinstance(held, dict) and "state_dict" in held
    # Whatever else a file may hold fails in its own way; none of it is a checkpoint.
    except (pickle.UnpicklingError, RuntimeError, LookupError, ValueError, EOFError, TypeError):
        is_checkpoint = False
    if not is_checkpoint:
        raise UsageError(
            f"{path.name!r} is no whole checkpoint of a training run; give another, or train from "
            "the beginning without --ckpt_path"
        )
    return str(path)


def _fit(
    cli_class: type[_TrainCLI],
    task: type[pl.LightningModule],
    data: type[pl.LightningDataModule],
    arguments: Sequence[str],
    program: str,
) -> _TrainCLI:
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        # It announces every seed and device, and advertises in between; its warnings still come.
        for chatty in ("pytorch_lightning", "lightning_fabric"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for advice in _ADVICE:
            warnings.filterwarnings("ignore", message=advice)
        try:
            cli = cli_class(
                task,
                data,
                args=list(arguments),
                run=False,
                seed_everything_default=0,
                save_config_kwargs={"overwrite": True},
                parser_kwargs={
                    "prog": program,
                    "description": (task.__doc__ or "").partition("\n")[0],
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
            line = str(error).partition("\n")[0]
            raise UsageError(f"{line}; {program} --help tells the options") from None
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            cli.trainer.fit(
                cli.model, cli.datamodule, ckpt_path=cli.config.ckpt_path, weights_only=True
            )
        except SystemExit:
            # Lightning turns Ctrl-C into an exit with 1, and turns Ctrl-C off.
            if not cli.trainer.interrupted:
                raise
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from None
    return cli


def _export(cli: _TrainCLI, export: Any, command: str) -> Path:
    """The best network as weights with a card; one process writes, all know where.

    Raises:
        UsageError: If no epoch was validated, or none with a finite loss; the weights stay what
            they were.
    """
    work: WorkFolder = cli.datamodule.work
    if cli.config.trainer.fast_dev_run:
        _LOG.info("a trial run of a few batches: no weights written")
        return work.weights
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
    if cli.trainer.is_global_zero:
        state = torch.load(best, map_location="cpu", weights_only=True)
        network = cli.model.network.to("cpu")
        prefix = "network."
        parameters = state["state_dict"].items()
        network.load_state_dict(
            {k.removeprefix(prefix): v for k, v in parameters if k.startswith(prefix)}
        )
        # Checkpoints of older versions tell no figures.
        metrics = {k: round(v, 6) for k, v in state.get("metrics", {"val_loss": score}).items()}
        metrics = {**metrics, "epoch": int(state["epoch"]), "step": int(state["global_step"])}
        export(
            cli.model,
            cli.datamodule,
            metrics,
            command=command,
            config=_plain(cli.config),
            attribution=cli.config.attribution,
        )
        _LOG.info("wrote %s weights from epoch %d", cli.stage, state["epoch"])
    cli.trainer.strategy.barrier()
    return work.weights


def shareable_command(program: str, arguments: Sequence[str]) -> str:
    """The command for the card: paths shortened to names, as they may tell who and where."""
    words = [program]
    for argument in arguments:
        name, equals, value = argument.rpartition("=")
        path = Path(value)
        if presets_root() in path.parents:
            if not equals:
                words.pop()
            words += ["--preset", path.parent.name]
        else:
            words.append(f"{name}{equals}{path.name if len(path.parts) > 1 else value}")
    return " ".join(words)


def _plain(config: Namespace) -> dict[str, Any]:
    """The settings that decide the result, without folders."""
    model = config.model.as_dict()
    trainer = {
        k: config.trainer[k]
        for k in ("max_epochs", "max_steps", "precision", "limit_train_batches")
    }
    return {
        "model": model,
        "batch_size": config.data.batch_size,
        "trainer": trainer,
        "seed": config.seed_everything,
    }
