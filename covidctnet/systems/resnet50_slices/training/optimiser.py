"""AdamW as fastai has it: groups of layers, and no decay of batch norms and biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from covidctnet.systems.resnet50_slices.training.schedule import Step

__all__ = ["apply_step", "make_optimiser", "split_decaying"]

DECAY, EPS, SECOND_BETA = 0.01, 1e-5, 0.99
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def split_decaying(
    layers: Sequence[nn.Module],
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that decay, and those of batch norms and biases, which do not."""
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for layer in layers:
        for module in layer.modules():
            for name, parameter in module.named_parameters(recurse=False):
                is_other = isinstance(module, _NORMS) or name == "bias"
                (others if is_other else decaying).append(parameter)
    return decaying, others


def make_optimiser(groups: Sequence[Sequence[nn.Module]]) -> torch.optim.AdamW:
    """An optimiser with two parameter groups for each group of layers, in their order.

    Args:
        groups: Layers that learn at one speed, the first ones first.

    Returns:
        With learning rates and momenta that `apply_step` sets.
    """
    parts: list[dict[str, Any]] = []
    for number, layers in enumerate(groups):
        for parameters, decay in zip(split_decaying(layers), (DECAY, 0.0), strict=True):
            parts.append({"params": parameters, "weight_decay": decay, "layers": number})
    return torch.optim.AdamW(parts, lr=0.0, betas=(0.95, SECOND_BETA), eps=EPS)


def apply_step(optimiser: torch.optim.Optimizer, step: Step) -> None:
    """Give an optimiser of `make_optimiser` its learning rates and momentum; freeze or unfreeze.

    While the body is frozen, its batch norms learn all the same.
    """
    last = len(step.rates) - 1
    for group in optimiser.param_groups:
        group["lr"] = step.rates[group["layers"]]
        group["betas"] = (step.momentum, SECOND_BETA)
        learns = not step.frozen or group["layers"] == last or group["weight_decay"] == 0
        for parameter in group["params"]:
            parameter.requires_grad_(learns)
