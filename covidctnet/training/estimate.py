"""What a training would take: a few steps are measured, the rest is extrapolated."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch

__all__ = ["MEASURED", "Estimate", "Measure"]

# Batches that are run, of training and of validation; the first ones warm up.
MEASURED, WARM_UP = 10, 3


@dataclass(frozen=True)
class Estimate:
    """Time and memory of a training.

    Attributes:
        stage: Of the system.
        device: Where it ran.
        step_s: Of one training step, with its share of loading.
        validation_step_s: Of one validation step.
        steps: Of an epoch.
        validation_steps: Of a validation.
        epochs: At most.
        every: Epochs from one validation to the next.
        memory_bytes: At its peak: of the GPU, or of this process and its loaders.
        first_s: Until the first step: what is read and made once.
    """

    stage: str
    device: str
    step_s: float
    validation_step_s: float
    steps: int
    validation_steps: int
    epochs: int
    every: int
    memory_bytes: int
    first_s: float

    @property
    def epoch_s(self) -> float:
        """Of an epoch with its share of validation."""
        return (
            self.steps * self.step_s + self.validation_steps * self.validation_step_s / self.every
        )

    def __str__(self) -> str:
        return "\n".join(
            [
                f"estimate of the {self.stage} on {self.device}, from {MEASURED} steps:",
                f"  until the first step {_duration(self.first_s)} (what is made once is kept)",
                f"  a step {self.step_s:.3g} s, a validation step {self.validation_step_s:.3g} s",
                f"  an epoch of {self.steps} steps and {self.validation_steps} validation steps "
                f"{_duration(self.epoch_s)}",
                f"  {self.epochs} epochs {_duration(self.epochs * self.epoch_s)} at most: training "
                "ends earlier when --patience epochs bring nothing better",
                f"  memory {self.memory_bytes / 1e9:.1f} GB at its peak",
            ]
        )


class Measure(pl.Callback):
    """Takes the time of steps and the memory that they need."""

    def __init__(self) -> None:
        self._created = self._last = time.perf_counter()
        self._steps: list[float] = []
        self._validation: list[float] = []
        self._counts = (0, 0)
        self._first_s = 0.0
        self._device = torch.device("cpu")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The data are there."""
        self._device = pl_module.device
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._first_s = self._lap(since=self._created)

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        """After every step."""
        self._steps.append(self._lap())

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the first validation step."""
        self._counts = (_batches(trainer.train_dataloader), _batches(trainer.val_dataloaders))
        self._lap()

    def on_validation_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        """After every validation step."""
        self._validation.append(self._lap())

    def estimate(self, stage: str, trainer_config: Any) -> Estimate:
        """What the whole training would take.

        Args:
            stage: Of the system.
            trainer_config: Of the trainer, as it was given.
        """
        steps, validation_steps = self._counts
        steps = _limited(steps, trainer_config.limit_train_batches)
        epochs = trainer_config.max_epochs
        most = trainer_config.max_steps
        by_steps = math.ceil(most / max(steps, 1)) if most is not None and most >= 0 else None
        if epochs is None or epochs < 0:
            # Lightning's own default.
            epochs = 1000 if by_steps is None else by_steps
        return Estimate(
            stage,
            _device_words(self._device),
            _typical(self._steps),
            _typical(self._validation),
            steps,
            _limited(validation_steps, trainer_config.limit_val_batches),
            epochs if by_steps is None else min(epochs, by_steps),
            trainer_config.check_val_every_n_epoch or 1,
            _peak_bytes(self._device),
            self._first_s,
        )

    def _lap(self, since: float | None = None) -> float:
        """Seconds since the last call, what a GPU still does included."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        passed = now - (self._last if since is None else since)
        self._last = now
        return passed


def _typical(seconds: Sequence[float]) -> float:
    """The median behind the warm-up; of all where there are too few."""
    measured = seconds[WARM_UP:] or seconds
    return statistics.median(measured) if measured else 0.0


def _batches(loaders: Any) -> int:
    if loaders is None:
        return 0
    if isinstance(loaders, list | tuple):
        return sum(map(_batches, loaders))
    return len(loaders)


def _limited(batches: int, limit: float | None) -> int:
    """Batches of a limit as Lightning has it: a number of them, or a share."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def _device_words(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return (
        f"{device} with {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)
    )


def _peak_bytes(device: torch.device) -> int:
    """Memory at its peak, of the GPU or of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
