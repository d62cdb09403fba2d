"""How far a found mask is from the drawn one."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

__all__ = ["MaskLoss", "mask_loss", "soft_dice"]

MaskLoss = Literal["bce", "bce_dice"]

# Pixels added to both halves of the fraction, so that two empty masks agree.
_SMOOTH = 1.0


def mask_loss(scores: Tensor, masks: Tensor, kind: MaskLoss = "bce") -> Tensor:
    """Mean over the pixels.

    Args:
        scores: Logits, (batch, kind of lesion, row, column).
        masks: 0 or 1, the same shape.
        kind: ``bce``, the paper's binary cross-entropy without weights; ``bce_dice`` adds one minus
            the soft Dice.

    Returns:
        One number.
    """
    loss = F.binary_cross_entropy_with_logits(scores, masks)
    if kind == "bce_dice":
        loss = loss + 1 - soft_dice(scores.sigmoid(), masks).mean()
    return loss


def soft_dice(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Dice of probabilities with masks, for each picture and kind of lesion.

    Args:
        probabilities: (batch, kind, row, column).
        masks: 0 or 1, the same shape.

    Returns:
        In (0, 1], (batch, kind).
    """
    axes = (2, 3)
    common = (probabilities * masks).sum(axes)
    total = probabilities.sum(axes) + masks.sum(axes)
    return (2 * common + _SMOOTH) / (total + _SMOOTH)
