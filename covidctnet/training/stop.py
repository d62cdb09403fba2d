"""A run that is asked to end saves a checkpoint after its step, and goes on from there exactly."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from covidctnet.stopping import Stopped
from covidctnet.training.checkpoints import LAST

__all__ = ["StopAtStep"]


class StopAtStep(pl.Callback):
    """Ends a run after the step in which it was asked to, and takes up such a run again.

    A signal in the middle of a step would leave weights and optimizer of different steps. The last
    step of an epoch, and the validation that follows it, are finished first: Lightning would take
    the epoch for validated. Ctrl-C ends a validation at once, and the checkpoint of the epoch
    before stands.

    Args:
        asked: Numbers of the signals that came; see `covidctnet.stopping.note_stops`.
    """

    def __init__(self, asked: Sequence[int]) -> None:
        self.asked = asked

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass over the batches of this epoch that the run before has trained.

        Lightning remembers how many there were, and begins with the first one all the same.
        """
        loop = trainer.fit_loop
        fetcher = loop._data_fetcher
        if not loop.restarted_mid_epoch or fetcher is None:
            return
        for loader in fetcher.combined_loader.flattened:
            if hasattr(loader.sampler, "set_epoch"):
                loader.sampler.set_epoch(trainer.current_epoch)
        iter(fetcher)
        batches = loop.epoch_loop.batch_progress.current.ready
        for _ in range(batches):
            next(fetcher)
        # Lightning adds what it remembers.
        fetcher.fetched -= batches

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any
    ) -> None:
        """After every step."""
        loop = trainer.fit_loop.epoch_loop
        # Gradients that are being summed over several batches are in no checkpoint.
        if not self.asked or loop.batch_progress.is_last_batch or loop._should_accumulate():
            return
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / LAST)
        raise Stopped(self.asked[0])

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any
    ) -> None:
        """After every batch of a validation."""
        if signal.SIGINT in self.asked:
            raise Stopped(signal.SIGINT)
        self._keep_from_lightning(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After every validation."""
        self._keep_from_lightning(trainer)

    def _keep_from_lightning(self, trainer: pl.Trainer) -> None:
        """Let Lightning forget a TERM: it would end the run before the epoch's checkpoint."""
        trainer._signal_connector.received_sigterm = False
