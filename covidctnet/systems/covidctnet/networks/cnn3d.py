"""The 3D CNN that tells the class from the residual.

Paper: Javaheri et al., "CovidCTNet", 2020, arXiv:2005.03059. Layer widths are those of the
published code.

Differs in: the softmax is left to the loss and to the caller.
"""

from __future__ import annotations

from torch import Tensor, nn

from covidctnet.systems.covidctnet.networks.initialise import he_uniform_

__all__ = ["CNN3D"]

LEVELS = 5


class CNN3D(nn.Module):
    """Ten 3 x 3 x 3 convolutions in five levels, then two dense layers.

    Args:
        depth: Slices of a residual.
        size: Rows and columns of it.
        base: Filters of the first level; every level doubles them.
        classes: Labels told apart.
        dense: Units of the hidden dense layer.
        dropout: Before the last layer.
        channels: Of the input: the residual, or more beside it.

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
            wanted = ", ".join(str(n) for n in self.input_shape)
            raise ValueError(f"CNN3D wants (batch, {wanted}), got {tuple(x.shape)}")
        weight = self.features[0].weight
        maps = self.features(x.to(weight.dtype)).to(x.dtype)  # type: ignore[arg-type]
        return self.classify(maps.flatten(1))  # (B, classes)
