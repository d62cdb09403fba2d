"""A predictor of whatever system the card of its weights names."""

from __future__ import annotations

from pathlib import Path

from covidctnet.contract import Predictor, RunSettings
from covidctnet.registry import find_system
from covidctnet.weights import load_weights

__all__ = ["load"]


def load(
    name: str | Path = "compact",
    *,
    device: str = "auto",
    precision: str = "auto",
    compiled: bool = False,
) -> Predictor:
    """Load shipped weights by name, or one's own from a folder.

    Args:
        name: Such as ``compact``, or a folder with a ``card.json``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``auto``, ``32`` or ``bf16``.
        compiled: Let `torch.compile` write kernels, which takes a minute or so at the first scan.

    Returns:
        A predictor of the system that the card names: call it with a volume.

    Raises:
        WeightsError: If the weights are missing, damaged, or of a system that is not installed.
        UsageError: If there is no such device or precision.
    """
    weights = load_weights(name)
    how = RunSettings(device=device, precision=precision, compiled=compiled)
    return find_system(weights.card["system"]).load(weights, how)
