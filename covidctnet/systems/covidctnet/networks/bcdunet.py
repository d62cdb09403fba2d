"""BCDU-Net: a U-Net whose skip connections are merged by ConvLSTMs.

Paper: Azad et al., "Bi-Directional ConvLSTM U-Net with Densley Connected Convolutions", 2019,
arXiv:1909.00166. CovidCTNet (Javaheri et al. 2020) uses it as a denoiser.

Differs from the paper in: with ``bidirectional=True`` the last states of both directions are
concatenated, forward first, as Keras' Bidirectional does, where the paper adds two convolutions of
them; every direction keeps the published width, so the convolution behind sees twice as many
channels. With ``bidirectional=False`` it is the published code, which reads backward only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covidctnet.systems.covidctnet.networks.convlstm import ConvLSTMPair, Gates
from covidctnet.systems.covidctnet.networks.initialise import he_normal_

__all__ = ["BCDUNet", "on_blocks"]

DROPOUT = 0.5
# Three poolings halve rows and columns.
STRIDE = 8
Shrink = Literal[1, 2]


class BCDUNet(nn.Module):
    """BCDU-Net with one input and one output channel.

    Args:
        base: Width of the first level, even; 64 in the original.
        depth: Densely connected blocks at the bottom: 3 (D3) or 1 (D1).
        bidirectional: Read skip and upsampled features both ways round and concatenate the two
            last states; else backward only: upsampled features first, then the skip.
        gates: Gate activation of the ConvLSTMs; see `ConvLSTMPair`.
        shrink: 2 lets the layers work on means over blocks of 2 x 2 pixels, see `on_blocks`: a
            quarter of the work, and twice the millimetres around each pixel are seen. Not in the
            paper.

    Raises:
        ValueError: If `base` is odd or below 2, or `depth`, `gates` or `shrink` is unknown.
    """

    def __init__(
        self,
        base: int = 64,
        depth: Literal[1, 3] = 3,
        bidirectional: bool = True,
        gates: Gates = "sigmoid",
        shrink: Shrink = 1,
    ) -> None:
        super().__init__()
        if shrink not in (1, 2):
            raise ValueError(f"shrink must be 1 or 2, got {shrink}")
        self.shrink = shrink
        if base < 2 or base % 2:
            raise ValueError(f"base must be even and at least 2, got {base}")
        if depth not in (1, 3):
            raise ValueError(f"depth must be 1 (D1) or 3 (D3), got {depth}")
        f = base
        self.encoder1 = _double_conv(1, f)
        self.encoder2 = _double_conv(f, 2 * f)
        self.encoder3 = _double_conv(2 * f, 4 * f)
        self.dense1 = _double_conv(4 * f, 8 * f)
        self.dense2 = _double_conv(8 * f, 8 * f) if depth == 3 else None
        self.dense3 = _double_conv(16 * f, 8 * f) if depth == 3 else None
        self.decoder3 = _Decoder(8 * f, 4 * f, bidirectional, gates)
        self.decoder2 = _Decoder(4 * f, 2 * f, bidirectional, gates)
        self.decoder1 = _Decoder(2 * f, f, bidirectional, gates)
        self.head = nn.Sequential(
            nn.Conv2d(f, 2, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(2, 1, 1), nn.Sigmoid()
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(DROPOUT)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He-normal weights and zero biases; the ConvLSTMs draw their own."""
        for module in self.modules():
            if isinstance(module, ConvLSTMPair):
                module.reset_parameters()
            elif isinstance(module, nn.Sequential | _Decoder):
                for layer in module.children():
                    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                        he_normal_(layer.weight)
                        assert layer.bias is not None
                        nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Denoise slices.

        Args:
            x: In [0, 1], shape (batch, 1, row, column); rows and columns are multiples of 8 times
                `shrink`.

        Returns:
            In [0, 1], the same shape; with `shrink` 2 see `on_blocks`.

        Raises:
            ValueError: If `x` has another shape.
        """
        is_image = x.ndim == 4 and x.shape[1] == 1
        multiple = STRIDE * self.shrink
        if not is_image or any(n == 0 or n % multiple for n in x.shape[2:]):
            raise ValueError(
                f"BCDUNet expects (batch, 1, rows, columns), rows and columns multiples of "
                f"{multiple}, got {tuple(x.shape)}"
            )
        return on_blocks(self._layers, x, self.shrink)

    def _layers(self, x: Tensor) -> Tensor:
        skip1 = self.encoder1(x)  # (B, F, H, W)
        skip2 = self.encoder2(self.pool(skip1))  # (B, 2F, H/2, W/2)
        level3 = self.encoder3(self.pool(skip2))  # (B, 4F, H/4, W/4)
        skip3 = self.dropout(level3)  # the pool below takes the tensor before dropout
        bottom = self.dropout(self.dense1(self.pool(level3)))  # (B, 8F, H/8, W/8)
        if self.dense2 is not None and self.dense3 is not None:
            second = self.dropout(self.dense2(bottom))
            bottom = self.dropout(self.dense3(torch.cat([second, bottom], dim=1)))
        up = self.decoder3(skip3, bottom)  # (B, 4F, H/4, W/4)
        up = self.decoder2(skip2, up)  # (B, 2F, H/2, W/2)
        up = self.decoder1(skip1, up)  # (B, F, H, W)
        return self.head(up)  # (B, 1, H, W)


def on_blocks(denoise: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """Denoise means over blocks, and take from every pixel what was taken from its block's mean.

    Args:
        denoise: From slices to slices of the same shape.
        x: In [0, 1], shape (batch, 1, row, column); rows and columns divide into blocks.
        size: Rows and columns of a block.

    Returns:
        The same shape. The mean over each block is the denoised mean; pixels keep their difference
        from it and may leave [0, 1] by that.
    """
    if size == 1:
        return denoise(x)
    means = F.avg_pool2d(x, size)
    taken = means - denoise(means)
    return x - F.interpolate(taken, scale_factor=size, mode="nearest")


class _Decoder(nn.Module):
    """Double the size, merge with the skip connection, two convolutions."""

    def __init__(self, channels: int, width: int, bidirectional: bool, gates: Gates) -> None:
        super().__init__()
        hidden = width // 2
        self.up = nn.ConvTranspose2d(channels, width, 2, stride=2)
        # Keras' momentum of 0.99 is torch's 0.01.
        self.norm = nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)
        self.backward_lstm = ConvLSTMPair(width, hidden, gates)
        self.forward_lstm = ConvLSTMPair(width, hidden, gates) if bidirectional else None
        self.convs = _double_conv(2 * hidden if bidirectional else hidden, width)

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        up = self.norm(self.up(below)).relu()  # (B, width, 2H, 2W)
        merged = self.backward_lstm(up, skip)
        if self.forward_lstm is not None:
            merged = torch.cat([self.forward_lstm(skip, up), merged], dim=1)
        return self.convs(merged)


def _double_conv(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(inplace=True),
    )
