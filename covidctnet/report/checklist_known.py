"""The files of a run that checklists are filled from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Known"]

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Known:
    """What a run knows.

    Attributes:
        plain: ``evaluation.json``.
        card: ``model-card.json``; empty for answers made elsewhere.
        files: Names of the files in the paper folder.
    """

    plain: Facts
    card: Facts
    files: frozenset[str]

    @property
    def is_ours(self) -> bool:
        """Whether weights of this package gave the answers."""
        return not (self.plain.get("leakage") or {}).get("made_elsewhere", False)

    def stages(self, key: str) -> list[str]:
        """An entry of every stage of training that has it, in words."""
        told = []
        for stage in self.card.get("training", ()):
            value = stage.get(key)
            if isinstance(value, Mapping):
                value = ", ".join(f"{n} {kind}" for kind, n in value.items())
            elif isinstance(value, list):
                value = ", ".join(map(str, value))
            if value:
                told.append(f"{stage['stage']}: {value}")
        return told

    @property
    def sites(self) -> list[str]:
        """Sites of the patients evaluated."""
        return [s["value"] for s in self.plain.get("strata", ()) if s["trait"] == "site"]

    @property
    def counts(self) -> str:
        """Studies by class."""
        return ", ".join(f"{n} {label}" for label, n in self.plain["answered"].items())
