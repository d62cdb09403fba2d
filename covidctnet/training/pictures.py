"""Random changes of square pictures on the device that trains: position, shape and light.

Source: fastai2 0.0.16 ``aug_transforms``, whose ranges and chances are the defaults. Differs in:
the changes of position and shape may be applied to masks as well.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from covidctnet.errors import UsageError
from covidctnet.training.augment import in_full_precision

__all__ = ["PictureVariation", "draw_grid", "vary_light", "vary_pictures"]

# Nearer to 0 and 1 a logit means nothing.
_CLAMP = 1e-7


@dataclass(frozen=True)
class PictureVariation:
    """How far pictures are varied.

    Attributes:
        flip: Chance that left and right change places.
        warp: Largest tilt of the picture's plane, horizontally and vertically, each drawn for
            itself; a share of half the side.
        turn: Largest rotation in either direction, degrees.
        zoom: Largest enlargement, 1 for none; its centre is drawn as well.
        light: Largest change of brightness and of contrast, a share.
        chance_shape: That a picture is tilted, turned or zoomed, each drawn for itself.
        chance_light: That its brightness or its contrast changes, each drawn for itself.
    """

    flip: float = 0.5
    warp: float = 0.2
    turn: float = 10.0
    zoom: float = 1.1
    light: float = 0.2
    chance_shape: float = 0.75
    chance_light: float = 0.75

    def __post_init__(self) -> None:
        ranges = {
            "flip": (0, 1),
            "warp": (0, 0.9),
            "turn": (0, 180),
            "zoom": (1, 10),
            "light": (0, 0.9),
            "chance_shape": (0, 1),
            "chance_light": (0, 1),
        }
        for name, value in asdict(self).items():
            low, high = ranges[name]
            if not low <= value <= high:
                raise UsageError(f"expected variation.{name} between {low} and {high}, got {value}")


@in_full_precision
def vary_pictures(
    pictures: Tensor,
    masks: Tensor | None = None,
    *,
    generator: torch.Generator,
    settings: PictureVariation = PictureVariation(),
) -> tuple[Tensor, Tensor | None]:
    """Flip, tilt, turn and zoom pictures in one interpolation; then change their light.

    Args:
        pictures: In [0, 1], float32, shape (batch, channel, row, column), rows as many as columns.
        masks: 0 or 1, float32, (batch, channel, row, column), moved with the pictures; or None.
        generator: Source of all randomness, on the device of the pictures.
        settings: How far.

    Returns:
        The pictures in [0, 1], mirrored at their borders where they end, and the masks, 0 or 1.
    """
    grid = draw_grid(pictures.shape[0], pictures.shape[-1], generator, settings)
    moved = F.grid_sample(
        pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=True
    )
    if masks is not None:
        masks = F.grid_sample(
            masks, grid, mode="nearest", padding_mode="reflection", align_corners=True
        )
    return vary_light(moved, generator=generator, settings=settings), masks


def draw_grid(
    count: int, size: int, generator: torch.Generator, settings: PictureVariation
) -> Tensor:
    """Where each pixel of the varied pictures comes from.

    Args:
        count: Pictures.
        size: Rows and columns of each.
        generator: Source of all randomness; its device is that of the result.
        settings: How far.

    Returns:
        Column and row in [-1, 1], or beyond the picture; (count, size, size, 2).
    """
    draw = _Draws(count, generator)
    flip = 1 - 2 * draw.happens(settings.flip)
    tilt_x = draw.between(-settings.warp, settings.warp) * draw.happens(settings.chance_shape)
    tilt_y = draw.between(-settings.warp, settings.warp) * draw.happens(settings.chance_shape)
    degrees = draw.between(-settings.turn, settings.turn) * draw.happens(settings.chance_shape)
    zoom = 1 + draw.between(0, settings.zoom - 1) * draw.happens(settings.chance_shape)
    centre_x, centre_y = draw.between(-1, 1), draw.between(-1, 1)
    angle, shrink = torch.deg2rad(degrees), 1 / zoom
    zero = torch.zeros_like(angle)
    turn = torch.stack(
        [
            torch.stack([angle.cos(), angle.sin()], 1),
            torch.stack([-angle.sin(), angle.cos()], 1),
        ],
        1,
    )
    mirror = torch.diag_embed(torch.stack([flip, zero + 1], 1))
    moved = torch.stack([(1 - shrink) * centre_x, (1 - shrink) * centre_y], 1)
    # Flip after turn after zoom, as a point of the new picture finds its source.
    both = mirror @ turn
    theta = torch.cat([both * shrink[:, None, None], both @ moved[:, :, None]], 2)
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=True)
    return _tilted(grid, tilt_x, tilt_y)


@in_full_precision
def vary_light(
    pictures: Tensor,
    *,
    generator: torch.Generator,
    settings: PictureVariation = PictureVariation(),
) -> Tensor:
    """Change brightness and contrast of pictures, as sums and factors of logits.

    Args:
        pictures: In [0, 1], shape (batch, channel, row, column).
        generator: Source of all randomness, on their device.
        settings: How far.

    Returns:
        In [0, 1].
    """
    if not settings.light:
        return pictures
    draw = _Draws(len(pictures), generator)
    low = math.log(1 - settings.light)
    level = draw.between(0.5 * (1 - settings.light), 0.5 * (1 + settings.light))
    brightness = torch.logit(level) * draw.happens(settings.chance_light)
    contrast = (draw.between(low, -low) * draw.happens(settings.chance_light)).exp()
    logits = torch.logit(pictures, eps=_CLAMP)
    shape = (-1, 1, 1, 1)
    return torch.sigmoid((logits + brightness.view(shape)) * contrast.view(shape))


class _Draws:
    """Random numbers, one for each picture."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self._count, self._generator = count, generator

    def between(self, low: float, high: float) -> Tensor:
        device = self._generator.device
        return low + (high - low) * torch.rand(
            self._count, generator=self._generator, device=device
        )

    def happens(self, chance: float) -> Tensor:
        """1 with this chance, else 0."""
        return (self.between(0, 1) < chance).float()


def _tilted(grid: Tensor, tilt_x: Tensor, tilt_y: Tensor) -> Tensor:
    """A grid seen in perspective: corners move to or from each other, straight lines stay straight.

    Args:
        grid: Columns and rows, (batch, row, column, 2).
        tilt_x: Moves the upper and lower edges' ends along the rows, (batch,).
        tilt_y: Moves the left and right edges' ends along the columns, (batch,).
    """
    one = torch.ones_like(tilt_x)
    corners = torch.tensor(
        [[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], device=grid.device
    ).expand(len(grid), 4, 2)
    x = torch.stack([-1 - tilt_y, -1 + tilt_y, 1 + tilt_y, 1 - tilt_y], 1)
    y = torch.stack([-1 - tilt_x, 1 + tilt_x, -1 + tilt_x, 1 - tilt_x], 1)
    # The homography that takes the moved corners back: eight numbers, two equations a corner.
    nothing = torch.zeros_like(x)
    ones = one[:, None].expand_as(x)
    u, v = corners[..., 0], corners[..., 1]
    first = torch.stack([x, y, ones, nothing, nothing, nothing, -u * x, -u * y], 2)
    second = torch.stack([nothing, nothing, nothing, x, y, ones, -v * x, -v * y], 2)
    solution = torch.linalg.solve(torch.cat([first, second], 1), torch.cat([u, v], 1))
    homography = torch.cat([solution, one[:, None]], 1).view(-1, 3, 3)
    points = F.pad(grid.flatten(1, 2), (0, 1), value=1.0) @ homography.transpose(1, 2)
    return (points[..., :2] / points[..., 2:]).view_as(grid)
