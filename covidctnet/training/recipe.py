"""What trains one stage of a system: all that the generic trainer knows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
from torch import nn

from covidctnet.training.command import TrainCLI

__all__ = ["Recipe", "Trained"]


@dataclass(frozen=True)
class Trained:
    """What the weights of a finished run hold.

    Attributes:
        networks: By kind; those of earlier stages that belong to them included.
        card: Entries of the card: ``architecture``, the system's own settings, and ``training`` and
            ``metrics`` of earlier stages. The trainer adds those of this stage.
        data: What the stage learned from; see `covidctnet.training.work.describe_data`.
        config: Settings that decided the result, beyond those of the command line.
    """

    networks: Mapping[str, nn.Module]
    card: Mapping[str, Any]
    data: Mapping[str, Any]
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes:
        task: Network, loss and optimiser; it keeps its network as ``network``.
        data: What it learns from; its folder is ``data.work``.
        export: What the weights hold, from the task with its best network, the data, and whom the
            licence of the data requires to be named.
        cli: The command line, with options of its own where it has any.
    """

    task: type[pl.LightningModule]
    data: type[pl.LightningDataModule]
    export: Callable[[Any, Any, str], Trained]
    cli: type[TrainCLI] = TrainCLI
