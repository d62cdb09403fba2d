"""How far a denoised slice is from the healthy one."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

__all__ = ["DenoiserLoss", "slice_loss", "structural_similarity"]

DenoiserLoss = Literal["l1", "l1_ssim", "bce"]

# Share of what structure differs in ``l1_ssim``, as Zhao et al. 2017 weigh it.
SSIM_SHARE = 0.84
# Wang et al. 2004: stabilisers for values in [0, 1], and the width of the window.
_C1, _C2, _WINDOW = 0.01**2, 0.03**2, 11


def slice_loss(
    output: torch.Tensor,
    clean: torch.Tensor,
    lungs: torch.Tensor,
    *,
    kind: DenoiserLoss,
    lungs_weight: float,
) -> torch.Tensor:
    """Mean over the slices, plus `lungs_weight` times the mean within the lungs.

    Args:
        output: Denoised, in [0, 1], shape (batch, 1, row, column).
        clean: Healthy, the same shape.
        lungs: Mask in [0, 1], the same shape.
        kind: ``l1``; ``l1_ssim``, 0.16 of it and 0.84 of half of one minus the structural
            similarity; ``bce``, the published code's binary cross-entropy on grey values.
        lungs_weight: 0 looks at the whole slice alone.

    Source: Zhao et al., "Loss functions for image restoration", 2017, for ``l1_ssim``. Differs
    in: one scale.
    """
    if kind == "bce":
        # log(0) of a saturated sigmoid would be an infinite loss.
        each = F.binary_cross_entropy(output.clamp(1e-6, 1 - 1e-6), clean, reduction="none")
    else:
        each = (output - clean).abs()
    if kind == "l1_ssim":
        unlike = (1 - structural_similarity(output, clean)) / 2
        each = (1 - SSIM_SHARE) * each + SSIM_SHARE * unlike
    return each.mean() + lungs_weight * (each * lungs).sum() / lungs.sum().clamp_min(1)


def structural_similarity(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Structural similarity at every voxel, in a square window of 11.

    Args:
        first: In [0, 1], shape (batch, 1, row, column), 11 x 11 at least.
        second: The same shape.

    Returns:
        In [-1, 1], the same shape; beyond the border the slices are mirrored.

    Source: Wang et al. 2004. Differs in: a square window without weights, as scikit-image has it
    by default for unweighted windows.
    """
    reach = _WINDOW // 2

    def mean(values: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(F.pad(values, (reach,) * 4, mode="reflect"), _WINDOW, 1)

    mean1, mean2 = mean(first), mean(second)
    variance1 = (mean(first * first) - mean1**2).clamp_min(0)
    variance2 = (mean(second * second) - mean2**2).clamp_min(0)
    covariance = mean(first * second) - mean1 * mean2
    return ((2 * mean1 * mean2 + _C1) * (2 * covariance + _C2)) / (
        (mean1**2 + mean2**2 + _C1) * (variance1 + variance2 + _C2)
    )
