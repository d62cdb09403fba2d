"""DRE-Net: a ResNet-50 that looks at a slice, at six details of it, and at the best region larger.

Source: Song et al. 2021, IEEE/ACM TCBB 18(6):2775, and the published code (SY575/COVID19-CT), which
follows NTS-Net (Yang et al. 2018). Differs in: dropout is off in use, where the published code left
it on and answered the same picture differently each time; the slice itself is made from the same
finer copy that the region is cut from.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covidctnet.errors import UsageError
from covidctnet.networks.backbones import BACKBONES, make_body, normalised
from covidctnet.networks.fused import for_inference
from covidctnet.systems.deeppneumonia.networks.boxes import (
    LARGE,
    LEVELS,
    SMALL,
    anchors,
    choose,
)

__all__ = ["DRENet", "Details"]

PARTS = SMALL + LARGE
DROPOUT = 0.5
_PROPOSAL_WIDTH = 128
# A picture that the folding is tried on: nothing depends on its size.
_TRIED_ON = 32


class Details(NamedTuple):
    """What DRE-Net says of a batch of slices.

    Attributes:
        logits: By slice, details and region together: the answer, (batch, class).
        whole: By the slice alone, (batch, class).
        parts: By each detail alone, (batch, part, class).
        scores: What the proposals promised of these details, (batch, part).
        boxes: Of the details, (batch, part, 4): first row, first column, end row, end column, as
            shares of the slice; they may reach beyond it. The best first, small ones before large.
    """

    logits: Tensor
    whole: Tensor
    parts: Tensor
    scores: Tensor
    boxes: Tensor


class DRENet(nn.Module):
    """Details relation extraction network.

    Args:
        backbone: One of `BACKBONES` whose last map has a cell for every 32 pixels, as the boxes of
            the proposals lie on these cells; with ``resnet50`` and two classes 26,203,977
            parameters.
        classes: Labels that are distinguished.
        size: Rows and columns at which the slice is looked at; details are looked at in half of it.

    Raises:
        UsageError: If the maps of the backbone do not fit the boxes.
        ValueError: If `size` is no multiple of 32, or too small.
    """

    def __init__(self, backbone: str = "resnet50", classes: int = 2, size: int = 448) -> None:
        super().__init__()
        if size < 160 or size % 32:
            raise ValueError(f"size must be a multiple of 32 from 160 on, got {size}")
        _check_fit(backbone)
        self.size = size
        self.body = make_body(backbone)
        self.backbone = BACKBONES[backbone]
        width = self.backbone.channels
        self.proposals = _Proposals(width)
        self.dropout = nn.Dropout(DROPOUT)
        self.whole = nn.Linear(width, classes)
        self.part = nn.Linear(width, classes)
        self.joint = nn.Linear((PARTS + 2) * width, classes)

    def forward(self, pictures: Tensor) -> Details:
        """Score slices.

        Args:
            pictures: In [0, 1], shape (batch, 1, row, column), square and best finer than `size`,
                since the region is cut from them.

        Returns:
            Logits, and the details that they come from.

        Raises:
            ValueError: If the pictures are not square or have another number of channels.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 1 or pictures.shape[2] != pictures.shape[3]:
            raise ValueError(f"expected (batch, 1, size, size), got {tuple(pictures.shape)}")
        fine = normalised(pictures, self.backbone)
        resized = _resize(fine, self.size)
        maps = self._maps(resized)
        whole = self.dropout(maps.mean((2, 3)))
        # The proposals learn by their ranking alone, not through the body.
        offered = self.proposals(maps.detach())
        places, boxes = self._choose(offered)
        parts = self._maps(_cut(resized, boxes, self.size // 2)).mean((2, 3))
        parts = self.dropout(parts).unflatten(0, (-1, PARTS))
        region = self._maps(self._region(fine, boxes)).mean((2, 3))
        region = self.dropout(region)
        return Details(
            self.joint(torch.cat([parts.flatten(1), whole, region], 1)),
            self.whole(whole),
            self.part(parts),
            offered.gather(1, places),
            boxes / self.size,
        )

    def fast(self, dtype: torch.dtype = torch.float32) -> DRENet:
        """A copy for inference: folded batch norms, channels last; heads stay in float32.

        Args:
            dtype: Of the body's weights and feature maps.
        """
        made = copy.deepcopy(self).eval().requires_grad_(False)
        made.body = for_inference(self.body, torch.rand(1, 3, _TRIED_ON, _TRIED_ON), dtype)
        return made

    def _maps(self, x: Tensor) -> Tensor:
        maps: Tensor = self.body(x.contiguous(memory_format=torch.channels_last))
        return maps

    @torch.no_grad()
    def _choose(self, offered: Tensor) -> tuple[Tensor, Tensor]:
        """The details of each slice: places among all boxes (batch, part), boxes (batch, part, 4).

        By hard suppression of what overlaps: three of the small boxes, three of the large.
        """
        small, large = (boxes.to(offered.device) for boxes in anchors(self.size))
        scores = offered.float()
        fine = choose(scores[:, : len(small)], small, SMALL)
        coarse = choose(scores[:, len(small) :], large, LARGE) + len(small)
        places = torch.cat([fine, coarse], 1)
        return places, torch.cat([small, large])[places]

    def _region(self, fine: Tensor, boxes: Tensor) -> Tensor:
        """The best large box, cut from the finer picture where it has pixels."""
        best = boxes[:, SMALL : SMALL + 1].clamp(0, self.size)
        return _cut(fine, best * (fine.shape[-1] / self.size), self.size)


def _check_fit(name: str) -> None:
    """Refuse a backbone whose feature map the boxes do not fit."""
    if name in BACKBONES and not BACKBONES[name].has_cells:
        fitting = ", ".join(one.name for one in BACKBONES.values() if one.has_cells)
        raise UsageError(
            f"expected a backbone for DRE-Net out of {fitting}, got {name}: DRE-Net places its "
            "boxes on a feature map with a cell for every 32 pixels, and the last map of "
            f"{name} has fewer. Choose one of them, or --model.network plain."
        )


class _Proposals(nn.Module):
    """Scores of all boxes, from the feature map of a slice.

    Args:
        width: Channels of the map.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = _PROPOSAL_WIDTH
        self.levels = nn.ModuleList(
            [
                nn.Conv2d(width, inner, 3, padding=1),
                *(nn.Conv2d(inner, inner, 3, stride=2, padding=1) for _ in LEVELS[1:]),
            ]
        )
        self.scores = nn.ModuleList([nn.Conv2d(inner, 1, 1) for _ in LEVELS])

    def forward(self, maps: Tensor) -> Tensor:
        """Shape (batch, box), in the order of `anchors`."""
        out = []
        for level, score in zip(self.levels, self.scores, strict=True):
            maps = F.relu(level(maps))
            out.append(score(maps).flatten(1))
        return torch.cat(out, 1)


def _resize(pictures: Tensor, size: int) -> Tensor:
    if pictures.shape[-1] == size:
        return pictures
    return F.interpolate(
        pictures, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )


def _cut(pictures: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Boxes cut out of pictures, 0 (the mean of ImageNet) where they reach beyond.

    Args:
        pictures: Normalised, shape (batch, channel, row, column).
        boxes: Shape (batch, part, 4), pixels; ends behind the last row and column.
        size: Rows and columns of each cut.

    Returns:
        Shape (batch * part, channel, size, size).
    """
    batch, parts = boxes.shape[:2]
    rows, columns = pictures.shape[2:]
    first, end = boxes[..., :2], boxes[..., 2:]
    steps = (torch.arange(size, device=pictures.device) + 0.5) / size
    # Middles of the pixels of the cut, from -1 to 1 over the picture.
    at = first[..., None, :] + (end - first)[..., None, :] * steps[:, None]  # (B, P, size, 2)
    whole = torch.tensor([rows, columns], device=pictures.device)
    at = at / whole * 2 - 1
    y, x = at[..., 0], at[..., 1]
    grid = torch.stack(
        [x[:, :, None, :].expand(-1, -1, size, -1), y[:, :, :, None].expand(-1, -1, -1, size)], -1
    )
    # All parts of a picture in one call: they lie below one another.
    cut: Tensor = F.grid_sample(
        pictures,
        grid.reshape(batch, parts * size, size, 2).to(pictures.dtype),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return cut.unflatten(2, (parts, size)).transpose(1, 2).flatten(0, 1)
