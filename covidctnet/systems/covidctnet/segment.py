"""The lungs by a network that has learned them with disease drawn in.

Density finds lungs that hold air. Consolidation holds none, and what reaches the pleura is left out
of such a mask (`covidctnet.chest.lungs`). A network that has seen both looks at the whole scan on a
coarse grid, before the scan is cropped to its lungs: a consolidated base would lie below the crop.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

from covidctnet.chest.lungs import CoarseScan
from covidctnet.cohort.store import Store, StoredStudy
from covidctnet.systems.covidctnet.networks.bcdunet import STRIDE

__all__ = ["add_consolidation", "complete_lungs", "pad_slices"]

# Slices of a step: at this size a few megabytes of feature maps.
BATCH = 16


def pad_slices(slices: torch.Tensor) -> torch.Tensor:
    """Slices with air behind the last row and column, so that the network can read them.

    Args:
        slices: Shape (batch, channel, row, column).

    Returns:
        Rows and columns are multiples of 8.
    """
    rows, columns = (-n % STRIDE for n in slices.shape[2:])
    return F.pad(slices, (0, columns, 0, rows))


@torch.inference_mode()
def add_consolidation(coarse: CoarseScan, network: nn.Module) -> CoarseScan:
    """A coarse scan whose lungs have what a network adds to them.

    Args:
        coarse: The scan, and its lungs by density.
        network: Gives the probability of lung for slices (batch, 1, row, column); in evaluation
            mode, on the device that does the work.

    Returns:
        The same scan; its lungs are everything that they were, and what the network calls lung and
        is connected with them.
    """
    device = next(network.parameters()).device
    slices = torch.from_numpy(np.array(coarse.unit.array))[:, None]
    rows, columns = slices.shape[2:]
    parts = [
        (network(pad_slices(part.to(device))).float() > 0.5)[:, 0, :rows, :columns].cpu().numpy()
        for part in slices.split(BATCH)
    ]
    both = np.concatenate(parts) | coarse.lungs
    labels, _ = ndimage.label(both)
    is_lung = np.zeros(labels.max() + 1, dtype=bool)
    is_lung[labels[coarse.lungs]] = True
    return replace(coarse, lungs=is_lung[labels])


def complete_lungs(study: StoredStudy, network: nn.Module) -> np.ndarray:
    """The lungs of a stored study with what a network adds to them, within the stored crop.

    Args:
        study: Cropped to the lungs that density found; its store holds the whole scan on a
            coarse grid as well.
        network: As for `add_consolidation`.

    Returns:
        bool, the shape of the study.

    Raises:
        UsageError: If the store has no coarse scan of the study.
    """
    held = Store(study.folder).coarse.get(study.id)
    scan = CoarseScan(held.volume(), np.array(held.lungs, dtype=bool))
    return add_consolidation(scan, network).lungs_in(study.volume())
