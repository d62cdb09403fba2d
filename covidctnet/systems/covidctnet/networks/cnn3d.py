"""The 3D CNN that tells the class from the residual.

Paper: Javaheri et al., "CovidCTNet", 2020, arXiv:2005.03059. Layer widths are those of the
published code.

Differs in: the softmax is left to the loss and to the caller.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from covidctnet.systems.covidctnet.networks.initialise import he_uniform_

__all__ = ["CNN3D"]

LEVELS = 5
# Values of an input that the shares count from: 0.05 is -930 HU, 0.7 is -20 HU of a CT.
SHARES_ABOVE = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
# Added to a share before its logarithm: a thousandth of the lungs is told from none, noise is not.
SMALLEST_SHARE = 1e-3


def lung_shares(x: Tensor) -> Tensor:
    """How much of the lungs exceeds each of a few values, for every channel.

    The lungs are the places that are not 0, without those next to a 0 in their own slice: the
    rim holds parts of the chest wall, and slices lie too far apart for more.

    Args:
        x: Residuals, CTs in [0, 1] or both, 0 outside the lungs, shape (batch, channel, slice, row,
            column).

    Returns:
        Logarithms of shares, about between -3 and 4, float32 (batch, channel * values).
    """
    outside = (x == 0).all(dim=1, keepdim=True).float()
    outside = functional.max_pool3d(outside, (1, 3, 3), stride=1, padding=(0, 1, 1))
    inner = 1 - outside  # (B, 1, D, S, S)
    size = inner.sum(dim=(2, 3, 4)).clamp_min(1)
    above = [((x > low) * inner).sum(dim=(2, 3, 4)) / size for low in SHARES_ABOVE]
    shares = torch.stack(above, dim=2).flatten(1).float()  # (B, C * values)
    return torch.log(shares + SMALLEST_SHARE) + 3


class CNN3D(nn.Module):
    """Ten 3 x 3 x 3 convolutions in five levels, then two dense layers.

    Args:
        depth: Slices of a residual.
        size: Rows and columns of it.
        base: Filters of the first level; every level doubles them.
        classes: Labels that are distinguished.
        dense: Units of the hidden dense layer.
        dropout: Before the last layer.
        channels: Of the input: the residual, or more besides it.
        shares: Whether one linear layer more scores `lung_shares` of the input; its scores are
            added. Not in the paper. For inputs that are 0 outside the lungs.

    Features are flattened in torch's order (channel, slice, row, column). Keras flattens (slice,
    row, column, channel): the module `keras_import` permutes the dense kernel instead.

    Raises:
        ValueError: If the input is too small for five levels, or has no channel.
    """

    def __init__(
        self,
        depth: int = 50,
        size: int = 240,
        base: int = 8,
        classes: int = 3,
        dense: int = 32,
        dropout: float = 0.3,
        channels: int = 1,
        shares: bool = False,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be 1 or more, got {channels}")
        self.input_shape = (channels, depth, size, size)
        # The first convolution is a valid one: it takes a voxel off every side.
        self.grid = tuple((n - 2) >> LEVELS for n in (depth, size, size))
        if min(self.grid) < 1:
            smallest = (1 << LEVELS) + 2
            raise ValueError(f"depth and size must be at least {smallest}, got {depth} and {size}")
        self.score_shares = nn.Linear(channels * len(SHARES_ABOVE), classes) if shares else None
        layers: list[nn.Module] = []
        for level in range(LEVELS):
            width = base << level
            layers += [
                nn.Conv3d(channels, width, 3, padding=1 if level else 0),
                nn.ReLU(inplace=True),
                nn.Conv3d(width, width, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.MaxPool3d(2),
            ]
            channels = width
        self.features = nn.Sequential(*layers)
        slices, rows, columns = self.grid
        self.classify = nn.Sequential(
            nn.Linear(channels * slices * rows * columns, dense),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(dense, classes),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He-uniform weights and zero biases."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d | nn.Linear):
                he_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
        if self.score_shares is not None:
            # The shares start without a say.
            nn.init.zeros_(self.score_shares.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Score the classes of residuals; a softmax over the scores gives probabilities.

        Args:
            x: Residuals, shape (batch, channel, depth, size, size).

        Returns:
            Logits, shape (batch, classes).

        Raises:
            ValueError: If `x` has another shape.
        """
        if x.ndim != 5 or tuple(x.shape[1:]) != self.input_shape:
            expected = ", ".join(str(n) for n in self.input_shape)
            raise ValueError(f"CNN3D expects (batch, {expected}), got {tuple(x.shape)}")
        weight = self.features[0].weight
        maps = self.features(x.to(weight.dtype)).to(x.dtype)  # type: ignore[arg-type]
        scores: Tensor = self.classify(maps.flatten(1))  # (B, classes)
        if self.score_shares is not None:
            with torch.autocast(x.device.type, enabled=False):
                scores = scores + self.score_shares(lung_shares(x.detach().float()))
        return scores
