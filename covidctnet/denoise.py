"""The denoiser at work: a study's slices in, what a healthy lung would look like out."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import nn

from covidctnet.errors import UsageError
from covidctnet.residual import ResidualSettings
from covidctnet.volume import Volume

__all__ = [
    "Precision",
    "Shown",
    "ct_volume",
    "denoise",
    "denoise_slices",
    "pick_device",
    "place",
    "residual_volume",
]

Precision = Literal["32", "bf16"]


class Shown(NamedTuple):
    """What a residual is the difference of, float32 (depth, row, column), at its depth.

    Attributes:
        given: What the denoiser saw.
        denoised: What it made of it. Not `given` less the residual, where that has lost its sign.
    """

    given: np.ndarray
    denoised: np.ndarray


def pick_device(name: str = "auto") -> torch.device:
    """The device that `name` means.

    Args:
        name: ``auto`` (the first GPU, else the CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        UsageError: If the name is unknown or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device must be auto, cpu, cuda, cuda:1 or mps, got {name!r}") from None
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= count.get(device.type, 0):
        raise UsageError(
            f"device {name!r} is not on this machine "
            f"({torch.cuda.device_count()} CUDA devices found). Use --device auto."
        )
    return device


def place(denoiser: nn.Module, device: torch.device) -> nn.Module:
    """The denoiser on a device, in the memory layout its convolutions are fastest in."""
    layout = torch.channels_last
    return denoiser.to(device=device, memory_format=layout)  # type: ignore[call-overload]


@torch.inference_mode()
def denoise_slices(
    denoiser: nn.Module, slices: np.ndarray, *, batch: int = 4, precision: Precision = "32"
) -> np.ndarray:
    """Run the denoiser over slices.

    Args:
        denoiser: In evaluation mode, on the device that does the work.
        slices: float32 in [0, 1], shape (slice, row, column).
        batch: Slices a step; on a CPU small batches stay in the cache.
        precision: ``bf16`` lets the convolutions round to eight bits, about twice as fast where
            the processor has them. The lungs of a phantom come out 0.0016 (2 HU) too high, a voxel
            is off by 0.02 at most.

    Returns:
        float32, the same shape.

    Raises:
        UsageError: If there is no such precision.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision must be 32 or bf16, got {precision!r}")
    parameter = next(denoiser.parameters())
    rounding = (
        torch.autocast(parameter.device.type, torch.bfloat16)
        if precision == "bf16"
        else nullcontext()
    )
    out = np.empty(slices.shape, dtype=np.float32)
    with rounding:
        for start in range(0, len(slices), batch):
            # A copy: volumes are read-only, and torch wants to be able to write.
            block = torch.from_numpy(np.array(slices[start : start + batch], np.float32))
            block = block[:, None].to(parameter.device, memory_format=torch.channels_last)
            out[start : start + batch] = denoiser(block)[:, 0].float().cpu().numpy()
    return out


def denoise(volume: Volume, denoiser: nn.Module, *, batch: int = 4) -> Volume:
    """Every slice of a volume, denoised.

    Args:
        volume: In ``unit``.
        denoiser: In evaluation mode.
        batch: Slices a step.
    """
    volume.expect("unit", by="denoise")
    return volume.then("denoised", denoise_slices(denoiser, volume.array, batch=batch))


def residual_volume(
    volume: Volume,
    denoiser: nn.Module,
    *,
    depth: int,
    settings: ResidualSettings | None = None,
    batch: int = 4,
    precision: Precision = "32",
) -> tuple[Volume, Shown]:
    """Input minus denoised, at the depth the classifier reads.

    Only the slices that the resizing to `depth` reads are denoised, which is exact.

    Args:
        volume: In ``unit``, shape (slice, row, column).
        denoiser: In evaluation mode.
        depth: Slices wanted.
        settings: Signed or not, and how to resize, as the card of the weights says it; the paper's
            by default.
        batch: Slices a step.
        precision: See `denoise_slices`.

    Returns:
        The residual, units ``residual``, shape (depth, row, column), and what it is the difference
        of, for pictures.
    """
    settings = settings or ResidualSettings()
    volume.expect("unit", by="residual_volume")
    plan = settings.plan(len(volume.array), depth)
    slices = np.ascontiguousarray(volume.array[plan.needed], dtype=np.float32)
    denoised = denoise_slices(denoiser, slices, batch=batch, precision=precision)
    shown = Shown(plan.apply(slices), plan.apply(denoised))
    # In place: with every slice of a long scan read, one more copy would be half a gigabyte.
    residual = np.subtract(slices, denoised, out=denoised)
    if not settings.signed:
        np.abs(residual, out=residual)
    difference = "input minus denoised" + ("" if settings.signed else ", absolute value")
    return (
        volume.then(
            f"residual ({difference}) brought from {len(volume.array)} to {depth} slices, "
            f"{settings.depth_resize}",
            plan.apply(residual),
            affine=_affine_at(volume, depth),
            units="residual",
        ),
        shown,
    )


def ct_volume(volume: Volume, *, depth: int, settings: ResidualSettings | None = None) -> Volume:
    """The CT at the depth the classifier reads: `Shown.given`, without a denoiser.

    Args:
        volume: In ``unit``, shape (slice, row, column).
        depth: Slices wanted.
        settings: How to resize; the paper's by default.

    Returns:
        In ``unit``, shape (depth, row, column), at the places of the residual.
    """
    settings = settings or ResidualSettings()
    volume.expect("unit", by="ct_volume")
    plan = settings.plan(len(volume.array), depth)
    return volume.then(
        f"CT brought from {len(volume.array)} to {depth} slices, {settings.depth_resize}",
        plan.apply(np.ascontiguousarray(volume.array[plan.needed], dtype=np.float32)),
        affine=_affine_at(volume, depth),
    )


def _affine_at(volume: Volume, depth: int) -> np.ndarray:
    """The geometry of a volume brought to `depth` slices; it spans the same millimetres."""
    affine = volume.affine.copy()
    step = len(volume.array) / depth
    affine[:3, 3] += affine[:3, 0] * ((step - 1) / 2)
    affine[:3, 0] *= step
    return affine
