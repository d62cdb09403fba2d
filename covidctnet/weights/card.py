"""The card of weights: what it must say, and what it says they have seen.

A card is an envelope that every system has (system, classes, files with their hashes, training,
metrics) and the settings of its system, which that system checks. On disk the settings lie in an
entry of their own; in memory all entries stand side by side. Cards of version 1 are those of
CovidCTNet, and have no envelope.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.errors import UsageError, WeightsError
from covidctnet.registry import find_system

__all__ = [
    "CARD",
    "CARD_VERSION",
    "PATIENTS",
    "card_text",
    "classes_of",
    "digest",
    "read_card",
    "taught_by",
]

CARD = "card.json"
CARD_VERSION = 2
# What every card has, whatever its system.
ENVELOPE = (
    "card_version",
    "system",
    "classes",
    "architecture",
    "files",
    "training",
    "metrics",
    "synthetic_only",
    "created",
    "covidctnet",
    "torch",
    "commit",
    "licence",
)
# What a card calls studies that are neither phantoms nor painted.
PATIENTS = "patients"
# Marks of a hundred thousand studies fit.
_MAX_BYTES = 2**25
# What a card must hold before anything else is looked at.
_REQUIRED = ("architecture", "classes", "synthetic_only", "files")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a folder, if it is one of ours.

    Args:
        folder: Of weights.

    Returns:
        The envelope, the settings of the system next to it, and ``normal``, the title of the normal
        class; ``classes`` are the titles.

    Raises:
        WeightsError: If it is missing, damaged, of a newer version or of an unknown system, or the
            system refuses its settings.
    """
    label = folder.name
    try:
        if not (folder / CARD).is_file():
            # A pipe would never be opened.
            raise FileNotFoundError
        with (folder / CARD).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError("too large")
        card = json.loads(content.decode(), parse_constant=_no_number)
    # Brackets within brackets end in a RecursionError.
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"weights {label!r} have no readable {CARD} ({type(error).__name__}). "
            "Copy the folder again."
        ) from None
    if not isinstance(card, dict) or "card_version" not in card:
        raise WeightsError(
            f"the card of weights {label!r} lacks card_version. Copy the folder again."
        )
    card = _side_by_side(label, card)
    if missing := [key for key in _REQUIRED if key not in card]:
        raise WeightsError(
            f"the card of weights {label!r} lacks {', '.join(missing)}. Copy the folder again."
        )
    _check_envelope(label, card)
    try:
        system = find_system(card["system"])
    except UsageError as error:
        raise WeightsError(f"weights {label!r}: {error}") from None
    card = _renamed(card, {former: now for now, former in system.former_names.items()})
    _check_files(label, card, system.networks)
    system.check(label, card)
    return card


def _no_number(name: str) -> float:
    """JSON knows no NaN and no infinity; Python's reader does."""
    raise ValueError(f"expected a number, got {name}")


def card_text(card: Mapping[str, Any]) -> str:
    """A card as it is written.

    Args:
        card: As `read_card` gives it.
    """
    envelope = {name: card[name] for name in ENVELOPE if name in card}
    envelope |= {
        "card_version": CARD_VERSION,
        "classes": {"titles": list(card["classes"]), "normal": card["normal"]},
        "settings": {k: v for k, v in card.items() if k not in (*ENVELOPE, "normal")},
    }
    return json.dumps(envelope, indent=1, sort_keys=True) + "\n"


def _renamed(card: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A card with other names of its entries and networks; ``file`` is where a network lies."""
    out = {names.get(key, key): value for key, value in card.items()}
    out["architecture"] = {names.get(k, k): v for k, v in card["architecture"].items()}
    out["files"] = {}
    for file, entry in card["files"].items():
        kind = file.removesuffix(".safetensors")
        if kind in names and isinstance(entry, dict):
            out["files"][f"{names[kind]}.safetensors"] = {"file": file, **entry}
        else:
            out["files"][file] = entry
    return out


def classes_of(card: Mapping[str, Any]) -> Classes:
    """The classes that weights tell apart.

    Args:
        card: From `read_card`.
    """
    classes = Classes(tuple(card["classes"]), card["normal"])
    # With the other names of its classes, which its system knows.
    system = find_system(card["system"])
    return next(
        (known for known in (system.classes, *system.variants) if known == classes), classes
    )


def _side_by_side(label: str, card: dict[str, Any]) -> dict[str, Any]:
    """A card of any version as this package uses it."""
    version = card["card_version"]
    if version == 1:
        return {**card, "system": "covidctnet", "normal": CHEST_CT.normal}
    if version != CARD_VERSION:
        raise WeightsError(
            f"the card of weights {label!r} is version {version!r:.20}, this package reads 1 to "
            f"{CARD_VERSION}. Install the version of covidctnet that wrote it, or a newer one."
        )
    settings, classes = card.get("settings"), card.get("classes")
    is_whole = isinstance(settings, dict) and isinstance(card.get("system"), str)
    if not is_whole or not isinstance(classes, dict) or {"titles", "normal"} - classes.keys():
        raise WeightsError(
            f"the card of weights {label!r} lacks a system, its settings, or its classes with "
            "titles and normal. Copy the folder again."
        )
    assert isinstance(settings, dict)
    if twice := sorted(settings.keys() & {*ENVELOPE, "normal"}):
        raise WeightsError(
            f"the card of weights {label!r} names {', '.join(twice)} twice. Copy the folder again."
        )
    envelope = {k: v for k, v in card.items() if k != "settings"}
    return {**envelope, **settings, "classes": classes["titles"], "normal": classes["normal"]}


def _check_envelope(label: str, card: Mapping[str, Any]) -> None:
    if not all(isinstance(card[name], dict) for name in ("architecture", "files")):
        raise WeightsError(
            f"the card of weights {label!r}: expected mappings for architecture and files, got "
            "something else. Copy the folder again."
        )
    if not isinstance(card["synthetic_only"], bool):
        raise WeightsError(
            f"the card of weights {label!r}: expected true or false for synthetic_only, got "
            f"{card['synthetic_only']!r:.40}. Copy the folder again."
        )
    titles = card["classes"]
    if not isinstance(titles, list) or not all(isinstance(title, str) for title in titles):
        raise WeightsError(
            f"the card of weights {label!r}: expected a list of class names, got {titles!r:.80}. "
            "Copy the folder again."
        )
    try:
        Classes(tuple(titles), card["normal"])
    except UsageError as error:
        raise WeightsError(
            f"the card of weights {label!r} has impossible classes ({error}). Copy the folder "
            "again."
        ) from None


def _check_files(label: str, card: Mapping[str, Any], networks: frozenset[str]) -> None:
    architecture, files = card["architecture"], card["files"]
    named = {f"{kind}.safetensors" for kind in architecture.keys() & networks}
    if files.keys() != named or architecture.keys() - networks:
        raise WeightsError(
            f"the card of weights {label!r}: expected one known file a network, got networks "
            f"{', '.join(sorted(architecture)) or 'none'} and files "
            f"{', '.join(sorted(files)) or 'none'}. Copy the folder again."
        )
    if not all(isinstance(entry, dict) and "sha256" in entry for entry in files.values()):
        raise WeightsError(
            f"the card of weights {label!r} lacks the SHA-256 of a file. Copy the folder again."
        )


def taught_by(card: Mapping[str, Any], kind: str = "") -> Mapping[str, str]:
    """A stage of the training that each scan taught or chose, by `Source.mark`.

    Args:
        card: Of weights; one of before cards named what they have seen knows of nothing.
        kind: Only stages of this network, those before ``--init`` too; all by default.
    """
    return {
        mark: stage
        for stage, record in card.get("training", {}).items()
        if stage.endswith(kind)
        for mark in record.get("data", {}).get("seen", "").split()
    }


def digest(card: Mapping[str, Any]) -> str:
    """Of everything that decides an answer: the weights, their architecture, the settings.

    Args:
        card: From `read_card`; the digest is that of the same card of version 1, with the names
            that its entries had then.
    """
    system = find_system(card["system"])
    decisive = system.deciding(card)
    card = _renamed(card, system.former_names)
    parts: dict[str, Any] = {k: card[k] for k in ("architecture", "classes") if k in card}
    if card["system"] != "covidctnet" or card["normal"] != CHEST_CT.normal:
        parts |= {k: card[k] for k in ("system", "normal")}
    parts |= {system.former_names.get(name, name): entry for name, entry in decisive.items()}
    parts["files"] = {file: entry["sha256"] for file, entry in card["files"].items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
