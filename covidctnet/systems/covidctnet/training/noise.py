"""What is painted onto healthy slices so that the denoiser learns to take it off again."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from covidctnet.errors import UsageError
from covidctnet.systems.covidctnet import perlin
from covidctnet.training.augment import in_full_precision

__all__ = ["NoiseSettings", "corrupt", "nearness_to_border"]

# How far below the lungs' border (in voxels) counts as near to it, for blobs that hug the pleura.
RIM = 10
# Where a field of unit spread is cut: lower levels cover more. Cores are smaller than their haze.
_LEVELS, _CORE_LEVELS = (0.4, 1.9), (0.9, 2.2)
# Consolidation is as dense as soft tissue, 0.74 of the window, air in its bronchi apart.
_CORE_DENSITY = (0.6, 0.82)
# A filled lobe lies beyond a line that may come so near to the lungs' middle and so far from it, in
# root mean squares of the lungs' distance from it.
_LOBE_LEVELS = (-0.2, 1.5)
# Dense opacities reach this many voxels beyond the mask: a rim of air left along the pleura would
# tell every one of them, and no consolidation of a patient has it.
_BEYOND = 2


@dataclass(frozen=True)
class NoiseSettings:
    """The noise recipe.

    Ranges are drawn from again for every slice.

    Attributes:
        kind: ``field`` adds a Perlin field; ``opacities`` thresholds one softly into blobs that
            pull the slice towards another density, with a grain of their own; ``published`` is the
            recipe of `NoiseSettings.published`, and sets everything else.
        dimensions: Of the Perlin fields: 2, or 3 for slices through volumes.
        region: Where: ``lungs``, or the whole ``slice``. Cores and lobes reach two voxels beyond.
        sign: ``positive`` makes denser only, ``signed`` thinner as well.
        share: Share of the slices that get noise; the others teach the denoiser to leave healthy
            lungs alone.
        octaves: Of the Perlin fields.
        min_scale: Smallest size of a field's coarsest grain, voxels.
        max_scale: Largest size of it.
        min_persistence: Smallest amplitude of an octave over that of the coarser one.
        max_persistence: Largest.
        min_amplitude: Smallest factor of a field, or share of the way that an opacity pulls.
        max_amplitude: Largest.
        cores: Share of the slices with opacities that get dense cores as well, as consolidations
            are: without them the denoiser takes consolidation for vessels and leaves it.
        lobes: Share of the slices with opacities in which all lung beyond a wavering line is filled
            up to the pleura, as in lobar pneumonia: without it the denoiser takes a filled lobe for
            the wall or the heart and leaves it.
        min_density: Smallest value that an opacity pulls towards, in [0, 1] of the window.
        max_density: Largest value.
    """

    kind: Literal["field", "opacities", "published"] = "opacities"
    dimensions: Literal[2, 3] = 2
    region: Literal["lungs", "slice"] = "lungs"
    sign: Literal["positive", "signed"] = "positive"
    share: float = 0.5
    octaves: int = 5
    min_scale: float = 6.0
    max_scale: float = 80.0
    min_persistence: float = 0.3
    max_persistence: float = 0.65
    min_amplitude: float = 0.15
    max_amplitude: float = 1.0
    cores: float = 0.4
    lobes: float = 0.25
    min_density: float = 0.2
    max_density: float = 0.8

    def __post_init__(self) -> None:
        if self.kind == "published":
            # The card tells the values, not the name that they had.
            for name, value in asdict(self.published()).items():
                object.__setattr__(self, name, value)
        for name in ("share", "cores", "lobes"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        if not 1 <= self.min_scale <= self.max_scale:
            raise UsageError(
                f"min_scale ({self.min_scale}) must be >= 1 and <= max_scale ({self.max_scale})"
            )
        if not -1 < self.min_persistence <= self.max_persistence <= 1:
            raise UsageError(
                f"persistence must satisfy -1 < min ({self.min_persistence}) <= max "
                f"({self.max_persistence}) <= 1"
            )
        if not 0 < self.min_amplitude <= self.max_amplitude:
            raise UsageError(
                f"amplitudes must satisfy 0 < min ({self.min_amplitude}) <= max "
                f"({self.max_amplitude})"
            )
        if self.kind == "opacities" and self.max_amplitude > 1:
            raise UsageError(
                "max_amplitude of opacities is a share of the way to their density and must be "
                f"<= 1, got {self.max_amplitude}"
            )
        if not 0 <= self.min_density <= self.max_density <= 1:
            raise UsageError(
                f"densities must satisfy 0 <= min ({self.min_density}) <= max "
                f"({self.max_density}) <= 1"
            )

    @classmethod
    def published(cls) -> NoiseSettings:
        """What the published code of CovidCTNet does: a signed field over the whole slice.

        Differs in: fields are drawn afresh for every slice and step, where the published code
        fixes them once, on the first half of the slices in the patients' order; scale and
        persistence are real numbers, there whole ones and hundredths.
        """
        return cls(
            kind="field",
            region="slice",
            sign="signed",
            octaves=10,
            min_scale=10.0,
            max_scale=30.0,
            min_persistence=-0.5,
            max_persistence=0.5,
            min_amplitude=1.0,
            max_amplitude=1.0,
        )


@in_full_precision
def corrupt(
    clean: torch.Tensor,
    lungs: torch.Tensor,
    settings: NoiseSettings,
    *,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise on a random share of a batch, a fresh field for every slice.

    Args:
        clean: Healthy slices in [0, 1], shape (batch, 1, row, column).
        lungs: Lung mask in [0, 1], the same shape.
        settings: The recipe.
        generator: Source of all randomness, on the device of `clean`.

    Returns:
        The noisy batch and the noise that was added, both of `clean`'s shape. A field is not
        clipped, as published; opacities never leave the window.

    Source: CovidCTNet (Perlin noise on half of the Control slices). Differs in:
    docs/explanation/decisions.md.
    """
    region = lungs if settings.region == "lungs" else torch.ones_like(lungs)
    if settings.kind == "field":
        noise = region * _draw_field(clean, settings, generator)
    else:
        noise = _draw_opacities(clean, region, settings, generator)
    if settings.sign == "positive":
        noise = noise.clamp_min(0)
    chosen = _uniform(clean, 0, 1, generator) < settings.share
    noise = torch.where(chosen, noise, torch.zeros_like(noise))
    return clean + noise, noise


def nearness_to_border(region: torch.Tensor) -> torch.Tensor:
    """How much of what surrounds a voxel lies outside a region: 0 deep inside, 1/2 at its border.

    Args:
        region: In [0, 1], shape (batch, 1, row, column). Beyond the image is outside.
    """
    # A mean over a square is one over columns of means over rows.
    along_rows = F.avg_pool2d(region, (2 * RIM + 1, 1), 1, (RIM, 0))
    return 1 - F.avg_pool2d(along_rows, (1, 2 * RIM + 1), 1, (0, RIM))


def _draw_field(
    clean: torch.Tensor, settings: NoiseSettings, generator: torch.Generator
) -> torch.Tensor:
    scale = _uniform(clean, settings.min_scale, settings.max_scale, generator)
    low, high = settings.min_persistence, settings.max_persistence
    field = _field(clean, scale, _uniform(clean, low, high, generator), settings, generator)
    low, high = settings.min_amplitude, settings.max_amplitude
    return _log_uniform(clean, low, high, generator) * field


def _draw_opacities(
    clean: torch.Tensor,
    region: torch.Tensor,
    settings: NoiseSettings,
    generator: torch.Generator,
) -> torch.Tensor:
    """Blobs of a random density and strength; in some slices dense cores, in some filled lobes."""
    low, high = settings.min_density, settings.max_density
    target = _uniform(clean, low, high, generator)
    low, high = settings.min_amplitude, settings.max_amplitude
    strength = _uniform(clean, low, high, generator)
    rim = nearness_to_border(region)
    cover = strength * _draw_blobs(rim, _LEVELS, settings, generator)
    noise = region * cover * _pull(clean, target, 0.5, settings, generator)

    beyond = F.max_pool2d(region, 2 * _BEYOND + 1, 1, _BEYOND)
    cover = _some(clean, settings.cores, generator)
    cover = cover * _draw_blobs(rim, _CORE_LEVELS, settings, generator)
    dense = _uniform(clean, *_CORE_DENSITY, generator)
    noise = noise + beyond * cover * _pull(clean + noise, dense, 0.5, settings, generator)

    cover = _some(clean, settings.lobes, generator) * _draw_lobe(region, settings, generator)
    dense = _uniform(clean, *_CORE_DENSITY, generator)
    return noise + beyond * cover * _pull(clean + noise, dense, 0.2, settings, generator)


def _pull(
    slices: torch.Tensor,
    target: torch.Tensor,
    most_grain: float,
    settings: NoiseSettings,
    generator: torch.Generator,
) -> torch.Tensor:
    """The way of every voxel to a target of a grain of its own."""
    fine = _log_uniform(slices, 3.0, 12.0, generator)
    grain = _field(slices, fine, _uniform(slices, 0.4, 0.8, generator), settings, generator)
    grain = grain * _uniform(slices, 0.0, most_grain, generator)
    way = (target + grain).clamp(0, 1) - slices
    # Else a thin target would take off what an opacity before it has put on.
    return way.clamp_min(0) if settings.sign == "positive" else way


def _draw_blobs(
    rim: torch.Tensor,
    levels: tuple[float, float],
    settings: NoiseSettings,
    generator: torch.Generator,
) -> torch.Tensor:
    """A cover in 0..1: small blobs as often as large, some along the border."""
    scale = _log_uniform(rim, settings.min_scale, settings.max_scale, generator)
    low, high = settings.min_persistence, settings.max_persistence
    shape = _field(rim, scale, _uniform(rim, low, high, generator), settings, generator)
    shape = shape / shape.std(dim=(2, 3), keepdim=True).clamp_min(1e-3)
    hugging = _uniform(rim, -1.0, 2.5, generator).clamp_min(0)
    shape = shape + hugging * (2 * rim - 0.4)
    level = _uniform(rim, *levels, generator)
    return torch.sigmoid((shape - level) / _log_uniform(rim, 0.03, 0.5, generator))


def _draw_lobe(
    region: torch.Tensor, settings: NoiseSettings, generator: torch.Generator
) -> torch.Tensor:
    """A cover in 0..1 that fills what lies beyond a wavering line of any direction."""
    rows = torch.arange(region.shape[2], device=region.device)[:, None] - _centre(region, 2)
    columns = torch.arange(region.shape[3], device=region.device) - _centre(region, 3)
    spread = _mean_over(region, rows**2 + columns**2).sqrt().clamp_min(1)
    angle = _uniform(region, 0, 2 * math.pi, generator)
    along = (rows * torch.sin(angle) + columns * torch.cos(angle)) / spread
    scale = _uniform(
        region, max(settings.min_scale, settings.max_scale / 4), settings.max_scale, generator
    )
    waver = _field(region, scale, _uniform(region, 0.3, 0.6, generator), settings, generator)
    waver = waver * _uniform(region, 0.0, 1.5, generator)
    level = _uniform(region, *_LOBE_LEVELS, generator)
    return torch.sigmoid((along + waver - level) / _log_uniform(region, 0.01, 0.2, generator))


def _centre(region: torch.Tensor, axis: int) -> torch.Tensor:
    """Mean position of a region along an axis, (batch, 1, 1, 1)."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    return _mean_over(region, torch.arange(region.shape[axis], device=region.device).view(shape))


def _mean_over(region: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    weight = region.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    return (region * values).sum(dim=(2, 3), keepdim=True) / weight


def _some(like: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """One for a share of the slices, else zero, (batch, 1, 1, 1)."""
    return (_uniform(like, 0, 1, generator) < share).to(like.dtype)


def _field(
    like: torch.Tensor,
    scale: torch.Tensor,
    persistence: torch.Tensor,
    settings: NoiseSettings,
    generator: torch.Generator,
) -> torch.Tensor:
    """One Perlin field a slice, each in a place of its own, (batch, 1, row, column)."""
    batch, _, height, width = like.shape
    shape = (batch, settings.dimensions)
    field = perlin.fields(
        height,
        width,
        scale=scale.flatten(),
        octaves=settings.octaves,
        persistence=persistence.flatten(),
        offsets=torch.rand(shape, generator=generator, device=like.device) * perlin.LATTICE,
    )
    return field[:, None]


def _uniform(
    like: torch.Tensor, low: float, high: float, generator: torch.Generator
) -> torch.Tensor:
    """One number a slice, shape (batch, 1, 1, 1)."""
    shape = (len(like), 1, 1, 1)
    draw = torch.rand(shape, generator=generator, device=like.device, dtype=torch.float32)
    return low + (high - low) * draw


def _log_uniform(
    like: torch.Tensor, low: float, high: float, generator: torch.Generator
) -> torch.Tensor:
    """The same, each factor as likely as the next."""
    return torch.exp(_uniform(like, math.log(low), math.log(high), generator))
