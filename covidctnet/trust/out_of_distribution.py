"""Out-of-distribution score: how unlike the training data an input is.

Paper: Lee et al., "A simple unified framework for detecting out-of-distribution samples", NeurIPS
2018: the Mahalanobis distance to the nearest class, one covariance for all.

Differs in: what describes an input comes from outside, not from a network; no perturbation of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["OutOfDistributionDetector"]


class OutOfDistributionDetector(nn.Module):
    """Mahalanobis distance of features to the nearest class.

    Args:
        features: Numbers that describe an input.
        classes: Labels that are distinguished.

    Buffers: `means` (classes, features) and `whitening` (features, features), by which deviations
    are multiplied to get unit covariance.
    """

    means: Tensor
    whitening: Tensor

    def __init__(self, features: int, classes: int = 3) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, features))
        # Where there is no memory (`torch.device("meta")`), `torch.eye` loads torch's compiler,
        # which takes more than a second of every start.
        identity = torch.zeros(features, features).fill_diagonal_(1)
        self.register_buffer("whitening", identity)

    def forward(self, features: Tensor) -> Tensor:
        """Distances (batch,) of features (batch, features)."""
        return self._deviations(features).norm(dim=2).amin(dim=1)

    def most_deviating(self, features: Tensor) -> Tensor:
        """Which feature lies the most standard deviations from the nearest class, (batch,)."""
        nearest = self._deviations(features).norm(dim=2).argmin(dim=1)  # (B,)
        covariance = torch.linalg.inv(self.whitening @ self.whitening.T)  # (features, features)
        deviations = (features - self.means[nearest]) / covariance.diagonal().sqrt()
        return deviations.abs().argmax(dim=1)

    def _deviations(self, features: Tensor) -> Tensor:
        return (features[:, None] - self.means) @ self.whitening  # (B, classes, features)
