"""The lungs by a network that has learned them with disease drawn in.

Density finds lungs that hold air. Consolidation holds none, and what reaches the pleura is left out
of such a mask (`covidctnet.chest.lungs`); a network that has seen both can take it in again.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from covidctnet.systems.covidctnet.networks.bcdunet import STRIDE

__all__ = ["add_consolidation", "shrink_slices"]

# Slices of a step: at this size a few megabytes of feature maps.
BATCH = 8


def shrink_slices(slices: torch.Tensor, shrink: int) -> torch.Tensor:
    """Means over blocks of `shrink` x `shrink` voxels.

    Args:
        slices: Shape (batch, channel, row, column).
        shrink: Rows and columns of a block.

    Returns:
        Rows and columns are multiples of 8, as the network needs them: where the blocks are fewer,
        air comes behind the last ones.
    """
    rows, columns = (-n % (STRIDE * shrink) for n in slices.shape[2:])
    return F.avg_pool2d(F.pad(slices, (0, columns, 0, rows)), shrink)


@torch.inference_mode()
def add_consolidation(
    lungs: np.ndarray, slices: np.ndarray, network: nn.Module, *, shrink: int
) -> np.ndarray:
    """A lung mask with what a network adds to it.

    Args:
        lungs: Mask by density, bool, shape (slice, row, column).
        slices: The scan at the same places, in [0, 1].
        network: Gives the probability of lung for slices (batch, 1, row, column); in evaluation
            mode, on the device that does the work.
        shrink: How many times smaller the network sees the slices.

    Returns:
        bool, the same shape; everything that `lungs` has, and more.
    """
    device = next(network.parameters()).device
    out = np.array(lungs, dtype=bool)
    for start in range(0, len(slices), BATCH):
        part = slice(start, start + BATCH)
        block = torch.from_numpy(np.array(slices[part], dtype=np.float32))[:, None].to(device)
        seen = network(shrink_slices(block, shrink)).float()
        # Air may have come behind the last rows and columns: it goes again.
        whole = [n * shrink for n in seen.shape[2:]]
        chance = F.interpolate(seen, size=whole, mode="bilinear", align_corners=False)
        rows, columns = out.shape[1:]
        out[part] |= (chance[:, 0, :rows, :columns] > 0.5).cpu().numpy()
    return out
