"""How weights were made, apart from what they were made from: what folds must have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from covidctnet.contract import PredictorInfo
from covidctnet.registry import find_system

__all__ = ["differences", "recipe_of"]

# Settings that are fitted to the patients of a fold, and differ from one to the next.
_FITTED = frozenset(
    ["calibration", "lesion_volume", "limit", "operating_points", "out_of_distribution",
     "temperature", "threshold", "thresholds"]
)  # fmt: skip
# What repeats a run and makes no other recipe.
_LOOSE = frozenset(["seed", "command", "data", "init", "work", "compiled"])


def recipe_of(info: PredictorInfo) -> dict[str, Any] | None:
    """The recipe and the fitted settings of a predictor, plain values by dotted name.

    Returns:
        ``recipe`` and ``fitted``; None where nothing is known of the weights.
    """
    card = info.card
    if not card:
        return None
    system = find_system(card["system"])
    parts: dict[str, Any] = {
        "system": card["system"],
        "classes": ", ".join(info.classes.titles),
        "architecture": card.get("architecture", {}),
        **system.deciding(card),
        "training": {k: v.get("config", {}) for k, v in card.get("training", {}).items()},
    }
    recipe: dict[str, Any] = {}
    fitted: dict[str, Any] = {}
    for name, value in _leaves(parts, ()):
        if _LOOSE & set(name):
            continue
        (fitted if _FITTED & set(name) else recipe)[".".join(name)] = value
    return {"recipe": dict(sorted(recipe.items())), "fitted": dict(sorted(fitted.items()))}


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Names of the settings that two recipes do not share, sorted."""
    missing = object()
    return sorted(
        name
        for name in first.keys() | second.keys()
        if first.get(name, missing) != second.get(name, missing)
    )


def _leaves(value: Any, name: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*name, str(key)))
    else:
        yield name, list(value) if isinstance(value, tuple) else value
