"""The order of the examples of an epoch, and the random numbers of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["Drawn", "EpochOrder", "in_turn", "ordered_loader"]

Drawn = tuple[int, int]
T = TypeVar("T")


class EpochOrder(Sampler[Drawn]):
    """A new order in every epoch, and a seed for each example of it.

    The seed belongs to the example and the epoch: what is drawn from it does not depend on which
    loader process reads the example, and a resumed run repeats it.

    Args:
        count: Examples.
        seed: Of everything.
        weights: How often each example is drawn, with replacement; each once by default.
    """

    def __init__(self, count: int, seed: int, weights: Sequence[float] | None = None) -> None:
        self.count, self.seed, self.epoch = count, seed, 0
        total = None if weights is None else np.asarray(weights, np.float64)
        self.chances = None if total is None else total / total.sum()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Drawn]:
        rng = np.random.default_rng([self.seed, self.epoch])
        if self.chances is None:
            order = rng.permutation(self.count)
        else:
            order = rng.choice(self.count, self.count, p=self.chances)
        seeds = rng.integers(0, 2**62, self.count)
        yield from zip(order.tolist(), seeds.tolist(), strict=True)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch


def in_turn(count: int) -> list[Drawn]:
    """Every example once, in its place, with no seed: -1 stands for the middle of every draw."""
    return [(place, -1) for place in range(count)]


def ordered_loader(
    dataset: Dataset[T],
    order: EpochOrder | list[Drawn],
    batch_size: int,
    *,
    workers: int = 0,
    drop_last: bool = False,
) -> DataLoader[T]:
    """Batches of a data set whose items are asked for with the seed that its order gives.

    Args:
        dataset: Its index is one of `order`.
        order: Of the items.
        batch_size: Items of a batch.
        workers: Loader processes.
        drop_last: Leave out the items that do not fill a batch.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=order,
        drop_last=drop_last,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
