"""Weights as safetensors with a JSON card that says what they are, and proves it."""

from __future__ import annotations

import hashlib
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

from covidctnet._version import __version__
from covidctnet.classes import Classes
from covidctnet.errors import WeightsError
from covidctnet.registry import find_system
from covidctnet.weights.card import CARD, PATIENTS, card_text, classes_of, digest, read_card
from covidctnet.weights.model_card import MODEL_CARD, weights_model_card
from covidctnet.weights.shipped import weights_root

__all__ = [
    "Weights",
    "list_weights",
    "load_weights",
    "save_weights",
    "verify_weights",
]


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

    @property
    def classes(self) -> Classes:
        """The classes that they tell apart."""
        return classes_of(self.card)

    def provenance(self, device: torch.device, precision: str) -> dict[str, Any]:
        """What an answer by these weights must carry to be repeated.

        Args:
            device: Where the networks run.
            precision: Of the networks.
        """
        return {
            "covidctnet": __version__,
            "torch": torch.__version__,
            "device": str(device),
            "precision": precision,
            "weights": self.name,
            "weights_digest": self.digest,
            "card": dict(self.card),
        }

    @property
    def trained_on(self) -> str:
        """What the networks were trained on, in words."""
        if self.card["synthetic_only"]:
            return "synthetic patients (phantoms) only"
        stages = [
            (stage, kind)
            for stage in self.card.get("training", {})
            for kind in self._studies(stage)
        ]
        kinds = [
            # The denoiser's patients are Controls, whatever the card says.
            "real Controls" if stage.endswith("denoiser") and kind == PATIENTS else kind
            for stage, kind in sorted(stages, key=_order)
        ]
        return ", ".join(dict.fromkeys(kinds)) or "what the card does not describe"

    @property
    def caveat(self) -> str:
        """What must be said with every answer; empty where nothing must."""
        nothing = "the probabilities mean nothing for real patients."
        if self.card["synthetic_only"]:
            return f"These weights have only ever seen synthetic patients (phantoms): {nothing}"
        studies = self._studies("classifier")
        if studies and PATIENTS not in studies:
            return (
                "These weights have seen no real patient with Covid-19 or pneumonia, only "
                f"phantoms and lesions drawn into real lungs: {nothing}"
            )
        return ""

    def _studies(self, stage: str) -> Mapping[str, int]:
        """Studies by kind that a stage was trained on, as far as the card tells."""
        data = self.card.get("training", {}).get(stage, {}).get("data", {})
        studies: Mapping[str, int] = data.get("studies_by_kind", {})
        return studies

    def network(self, kind: str) -> nn.Module:
        """A network by its kind in the card, in evaluation mode, on the CPU.

        Raises:
            WeightsError: If there is none, it does not fit the card's architecture, or a weight is
                NaN or infinite.
        """
        architecture = self.card["architecture"].get(kind)
        if architecture is None:
            held = " and ".join(self.card["architecture"]) or "nothing"
            raise WeightsError(
                f"weights {self.name!r} hold {held}, "
                f"expected a network named {kind}. Train that stage first."
            )
        try:
            network = _outline(self.card["system"], kind, architecture)
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
                f"({line}). Copy the folder again."
            ) from None
        for name, tensor in state.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise WeightsError(
                    f"{kind} of weights {self.name!r}: expected finite numbers, got NaN or "
                    f"infinity in {name}. Training has diverged, or the file is damaged: train "
                    "again with a smaller learning rate, or copy the folder again."
                )
        return network.eval()


def _order(stage_and_kind: tuple[str, str]) -> tuple[bool, bool]:
    """The classifier last, what a network started from before it."""
    stage, _ = stage_and_kind
    return stage.endswith("classifier"), not stage.startswith("start")


def load_weights(name: str | Path) -> Weights:
    """Read weights and check every hash before any weights are parsed.

    Args:
        name: Name of shipped weights, or a folder with a ``card.json``.

    Raises:
        WeightsError: If the folder or a file is missing, a hash is wrong, the card is of another
            version or damaged, or the classes stand in another order than ours.
    """
    folder = _find(name)
    card = read_card(folder)
    files: dict[str, bytes] = {}
    for file, entry in card["files"].items():
        path = folder / entry.get("file", file)
        try:
            if not path.is_file():
                # A pipe would never be opened, a device never end.
                raise FileNotFoundError
            files[file] = path.read_bytes()
        except OSError as error:
            raise WeightsError(
                f"weights {folder.name!r} lack a readable {file}, which their card names "
                f"({type(error).__name__}). Copy the folder again."
            ) from None
        actual = hashlib.sha256(files[file]).hexdigest()
        if actual != entry["sha256"]:
            raise WeightsError(
                f"{file} of weights {folder.name!r} is not what its card vouches for: SHA-256 "
                f"{str(entry['sha256'])[:12]} expected, {actual[:12]} found. Copy the folder again."
            )
    kind = find_system(card["system"]).weights()
    return kind(folder.name, MappingProxyType(card), digest(card), MappingProxyType(files))


def verify_weights(name: str | Path) -> Weights:
    """Load weights and build both networks: everything that can be wrong with them.

    Args:
        name: Name of shipped weights, or a folder.

    Raises:
        WeightsError: Whatever is wrong.
    """
    weights = load_weights(name)
    for kind in weights.card["architecture"]:
        weights.network(kind)
    return weights


def list_weights() -> tuple[Weights, ...]:
    """The shipped weights, by name."""
    return tuple(load_weights(folder) for folder in _shipped())


def save_weights(
    folder: Path, networks: Mapping[str, nn.Module], *, card: Mapping[str, Any]
) -> Weights:
    """Write weights, their model card and their card, each whole or not at all, the card last.

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
    system = find_system(card.get("system", "covidctnet"))
    classes = system.classes
    card = {
        "system": system.name,
        "classes": list(classes.titles),
        "normal": classes.normal,
        **card,
    }
    _compare(system.name, networks, card["architecture"])
    system.check(folder.name, card)
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
    card = {**card, "files": files}
    text = card_text(card)
    own = Weights(folder.name, card, digest(card), {})
    model_card = weights_model_card(card, digest=own.digest, caveat=own.caveat)
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[tuple[Path, Path]] = []
    try:
        for file, blob in {**blobs, MODEL_CARD: model_card.encode(), CARD: text.encode()}.items():
            part = folder / f".{file}.{os.getpid()}.part"
            parts.append((part, folder / file))
            part.write_bytes(blob)
        for part, final in parts:
            part.replace(final)
    finally:
        for part, _ in parts:
            part.unlink(missing_ok=True)
    for kind in system.networks - networks.keys():
        # Weights that the new card does not know are no part of it any more.
        (folder / f"{kind}.safetensors").unlink(missing_ok=True)
    return load_weights(folder)


def _compare(
    system: str, networks: Mapping[str, nn.Module], architecture: Mapping[str, Any]
) -> None:
    """Refuse to write a card that its own weights would contradict."""
    if architecture.keys() != networks.keys():
        raise WeightsError(
            f"the card describes {', '.join(architecture) or 'no network'}, the networks given "
            f"are {', '.join(networks)}. Describe each network that is saved, and no other."
        )
    for kind, network in networks.items():
        expected = {
            k: v.shape for k, v in _outline(system, kind, architecture[kind]).state_dict().items()
        }
        if expected != {k: v.shape for k, v in network.state_dict().items()}:
            raise WeightsError(
                f"the {kind} is not the architecture that the card names "
                f"({dict(architecture[kind])}). Describe the network that is saved."
            )


def _outline(system: str, kind: str, architecture: Mapping[str, Any]) -> nn.Module:
    """A network without memory: no time goes into starting weights that are replaced at once."""
    with torch.device("meta"):
        return find_system(system).build(kind, architecture)


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
