"""Which places of a slice speak for a class: Grad-CAM.

Source: Selvaraju et al. 2017, arXiv:1610.02391. Differs in: the head takes maxima besides means, so
maps are multiplied by their gradients place by place (Draelos and Carin 2020, arXiv:2011.08891)
instead of by the mean of a map's gradients, which a maximum makes meaningless.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from covidctnet.systems.resnet50_slices.networks import SliceClassifier

__all__ = ["grad_cam"]


def grad_cam(network: SliceClassifier, pictures: np.ndarray, label: int) -> np.ndarray:
    """How much each place of slices raises the score of a class.

    Args:
        network: In evaluation mode; left as it was.
        pictures: uint8, (slice, size, size).
        label: Place of the class.

    Returns:
        float32 in [0, 1], (slice, size, size); 1 at the largest of each slice, 0 everywhere in a
        slice where nothing speaks for the class. Slices do not compare.

    Raises:
        ValueError: If the network is in training mode.
    """
    if network.training:
        raise ValueError("expected a network in evaluation mode, got one in training mode")
    device = next(network.head.parameters()).device
    seen = torch.from_numpy(pictures)[:, None].to(device).float() / 255
    with torch.no_grad():
        maps = network.features(seen)
    # Also where the caller records no gradients; the copy of an inference tensor has some.
    with torch.inference_mode(False), torch.enable_grad():
        maps = maps.clone().float().requires_grad_()
        score = network.score(maps)[:, label].sum()
        (gradient,) = torch.autograd.grad(score, maps)
    speaking = (maps * gradient).sum(1, keepdim=True).clamp_min(0).detach()  # (slice, 1, h, w)
    size = pictures.shape[1:]
    large = F.interpolate(speaking, size, mode="bilinear", align_corners=False)[:, 0]
    largest = large.amax((1, 2), keepdim=True)
    return (large / largest.clamp_min(torch.finfo(large.dtype).tiny)).cpu().numpy()
