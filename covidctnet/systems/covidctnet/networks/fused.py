"""The networks rewritten for inference: the same functions, less work.

What differs from the trained modules is arithmetic alone: the batch norms are folded into the
convolutions before them; a ConvLSTM's input and recurrent convolutions of the second step are one;
a tangent is written as a sigmoid, tanh(x) = 2 sigmoid(2x) - 1, so that one call over a whole tensor
serves all four gates. In float32 the outputs agree to a few units in the last place.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covidctnet.networks.fused import fold
from covidctnet.systems.covidctnet.networks.bcdunet import BCDUNet, _Decoder, on_blocks
from covidctnet.systems.covidctnet.networks.cnn3d import CNN3D
from covidctnet.systems.covidctnet.networks.convlstm import ConvLSTMPair

__all__ = ["FusedBCDUNet", "fused_cnn3d"]


class FusedBCDUNet(nn.Module):
    """A trained `BCDUNet` for inference.

    Args:
        trained: Copied, left as it was.
        dtype: Of weights and feature maps; the first three convolutions and the head stay in
            float32.
    """

    def __init__(self, trained: BCDUNet, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        trained = copy.deepcopy(trained).eval().requires_grad_(False)
        self.dtype, self.shrink = dtype, trained.shrink
        self.encoder2, self.encoder3 = trained.encoder2[2:], trained.encoder3
        self.dense1, self.dense2, self.dense3 = trained.dense1, trained.dense2, trained.dense3
        # Folded in float32, rounded once.
        self.decoder3 = _FusedDecoder(trained.decoder3)
        self.decoder2 = _FusedDecoder(trained.decoder2)
        self.decoder1 = _FusedDecoder(trained.decoder1)
        self.pool = trained.pool
        self.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Never rounded: eight bits of a slice near one half are steps of 0.004, 5 HU, and what the
        # first convolutions lose moves the answer three times as far as all that follows.
        self.encoder1, self.entry2 = trained.encoder1, trained.encoder2[:2]
        self.head = trained.head
        for layer in (self.encoder1, self.entry2, self.head):
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]

    def forward(self, x: Tensor) -> Tensor:
        """As `BCDUNet.forward` in evaluation mode, in float32."""
        return on_blocks(self._layers, x, self.shrink)

    def _layers(self, x: Tensor) -> Tensor:
        skip1 = self.encoder1(x.contiguous(memory_format=torch.channels_last))  # (B, F, H, W)
        skip2 = self.encoder2(self.entry2(self.pool(skip1)).to(self.dtype))  # (B, 2F, H/2, W/2)
        skip1 = skip1.to(self.dtype)
        skip3 = self.encoder3(self.pool(skip2))  # (B, 4F, H/4, W/4)
        bottom = self.dense1(self.pool(skip3))  # (B, 8F, H/8, W/8)
        if self.dense2 is not None and self.dense3 is not None:
            bottom = self.dense3(torch.cat([self.dense2(bottom), bottom], dim=1))
        up = self.decoder3(skip3, bottom)  # (B, 4F, H/4, W/4)
        up = self.decoder2(skip2, up)  # (B, 2F, H/2, W/2)
        up = self.decoder1(skip1, up)  # (B, F, H, W)
        return self.head(up.float())  # (B, 1, H, W)


class _FusedDecoder(nn.Module):
    """A decoder whose batch norm is folded into its transposed convolution."""

    def __init__(self, trained: _Decoder) -> None:
        super().__init__()
        norm, self.up = trained.norm, trained.up
        fold(self.up, norm)
        self.backward_lstm = _FusedPair(trained.backward_lstm)
        self.forward_lstm = (
            None if trained.forward_lstm is None else _FusedPair(trained.forward_lstm)
        )
        self.convs = trained.convs
        # The pairs give half of their state. Powers of two round nothing.
        self.convs[0].weight.mul_(2)  # type: ignore[operator]

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        up = self.up(below).relu_()
        merged = self.backward_lstm(up, skip)
        if self.forward_lstm is not None:
            merged = torch.cat([self.forward_lstm(skip, up), merged], dim=1)
        return self.convs(merged)


class _FusedPair(nn.Module):
    """A `ConvLSTMPair` of one convolution a step, which gives half of the last state.

    With h(x) = sigmoid(2x) - 1/2 = tanh(x) / 2, halves of cell and state are what falls out; the
    factors of two go into the weights.
    """

    def __init__(self, trained: ConvLSTMPair) -> None:
        super().__init__()
        hidden, self.gates = trained.hidden, trained.gates
        # Gates i, f, c, o. Keras' hard sigmoid clip(0.2 x + 0.5) is torch's of 1.2 x.
        gate = 1.0 if trained.gates == "sigmoid" else 1.2
        scale = torch.tensor([gate, gate, 2.0, gate]).repeat_interleave(hidden)
        weight = trained.input.weight * scale[:, None, None, None]
        recurrent = trained.recurrent.weight * scale[:, None, None, None] * 2
        assert trained.input.bias is not None
        bias = trained.input.bias * scale
        # A zero state needs no forget gate.
        rows = torch.arange(4 * hidden).view(4, hidden)[[0, 2, 3]].flatten()
        both = torch.cat([weight, recurrent], dim=1)
        self.first = _convolution(weight[rows], bias[rows])
        self.second = _convolution(both, bias)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        i, tangent, o = self._activated(self.first(first), 3)
        cell = i * tangent  # half of it
        state = o * _half_tanh(cell)
        both = torch.cat([second, state], dim=1)
        i, f, tangent, o = self._activated(self.second(both), 4)
        cell = (f * cell).add_(i * tangent)
        return o * _half_tanh(cell)

    def _activated(self, x: Tensor, count: int) -> list[Tensor]:
        """The gates, and half the tangent of the candidate, last but one; (B, h, H, W) each."""
        if self.gates == "sigmoid":
            # One pass over everything: strided parts of it would be three times slower.
            x = x.sigmoid_()
            gates = list(x.chunk(count, dim=1))
            gates[-2] = (x - 0.5).chunk(count, dim=1)[-2]
            return gates
        gates = list(F.hardsigmoid(x).chunk(count, dim=1))
        gates[-2] = x.chunk(count, dim=1)[-2].sigmoid() - 0.5
        return gates


def _half_tanh(half: Tensor) -> Tensor:
    """Half the hyperbolic tangent of twice `half`."""
    return (4 * half).sigmoid_().sub_(0.5)


def _convolution(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    out, channels = weight.shape[:2]
    made = nn.Conv2d(channels, out, 3, padding=1).requires_grad_(False)
    assert made.bias is not None
    made.weight.copy_(weight)
    made.bias.copy_(bias)
    return made


def fused_cnn3d(trained: CNN3D, dtype: torch.dtype = torch.float32) -> CNN3D:
    """A trained `CNN3D` for inference: channels last; the dense layers stay in float32.

    Args:
        trained: Copied, left as it was.
        dtype: Of the convolutions' weights and feature maps.
    """
    made = copy.deepcopy(trained).eval().requires_grad_(False)
    made.features.to(dtype=dtype, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return made
