"""A body of the field and a head for one grey radiograph; or several heads that vote.

Source: Xividocx (td-ct/Xidivocx), the version of its hackathon (``vgg16_block3``, ``resnet50``) and
the last one (``vgg16_block2``). Differs in: one grey channel in place of three equal ones; the
normalisation that the ImageNet weights expect, where the published notebooks divide by 255 alone;
the cut ResNet-50 ends behind the activation of its block. The networks that are used whole are
named in the published text and have no published head.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from covidctnet.errors import UsageError
from covidctnet.networks.backbones import BACKBONES
from covidctnet.networks.fused import for_inference
from covidctnet.networks.grey import grey_normalised, take_grey
from covidctnet.networks.pretrained import start_of
from covidctnet.systems.xray_vgg16.networks.bodies import BODIES, Body, make_radiograph_body

__all__ = ["NETWORKS", "NetworkName", "RadiographNet"]

NetworkName = Literal[
    "vgg16_block2",
    "vgg16_block3",
    "resnet50",
    "inception_v3",
    "inception_resnet_v2",
    "efficientnet_lite0",
]
NETWORKS: tuple[str, ...] = get_args(NetworkName)
# A picture that the folding is tried on: nothing depends on its size.
_TRIED_ON = 96


class RadiographNet(nn.Module):
    """The probability of disease in a radiograph, as a logit.

    Args:
        network: One of `NETWORKS`.
        size: Rows and columns of a radiograph; 324 as published.
        votes: Heads that each give an answer of their own: one, or those of several checkpoints.
        bodies: One for all heads, or one a head.

    Raises:
        UsageError: If there is no such network, or the size is too small for it.
    """

    def __init__(
        self, network: str = "vgg16_block2", size: int = 324, votes: int = 1, bodies: int = 1
    ) -> None:
        super().__init__()
        if network not in BODIES:
            raise UsageError(
                f"expected a network out of {', '.join(NETWORKS)}, got {network!r:.80}"
            )
        if size < (smallest := BODIES[network].smallest):
            raise UsageError(
                f"expected a size of {smallest} pixels or more for {network}, got {size}"
            )
        if votes < 1 or bodies not in (1, votes):
            raise UsageError(
                f"expected one body for all heads or one for each of {votes}, got {bodies}"
            )
        self.kind = BODIES[network]
        self.backbone = BACKBONES[self.kind.backbone]
        self.bodies = nn.ModuleList(
            [take_grey(make_radiograph_body(self.kind)) for _ in range(bodies)]
        )
        self.heads = nn.ModuleList([_head(self.kind, size) for _ in range(votes)])

    @property
    def is_cut(self) -> bool:
        """Whether the body ends early; then it is published frozen."""
        return self.kind.cut is not None

    def start(self, pretrained: str) -> None:
        """Give the body ImageNet weights, whose first kernels are summed.

        Args:
            pretrained: See `covidctnet.networks.pretrained.start_of`.

        Raises:
            UsageError: If the weights cannot be had.
            WeightsError: If they are of another network.
        """
        if not pretrained:
            return
        body = make_radiograph_body(self.kind)
        start_of(body, pretrained, self.kind.backbone, is_cut=self.is_cut)
        self.bodies[0].load_state_dict(take_grey(body).state_dict())

    def forward(self, pictures: Tensor) -> Tensor:
        """Score radiographs.

        Args:
            pictures: In [0, 1], shape (batch, 1, size, size).

        Returns:
            Logits, shape (batch, vote).
        """
        x = grey_normalised(pictures, self.backbone).contiguous(memory_format=torch.channels_last)
        maps = [body(x) for body in self.bodies] * (len(self.heads) // len(self.bodies))
        return torch.cat([head(m) for head, m in zip(self.heads, maps, strict=True)], 1).float()

    def features(self, pictures: Tensor) -> Tensor:
        """The last feature maps of the last vote, (batch, channel, row, column)."""
        x = grey_normalised(pictures, self.backbone)
        maps: Tensor = self.bodies[-1](x.contiguous(memory_format=torch.channels_last))
        return maps

    def score(self, features: Tensor) -> Tensor:
        """The logit of the last vote (batch, 1) of its feature maps; a heat map starts here."""
        logit: Tensor = self.heads[-1](features)
        return logit

    def fast(self, dtype: torch.dtype = torch.float32) -> RadiographNet:
        """A copy for inference: folded batch norms, channels last; heads stay in float32.

        Args:
            dtype: Of the bodies' weights and feature maps.
        """
        made = copy.deepcopy(self).eval().requires_grad_(False)
        example = torch.rand(1, 1, _TRIED_ON, _TRIED_ON)
        made.bodies = nn.ModuleList([for_inference(body, example, dtype) for body in self.bodies])
        return made


def _head(body: Body, size: int) -> nn.Sequential:
    """The layers behind a body, with the start that Keras gives them."""
    if body.head == "mean":
        head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(body.channels, 1)
        )
    else:
        side = _side(body, size)
        head = (_first_head if body.head == "first" else _last_head)(body.channels, side)
    for layer in head:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return head


def _side(body: Body, size: int) -> int:
    """Rows of the map of a cut body."""
    if body.backbone == "resnet50":
        for _ in range(3):
            size = -(-size // 2)
        return size
    return size // (8 if body.head == "first" else 4)


def _first_head(channels: int, side: int) -> nn.Sequential:
    """Of the hackathon: 893,711 parameters on 256 channels at 324 pixels."""
    return _published(channels, side, pool=nn.AvgPool2d(2), dropout=0.3, widths=(512, 256, 23))


def _last_head(channels: int, side: int) -> nn.Sequential:
    """Of the last version: 4,389,857 parameters on 128 channels at 324 pixels."""
    return _published(channels, side, pool=nn.MaxPool2d(2), dropout=0.05, widths=(512, 128))


def _published(
    channels: int, side: int, *, pool: nn.Module, dropout: float, widths: Sequence[int]
) -> nn.Sequential:
    """Three convolutions and dense layers; `pool` is the second of three."""
    side = (((side - 2) // 2 - 2) // 2 - 2) // 2
    layers: list[nn.Module] = [
        nn.Conv2d(channels, 32, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        pool,
        nn.Dropout(dropout),
        nn.Conv2d(64, 128, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    ]
    units = 128 * side**2
    for place, width in enumerate(widths):
        layers += [nn.Linear(units, width), nn.ReLU()]
        # Behind the first two alone.
        layers += [nn.Dropout(dropout)] if place < 2 else []
        units = width
    return nn.Sequential(*layers, nn.Linear(units, 1))
