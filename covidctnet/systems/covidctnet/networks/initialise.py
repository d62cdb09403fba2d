"""Starting weights as Keras draws them: with torch's own, BCDU-Net never leaves a constant."""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["he_normal_", "he_uniform_"]

# Standard deviation of a standard normal distribution cut off at -2 and 2.
_CUT_OFF_STD = 0.87962566103423978


def he_normal_(weight: Tensor) -> None:
    """Draw from a truncated normal of variance 2 / fan-in (He et al. 2015), in place.

    Args:
        weight: Of a convolution, (out, in, ...), or of a transposed one, (in, out, ...). Keras
            takes the second axis from the end of its (..., out, in) for the fan-in of the latter,
            which is `out`; counting torch's second axis does the same.
    """
    spread = math.sqrt(2 / _fan_in(weight)) / _CUT_OFF_STD
    nn.init.trunc_normal_(weight, std=spread, a=-2 * spread, b=2 * spread)


def he_uniform_(weight: Tensor) -> None:
    """Draw from a uniform distribution of variance 2 / fan-in (He et al. 2015), in place."""
    limit = math.sqrt(6 / _fan_in(weight))
    nn.init.uniform_(weight, -limit, limit)


def _fan_in(weight: Tensor) -> int:
    return int(weight[0].numel())
