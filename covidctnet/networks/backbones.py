"""Bodies of classification networks: timm's, by the few names that our systems use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType, ModuleType

import torch
from torch import Tensor, nn

from covidctnet.errors import UsageError

__all__ = ["BACKBONES", "Backbone", "library", "make_body", "normalised", "outline"]


@dataclass(frozen=True)
class Backbone:
    """A body, and what its ImageNet weights expect as input.

    Attributes:
        name: In cards and presets.
        timm: Name of timm's network.
        channels: Of its last feature map.
        mean: Of each colour, for values in [0, 1]; subtracted.
        std: Of each colour, for values in [0, 1]; divided by.
        has_cells: Whether its last feature map has a cell for every 32 x 32 pixels; some bodies
            have convolutions without an edge, and smaller maps.
    """

    name: str
    timm: str
    channels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    has_cells: bool = True


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# (x - 127) / 128 of bytes. The weights come from TensorFlow: "SAME" padding and a batch norm with
# eps 1e-3 belong to them, which timm calls `tf_`. Of the sixteen combinations of padding, eps and
# normalisation that pipelines/experiments/lite0 compares, this one is best in every figure.
_BYTES_TO_ONE = (127 / 255,) * 3, (128 / 255,) * 3
_HALVES = (0.5,) * 3, (0.5,) * 3

BACKBONES: Mapping[str, Backbone] = MappingProxyType(
    {
        body.name: body
        for body in (
            Backbone("resnet50", "resnet50", 2048, *_IMAGENET),
            Backbone("vgg16", "vgg16", 4096, *_IMAGENET, has_cells=False),
            Backbone("densenet121", "densenet121", 1024, *_IMAGENET),
            Backbone("efficientnet_lite0", "tf_efficientnet_lite0", 1280, *_BYTES_TO_ONE),
            Backbone("inception_v3", "inception_v3", 2048, *_HALVES, has_cells=False),
            Backbone("inception_resnet_v2", "inception_resnet_v2", 1536, *_HALVES, has_cells=False),
        )
    }
)


def library(name: str) -> ModuleType:
    """A package of networks that is installed on request.

    Args:
        name: ``timm`` or ``segmentation_models_pytorch``.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"expected the package {name.replace('_', '-')}, which this network is built from, "
            f"got {type(error).__name__}. Install it with: pip install 'covidctnet[systems]'"
        ) from None


def outline(name: str) -> nn.Module:
    """A body without its head and without memory, to take layers from; see `make_body`."""
    with torch.device("meta"):
        return make_body(name)


def make_body(name: str) -> nn.Module:
    """A body without its head, with random weights.

    Args:
        name: One of `BACKBONES`.

    Returns:
        Turns (batch, 3, row, column) into features (batch, channel, row / 32, column / 32), or of
        fewer rows and columns where `Backbone.has_cells` is false.

    Raises:
        UsageError: If there is no such backbone, or timm is not installed.
    """
    if name not in BACKBONES:
        raise UsageError(f"expected a backbone out of {', '.join(BACKBONES)}, got {name!r:.80}")
    timm = library("timm")
    body: nn.Module = timm.create_model(
        BACKBONES[name].timm, pretrained=False, num_classes=0, global_pool=""
    )
    return body


def normalised(pictures: Tensor, backbone: Backbone) -> Tensor:
    """Pictures as a backbone expects them: three channels, mean and spread of its ImageNet weights.

    Args:
        pictures: In [0, 1], shape (batch, 1 or 3, row, column); one channel is repeated.
        backbone: See `BACKBONES`.

    Returns:
        Shape (batch, 3, row, column).

    Raises:
        ValueError: If the pictures have another shape.
    """
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        raise ValueError(f"expected (batch, 1 or 3, row, column), got {tuple(pictures.shape)}")
    pictures = pictures.expand(-1, 3, -1, -1)
    # Numbers, not buffers: a network without memory is filled from its weights alone.
    colours = zip(pictures.unbind(1), backbone.mean, backbone.std, strict=True)
    return torch.stack([(colour - mean) / std for colour, mean, std in colours], 1)
