"""The published inference, written down straight: splines, every slice, float32, then the CNN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.volume import Volume
from covidctnet.weights import Weights
from pipelines.experiments.benchmark.peers import scipy_preprocess, simpleitk_read

__all__ = ["port"]

BATCH = 4


@torch.inference_mode()
def port(weights: Weights, folder: Path, like: Volume, *, slices: int | None = None) -> np.ndarray:
    """Probabilities of one scan, from its folder.

    Args:
        weights: Of both networks, which run as trained, without fusing.
        folder: A DICOM series.
        like: The scan as read, whose spacing is taken.
        slices: Denoise only so many, to tell what all would take; the others stay as they are.

    Returns:
        Shape (3,), before calibration.
    """
    from scipy import ndimage

    denoiser: BCDUNet = weights.denoiser()
    classifier: CNN3D = weights.classifier()
    array = simpleitk_read(folder)
    how = PreprocessSettings(**weights.card["preprocessing"])
    unit = scipy_preprocess(like.then("read by SimpleITK", array), how, order=3)
    denoised = unit.copy()
    for start in range(0, len(unit) if slices is None else slices, BATCH):
        block = torch.from_numpy(unit[start : start + BATCH])[:, None]
        denoised[start : start + BATCH] = denoiser(block)[:, 0].numpy()
    residual = unit - denoised
    depth = weights.card["architecture"]["classifier"]["depth"]
    residual = ndimage.zoom(residual, (depth / len(residual), 1, 1), order=1)
    logits = classifier(torch.from_numpy(residual)[None, None])
    return torch.softmax(logits, dim=1)[0].numpy()
