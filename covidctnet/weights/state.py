"""Whether a network still is what was loaded, seen by its weights."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["state_digest", "state_stamp"]


def state_stamp(network: object) -> tuple[Any, ...]:
    """A value that stays equal while nothing is written into the weights; cheap to make.

    Args:
        network: A module; anything else has no weights and gets an empty stamp.
    """
    if not isinstance(network, nn.Module):
        return ()
    # Every write through torch counts the version up; another tensor lies elsewhere.
    return tuple(
        (name, tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version)
        for name, tensor in _tensors(network)
    )


def state_digest(network: object) -> str:
    """SHA-256 over the layers and every weight, hexadecimal, the same on every device.

    Args:
        network: A module; anything else is compared by its type.
    """
    digest = hashlib.sha256(type(network).__qualname__.encode())
    if isinstance(network, nn.Module):
        digest.update(repr(network).encode())
        for name, tensor in _tensors(network):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    # Buffers that are not saved decide an answer as well.
    return [*network.named_parameters(), *network.named_buffers()]
