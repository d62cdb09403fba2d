"""Networks of colour pictures that take one grey channel: the same function, less work.

A grey picture in three equal channels gives, in the first convolution, the sum of its three
kernels. The channels are equal only if they are normalised alike, so all take the mean of the three
means and the mean of the three spreads.
"""

from __future__ import annotations

from statistics import fmean

import torch
from torch import Tensor, nn

from covidctnet.networks.backbones import Backbone

__all__ = ["grey_normalised", "take_grey"]


def grey_normalised(pictures: Tensor, backbone: Backbone) -> Tensor:
    """Grey pictures as a backbone expects them, the same for all of its colours.

    Args:
        pictures: In [0, 1], shape (batch, 1, row, column).
        backbone: See `covidctnet.networks.backbones.BACKBONES`.

    Raises:
        ValueError: If the pictures have another shape.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 1:
        raise ValueError(f"expected (batch, 1, row, column), got {tuple(pictures.shape)}")
    return (pictures - fmean(backbone.mean)) / fmean(backbone.std)


@torch.no_grad()
def take_grey(network: nn.Module) -> nn.Module:
    """Give the first convolution of a network one input channel: the sum of its kernels.

    Args:
        network: Whose first convolution takes three channels; changed in place.

    Returns:
        The network.

    Raises:
        ValueError: If its first convolution takes another number of channels.
    """
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None or first.in_channels != 3 or first.groups != 1:
        channels = None if first is None else first.in_channels
        raise ValueError(f"expected a first convolution of three channels, got {channels}")
    first.weight = nn.Parameter(first.weight.sum(1, keepdim=True))
    first.in_channels = 1
    return network
