"""The denoiser at work: a study's slices in, what a healthy lung would look like out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from covidctnet.devices import DTYPES, Precision
from covidctnet.errors import UsageError
from covidctnet.systems.covidctnet.networks import BCDUNet
from covidctnet.systems.covidctnet.networks.bcdunet import STRIDE
from covidctnet.systems.covidctnet.networks.fused import FusedBCDUNet
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.volume import Volume

__all__ = [
    "Residual",
    "compile_in_place",
    "ct_volume",
    "denoise",
    "denoise_slices",
    "lung_box",
    "place",
    "residual_volume",
]

CPU_BATCH, GPU_BATCH = 4, 64
# Voxels around the lungs that the denoiser sees: vessels and chest wall tell what the border is.
CONTEXT = 8
# Rows and columns of every denoiser divide by it, those on blocks of 2 x 2 pixels as well.
MULTIPLE = 2 * STRIDE
COMPILER = "inductor"


@dataclass(frozen=True, eq=False)
class Residual:
    """What a denoiser took away, at the depth that the classifier reads.

    Attributes:
        volume: The residual, units ``residual``, shape (depth, row, column).
        given: What the denoiser saw, float32, the same shape.
        denoised: What it made of it. Not `given` less the residual, where that has lost its sign.
        lungs: Mask, bool, the same shape; None where none was given.
    """

    volume: Volume
    given: np.ndarray
    denoised: np.ndarray
    lungs: np.ndarray | None


def place(
    denoiser: nn.Module,
    device: torch.device,
    precision: Precision = "32",
    *,
    compiled: bool = False,
) -> nn.Module:
    """A denoiser made ready for inference on a device.

    Args:
        denoiser: In evaluation mode; a `BCDUNet` is rewritten, see
            `covidctnet.systems.covidctnet.networks.fused`.
        device: Where it will run.
        precision: Of a `BCDUNet`. With ``bf16`` a voxel of a phantom's slices is off by 0.02 at
            most, 0.001 on average.
        compiled: Let `torch.compile` write kernels for it at the first slices, in a minute or so.

    Raises:
        UsageError: See `compile_in_place`.
    """
    if isinstance(denoiser, BCDUNet):
        denoiser = FusedBCDUNet(denoiser, DTYPES[precision])
    denoiser = denoiser.to(device)
    if compiled:
        compile_in_place(denoiser, device)
    return denoiser


def compile_in_place(network: nn.Module, device: torch.device) -> None:
    """Let `torch.compile` write kernels for a network when it first runs; its names stay.

    Args:
        network: On `device`.
        device: Where kernels are compiled for.

    Raises:
        UsageError: If none can be written here: now, and not study by study.
    """
    try:
        torch.compile(torch.neg, backend=COMPILER)(torch.zeros(8, device=device))
    except Exception as error:  # whatever a compiler does when it is not there
        raise UsageError(
            "compiling needs a C++ compiler (a GPU Triton as well), and torch.compile failed with "
            f"{type(error).__name__}. Install one, or leave --compiled out (in training "
            "--model.compiled)."
        ) from None
    network.compile(backend=COMPILER)


@torch.inference_mode()
def denoise_slices(
    denoiser: nn.Module, slices: np.ndarray, *, batch: int | None = None
) -> np.ndarray:
    """Run the denoiser over slices.

    Args:
        denoiser: In evaluation mode, on the device that does the work; see `place`.
        slices: float32 in [0, 1], shape (slice, row, column).
        batch: Slices a step, at most; by default few on a CPU, where they stay in the cache. A
            device without the memory for so many gets half of them.

    Returns:
        float32, the same shape.
    """
    device = next(denoiser.parameters()).device
    batch = batch or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
    # Alike, so that kernels are chosen, or compiled, for one shape.
    alike = math.ceil(len(slices) / max(1, math.ceil(len(slices) / batch)))
    out = np.empty(slices.shape, dtype=np.float32)
    try:
        for start in range(0, len(slices), max(1, alike)):
            # A copy: volumes are read-only, and torch must be able to write.
            block = torch.from_numpy(np.array(slices[start : start + alike], np.float32))
            out[start : start + alike] = denoiser(block[:, None].to(device))[:, 0].cpu().numpy()
    except torch.OutOfMemoryError:
        if alike == 1:
            raise
    else:
        return out
    return denoise_slices(denoiser, slices, batch=alike // 2)


def denoise(volume: Volume, denoiser: nn.Module, *, batch: int | None = None) -> Volume:
    """Every slice of a volume, denoised.

    Args:
        volume: In ``unit``.
        denoiser: In evaluation mode.
        batch: See `denoise_slices`.
    """
    volume.expect("unit", by="denoise")
    return volume.then("denoised", denoise_slices(denoiser, volume.array, batch=batch))


def residual_volume(
    volume: Volume,
    denoiser: nn.Module,
    settings: ResidualSettings | None = None,
    *,
    lungs: np.ndarray | None = None,
    batch: int | None = None,
) -> Residual:
    """Input minus denoised, at the depth the classifier reads.

    Only the slices that the resizing along z reads are denoised, which is exact.

    Args:
        volume: In ``unit``, shape (slice, row, column).
        denoiser: In evaluation mode.
        settings: As the card of the weights says them; the paper's by default.
        lungs: Mask, bool, the volume's shape; needed where the settings look within the lungs.
            Only their box is denoised then; outside the box the denoised scan is the scan.
        batch: See `denoise_slices`.

    Raises:
        ValueError: If the lungs are needed and missing.
    """
    settings = settings or ResidualSettings()
    volume.expect("unit", by="residual_volume")
    plan = settings.plan(len(volume.array))
    slices = np.ascontiguousarray(volume.array[plan.needed], dtype=np.float32)
    if settings.within == "lungs":
        inside = _needed_lungs(lungs)[plan.needed]
        box = (slice(None), *lung_box(inside))
        denoised = slices.copy()
        denoised[box] = denoise_slices(denoiser, slices[box], batch=batch)
    else:
        inside = None
        denoised = denoise_slices(denoiser, slices, batch=batch)
    shown = (plan.apply(slices), plan.apply(denoised))
    # In place: with every slice of a long scan read, one more copy would be half a gigabyte.
    residual = np.subtract(slices, denoised, out=denoised)
    if not settings.signed:
        np.abs(residual, out=residual)
    if inside is not None:
        residual *= inside
    difference = "input minus denoised" + ("" if settings.signed else ", absolute value")
    difference += "" if inside is None else ", within the lungs"
    taken = volume.then(
        f"residual ({difference}) brought from {len(volume.array)} to {settings.depth} slices, "
        f"{settings.depth_resize}",
        plan.apply(residual),
        affine=_affine_at(volume, settings.depth),
        units="residual",
    )
    return Residual(taken, *shown, None if lungs is None else plan.mask(lungs).astype(bool))


def ct_volume(
    volume: Volume,
    settings: ResidualSettings | None = None,
    *,
    lungs: np.ndarray | None = None,
) -> Volume:
    """The CT at the depth the classifier reads: `Residual.given`, without a denoiser.

    Args:
        volume: In ``unit``, shape (slice, row, column).
        settings: How to resize and where to look; the paper's by default.
        lungs: As for `residual_volume`; outside of them the CT is 0 where the settings say so.

    Returns:
        In ``unit``, shape (depth, row, column), at the places of the residual.

    Raises:
        ValueError: If the lungs are needed and missing.
    """
    settings = settings or ResidualSettings()
    volume.expect("unit", by="ct_volume")
    plan = settings.plan(len(volume.array))
    slices = np.array(volume.array[plan.needed], dtype=np.float32)
    where = ""
    if settings.within == "lungs":
        slices *= _needed_lungs(lungs)[plan.needed]
        where = " within the lungs"
    return volume.then(
        f"CT{where} brought from {len(volume.array)} to {settings.depth} slices, "
        f"{settings.depth_resize}",
        plan.apply(slices),
        affine=_affine_at(volume, settings.depth),
    )


def lung_box(lungs: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns around the lungs that the denoiser needs to see.

    Args:
        lungs: bool, shape (slice, row, column), any rows and columns that the denoiser reads.

    Returns:
        Slices of rows and of columns, `CONTEXT` voxels around the lungs where the image has them,
        whose ends are multiples of 16 or those of the image; everything where there is no lung.
    """
    box = []
    for axis, size in ((1, lungs.shape[1]), (2, lungs.shape[2])):
        there = np.flatnonzero(lungs.any(axis=tuple({0, 1, 2} - {axis})))
        first, last = (there[0], there[-1] + 1) if len(there) else (0, size)
        start = max(0, first - CONTEXT) // MULTIPLE * MULTIPLE
        stop = min(size, -(-(last + CONTEXT) // MULTIPLE) * MULTIPLE)
        box.append(slice(int(start), int(stop)))
    return box[0], box[1]


def _needed_lungs(lungs: np.ndarray | None) -> np.ndarray:
    if lungs is None:
        raise ValueError("a residual within the lungs needs the lung mask, got none")
    return lungs


def _affine_at(volume: Volume, depth: int) -> np.ndarray:
    """The geometry of a volume brought to `depth` slices; it spans the same millimetres."""
    affine = volume.affine.copy()
    step = len(volume.array) / depth
    affine[:3, 3] += affine[:3, 0] * ((step - 1) / 2)
    affine[:3, 0] *= step
    return affine
