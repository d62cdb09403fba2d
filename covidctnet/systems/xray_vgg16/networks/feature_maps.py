"""Sheets of feature maps: what every layer of a network makes of one radiograph.

Source: Xividocx, which standardises every map, times 64, plus 128, and tiles the maps of a layer in
a row. Differs in: several rows, so that a sheet fits a screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from covidctnet.systems.xray_vgg16.networks.radiograph_net import RadiographNet

__all__ = ["Sheet", "feature_sheets"]

_COLUMNS = 16
_SPREAD, _MIDDLE = 64.0, 128.0
_LAYERS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


class Sheet(NamedTuple):
    """The feature maps of one layer.

    Attributes:
        layer: Its name in the network.
        maps: How many there are.
        pixels: All of them in rows, uint8 (row, column).
    """

    layer: str
    maps: int
    pixels: np.ndarray


@torch.inference_mode()
def feature_sheets(network: RadiographNet, picture: np.ndarray) -> Iterator[Sheet]:
    """The feature maps of every convolution and pooling, in the order in which they are computed.

    Args:
        network: In evaluation mode; left as it was. Layers of its last vote are shown.
        picture: uint8, (size, size).

    Yields:
        A sheet a layer.

    Raises:
        ValueError: If the network is in training mode.
    """
    if network.training:
        raise ValueError("expected a network in evaluation mode, got one in training mode")
    found: list[tuple[str, Tensor]] = []
    names = {module: name for name, module in network.named_modules()}
    hooks = [
        layer.register_forward_hook(
            lambda layer, _, output: found.append((names[layer], output[0].float().cpu()))
        )
        for layer in network.modules()
        if isinstance(layer, _LAYERS)
    ]
    try:
        device = next(network.parameters()).device
        batch = torch.from_numpy(np.ascontiguousarray(picture))[None, None].to(device).float() / 255
        network.score(network.features(batch))
    finally:
        for hook in hooks:
            hook.remove()
    for name, maps in found:
        yield Sheet(name, len(maps), _tiled(maps.numpy()))


def _tiled(maps: np.ndarray) -> np.ndarray:
    """Standardised maps (map, row, column) in rows of equal length, 0 where there is none."""
    spread = maps.std(axis=(1, 2), keepdims=True)
    grey = (maps - maps.mean(axis=(1, 2), keepdims=True)) / np.where(spread > 0, spread, 1)
    grey = np.clip(np.rint(grey * _SPREAD + _MIDDLE), 0, 255).astype(np.uint8)
    count, rows, columns = grey.shape
    across = min(count, _COLUMNS)
    down = -(-count // across)
    sheet = np.zeros((down * across, rows, columns), np.uint8)
    sheet[:count] = grey
    tiles = sheet.reshape(down, across, rows, columns).transpose(0, 2, 1, 3)
    return tiles.reshape(down * rows, across * columns)
