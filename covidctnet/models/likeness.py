"""How unlike the training data an input is, from the classifier's own features.

Paper: Lee et al., "A simple unified framework for detecting out-of-distribution samples", NeurIPS
2018: the Mahalanobis distance to the nearest class, one covariance for all.

Differs in: the last feature maps alone, averaged over the grid; no perturbation of the input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Likeness"]


class Likeness(nn.Module):
    """Mahalanobis distance of features to the nearest class.

    Args:
        features: Numbers that describe an input.
        classes: Labels told apart.

    Buffers: `means` (classes, features) and `whitening` (features, features), by which deviations
    are multiplied to get unit covariance.
    """

    means: Tensor
    whitening: Tensor

    def __init__(self, features: int, classes: int = 3) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, features))
        self.register_buffer("whitening", torch.eye(features))

    def forward(self, features: Tensor) -> Tensor:
        """Distances (batch,) of features (batch, features)."""
        deviations = (features[:, None] - self.means) @ self.whitening  # (B, classes, features)
        return deviations.norm(dim=2).amin(dim=1)
