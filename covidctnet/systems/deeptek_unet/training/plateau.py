"""The learning rate falls when the validation loss no longer does."""

from __future__ import annotations

import torch

__all__ = ["make_plateau"]

# Less of an improvement is none, as Keras has it.
_SMALLEST = 1e-4


def make_plateau(
    optimiser: torch.optim.Optimizer, *, patience: int = 4, factor: float = 0.1
) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
    """A scheduler that counts epochs without a better validation loss.

    Args:
        optimiser: Whose learning rate falls.
        patience: The rate falls after so many epochs without a better loss, 1 at least.
        factor: It is multiplied by.
    """
    # torch lowers the rate at the epoch after its patience is used up.
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser,
        mode="min",
        factor=factor,
        patience=patience - 1,
        threshold=_SMALLEST,
        threshold_mode="abs",
    )
