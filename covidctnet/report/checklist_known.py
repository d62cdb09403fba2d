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
        """An entry of every stage of training that has it, in words; told once where it is one."""
        told: dict[str, list[str]] = {}
        for stage in self.card.get("training", ()):
            if words := _words(stage.get(key)):
                told.setdefault(words, []).append(stage["stage"])
        return [f"{', '.join(names)}: {words}" for words, names in told.items()]

    @property
    def sites(self) -> list[str]:
        """Sites of the patients evaluated."""
        return _sites(self.plain, "test")

    @property
    def external_sites(self) -> list[str]:
        """Sites of the external test."""
        return _sites(self.plain, "external") if self.plain.get("external") else []

    def first_of(self, *names: str) -> str:
        """The first of these files that is there; empty where none is."""
        return next((name for name in names if name in self.files), "")

    @property
    def counts(self) -> str:
        """Studies by class."""
        return ", ".join(f"{n} {label}" for label, n in self.plain["answered"].items())


def _sites(plain: Facts, split: str) -> list[str]:
    """Sites of a split: of the table of patients, which names a single one too, else of strata."""
    parts = (plain.get("patients_described") or {}).get("split") or {}
    if split in (groups := list(parts.get("groups", ()))):
        place = groups.index(split)
        lines = [line for line in parts.get("lines", ()) if line["trait"] == "site"]
        if found := [line["value"] for line in lines if line["cells"][place]["n"]]:
            return found
    strata = plain if split == "test" else plain[split]
    return [s["value"] for s in strata.get("strata", ()) if s["trait"] == "site"]


def _words(value: Any) -> str:
    """Counts by name, counts by name within parts, or a list, as words."""
    if isinstance(value, Mapping):
        if any(isinstance(part, Mapping) for part in value.values()):
            parts = {name: _words(part) for name, part in value.items()}
            return "; ".join(f"{name} {part}" for name, part in parts.items() if part)
        return ", ".join(f"{n} {kind}" for kind, n in value.items() if n)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
