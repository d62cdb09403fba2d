"""Bodies of timm's networks for grey radiographs: cut after an early block, or whole."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from covidctnet.networks.backbones import make_body, outline

__all__ = ["BODIES", "Body", "make_radiograph_body"]


@dataclass(frozen=True)
class Body:
    """A body, and what of it is used.

    Attributes:
        backbone: One of `covidctnet.networks.backbones.BACKBONES`.
        channels: Of its last map.
        cut: Takes the first layers of it, by the names that its ImageNet weights have; None for
            all.
        head: ``first`` or ``last``, the published heads; ``mean`` for the mean of the map and a
            linear layer.
        smallest: Rows and columns of a picture of which the head leaves something.
    """

    backbone: str
    channels: int
    cut: Callable[[nn.Module], OrderedDict[str, nn.Module]] | None
    head: str
    smallest: int = 96


def _vgg(layers: int) -> Callable[[nn.Module], OrderedDict[str, nn.Module]]:
    return lambda body: OrderedDict(features=_beginning(body, "features", layers))


def _beginning(body: nn.Module, name: str, layers: int) -> nn.Sequential:
    part = body.get_submodule(name)
    assert isinstance(part, nn.Sequential)
    return part[:layers]


def _resnet(body: nn.Module) -> OrderedDict[str, nn.Module]:
    names = ("conv1", "bn1", "act1", "maxpool", "layer1")
    first = [(name, body.get_submodule(name)) for name in names]
    return OrderedDict([*first, ("layer2", _beginning(body, "layer2", 2))])


BODIES: Mapping[str, Body] = MappingProxyType(
    {
        # To the second and the third pooling.
        "vgg16_block2": Body("vgg16", 128, _vgg(10), "last"),
        "vgg16_block3": Body("vgg16", 256, _vgg(17), "first", 176),
        "resnet50": Body("resnet50", 512, _resnet, "first", 176),
        "inception_v3": Body("inception_v3", 2048, None, "mean"),
        "inception_resnet_v2": Body("inception_resnet_v2", 1536, None, "mean"),
        "efficientnet_lite0": Body("efficientnet_lite0", 1280, None, "mean"),
    }
)


def make_radiograph_body(body: Body) -> nn.Module:
    """A body that takes three channels, with random weights; cut where that is asked for."""
    if body.cut is None:
        return make_body(body.backbone)
    # Without the memory of the layers behind the cut, which are most of VGG-16.
    cut = nn.Sequential(body.cut(outline(body.backbone)))
    cut.to_empty(device=torch.get_default_device())
    for layer in cut.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
    return cut
