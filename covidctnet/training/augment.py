"""Small honest variations of what a network sees, on whatever device it trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch.nn import functional as F

from covidctnet.errors import UsageError

__all__ = ["VariationSettings", "cut_patches", "in_full_precision", "vary_residuals", "vary_slices"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class VariationSettings:
    """How far the slices that a denoiser learns from are varied.

    Every variation is drawn for each slice, evenly between nothing and these limits, in both
    directions where there are two.

    Attributes:
        turn: Rotation, radians: a chest on the table turns by about this much.
        zoom: Change of size, a share: what is left of the differences of field of view.
        shift: Off centre, a share of half the slice.
        density: Shift of all that is no air, in units of the window: scanners and breath-holds move
            lungs by some 40 HU of 1400.
        noise: Largest spread of added noise, in units of the window: dose.
        grain: Largest share of that noise that neighbouring voxels have in common, as
            reconstruction leaves it.
        contrast: Largest factor by which what is denser than `CONTRAST_FROM` is raised within the
            lungs: contrast agent in vessels.
        kernel: Largest weight of an unsharp mask (sharp kernels), and share of a blur (soft ones).
    """

    turn: float = 0.14
    zoom: float = 0.10
    shift: float = 0.06
    density: float = 0.03
    noise: float = 0.02
    grain: float = 0.0
    contrast: float = 0.0
    kernel: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < math.inf:
                raise UsageError(f"variation {name} must be a number from 0, got {value}")
        for name in ("zoom", "shift", "grain"):
            if getattr(self, name) >= 1:
                raise UsageError(f"variation {name} must be below 1, got {getattr(self, name)}")


# -50 HU of the paper's window: muscle and blood lie above, fat and lung below.
CONTRAST_FROM = 0.68
# Shift of residual volumes, a share of their size.
MAX_SHIFT = 0.06


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
    clean: torch.Tensor,
    lungs: torch.Tensor,
    *,
    generator: torch.Generator,
    settings: VariationSettings = VariationSettings(),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror, turn, zoom and shift slices and their lung masks alike; vary density and noise.

    Args:
        clean: Slices in [0, 1], shape (batch, channel, row, column). Channels, such as the slices
            of one scan, are varied alike, but for the noise.
        lungs: Masks, the same shape.
        settings: How far.
        generator: Source of all randomness, on the device of `clean`.

    Returns:
        Both, varied; the slices clipped to [0, 1] again.
    """
    batch, device = len(clean), clean.device

    def draw(*shape: int) -> torch.Tensor:
        return 2 * torch.rand(shape, generator=generator, device=device) - 1

    turn = settings.turn * draw(batch)
    zoom = 1 + settings.zoom * draw(batch)
    mirror = torch.where(draw(batch) < 0, -1.0, 1.0)
    theta = torch.stack(
        [
            torch.stack([zoom * turn.cos() * mirror, -zoom * turn.sin()], dim=1),
            torch.stack([zoom * turn.sin() * mirror, zoom * turn.cos()], dim=1),
        ],
        dim=1,
    )
    theta = torch.cat([theta, settings.shift * draw(batch, 2, 1)], dim=2)
    both = torch.cat([clean, lungs], dim=1)
    grid = F.affine_grid(theta, list(both.shape), align_corners=False)
    both = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    clean, lungs = both.chunk(2, dim=1)

    if settings.contrast:
        rise = settings.contrast * draw(batch, 1, 1, 1).clamp_min(0)
        clean = clean + lungs * rise * (clean - CONTRAST_FROM).clamp_min(0)
    if settings.kernel:
        detail = clean - _blurred(clean)
        clean = clean + settings.kernel * draw(batch, 1, 1, 1) * detail

    # Air outside the body stays at 0: the window has cut it off.
    shift = settings.density * draw(batch, 1, 1, 1)
    amount = settings.noise * draw(batch, 1, 1, 1).abs()
    noise = torch.randn(clean.shape, generator=generator, device=device)
    if settings.grain:
        coarse = settings.grain * draw(batch, 1, 1, 1).abs()
        # Three times: a mean of nine has a third of the spread.
        noise = (1 - coarse**2).sqrt() * noise + coarse * 3 * _blurred(noise)
    body = (clean > 0.02).to(clean.dtype)
    return (clean + body * (shift + amount * noise)).clamp(0, 1), lungs


def _blurred(slices: torch.Tensor) -> torch.Tensor:
    """Mean over 3 x 3 voxels, the border repeated."""
    return F.avg_pool2d(F.pad(slices, (1, 1, 1, 1), mode="replicate"), 3, 1)


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
