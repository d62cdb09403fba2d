"""The order of the examples of an epoch, and the random numbers of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler

__all__ = ["Drawn", "EachOnce", "EpochOrder", "in_turn", "ordered_loader", "processes_of_run"]

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


class EachOnce(DistributedSampler[T]):
    """Shares cases among the processes of a run, each case once.

    torch's own repeats cases until all shares are equal: figures, and the choice of the best epoch,
    would depend on the number of processes. Fewer cases than processes are not shared: a process
    without any would have no figures to choose by, and all means are then those of every case.

    Args:
        cases: What a data set is asked for, in order.
        processes: Of the run.
        rank: Which of them this is.
    """

    def __init__(self, cases: Sequence[T], processes: int, rank: int) -> None:
        super().__init__(cases, num_replicas=processes, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.own = cases if len(cases) < processes else cases[rank::processes]

    def __iter__(self) -> Iterator[T]:
        return iter(self.own)

    def __len__(self) -> int:
        return len(self.own)


def processes_of_run() -> tuple[int, int]:
    """Processes of this run, and which one this is."""
    group = torch.distributed
    if not (group.is_available() and group.is_initialized()):
        return 1, 0
    return group.get_world_size(), group.get_rank()


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
        order: Of the items. A fixed one is shared among the processes of a run, each item once.
        batch_size: Items of a batch.
        workers: Loader processes.
        drop_last: Leave out the items that do not fill a batch.
    """
    sampler: Sampler[Drawn] | list[Drawn] = order
    processes, rank = processes_of_run()
    if processes > 1 and isinstance(order, list):
        sampler = EachOnce(order, processes, rank)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=drop_last,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
