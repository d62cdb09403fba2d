"""Winograd's convolution as torch operations, for the trials alone.

Paper: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016: F(2 x 2,
3 x 3), 16 products for four outputs where the plain convolution takes 36.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Winograd", "with_winograd"]

# From four values along an axis to four, from three weights to four, from four products to two.
_INPUT = torch.tensor(
    [[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
)
_WEIGHT = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_OUTPUT = torch.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]])


class Winograd(nn.Module):
    """The same function as a 3 x 3 convolution with padding 1.

    Args:
        plain: Of 3 x 3, with a bias, padding 1 and nothing else; its weights are transformed in
            float32 and kept in their dtype.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        weight = plain.weight.detach()
        transformed = torch.einsum("ak,oikl,bl->abio", _WEIGHT, weight.float(), _WEIGHT)
        self.register_buffer("weight", transformed.flatten(0, 1).to(weight.dtype))  # (16, in, out)
        assert plain.bias is not None
        self.register_buffer("bias", plain.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Of (batch, in, row, column) the convolution's (batch, out, row, column)."""
        batch, channels, rows, columns = x.shape
        high, wide = (rows + 1) // 2, (columns + 1) // 2  # tiles of two by two
        padded = F.pad(x, (1, 2 * wide - columns + 1, 1, 2 * high - rows + 1))
        tiles = padded.permute(0, 2, 3, 1).unfold(1, 4, 2).unfold(2, 4, 2)
        turned = _INPUT.to(x.dtype)  # tiles: (B, high, wide, in, 4, 4)
        tiles = torch.einsum("ak,bhwikl,cl->acbhwi", turned, tiles, turned)
        products = torch.bmm(tiles.reshape(16, -1, channels), self.weight)  # (16, tiles, out)
        back = _OUTPUT.to(x.dtype)
        products = products.view(4, 4, batch, high, wide, -1)
        out = torch.einsum("ra,acbhwo,sc->bohrws", back, products, back)
        out = out.reshape(batch, -1, 2 * high, 2 * wide)[..., :rows, :columns]
        return out.contiguous(memory_format=torch.channels_last) + self.bias[:, None, None]


def with_winograd(network: nn.Module) -> nn.Module:
    """A copy of a network whose plain 3 x 3 convolutions from 16 channels on are Winograd's."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d) and child.in_channels >= 16 and _is_plain(child):
                setattr(module, name, Winograd(child))
    return network


def _is_plain(layer: nn.Conv2d) -> bool:
    how = (layer.kernel_size, layer.padding, layer.stride, layer.dilation, layer.groups)
    return how == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and layer.bias is not None
