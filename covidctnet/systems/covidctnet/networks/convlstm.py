"""A convolutional LSTM over a sequence of two: skip connection and upsampled features.

Paper: Shi et al., "Convolutional LSTM network", 2015, arXiv:1506.04214.

Differs from the paper in: no peepholes, as in Keras' ConvLSTM2D, whose gate order (i, f, c, o) and
starting weights are kept; the two steps are written out.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from covidctnet.systems.covidctnet.networks.initialise import he_normal_

__all__ = ["ConvLSTMPair", "Gates"]

Gates = Literal["sigmoid", "hard_sigmoid"]


class ConvLSTMPair(nn.Module):
    """ConvLSTM that reads two feature maps and gives its last state.

    The first step starts from a zero state, so its recurrent convolution and its forget gate fall
    away.

    Args:
        channels: Channels of either input.
        hidden: Channels of the state.
        gates: Activation of the gates: ``hard_sigmoid`` is clip(0.2 x + 0.5, 0, 1), the default
            of Keras 2; ``sigmoid`` that of Keras 3.

    Raises:
        ValueError: If `gates` is neither.
    """

    def __init__(self, channels: int, hidden: int, gates: Gates = "sigmoid") -> None:
        super().__init__()
        if gates not in get_args(Gates):
            raise ValueError(f"gates must be one of {', '.join(get_args(Gates))}, got {gates!r}")
        self.channels = channels
        self.hidden = hidden
        self.gates = gates
        self.input = nn.Conv2d(channels, 4 * hidden, 3, padding=1)
        self.recurrent = nn.Conv2d(hidden, 4 * hidden, 3, padding=1, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He-normal input, as the published code asks; orthogonal recurrence and forget bias 1."""
        he_normal_(self.input.weight)
        nn.init.orthogonal_(self.recurrent.weight)
        assert self.input.bias is not None
        nn.init.zeros_(self.input.bias)
        nn.init.ones_(self.input.bias[self.hidden : 2 * self.hidden])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Last state after reading `first`, then `second`.

        Args:
            first: Features, shape (batch, channels, row, column).
            second: The same shape.

        Returns:
            The hidden state, shape (batch, hidden, row, column).

        Raises:
            ValueError: If the shapes differ or have another count of channels.
        """
        # Batches of two sizes would be cut in the wrong place, and broadcasting would hide it.
        if first.shape != second.shape or first.ndim != 4 or first.shape[1] != self.channels:
            raise ValueError(
                f"ConvLSTMPair expects two of (batch, {self.channels}, rows, columns), "
                f"got {tuple(first.shape)} and {tuple(second.shape)}"
            )
        i, _, c, o = self.input(first).chunk(4, dim=1)  # (B, h, H, W) each
        cell = self._gate(i) * c.tanh()  # (B, h, H, W)
        state = self._gate(o) * cell.tanh()  # (B, h, H, W)
        i, f, c, o = (self.input(second) + self.recurrent(state)).chunk(4, dim=1)
        cell = self._gate(f) * cell + self._gate(i) * c.tanh()
        return self._gate(o) * cell.tanh()  # (B, h, H, W)

    def _gate(self, x: Tensor) -> Tensor:
        return x.sigmoid() if self.gates == "sigmoid" else (0.2 * x + 0.5).clamp(0, 1)
