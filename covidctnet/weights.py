"""Weights as safetensors with a JSON card that says what they are, and proves it."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from covidctnet.appearance import FEATURES, VERSION
from covidctnet.calibration import Calibration
from covidctnet.errors import UsageError, WeightsError
from covidctnet.models import CNN3D, BCDUNet, Likeness
from covidctnet.models.convlstm import Gates
from covidctnet.preprocess import PreprocessSettings
from covidctnet.residual import ResidualSettings
from covidctnet.results import Label
from covidctnet.shipped import weights_root

__all__ = [
    "CALIBRATED",
    "Weights",
    "import_keras",
    "list_weights",
    "load_weights",
    "save_weights",
    "taught_by",
    "verify_weights",
]

CARD = "card.json"
CARD_VERSION = 1
_NETWORKS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"denoiser": BCDUNet, "classifier": CNN3D, "lungs": BCDUNet, "likeness": Likeness}
)
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
_PATIENTS = "patients"
# What a card must hold before anything else is looked at.
_REQUIRED = ("card_version", "architecture", "preprocessing", "classes", "synthetic_only", "files")


@dataclass(frozen=True)
class Weights:
    """A card and the bytes it vouches for.

    Attributes:
        name: Of the folder.
        card: Architecture, preprocessing, classes, training data, metrics, hashes.
        digest: Twelve hexadecimal digits that change with any weight or setting.
    """

    name: str
    card: Mapping[str, Any]
    digest: str
    _files: Mapping[str, bytes] = field(repr=False)

    def denoiser(self) -> BCDUNet:
        """The denoiser, in evaluation mode, on the CPU.

        Raises:
            WeightsError: If the weights do not fit the card's architecture.
        """
        network = self._build("denoiser")
        assert isinstance(network, BCDUNet)
        return network

    def classifier(self) -> CNN3D:
        """The classifier, in evaluation mode, on the CPU.

        Raises:
            WeightsError: If there is none yet, or it does not fit the card's architecture.
        """
        network = self._build("classifier")
        assert isinstance(network, CNN3D)
        return network

    def likeness(self) -> Likeness | None:
        """The distance from the training data, if it was fitted; `distance_limit` belongs to it.

        Raises:
            WeightsError: If it does not fit the card.
        """
        if "likeness" not in self.card["architecture"]:
            return None
        network = self._build("likeness")
        assert isinstance(network, Likeness)
        return network

    @property
    def calibration(self) -> Calibration | None:
        """Temperature and prediction sets, if they were fitted."""
        entry = self.card.get("calibration")
        return Calibration.from_card(entry) if entry else None

    @property
    def distance_limit(self) -> float:
        """The distance that one in a hundred valid scans exceeds; infinite if none was fitted."""
        return float(self.card.get("likeness", {}).get("limit", math.inf))

    @property
    def burden_threshold(self) -> float | None:
        """The residual from which a voxel counts as unusual, if it was fitted."""
        entry = self.card.get("burden")
        return float(entry["threshold"]) if entry else None

    @property
    def seen(self) -> str:
        """What the networks were trained on, in words."""
        if self.card["synthetic_only"]:
            return "synthetic patients (phantoms) only"
        told = {stage: self._studies(stage) for stage in ("denoiser", "classifier")}
        kinds = [
            # The denoiser's patients are Controls, whoever wrote the card.
            "real Controls" if (stage, kind) == ("denoiser", _PATIENTS) else kind
            for stage, found in told.items()
            for kind in found
        ]
        return ", ".join(dict.fromkeys(kinds)) or "what the card does not describe"

    @property
    def caveat(self) -> str:
        """What must be said beside every answer; empty where nothing must."""
        nothing = "the probabilities mean nothing for real patients."
        if self.card["synthetic_only"]:
            return f"These weights have only ever seen synthetic patients (phantoms): {nothing}"
        found = self._studies("classifier")
        if found and _PATIENTS not in found:
            return (
                "These weights have seen no real patient with Covid-19 or pneumonia, only "
                f"phantoms and lesions drawn into real lungs: {nothing}"
            )
        return ""

    def _studies(self, stage: str) -> Mapping[str, int]:
        """Studies by kind that a stage was trained on, as far as the card tells."""
        data = self.card.get("training", {}).get(stage, {}).get("data", {})
        found: Mapping[str, int] = data.get("studies_by_kind", {})
        return found

    def lungs(self) -> BCDUNet:
        """The segmentation of the lungs that a denoiser may start from, likewise.

        Raises:
            WeightsError: If there is none, or it does not fit the card's architecture.
        """
        network = self._build("lungs")
        assert isinstance(network, BCDUNet)
        return network

    def _build(self, kind: str) -> nn.Module:
        architecture = self.card["architecture"].get(kind)
        if architecture is None:
            held = " and ".join(self.card["architecture"]) or "nothing"
            raise WeightsError(
                f"weights {self.name!r} hold {held}, "
                f"wanted a network named {kind}. Run covidctnet train-{kind} first."
            )
        try:
            network = _outline(kind, architecture)
            state = load_safetensors(self._files[f"{kind}.safetensors"])
            network.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in state.items()},
                strict=True,
                assign=True,
            )
        except (TypeError, ValueError, RuntimeError, SafetensorError) as error:
            line = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"{kind} of weights {self.name!r} is not the architecture its card names "
                f"({line}). Get the folder anew."
            ) from None
        return network.eval()


def load_weights(name: str | Path) -> Weights:
    """Read weights and check every hash before any weights are parsed.

    Args:
        name: Name of shipped weights, or a folder with a ``card.json``.

    Raises:
        WeightsError: If the folder or a file is missing, a hash is wrong, the card is of another
            version or damaged, or the classes stand in another order than ours.
    """
    folder = _find(name)
    card = _read_card(folder)
    files: dict[str, bytes] = {}
    for file, entry in card["files"].items():
        try:
            files[file] = (folder / file).read_bytes()
        except OSError as error:
            raise WeightsError(
                f"weights {folder.name!r} lack a readable {file}, which their card names "
                f"({type(error).__name__}). Get the folder anew."
            ) from None
        found = hashlib.sha256(files[file]).hexdigest()
        if found != entry["sha256"]:
            raise WeightsError(
                f"{file} of weights {folder.name!r} is not what its card vouches for: SHA-256 "
                f"{str(entry['sha256'])[:12]} wanted, {found[:12]} found. Get the folder anew."
            )
    return Weights(folder.name, MappingProxyType(card), _digest(card), MappingProxyType(files))


def verify_weights(name: str | Path) -> Weights:
    """Load weights and build both networks: everything that can be wrong with them.

    Args:
        name: Name of shipped weights, or a folder.

    Raises:
        WeightsError: Whatever is wrong.
    """
    weights = load_weights(name)
    for kind in weights.card["architecture"]:
        weights._build(kind)
    return weights


def list_weights() -> tuple[Weights, ...]:
    """The shipped weights, by name."""
    return tuple(load_weights(folder) for folder in _shipped())


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


def save_weights(
    folder: Path, networks: Mapping[str, nn.Module], *, card: Mapping[str, Any]
) -> Weights:
    """Write weights and their card, each whole or not at all, the card last.

    A folder whose writing was cut off between two files is refused by `load_weights`: its card
    vouches for other bytes.

    Args:
        folder: Created when needed; weights that are there are replaced.
        networks: By name: ``denoiser``, ``classifier``, ``lungs``; those that there are.
        card: Everything about them but version, classes and hashes, which are filled in.

    Returns:
        What was written, read back.

    Raises:
        WeightsError: If the card names another architecture than the networks have.
        OSError: If the disk is full or not ours; nothing half-written stays.
    """
    _compare(networks, card["architecture"])
    _compare_channels(folder.name, card, hint="Describe the network that is saved.")
    blobs = {
        f"{kind}.safetensors": save_safetensors(
            {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        )
        for kind, network in networks.items()
    }
    files = {
        file: {"sha256": hashlib.sha256(blob).hexdigest(), "bytes": len(blob)}
        for file, blob in blobs.items()
    }
    full = {
        **card,
        "card_version": CARD_VERSION,
        "classes": [label.title for label in Label],
        "files": files,
    }
    text = json.dumps(full, indent=1, sort_keys=True) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[tuple[Path, Path]] = []
    try:
        for file, blob in {**blobs, CARD: text.encode()}.items():
            part = folder / f".{file}.{os.getpid()}.part"
            parts.append((part, folder / file))
            part.write_bytes(blob)
        for part, final in parts:
            part.replace(final)
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)
    for kind in _NETWORKS.keys() - networks.keys():
        # Weights that the new card does not know are no part of it any more.
        (folder / f"{kind}.safetensors").unlink(missing_ok=True)
    return load_weights(folder)


def import_keras(
    path: str | Path,
    *,
    gates: Gates | None = None,
    depth: int | None = None,
    size: int | None = None,
) -> BCDUNet | CNN3D:
    """A network from a file of Keras: `covidctnet.keras_import.import_keras`, which see."""
    from covidctnet import keras_import  # which writes with `save_weights`

    return keras_import.import_keras(path, gates=gates, depth=depth, size=size)


def _read_card(folder: Path) -> dict[str, Any]:
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
    named = {f"{kind}.safetensors" for kind in architecture.keys() & _NETWORKS.keys()}
    if files.keys() != named or architecture.keys() - _NETWORKS.keys():
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
    size = architecture.get("classifier", card["preprocessing"]).get("size")
    if size != card["preprocessing"]["size"] or not isinstance(card["synthetic_only"], bool):
        raise WeightsError(
            f"the card of weights {label!r} contradicts itself: slices of "
            f"{card['preprocessing']['size']} for a classifier of {size}, synthetic_only "
            f"{card['synthetic_only']!r}. Get the folder anew."
        )
    _compare_channels(label, card, hint="Get the folder anew.")
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


def _compare(networks: Mapping[str, nn.Module], architecture: Mapping[str, Any]) -> None:
    """Refuse to write a card that its own weights would contradict."""
    if architecture.keys() != networks.keys():
        raise WeightsError(
            f"the card describes {', '.join(architecture) or 'no network'}, the networks given "
            f"are {', '.join(networks)}. Describe each network that is saved, and no other."
        )
    for kind, network in networks.items():
        wanted = {k: v.shape for k, v in _outline(kind, architecture[kind]).state_dict().items()}
        if wanted != {k: v.shape for k, v in network.state_dict().items()}:
            raise WeightsError(
                f"the {kind} is not the architecture that the card names "
                f"({dict(architecture[kind])}). Describe the network that is saved."
            )


def _compare_channels(label: str, card: Mapping[str, Any], *, hint: str) -> None:
    """Refuse a card whose classifier reads more or fewer channels than it is given."""
    settings = ResidualSettings(**card.get("residual", {}))
    classifier = card["architecture"].get("classifier")
    if classifier is not None and classifier.get("channels", 1) != settings.channels:
        raise WeightsError(
            f"the card of weights {label!r} contradicts itself: classifier_input "
            f"{settings.classifier_input} has {settings.channels} channels, its classifier reads "
            f"{classifier.get('channels', 1)}. {hint}"
        )


def _outline(kind: str, architecture: Mapping[str, Any]) -> nn.Module:
    """A network without memory: no time goes into starting weights that are replaced at once."""
    with torch.device("meta"):
        return _NETWORKS[kind](**architecture)


def _digest(card: Mapping[str, Any]) -> str:
    """Of everything that decides an answer: the weights, their architecture, the preprocessing."""
    deciding = {k: card[k] for k in ("architecture", "classes") if k in card}
    if "residual" in card:
        deciding["residual"] = ResidualSettings(**card["residual"]).deciding()
    deciding["preprocessing"] = PreprocessSettings(**card["preprocessing"]).deciding()
    deciding |= {name: card[name] for name in CALIBRATED if name in card}
    deciding["files"] = {file: entry["sha256"] for file, entry in card["files"].items()}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]


def _find(name: str | Path) -> Path:
    """A shipped folder by its name, else a folder by its path."""
    for folder in _shipped():
        if folder.name == str(name):
            return folder
    folder = Path(name)
    if not folder.is_dir():
        known = ", ".join(f.name for f in _shipped()) or "none"
        raise WeightsError(
            f"no weights {folder.name!r}: neither shipped ({known}) nor a folder with a {CARD}"
        )
    return folder


def _shipped() -> list[Path]:
    root = weights_root()
    return sorted(f for f in root.iterdir() if (f / CARD).is_file()) if root.is_dir() else []
