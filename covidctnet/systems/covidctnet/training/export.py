"""What a finished training run of CovidCTNet writes: its networks, and its part of their card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import nn

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.store import StoredStudy
from covidctnet.systems.covidctnet.card import FITTED
from covidctnet.systems.covidctnet.training.calibrate import Fitted, calibrate
from covidctnet.systems.covidctnet.training.data import ResidualData, SliceData
from covidctnet.systems.covidctnet.training.lungs import LungData, LungTask
from covidctnet.systems.covidctnet.training.tasks import ClassifierTask, DenoiserTask
from covidctnet.training.recipe import Trained
from covidctnet.training.seeded import SeededTask
from covidctnet.training.work import describe_data, is_synthetic, one_preprocessing

__all__ = ["export_classifier", "export_denoiser", "export_lungs"]


def export_denoiser(task: DenoiserTask, data: SliceData, attribution: str) -> Trained:
    """The denoiser alone."""
    studies = [s for split in ("denoiser_train", "denoiser_val") for s in data.work.studies(split)]
    card = {
        "architecture": {"denoiser": task.architecture},
        "preprocessing": one_preprocessing(studies),
        "synthetic_only": task.start.get("synthetic_only", True) and _all_synthetic(studies),
        # Nothing is taken over from a classifier.
        "training": _started(task, without="classifier"),
    }
    taught = describe_data(data.work, studies, attribution)
    return Trained({"denoiser": task.network}, card, taught)


def export_classifier(task: ClassifierTask, data: ResidualData, attribution: str) -> Trained:
    """The classifier beside the denoiser it was trained with."""
    studies = data.taught()
    is_drawn = data.examples is not None
    # Drawn examples of scans that taught the classifier cannot say how sure it may be of others:
    # covidctnet cross-fit fits that on scans that taught nothing.
    fitted = Fitted({}, {}, {}) if is_drawn else calibrate(task.network, data)
    old = {k: v for k, v in data.weights.card.items() if k not in FITTED}
    architecture = {**old["architecture"], "classifier": task.architecture}
    architecture.pop("out_of_distribution", None)  # of another classifier
    card = {
        **old,
        **fitted.card,
        "architecture": {**architecture, **fitted.architecture},
        "residual": data.settings.deciding(),
        "synthetic_only": bool(old["synthetic_only"])
        and task.start.get("synthetic_only", True)
        and _all_synthetic(studies),
        "training": {**old["training"], **_started(task)},
    }
    networks: dict[str, nn.Module] = {"denoiser": data.weights.denoiser()}
    if "lungs" in architecture:
        networks["lungs"] = data.weights.lungs()
    taught = describe_data(data.work, studies, attribution, drawn=is_drawn)
    networks |= {"classifier": task.network, **fitted.networks}
    return Trained(networks, card, taught, {"residual_precision": data.precision})


def export_lungs(task: LungTask, data: LungData, attribution: str) -> Trained:
    """The lung network alone."""
    description: dict[str, Any] = {"patients": data.patients}
    studies: list[StoredStudy] = []
    if data.pairs is None:
        names = ["denoiser_train", "denoiser_val", *([] if data.painted else ["train", "val"])]
        studies = [s for name in names for s in data.work.studies(name)]
        if data.painted:
            studies = [s for s in studies if s.label is CHEST_CT.CONTROL]
            description |= {"painted": data.painted}
        description |= describe_data(data.work, studies, attribution, drawn=data.painted > 0)
    elif attribution:
        description |= {"attribution": attribution}
    card = {
        "architecture": {"lungs": task.architecture},
        "preprocessing": asdict(data.settings),
        "synthetic_only": bool(studies) and _all_synthetic(studies),
        **({"segmentation": "coarse"} if data.painted else {}),
    }
    return Trained({"lungs": task.network}, card, description)


def _started(task: SeededTask, *, without: str = "none") -> dict[str, Any]:
    """Training of the weights that a task started from: what they have seen counts as seen.

    Args:
        task: Which knows their card.
        without: Stages whose names end so have left nothing in the network.
    """
    return {
        f"start: {stage}": entry
        for stage, entry in task.start.get("training", {}).items()
        if not stage.endswith(without)
    }


def _all_synthetic(studies: Sequence[StoredStudy]) -> bool:
    return all(map(is_synthetic, studies))
