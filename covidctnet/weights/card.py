"""The card beside weights: what it must say, and what it says they have seen."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covidctnet.errors import UsageError, WeightsError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.results import Label
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.trust.appearance import FEATURES, VERSION
from covidctnet.trust.calibration import Calibration

__all__ = [
    "CALIBRATED",
    "CARD",
    "CARD_VERSION",
    "NETWORKS",
    "PATIENTS",
    "SEGMENTATION",
    "compare_channels",
    "digest",
    "read_card",
    "taught_by",
]

CARD = "card.json"
CARD_VERSION = 1
# What a card may describe.
NETWORKS = frozenset({"denoiser", "classifier", "lungs", "likeness"})
# How the network ``lungs`` takes part in inference; without it, a denoiser may start from it.
SEGMENTATION = "segmentation"
# Entries of a card that are fitted once the classifier is there; each may be missing.
CALIBRATED = ("calibration", "likeness", "burden")
# What a card must say of its parts; a default in its place would be a guess. Except for what came
# later: cards that do not name it are older than any other choice.
_DECIDING: Mapping[str, set[str]] = {
    "preprocessing": set(PreprocessSettings().deciding()),
    "residual": set(ResidualSettings().deciding()),
    "denoiser": {"base", "depth", "bidirectional", "gates"},
    "lungs": {"base", "depth", "bidirectional", "gates"},
    "classifier": {"base", "depth", "size"},
    "likeness": {"features", "classes"},
}
# What a card calls studies that are neither phantoms nor painted.
PATIENTS = "patients"
# What a card must hold before anything else is looked at.
_REQUIRED = ("card_version", "architecture", "preprocessing", "classes", "synthetic_only", "files")


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a folder, if it is one of ours."""
    label = folder.name
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"weights {label!r} have no readable {CARD} ({type(error).__name__}). "
            "Get the folder anew."
        ) from None
    missing = [key for key in _REQUIRED if not isinstance(card, dict) or key not in card]
    if missing:
        raise WeightsError(
            f"the card of weights {label!r} lacks {', '.join(missing)}. Get the folder anew."
        )
    if card["card_version"] != CARD_VERSION:
        raise WeightsError(
            f"the card of weights {label!r} is version {card['card_version']}, this package reads "
            f"{CARD_VERSION}. Install the package that wrote it."
        )
    wanted = [k.title for k in Label]
    if card["classes"] != wanted:
        raise WeightsError(
            f"weights {label!r} tell {card['classes']} apart, wanted {wanted} in this order. "
            "Train the classifier anew with this package."
        )
    architecture, files = card["architecture"], card["files"]
    if not all(isinstance(entry, dict) for entry in (architecture, files, card["preprocessing"])):
        raise WeightsError(
            f"the card of weights {label!r} wants mappings for architecture, files and "
            "preprocessing, got something else. Get the folder anew."
        )
    named = {f"{kind}.safetensors" for kind in architecture.keys() & NETWORKS}
    if files.keys() != named or architecture.keys() - NETWORKS:
        raise WeightsError(
            f"the card of weights {label!r} wants one known file a network, got networks "
            f"{', '.join(sorted(architecture)) or 'none'} and files "
            f"{', '.join(sorted(files)) or 'none'}. Get the folder anew."
        )
    parts = {**architecture, **{k: card[k] for k in ("preprocessing", "residual") if k in card}}
    for what, names in _DECIDING.items():
        held = parts.get(what, dict.fromkeys(names))
        if not isinstance(held, dict) or names - held.keys():
            raise WeightsError(
                f"the card of weights {label!r} lacks some of {', '.join(sorted(names))} of its "
                f"{what}. Get the folder anew."
            )
    try:
        PreprocessSettings(**card["preprocessing"])
        ResidualSettings(**card.get("residual", {}))
    except (TypeError, UsageError) as error:
        raise WeightsError(
            f"the card of weights {label!r} has impossible preprocessing or residual ({error}). "
            "Get the folder anew."
        ) from None
    size, shrink = card["preprocessing"]["size"], card.get("residual", {}).get("shrink", 1)
    reads = architecture.get("classifier", {}).get("size", size / shrink)
    if reads * shrink != size or not isinstance(card["synthetic_only"], bool):
        raise WeightsError(
            f"the card of weights {label!r} contradicts itself: slices of "
            f"{size}, shrunk {shrink} times, for a classifier of {reads}, synthetic_only "
            f"{card['synthetic_only']!r}. Get the folder anew."
        )
    compare_channels(label, card, hint="Get the folder anew.")
    segmentation = card.get(SEGMENTATION)
    if segmentation not in (None, "coarse") or (
        segmentation and card["preprocessing"].get("field") != "lungs"
    ):
        raise WeightsError(
            f"the card of weights {label!r} has an impossible segmentation: expected 'coarse' and "
            f"scans cropped to the lungs, got {segmentation!r:.80}. Copy the folder again."
        )
    _check_calibrated(label, card)
    if not all(isinstance(entry, dict) and "sha256" in entry for entry in files.values()):
        raise WeightsError(
            f"the card of weights {label!r} lacks the SHA-256 of a file. Get the folder anew."
        )
    return card


def _check_calibrated(label: str, card: Mapping[str, Any]) -> None:
    """Refuse a card whose fitted entries are not what we write."""
    try:
        if "calibration" in card:
            Calibration.from_card(card["calibration"])
        for entry, name in (("likeness", "limit"), ("burden", "threshold")):
            if entry in card and not 0 <= float(card[entry][name]) < math.inf:
                raise ValueError(f"{name} {card[entry][name]}")
        if ("likeness" in card) != ("likeness" in card["architecture"]):
            raise ValueError("likeness without its network, or the other way round")
        if "likeness" in card:
            _check_likeness(label, card)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"the card of weights {label!r} has an impossible calibration "
            f"({type(error).__name__}: {error}). Get the folder anew."
        ) from None


def _check_likeness(label: str, card: Mapping[str, Any]) -> None:
    """Refuse a distance between numbers that mean something else today."""
    entry, width = card["likeness"], card["architecture"]["likeness"]["features"]
    if float(entry["limit"]) == 0:
        raise ValueError("limit 0 of the likeness")
    if (entry.get("version"), width) != (VERSION, len(FEATURES)):
        raise WeightsError(
            f"weights {label!r} describe a scan by {width} numbers (version "
            f"{entry.get('version')}), this program by {len(FEATURES)} (version {VERSION}). Train "
            "the classifier again, or use the program that they were trained with."
        )


def compare_channels(label: str, card: Mapping[str, Any], *, hint: str) -> None:
    """Refuse a card whose classifier reads more or fewer channels than it is given."""
    settings = ResidualSettings(**card.get("residual", {}))
    classifier = card["architecture"].get("classifier")
    if classifier is not None and classifier.get("channels", 1) != settings.channels:
        raise WeightsError(
            f"the card of weights {label!r} contradicts itself: classifier_input "
            f"{settings.classifier_input} has {settings.channels} channels, its classifier reads "
            f"{classifier.get('channels', 1)}. {hint}"
        )


def taught_by(card: Mapping[str, Any], kind: str = "") -> Mapping[str, str]:
    """A stage of the training that each scan taught or chose, by `Source.mark`.

    Args:
        card: Of weights; one of before cards named what they have seen knows of nothing.
        kind: Only stages of this network, those before ``--init`` too; all by default.
    """
    return {
        mark: stage
        for stage, told in card.get("training", {}).items()
        if stage.endswith(kind)
        for mark in told.get("data", {}).get("seen", "").split()
    }


def digest(card: Mapping[str, Any]) -> str:
    """Of everything that decides an answer: the weights, their architecture, the preprocessing."""
    deciding = {k: card[k] for k in ("architecture", "classes") if k in card}
    if "residual" in card:
        deciding["residual"] = ResidualSettings(**card["residual"]).deciding()
    deciding["preprocessing"] = PreprocessSettings(**card["preprocessing"]).deciding()
    deciding |= {name: card[name] for name in (*CALIBRATED, SEGMENTATION) if name in card}
    deciding["files"] = {file: entry["sha256"] for file, entry in card["files"].items()}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]
