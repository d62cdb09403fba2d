"""An early look at a training: a few validation answers after every epoch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger

__all__ = ["EarlyLook", "Look", "look_at_answers", "look_at_pictures"]

_LOG = logging.getLogger(__name__)
# Name of the entries in TensorBoard.
_TAG = "validation examples"


class Look(NamedTuple):
    """What a network makes of a few validation examples.

    Attributes:
        words: An example each, without its patient or study.
        picture: What is seen, in [0, 1], (row, column): an example a row; None where nothing is.
    """

    words: tuple[str, ...]
    picture: torch.Tensor | None = None


def look_at_answers(
    titles: Sequence[str], probabilities: torch.Tensor, labels: torch.Tensor, count: int
) -> Look:
    """Truth, and the most probable class with its probability.

    Args:
        titles: Of the classes.
        probabilities: Shape (batch, class).
        labels: Shape (batch,).
        count: Examples at most.
    """
    words = []
    for row, label in zip(probabilities[:count].tolist(), labels[:count].tolist(), strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        words.append(f"{titles[int(label)]} answered {titles[best]} {row[best]:.2f}")
    return Look(tuple(words))


def look_at_pictures(panels: Sequence[torch.Tensor], words: str, count: int) -> Look:
    """Panels side by side, an example a row.

    Args:
        panels: Each (batch, 1, row, column), in [0, 1].
        words: What the panels are.
        count: Examples at most.
    """
    rows = [torch.cat([panel[n, 0] for panel in panels], 1) for n in range(len(panels[0][:count]))]
    # Of a run that diverges, what is no number is black.
    picture = torch.cat(rows).float().nan_to_num(0.0).clamp(0, 1)
    return Look((words,), picture.cpu())


class EarlyLook(pl.Callback):
    """Shows, after every validation, what the network makes of the first validation examples.

    They are the same in every epoch. Words go to the log and TensorBoard, pictures to TensorBoard.
    Nothing is drawn from a random generator: a run gives the same bits with a look and without.

    Args:
        count: Examples at most.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at the first batch."""
        shows = getattr(pl_module, "look", None)
        if batch_idx or dataloader_idx or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if shows is None:
            return
        with torch.no_grad(), trainer.precision_plugin.val_step_context():
            look: Look | None = shows(batch, self.count)
        if look is None:
            return
        epoch = trainer.current_epoch + 1
        if look.picture is None:
            _LOG.info("epoch %d, %s: %s", epoch, _TAG, "; ".join(look.words))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                text = "\n\n".join(look.words)
                logger.experiment.add_text(_TAG, text, trainer.global_step)
                if look.picture is not None:
                    logger.experiment.add_image(_TAG, look.picture[None], trainer.global_step)
