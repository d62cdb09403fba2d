"""From a finished training run to weights with a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from covidctnet.classes import CHEST_CT
from covidctnet.systems.covidctnet.card import CALIBRATED
from covidctnet.systems.covidctnet.training.calibrate import Beside, calibrate
from covidctnet.systems.covidctnet.training.data import ResidualData, SliceData
from covidctnet.systems.covidctnet.training.lungs import LungData, LungTask
from covidctnet.systems.covidctnet.training.tasks import ClassifierTask, DenoiserTask
from covidctnet.systems.covidctnet.weights import save_weights
from covidctnet.training.work import describe_data, is_synthetic, one_preprocessing, origin

__all__ = ["export_classifier", "export_denoiser", "export_lungs"]


def export_denoiser(
    task: DenoiserTask,
    data: SliceData,
    folder: Path,
    metrics: Mapping[str, Any],
    *,
    command: str,
    config: Mapping[str, Any],
    attribution: str = "",
) -> None:
    """Write ``denoiser.safetensors`` and a card into a folder."""
    work = data.work
    studies = [s for split in ("denoiser_train", "denoiser_val") for s in work.studies(split)]
    card = {
        **origin(),
        "architecture": {"denoiser": task.architecture},
        "preprocessing": one_preprocessing(studies),
        "synthetic_only": task.start.get("synthetic_only", True)
        and all(map(is_synthetic, studies)),
        "training": {
            # Nothing is taken over from a classifier.
            **{
                f"start: {stage}": told
                for stage, told in task.start.get("training", {}).items()
                if not stage.endswith("classifier")
            },
            "denoiser": {
                "command": command,
                "data": describe_data(work, studies, attribution),
                "config": config,
            },
        },
        "metrics": {"denoiser": dict(metrics)},
    }
    save_weights(folder, {"denoiser": task.network}, card=card)


def export_classifier(
    task: ClassifierTask,
    data: ResidualData,
    folder: Path,
    metrics: Mapping[str, Any],
    *,
    command: str,
    config: Mapping[str, Any],
    attribution: str = "",
) -> None:
    """Write the classifier beside the denoiser it was trained with."""
    studies = data.taught()
    # Drawn examples of scans that taught the classifier cannot say how sure it may be of others:
    # covidctnet cross-fit fits that on scans that taught nothing.
    beside = calibrate(task.network, data) if data.examples is None else Beside({}, {}, {})
    old = {k: v for k, v in data.weights.card.items() if k not in CALIBRATED}
    networks = {**old["architecture"], "classifier": task.architecture}
    networks.pop("likeness", None)  # of another classifier
    card = {
        **old,
        **origin(),
        **beside.card,
        "architecture": {**networks, **beside.architecture},
        "residual": data.settings.deciding(),
        "synthetic_only": bool(old["synthetic_only"]) and all(map(is_synthetic, studies)),
        "training": {
            **old["training"],
            "classifier": {
                "command": command,
                "data": describe_data(
                    data.work, studies, attribution, drawn=data.examples is not None
                ),
                "config": {**config, "residual_precision": data.precision},
            },
        },
        "metrics": {**old["metrics"], "classifier": dict(metrics)},
    }
    kept = {"denoiser": data.weights.denoiser()}
    if "lungs" in networks:
        kept["lungs"] = data.weights.lungs()
    save_weights(folder, {**kept, "classifier": task.network, **beside.networks}, card=card)


def export_lungs(
    task: LungTask,
    data: LungData,
    folder: Path,
    metrics: Mapping[str, Any],
    *,
    command: str,
    config: Mapping[str, Any],
    attribution: str = "",
) -> None:
    """Write ``lungs.safetensors`` and a card into a folder."""
    told: dict[str, Any] = {"patients": data.patients}
    if data.pairs is None:
        names = ["denoiser_train", "denoiser_val"]
        if data.painted:
            found = [s for name in names for s in data.work.studies(name)]
            studies = [s for s in found if s.label is CHEST_CT.CONTROL]
            told |= {"painted": data.painted}
        else:
            studies = [s for name in (*names, "train", "val") for s in data.work.studies(name)]
        told |= describe_data(data.work, studies, attribution, drawn=data.painted > 0)
    else:
        told |= {"attribution": attribution} if attribution else {}
        studies = []
    card = {
        **origin(),
        "architecture": {"lungs": task.architecture},
        "preprocessing": asdict(data.settings),
        "synthetic_only": bool(studies) and all(map(is_synthetic, studies)),
        **({"segmentation": "coarse"} if data.painted else {}),
        "training": {"lungs": {"command": command, "data": told, "config": config}},
        "metrics": {"lungs": dict(metrics)},
    }
    save_weights(folder, {"lungs": task.network}, card=card)
