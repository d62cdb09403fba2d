"""Where networks run, and with how many digits."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, cast, get_args

import torch

from covidctnet.errors import UsageError

__all__ = ["DTYPES", "Precision", "pick_device", "pick_precision"]

Precision = Literal["32", "bf16"]
DTYPES: Mapping[Precision, torch.dtype] = MappingProxyType(
    {"32": torch.float32, "bf16": torch.bfloat16}
)


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


def pick_precision(name: str, device: torch.device) -> Precision:
    """The precision that `name` means on a device.

    Args:
        name: ``32``; ``bf16`` lets the networks round to eight bits, nearly twice as fast
            where the processor knows the format; ``auto`` is bf16 just there.
        device: Where the networks run.

    Raises:
        UsageError: If there is no such precision.
    """
    if name == "auto":
        return "bf16" if _knows_bf16(device) else "32"
    if name not in get_args(Precision):
        raise UsageError(f"precision must be auto, 32 or bf16, got {name!r}")
    return cast(Precision, name)


def _knows_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Told from torch 2.12 on; before, nobody knows, and 32 is never wrong.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return device.type == "cpu" and bool(
        capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    )
