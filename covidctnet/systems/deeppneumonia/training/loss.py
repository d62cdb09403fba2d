"""What DRE-Net learns by: classes of the slice, its details and both together, and their ranking.

Source: Yang et al. 2018 (NTS-Net) and Song et al. 2021; all four terms weigh alike, as published.
Differs in: nothing. As published, every detail carries the label of its slice, though a detail of
an ill patient may be healthy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from covidctnet.systems.deeppneumonia.networks import Details

__all__ = ["detail_losses", "drenet_loss", "ranking_loss"]


def detail_losses(parts: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every detail.

    Args:
        parts: Logits, shape (batch, part, class).
        labels: Of the slices, int64 (batch,).

    Returns:
        Shape (batch, part).
    """
    each = labels[:, None].expand(parts.shape[:2])
    return F.cross_entropy(parts.transpose(1, 2).float(), each, reduction="none")


def ranking_loss(scores: Tensor, losses: Tensor) -> Tensor:
    """Details that are classified better must have been promised higher scores.

    Args:
        scores: Of the proposals, shape (batch, part).
        losses: Of these details; a constant, shape (batch, part).

    Returns:
        Over pairs of a detail i and a worse one j, the sum of max(0, 1 - score i + score j), by
        slice; a scalar.
    """
    better = losses[:, :, None] < losses[:, None, :]
    hinge = F.relu(1 - scores[:, :, None] + scores[:, None, :])
    return (hinge * better).sum() / len(scores)


def drenet_loss(details: Details, labels: Tensor) -> dict[str, Tensor]:
    """The terms of the loss.

    Args:
        details: What the network says of a batch.
        labels: Of the slices, int64 (batch,).

    Returns:
        ``joint``, ``whole``, ``parts`` and ``ranking``, and their sum ``loss``.
    """
    losses = detail_losses(details.parts, labels)
    terms = {
        "joint": F.cross_entropy(details.logits.float(), labels),
        "whole": F.cross_entropy(details.whole.float(), labels),
        "parts": losses.mean(),
        "ranking": ranking_loss(details.scores.float(), losses.detach()),
    }
    return {**terms, "loss": torch.stack(list(terms.values())).sum()}
