"""What is painted onto healthy slices so that the denoiser learns to take it off again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from covidctnet import perlin
from covidctnet.errors import UsageError

__all__ = ["NoiseSettings", "corrupt"]


@dataclass(frozen=True)
class NoiseSettings:
    """The noise recipe.

    Attributes:
        recipe: ``perlin``, the published one: a signed Perlin field added to the whole slice.
            ``opacities``: Perlin blobs inside the lungs that pull them towards a denser value.
        share: Share of the slices that get noise; the others teach the denoiser to leave healthy
            lungs alone.
        octaves: Of the Perlin fields.
        min_scale: Smallest size of a field's coarsest grain, voxels.
        max_scale: Largest size of it.
        min_density: Smallest value that an opacity pulls towards, in [0, 1] of the window.
        max_density: Largest value.
    """

    recipe: Literal["perlin", "opacities"] = "opacities"
    share: float = 0.5
    octaves: int = 5
    min_scale: float = 16.0
    max_scale: float = 72.0
    min_density: float = 0.25
    max_density: float = 0.78

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UsageError(f"share must lie in 0..1, got {self.share}")
        if not 1 <= self.min_scale <= self.max_scale:
            raise UsageError(
                f"min_scale ({self.min_scale}) must be >= 1 and <= max_scale ({self.max_scale})"
            )
        if not 0 <= self.min_density <= self.max_density <= 1:
            raise UsageError(
                f"densities must satisfy 0 <= min ({self.min_density}) <= max "
                f"({self.max_density}) <= 1"
            )


def corrupt(
    clean: torch.Tensor,
    lungs: torch.Tensor,
    settings: NoiseSettings,
    *,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise on a random half of a batch, a fresh field for every slice.

    Args:
        clean: Healthy slices in [0, 1], shape (batch, 1, row, column).
        lungs: Lung mask in [0, 1], the same shape.
        settings: The recipe.
        generator: Source of all randomness, on the device of `clean`.

    Returns:
        The noisy batch and the noise that was added, both of `clean`'s shape.

    Source: CovidCTNet (Perlin noise on half of the Control slices). Differs in: fresh fields for
    every slice and step; the recipe ``opacities`` (docs/explanation/decisions.md).
    """
    paint = _paint_opacities if settings.recipe == "opacities" else _paint_perlin
    noise = paint(clean, lungs, settings, generator)
    chosen = _uniform(clean, 0, 1, generator) < settings.share
    noise = torch.where(chosen, noise, torch.zeros_like(noise))
    return clean + noise, noise


def _paint_perlin(
    clean: torch.Tensor, lungs: torch.Tensor, settings: NoiseSettings, generator: torch.Generator
) -> torch.Tensor:
    """Signed, over the whole slice, not clipped, as published."""
    persistence = _uniform(clean, -0.5, 0.5, generator)
    return _fields(clean, settings, generator, persistence, settings.min_scale, settings.max_scale)


def _paint_opacities(
    clean: torch.Tensor, lungs: torch.Tensor, settings: NoiseSettings, generator: torch.Generator
) -> torch.Tensor:
    """Blobs of a random density with a grain of their own, inside the lungs, never darker."""
    low, high = settings.min_scale, settings.max_scale
    shape = _fields(clean, settings, generator, _uniform(clean, 0.35, 0.65, generator), low, high)
    spread = shape.std(dim=(2, 3), keepdim=True).clamp_min(1e-3)
    level = _uniform(clean, 0.2, 1.6, generator) * spread
    softness = _uniform(clean, 0.03, 0.5, generator) * spread
    cover = torch.sigmoid((shape - level) / softness)

    grain = _fields(clean, settings, generator, _uniform(clean, 0.4, 0.8, generator), 3.0, 12.0)
    grain = grain * _uniform(clean, 0.0, 0.5, generator)
    target = _uniform(clean, settings.min_density, settings.max_density, generator) + grain
    target = target.clamp_max(1)  # nothing is denser than the window shows
    strength = _uniform(clean, 0.4, 1.0, generator)
    return lungs * cover * strength * (target - clean).clamp_min(0)


def _fields(
    like: torch.Tensor,
    settings: NoiseSettings,
    generator: torch.Generator,
    persistence: torch.Tensor,
    min_scale: float,
    max_scale: float,
) -> torch.Tensor:
    """One Perlin field a slice, each with its own scale and place, (batch, 1, row, column)."""
    batch, _, height, width = like.shape
    scale = _uniform(like, min_scale, max_scale, generator).flatten()
    offsets = torch.rand((batch, 2), generator=generator, device=like.device) * 256
    field = perlin.fields(
        height,
        width,
        scale=scale,
        octaves=settings.octaves,
        persistence=persistence.flatten(),
        offsets=offsets,
    )
    return field[:, None]


def _uniform(
    like: torch.Tensor, low: float, high: float, generator: torch.Generator
) -> torch.Tensor:
    """One number a slice, shape (batch, 1, 1, 1)."""
    shape = (len(like), 1, 1, 1)
    draw = torch.rand(shape, generator=generator, device=like.device, dtype=torch.float32)
    return low + (high - low) * draw
