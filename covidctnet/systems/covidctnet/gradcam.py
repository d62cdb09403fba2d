"""Which places speak for a label, as the classifier sees it: Grad-CAM.

Paper: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
localization", ICCV 2017, arXiv:1610.02391; in the form of Draelos and Carin, "Use HiResCAM instead
of Grad-CAM for faithful explanations", 2020, arXiv:2011.08891: every place by its own gradient.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from covidctnet.classes import Label
from covidctnet.preprocess.grid import linear_matrix
from covidctnet.systems.covidctnet.networks.cnn3d import CNN3D, LEVELS

__all__ = ["grad_cam"]

_LAYERS_A_LEVEL = 5  # two convolutions, each with its rectifier, and the pooling


def grad_cam(classifier: CNN3D, inputs: Tensor, label: Label, *, level: int = LEVELS) -> np.ndarray:
    """How much each place of an input raises the score of a label.

    The paper takes the last feature maps. Here those before the last pooling are taken: for an
    input of 50 x 240 x 240 they are 3 x 14 x 14, after it 1 x 7 x 7, which shows no height at all.
    A map voxel stands for 16 slices, rows and columns; lower levels are finer and tell more of
    edges than of the answer.

    Args:
        classifier: In evaluation mode. It is left as it was: no hooks, no gradients.
        inputs: What it reads, shape (1, channel, slice, row, column), on its device.
        label: Whose score.
        level: Whose maps, from 1 to 5, each before the level's pooling.

    Returns:
        float32 in [0, 1], shape (slice, row, column) of the input; 1 at the largest. All 0 when
        no place speaks for the label. Values of two studies do not compare.

    Raises:
        ValueError: If the classifier is in training mode, the input has another shape or there is
            no such level.

    Differs from the first paper in: maps are multiplied by their gradients place by place, not by
    the mean of a map's gradients. Dense layers that read the maps flat weigh every place by itself;
    the mean over places may point the other way, and then nothing seems to speak for the surest
    answers. Differs from both in: the enlargement puts every map voxel over the middle of the
    voxels that it comes from, which the first convolution, a valid one, moves by one.
    """
    expected = (1, *classifier.input_shape)
    if tuple(inputs.shape) != expected:
        raise ValueError(f"expected one input of shape {expected}, got {tuple(inputs.shape)}")
    if classifier.training:
        raise ValueError(
            "expected a classifier in evaluation mode, got one in training. Call its eval() first."
        )
    if not 1 <= level <= LEVELS:
        raise ValueError(f"level must be from 1 to {LEVELS}, got {level}")
    below_pooling = _LAYERS_A_LEVEL * level - 1
    # Also where the caller records no gradients; an inference tensor has none but its copy may.
    with torch.inference_mode(False), torch.enable_grad():
        images = inputs.detach().clone().to(next(classifier.features.parameters()).dtype)
        with torch.no_grad():
            maps = classifier.features[:below_pooling](images)  # (1, C, D', S', S')
        maps.requires_grad_()
        top = classifier.features[below_pooling:](maps)
        score = classifier.classify(top.flatten(1).to(inputs.dtype))[0, int(label)]
        # Of the maps alone: gradients that parameters hold stay what they are.
        (slopes,) = torch.autograd.grad(score, maps)
        coarse = torch.relu((slopes * maps).sum(dim=1))[0].detach().float().cpu().numpy()
    slices, rows, columns = (
        _enlarging(count, few, level)
        for count, few in zip(inputs.shape[2:], coarse.shape, strict=True)
    )
    cam = np.einsum("ai,bj,ck,ijk->abc", slices, rows, columns, coarse, optimize=True)
    most = float(cam.max())
    out: np.ndarray = cam / most if most > 0 else np.zeros_like(cam)
    return np.clip(out, 0.0, 1.0).astype(np.float32)


def _enlarging(count: int, coarse: int, level: int) -> np.ndarray:
    """Matrix (count, coarse) from a level's maps to the input, along one axis."""
    # Map voxel k comes from the input's voxels 1 + k * step to 1 + (k + 1) * step - 1.
    step = 1 << (level - 1)
    return linear_matrix(coarse, (np.arange(count) - 1 - (step - 1) / 2) / step)
