"""Weights: the networks in a folder, with a card that says what they are.

The names below are loaded when they are first used: cards and shipped folders need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covidctnet.weights.bundle import (
        Weights,
        import_keras,
        list_weights,
        load_weights,
        save_weights,
        verify_weights,
    )

__all__ = [
    "Weights",
    "import_keras",
    "list_weights",
    "load_weights",
    "save_weights",
    "verify_weights",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("covidctnet.weights.bundle"), name)


def __dir__() -> list[str]:
    return __all__
