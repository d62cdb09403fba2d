"""What trains one stage of a system: all that the generic trainer knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import pytorch_lightning as pl

from covidctnet.training.command import TrainCLI

__all__ = ["Export", "Recipe"]


class Export(Protocol):
    """Writes a trained network as weights with a card."""

    def __call__(
        self,
        task: Any,
        data: Any,
        folder: Any,
        metrics: Any,
        *,
        command: str,
        config: Any,
        attribution: str = "",
    ) -> None:
        """Write them.

        Args:
            task: The Lightning module with the best network.
            data: What it learned from.
            folder: Where the weights go.
            metrics: Figures of the best epoch.
            command: That trained it, without paths.
            config: Settings that decided the result.
            attribution: Whom the licence of the data wants named.
        """


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes:
        task: Network, loss and optimiser; it keeps its network as ``network``.
        data: What it learns from; its folder is ``data.work``.
        export: Writes the weights.
        cli: The command line, with options of its own where it has any.
    """

    task: type[pl.LightningModule]
    data: type[pl.LightningDataModule]
    export: Export
    cli: type[TrainCLI] = TrainCLI
