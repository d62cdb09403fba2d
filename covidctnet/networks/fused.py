"""Trained networks rewritten for inference: the same function, less work.

Batch norms are folded into the convolutions before them, the layout is channels last, weights and
feature maps may have eight bits.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ["fold", "fold_all", "for_inference"]

# Relative to the largest output: what float32 rounds when a hundred layers are written otherwise.
_TOLERANCE = 1e-3


class _Rounded(nn.Module):
    """A network with feature maps of fewer bits; what enters and leaves has float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.network(x).float()
        return out


def for_inference(
    trained: nn.Module, example: Tensor, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """A copy of a network for inference.

    Args:
        trained: From one picture tensor to one tensor; left as it was.
        example: An input that the network accepts, best a small one, to find out which batch norm
            follows which convolution; shape (batch, channel, row, column), on the CPU.
        dtype: Of weights and feature maps.

    Returns:
        The same function of a float32 tensor, with a float32 result.
    """
    network = copy.deepcopy(trained).eval().requires_grad_(False)
    fold_all(network, example)
    # Folded in float32, rounded once.
    network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return _Rounded(network, dtype).eval()


@torch.no_grad()
def fold(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.Module) -> None:
    """Write a batch norm into the convolution before it, in place.

    Args:
        convolution: With weights that nothing else uses.
        norm: A batch norm of its outputs; not changed, to be removed by the caller.
    """
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # type: ignore[operator]
    # (out, in, row, column); a transposed convolution has (in, out, row, column).
    axes = (
        (slice(None), None, None)
        if isinstance(convolution, nn.ConvTranspose2d)
        else (slice(None), None, None, None)
    )
    convolution.weight.mul_(scale[axes])
    if convolution.bias is None:
        convolution.bias = nn.Parameter(torch.zeros_like(scale))
    convolution.bias.sub_(norm.running_mean).mul_(scale).add_(norm.bias)  # type: ignore[arg-type]


@torch.no_grad()
def fold_all(network: nn.Module, example: Tensor) -> int:
    """Fold every batch norm of a network that takes in just what a convolution puts out, in place.

    The order of the layers is seen in a run, not guessed from their names. The result is compared
    with that of the network before.

    Args:
        network: In evaluation mode.
        example: As of `for_inference`.

    Returns:
        How many were folded.

    Raises:
        ValueError: If the folded network gives another result, as where a feature map is used
            before its batch norm as well.
    """
    before, pairs = _watch(network, example)
    for convolution, norm in pairs:
        fold(convolution, norm)
        _replace(network, norm)
    if pairs:
        after = network(example)
        largest = max(float(before.abs().max()), 1.0)
        if not torch.allclose(after, before, rtol=0, atol=_TOLERANCE * largest):
            raise ValueError(
                "expected the same result with folded batch norms, got one that differs by "
                f"{float((after - before).abs().max()):.2g}; this network cannot be folded"
            )
    return len(pairs)


def _watch(
    network: nn.Module, example: Tensor
) -> tuple[Tensor, list[tuple[nn.Conv2d | nn.ConvTranspose2d, nn.Module]]]:
    """The output of a network, and its convolutions that a batch norm follows at once."""
    made: list[tuple[Any, Tensor]] = []
    pairs: list[tuple[Any, nn.Module]] = []
    runs: dict[nn.Module, int] = {}
    hooks: list[RemovableHandle] = []

    def after(convolution: nn.Module, _: Any, output: Tensor) -> None:
        runs[convolution] = runs.get(convolution, 0) + 1
        made.append((convolution, output))

    def ahead(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        runs[norm] = runs.get(norm, 0) + 1
        # The tensor itself, not its values: two equal feature maps are two.
        pairs.extend((c, norm) for c, output in made if output is inputs[0])

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if not (isinstance(module, nn.ConvTranspose2d) and module.groups > 1):
                hooks.append(module.register_forward_hook(after))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(ahead))
    try:
        output: Tensor = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    # A layer that runs twice would be changed for both.
    return output, [pair for pair in pairs if all(runs[layer] == 1 for layer in pair)]


def _replace(network: nn.Module, norm: nn.Module) -> None:
    """Put what remains of a folded batch norm into its place: nothing, or its activation."""
    remains = getattr(norm, "act", None)
    for parent in network.modules():
        for name, child in parent.named_children():
            if child is norm:
                setattr(parent, name, remains if remains is not None else nn.Identity())
