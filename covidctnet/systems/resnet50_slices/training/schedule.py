"""The learning rates and the momentum of fastai's ``fine_tune``, step by step.

Source: fastai2 0.0.16 (``fine_tune``, ``fit_one_cycle``, ``combined_cos``). Differs in: nothing; a
step here is one batch of one phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from covidctnet.errors import UsageError

__all__ = ["FineTune", "OneCycle", "Step", "geometric"]


@dataclass(frozen=True)
class OneCycle:
    """A rise and a fall along two half cosines.

    Attributes:
        rise: Share of the steps until the highest learning rate.
        divide_first: The learning rate starts at this part of the highest.
        divide_last: It ends at this part of the highest.
        momenta: At the start, at the highest learning rate and at the end.
    """

    rise: float
    divide_first: float
    divide_last: float = 1e5
    momenta: tuple[float, float, float] = (0.95, 0.85, 0.95)

    def rate(self, share: float) -> float:
        """The learning rate as a part of the highest, after a share of the steps."""
        return self._at(share, 1 / self.divide_first, 1.0, 1 / self.divide_last)

    def momentum(self, share: float) -> float:
        """The momentum, after a share of the steps."""
        return self._at(share, *self.momenta)

    def _at(self, share: float, first: float, top: float, last: float) -> float:
        if share < self.rise:
            return _half_cosine(first, top, share / self.rise)
        return _half_cosine(top, last, (share - self.rise) / (1 - self.rise))


def _half_cosine(start: float, end: float, share: float) -> float:
    return start + (1 - math.cos(math.pi * share)) * (end - start) / 2


def geometric(first: float, last: float, count: int) -> tuple[float, ...]:
    """Numbers of equal ratios between two."""
    if count == 1:
        return (last,)
    ratio = (last / first) ** (1 / (count - 1))
    return tuple(first * ratio**k for k in range(count))


@dataclass(frozen=True)
class Step:
    """What the optimiser gets at one step.

    Attributes:
        rates: Learning rate of each group of layers, the first layers first.
        momentum: The first beta of Adam.
        frozen: Whether only the head and the batch norms of the body learn.
    """

    rates: tuple[float, ...]
    momentum: float
    frozen: bool


@dataclass(frozen=True)
class FineTune:
    """One phase with a frozen body, then one in which all layers learn.

    Attributes:
        steps_per_epoch: Whole batches of an epoch.
        epochs: Of the second phase.
        frozen_epochs: Of the first phase.
        base_rate: Highest learning rate of the head in the first phase; half of it in the second.
        spread: The first group learns that much more slowly than the head in the second phase.
        groups: Of layers.
    """

    steps_per_epoch: int
    epochs: int = 17
    frozen_epochs: int = 1
    base_rate: float = 2e-3
    spread: float = 100.0
    groups: int = 3

    def __post_init__(self) -> None:
        if self.steps_per_epoch < 1 or self.epochs < 1 or self.frozen_epochs < 0:
            raise UsageError(
                "expected at least one step, one epoch and no negative frozen epochs, got "
                f"{self.steps_per_epoch}, {self.epochs} and {self.frozen_epochs}. With few slices, "
                "choose a smaller --data.batch_size."
            )

    @property
    def steps(self) -> int:
        """Of both phases."""
        return self.steps_per_epoch * (self.frozen_epochs + self.epochs)

    def at(self, step: int) -> Step:
        """What the optimiser gets at a step, from 0; after the last one, what the last one got."""
        frozen_steps = self.steps_per_epoch * self.frozen_epochs
        step = min(step, self.steps - 1)
        if step < frozen_steps:
            cycle, share = OneCycle(0.99, 25.0), step / frozen_steps
            # A tenth for the body, of which only the batch norms learn.
            highest = (*[self.base_rate / 10] * (self.groups - 1), self.base_rate)
        else:
            cycle = OneCycle(0.3, 5.0)
            share = (step - frozen_steps) / (self.steps_per_epoch * self.epochs)
            top = self.base_rate / 2
            highest = geometric(top / self.spread, top, self.groups)
        rates = tuple(rate * cycle.rate(share) for rate in highest)
        return Step(rates, cycle.momentum(share), step < frozen_steps)
