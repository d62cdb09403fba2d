"""A ResNet-50 with the head that fastai puts on it.

Source: Javor et al. 2020 and its published notebook (fastai2 0.0.16). Differs in: none known for
``resnet50``; ``efficientnet_lite0`` is ours, for machines without a GPU.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from covidctnet.networks.backbones import BACKBONES, make_body, normalised
from covidctnet.networks.fused import for_inference

__all__ = ["SliceClassifier"]

HIDDEN = 512
# A picture that the folding is tried on: nothing depends on its size.
_TRIED_ON = 32


class SliceClassifier(nn.Module):
    """Tells classes apart in one slice.

    Args:
        backbone: ``resnet50`` (25,615,424 parameters with two classes) or ``efficientnet_lite0``.
        classes: Labels that are distinguished.

    The softmax is left to the loss and to the caller. ImageNet weights of the body are loaded by
    `covidctnet.networks.pretrained.start_of`.
    """

    def __init__(self, backbone: str = "resnet50", classes: int = 2) -> None:
        super().__init__()
        self.body = make_body(backbone)
        self.backbone = BACKBONES[backbone]
        width = 2 * self.backbone.channels
        self.head = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.Dropout(0.25),
            nn.Linear(width, HIDDEN, bias=False),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(HIDDEN),
            nn.Dropout(0.5),
            nn.Linear(HIDDEN, classes, bias=False),
        )
        for layer in self.head:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, pictures: Tensor) -> Tensor:
        """Score the classes of slices.

        Args:
            pictures: In [0, 1], shape (batch, 1 or 3, row, column).

        Returns:
            Logits, shape (batch, class).
        """
        return self.score(self.features(pictures))

    def features(self, pictures: Tensor) -> Tensor:
        """Feature maps of the last level, (batch, channel, row / 32, column / 32)."""
        x = normalised(pictures, self.backbone)
        maps: Tensor = self.body(x.contiguous(memory_format=torch.channels_last))
        return maps

    def score(self, features: Tensor) -> Tensor:
        """Logits (batch, class) of feature maps; a heat map starts here."""
        # Maxima first, as fastai joins the two.
        pooled = torch.cat([features.amax((2, 3)), features.mean((2, 3))], 1)
        scores: Tensor = self.head(pooled)
        return scores

    def groups(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The layers in three groups that learn at different speeds: first ones, last ones, head.

        A ResNet is parted after its second level, another body in the middle of its blocks.
        """
        children = [child for _, child in self.body.named_children()]
        if self.backbone.name == "resnet50":
            # conv1, bn1, act1, maxpool, layer1, layer2
            cut = 6
            return tuple(children[:cut]), tuple(children[cut:]), (self.head,)
        stages: list[nn.Module] = []
        for name, child in self.body.named_children():
            stages.extend(child.children() if name == "blocks" else (child,))
        cut = len(stages) // 2
        return tuple(stages[:cut]), tuple(stages[cut:]), (self.head,)

    def fast(self, dtype: torch.dtype = torch.float32) -> SliceClassifier:
        """A copy for inference: folded batch norms, channels last; the head stays in float32.

        Args:
            dtype: Of the body's weights and feature maps.
        """
        made = copy.deepcopy(self).eval().requires_grad_(False)
        made.body = for_inference(self.body, torch.rand(1, 3, _TRIED_ON, _TRIED_ON), dtype)
        return made
