"""The command lines of training: LightningCLI with its files in the work folder."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from covidctnet.devices import pick_device
from covidctnet.errors import UsageError
from covidctnet.training.checkpoints import BEST, LAST, WholeFiles, checkpoint_of
from covidctnet.training.estimate import MEASURED, Measure
from covidctnet.training.learning_rate import LEAST_STEPS
from covidctnet.training.loggers import LoggerName, check_logger, more_loggers
from covidctnet.training.look import EarlyLook

__all__ = ["TrainCLI", "start_from"]

_LOG = logging.getLogger(__name__)


class TrainCLI(LightningCLI):
    """A LightningCLI without subcommands that keeps its files in the work folder."""

    stage: str = ""
    # The figure that chooses the best epoch, and whether the smallest or the largest is best.
    monitor: ClassVar[tuple[str, str]] = ("val_loss", "min")

    @property
    def is_trial(self) -> bool:
        """Whether nothing is trained: something is measured, and no weights are written."""
        return bool(self.config.estimate or self.config.find_lr)

    @cached_property
    def measure(self) -> Measure:
        """Takes the time of steps, where that is asked for."""
        return Measure()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The options beyond those of task, data and trainer."""
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
            "--checkpoint",
            type=Literal["best", "last"],
            default="best",
            help="which becomes the weights: that of the best val_loss, or of the last epoch",
        )
        parser.add_argument(
            "--attribution",
            type=str,
            default="",
            help="whom the licence of the data requires to be named; goes into the card",
        )
        parser.add_argument(
            "--licence",
            type=str,
            default="",
            help="licence of the weights, which is yours to state; goes into the card, "
            "`not stated` by default",
        )
        parser.add_argument(
            "--logger",
            type=LoggerName,
            default="files",
            help="where curves go besides the CSV and TensorBoard files of the work folder: wandb "
            "or mlflow, both into the work folder too unless WANDB_MODE=online or "
            "MLFLOW_TRACKING_URI say otherwise",
        )
        parser.add_argument(
            "--look",
            type=int,
            default=4,
            help="validation examples whose answers are shown after every epoch; 0 for none",
        )
        parser.add_argument(
            "--estimate",
            action="store_true",
            help="measure a few steps, say how long the training would take and how much memory, "
            "and stop; no weights are written",
        )
        parser.add_argument(
            "--find_lr",
            type=int,
            default=0,
            help="try so many rising learning rates, such as 100, suggest one, and stop; no "
            "weights are written",
        )
        for seeded in ("model.seed", "data.seed"):
            parser.link_arguments("seed_everything", seeded, compute_fn=int)

    def needed(self) -> dict[str, str]:
        """Files of the work folder that training starts from, and the commands that write them."""
        return {"splits.json": "preprocess"}

    def weights_folder(self) -> Path:
        """Where the trained weights go."""
        return Path(self.config.data.work) / "weights"

    def before_instantiate_classes(self) -> None:
        """Check what the run starts from before anything is written."""
        config = self.config
        check_logger(config.logger)
        work = Path(config.data.work)
        if self.needed() and not work.is_dir():
            raise UsageError(
                f"the work folder {work.name!r} does not exist; run covidctnet preprocess first"
            )
        # Before the loggers write into what may be the wrong folder.
        for needed, command in self.needed().items():
            if not (work / needed).is_file():
                raise UsageError(
                    f"the work folder {work.name!r} has no {needed}; run covidctnet {command} first"
                )
        config.trainer.default_root_dir = str(work / self.stage)
        if config.estimate and config.find_lr:
            raise UsageError("expected --estimate or --find-lr, got both. Give one of them.")
        if config.look < 0:
            raise UsageError(f"expected --look of 0 examples or more, got {config.look}.")
        if config.find_lr and config.find_lr < LEAST_STEPS:
            raise UsageError(
                f"expected --find-lr of {LEAST_STEPS} steps or more, got {config.find_lr}. Try 100."
            )
        if self.is_trial:
            # What the settings of the last training were stays on disk.
            self.save_config_callback = None
        if config.estimate:
            # Lightning's run of a few batches, without loggers, checkpoints and early stopping.
            config.trainer.fast_dev_run = MEASURED
        if config.ckpt_path:
            config.ckpt_path = checkpoint_of(config.ckpt_path, work / self.stage)
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
        """The trainer with its loggers and checkpoints in the work folder."""
        folder = Path(self.config.trainer.default_root_dir)
        if self.is_trial:
            kwargs["logger"] = False
        elif self.config.trainer.logger in (None, True):
            # A resumed run writes beside the one before, never over it.
            run = f"run{1 + len(list((folder / 'log').glob('run*')))}"
            kwargs["logger"] = [
                CSVLogger(str(folder), name="log", version=run),
                TensorBoardLogger(str(folder), name="tensorboard", version=run),
                *more_loggers(self.config.logger, folder, run),
            ]
        elif self.config.logger != "files":
            raise UsageError("expected --logger or --trainer.logger, got both. Give one of them.")
        kwargs["callbacks"] = [
            *(self.config_init.trainer.callbacks or []),
            # Only after a validation: a run of a few steps ends before the first one.
            EarlyStopping(
                self.monitor[0],
                mode=self.monitor[1],
                patience=self.config.patience,
                check_on_train_epoch_end=False,
            ),
            # Two, as `save_last` writes the last one only when it is also the best; the best comes
            # first, as the last one holds its state.
            _checkpoint(folder, BEST, *self.monitor),
            _checkpoint(folder, LAST),
        ]
        if self.config.estimate:
            kwargs["callbacks"].append(self.measure)
        elif self.config.look:
            kwargs["callbacks"].append(EarlyLook(self.config.look))
        given = self.config_init.trainer.plugins or []
        files = WholeFiles(self.config.ckpt_path)
        kwargs["plugins"] = [*(given if isinstance(given, list) else [given]), files]
        trainer: pl.Trainer = super().instantiate_trainer(**kwargs)
        return trainer


class _MovableCheckpoint(ModelCheckpoint):
    """Keeps names of files, not their paths, so that a run goes on where its folder was moved to.

    Lightning forgets which checkpoint was the best when the folder has another path.
    """

    # Checkpoints of earlier versions know the callback by this name.
    __qualname__ = "ModelCheckpoint"

    def state_dict(self) -> dict[str, Any]:
        """What Lightning keeps, without folders."""
        return _with_paths(super().state_dict(), lambda path: Path(path).name)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up in the folder of today; paths of earlier versions lose their folder."""
        folder = Path(str(self.dirpath))
        state = _with_paths(state_dict, lambda path: str(folder / Path(path).name))
        super().load_state_dict({**state, "dirpath": self.dirpath})


def _with_paths(state: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The state of a `ModelCheckpoint` with every path of a checkpoint changed."""
    out = {**state, "dirpath": ""}
    for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
        out[name] = change(state[name]) if state.get(name) else ""
    best = state.get("best_k_models", {})
    out["best_k_models"] = {change(path): score for path, score in best.items()}
    return out


def _checkpoint(
    folder: Path, name: str, monitor: str | None = None, mode: str = "min"
) -> ModelCheckpoint:
    return _MovableCheckpoint(
        dirpath=folder / "checkpoints",
        filename=Path(name).stem,
        monitor=monitor,
        mode=mode,
        enable_version_counter=False,
    )


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
    first = next(iter(own))
    if first not in fitting:
        raise UsageError(
            f"nothing of the weights to start from fits: {first} is {tuple(given[first].shape)}, "
            f"expected {tuple(own[first].shape)}. Give the same --model.base."
        )
    network.load_state_dict(fitting, strict=False)
    _LOG.info("started from %d of %d tensors of other weights", len(fitting), len(own))
    if left:
        parts = Counter(".".join(name.split(".")[:2]) for name in left)
        left_out = ", ".join(f"{part} ({count})" for part, count in parts.items())
        _LOG.warning("not taken over, missing there or of another shape: %s", left_out)
    return left
