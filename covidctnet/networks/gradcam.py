"""Which places of a picture speak for a class: Grad-CAM.

Source: Selvaraju et al. 2017, arXiv:1610.02391. Differs in: the head takes maxima besides means, so
maps are multiplied by their gradients place by place (Draelos and Carin 2020, arXiv:2011.08891)
instead of by the mean of a map's gradients, which a maximum makes meaningless.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["Localising", "grad_cam"]


class Localising(Protocol):
    """A network whose scores come from feature maps."""

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights."""

    def features(self, pictures: torch.Tensor, /) -> torch.Tensor:
        """Feature maps (batch, channel, row, column) of pictures in [0, 1], (batch, 1, ...)."""

    def score(self, features: torch.Tensor, /) -> torch.Tensor:
        """Logits (batch, class) of feature maps."""


def grad_cam(network: Localising, pictures: np.ndarray, label: int) -> np.ndarray:
    """How much each place of pictures raises the score of a class.

    Args:
        network: In evaluation mode; left as it was.
        pictures: uint8, (picture, row, column).
        label: Place of the class among the logits.

    Returns:
        float32 in [0, 1], (picture, row, column); 1 at the largest of each picture, 0 everywhere in
        one where nothing speaks for the class. Pictures do not compare.

    Raises:
        ValueError: If the network is in training mode.
    """
    if network.training:
        raise ValueError("expected a network in evaluation mode, got one in training mode")
    device = next(iter(network.parameters())).device
    batch = torch.from_numpy(pictures)[:, None].to(device).float() / 255
    with torch.no_grad():
        maps = network.features(batch)
    # Also where the caller records no gradients; the copy of an inference tensor has some.
    with torch.inference_mode(False), torch.enable_grad():
        maps = maps.clone().float().requires_grad_()
        score = network.score(maps)[:, label].sum()
        (gradient,) = torch.autograd.grad(score, maps)
    speaking = (maps * gradient).sum(1, keepdim=True).clamp_min(0).detach()  # (picture, 1, h, w)
    size = pictures.shape[1:]
    large = F.interpolate(speaking, size, mode="bilinear", align_corners=False)[:, 0]
    largest = large.amax((1, 2), keepdim=True)
    return (large / largest.clamp_min(torch.finfo(large.dtype).tiny)).cpu().numpy()
