"""Small honest variations of what a network sees, on whatever device it trains."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch.nn import functional as F

__all__ = ["cut_patches", "in_full_precision", "vary_residuals", "vary_slices"]

P = ParamSpec("P")
T = TypeVar("T")

# A chest on the table turns and lies off centre by about this much.
MAX_TURN_RADIANS = 0.14
MAX_ZOOM = 0.10
MAX_SHIFT = 0.06
# Scanners and breath-holds move the density of a lung by some 40 HU of the 1400 HU window.
MAX_DENSITY_SHIFT = 0.03
MAX_NOISE = 0.02


def in_full_precision(
    work: Callable[Concatenate[torch.Tensor, P], T],
) -> Callable[Concatenate[torch.Tensor, P], T]:
    """Keep a function out of autocast, which is for networks.

    What a network sees must not be rounded: sampling points with eight bits lie up to a voxel
    beside their place.
    """

    @wraps(work)
    def kept(first: torch.Tensor, *args: P.args, **kwargs: P.kwargs) -> T:
        with torch.autocast(first.device.type, enabled=False):
            return work(first, *args, **kwargs)

    return kept


@in_full_precision
def vary_slices(
    clean: torch.Tensor, lungs: torch.Tensor, *, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror, turn, zoom and shift slices and their lung masks alike; vary density and noise.

    Args:
        clean: Slices in [0, 1], shape (batch, 1, row, column).
        lungs: Masks, the same shape.
        generator: Source of all randomness, on the device of `clean`.

    Returns:
        Both, varied; the slices clipped to [0, 1] again.
    """
    batch, device = len(clean), clean.device

    def draw(*shape: int) -> torch.Tensor:
        return 2 * torch.rand(shape, generator=generator, device=device) - 1

    turn = MAX_TURN_RADIANS * draw(batch)
    zoom = 1 + MAX_ZOOM * draw(batch)
    mirror = torch.where(draw(batch) < 0, -1.0, 1.0)
    theta = torch.stack(
        [
            torch.stack([zoom * turn.cos() * mirror, -zoom * turn.sin()], dim=1),
            torch.stack([zoom * turn.sin() * mirror, zoom * turn.cos()], dim=1),
        ],
        dim=1,
    )
    theta = torch.cat([theta, MAX_SHIFT * draw(batch, 2, 1)], dim=2)
    both = torch.cat([clean, lungs], dim=1)
    grid = F.affine_grid(theta, list(both.shape), align_corners=False)
    both = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    clean, lungs = both[:, :1], both[:, 1:]

    # Air outside the body stays at 0: the window has cut it off.
    shift = MAX_DENSITY_SHIFT * draw(batch, 1, 1, 1)
    amount = MAX_NOISE * draw(batch, 1, 1, 1).abs()
    grain = torch.randn(clean.shape, generator=generator, device=device)
    body = (clean > 0.02).to(clean.dtype)
    return (clean + body * (shift + amount * grain)).clamp(0, 1), lungs


def cut_patches(
    clean: torch.Tensor, lungs: torch.Tensor, size: int, *, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Square patches around a random point of each slice's lungs.

    Args:
        clean: Slices, shape (batch, 1, row, column).
        lungs: Masks, the same shape; where a slice has none, the patch lies anywhere.
        size: Rows and columns of a patch; axes that are smaller stay whole.
        generator: Source of all randomness, on the device of `clean`.

    Returns:
        Both, cut alike.
    """
    height, width = (min(size, n) for n in clean.shape[2:])
    # One draw a slice of all its voxels, the lungs' first: no loop waits for the device.
    chance = lungs[:, 0].flatten(1) + 1e-6
    point = torch.multinomial(chance, 1, generator=generator)[:, 0]
    top = point // clean.shape[3] - height // 2
    left = point % clean.shape[3] - width // 2
    rows = top.clamp(0, clean.shape[2] - height)[:, None] + torch.arange(
        height, device=clean.device
    )
    columns = left.clamp(0, clean.shape[3] - width)[:, None] + torch.arange(
        width, device=clean.device
    )
    batch = torch.arange(len(clean), device=clean.device)[:, None, None]
    place = (batch, 0, rows[:, :, None], columns[:, None, :])
    return clean[place][:, None], lungs[place][:, None]


def vary_residuals(residual: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """Mirror, shift and scale residual volumes, all channels of one alike.

    Mirroring swaps the patient's sides, which no class prefers.

    Args:
        residual: Shape (batch, channel, slice, row, column): residuals, CTs in [0, 1], or both.
        generator: Source of all randomness, on its device.
    """
    batch, device = len(residual), residual.device

    def draw(*shape: int) -> torch.Tensor:
        return 2 * torch.rand(shape, generator=generator, device=device) - 1

    mirrored = draw(batch, 1, 1, 1, 1) < 0
    residual = torch.where(mirrored, residual.flip(-1), residual)
    reach = [max(1, round(MAX_SHIFT * n)) for n in residual.shape[2:]]
    shifts = [
        tuple(round(float(r) * reach[axis]) for axis, r in enumerate(row)) for row in draw(batch, 3)
    ]
    residual = torch.stack(
        [_shift(sample, shift) for sample, shift in zip(residual, shifts, strict=True)]
    )
    # A CT beside the residual, or alone, takes the same factor: the two stay in proportion, and
    # inputs can be compared. It moves lungs of -850 HU by 30 HU, as scanners do; air stays air,
    # and only what is denser than muscle leaves the window.
    return residual * (1 + 0.2 * draw(batch, 1, 1, 1, 1))


def _shift(sample: torch.Tensor, shift: tuple[int, ...]) -> torch.Tensor:
    """Move (channel, slice, row, column) by whole voxels; what comes in is zero."""
    out = torch.zeros_like(sample)
    sources, targets = [], []
    for step, size in zip(shift, sample.shape[1:], strict=True):
        sources.append(slice(max(0, -step), size - max(0, step)))
        targets.append(slice(max(0, step), size - max(0, -step)))
    out[(slice(None), *targets)] = sample[(slice(None), *sources)]
    return out
