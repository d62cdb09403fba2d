"""What stands beside DRE-Net on the same crops: a body of the field and one linear layer."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covidctnet.networks.backbones import BACKBONES, make_body, normalised
from covidctnet.networks.fused import for_inference
from covidctnet.systems.deeppneumonia.networks.drenet import Details

__all__ = ["PlainNet"]

# VGG-16 needs a map of 7 x 7 behind five halvings.
_TRIED_ON = 224


class PlainNet(nn.Module):
    """A body, the mean of its last map, and a linear layer.

    Args:
        backbone: See `BACKBONES`.
        classes: Labels that are distinguished.
        size: Rows and columns at which a slice is looked at.
    """

    def __init__(self, backbone: str, classes: int = 2, size: int = 448) -> None:
        super().__init__()
        self.size = size
        self.body = make_body(backbone)
        self.backbone = BACKBONES[backbone]
        self.head = nn.Linear(self.backbone.channels, classes)

    def forward(self, pictures: Tensor) -> Details:
        """Score slices; there are no details.

        Args:
            pictures: In [0, 1], shape (batch, 1, row, column).
        """
        x = normalised(pictures, self.backbone)
        if x.shape[-1] != self.size:
            x = F.interpolate(
                x, (self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        maps = self.body(x.contiguous(memory_format=torch.channels_last))
        logits = self.head(maps.mean((2, 3)))
        none = logits.new_zeros(len(logits), 0)
        return Details(
            logits,
            logits,
            none[..., None].expand(-1, 0, logits.shape[1]),
            none,
            none[..., None].expand(-1, 0, 4),
        )

    def fast(self, dtype: torch.dtype = torch.float32) -> PlainNet:
        """A copy for inference: folded batch norms, channels last; the head stays in float32.

        Args:
            dtype: Of the body's weights and feature maps.
        """
        made = copy.deepcopy(self).eval().requires_grad_(False)
        made.body = for_inference(self.body, torch.rand(1, 3, _TRIED_ON, _TRIED_ON), dtype)
        return made
