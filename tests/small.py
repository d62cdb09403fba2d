"""Patients and weights that are small enough to train and classify in a test."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.trust.appearance import FEATURES, VERSION
from covidctnet.trust.out_of_distribution import OutOfDistributionDetector
from covidctnet.weights import load_weights, save_weights
from covidctnet.weights.card import ENVELOPE
from tests.io.series import an_affine, write
from tests.volumes import a_chest

SIZE, DEPTH = 40, 34
ARCHITECTURE = {
    "denoiser": {"base": 2, "depth": 1, "bidirectional": True, "gates": "sigmoid"},
    "classifier": {"base": 1, "depth": DEPTH, "size": SIZE},
}
PREPROCESSING = {
    "spacing_mm": 4.0,
    "low_hu": -1000.0,
    "high_hu": 400.0,
    "size": SIZE,
    "pad_square": True,
}
SPACING = (6.0, 6.0, 6.0)


def tiny_weights(folder: Path) -> Path:
    """Weights of networks that have learned nothing."""
    torch.manual_seed(0)
    card = {
        "architecture": ARCHITECTURE,
        "preprocessing": PREPROCESSING,
        "synthetic_only": True,
    }
    denoiser = BCDUNet(**ARCHITECTURE["denoiser"])
    classifier = CNN3D(**ARCHITECTURE["classifier"])
    save_weights(folder, {"denoiser": denoiser, "classifier": classifier}, card=card)
    return folder


def calibrated_weights(folder: Path) -> Path:
    """The same with all that is fitted once the classifier is there; nothing is in distribution."""
    torch.manual_seed(1)
    weights = load_weights(tiny_weights(folder))
    networks = {
        "denoiser": weights.denoiser(),
        "classifier": weights.classifier(),
        "out_of_distribution": OutOfDistributionDetector(len(FEATURES), 3),
    }
    card = {k: weights.card[k] for k in ("preprocessing", "synthetic_only")}
    card["architecture"] = {
        **weights.card["architecture"],
        "out_of_distribution": {"features": len(FEATURES), "classes": 3},
    }
    card["calibration"] = {
        "temperature": 2.0,
        "sets": {"coverage": 0.9, "threshold": 0.3, "n": 40},
    }
    card["out_of_distribution"] = {"limit": 1e-6, "scans": 40, "version": VERSION}
    card["lesion_volume"] = {"threshold": 0.0, "patients": 10}
    save_weights(folder, networks, card=card)
    return folder


def write_chest(folder: Path, patient: str, *, sick: bool = False, name: str = "") -> Path:
    """A chest of ellipsoids as a DICOM series of 25 slices; different for every patient.

    With a name of its own it is the same chest under other UIDs.
    """
    volume, lungs = a_chest((25, 50, 60), 6.0)
    scan = np.array(volume.array)
    rng = np.random.default_rng(list(patient.encode()))
    scan += rng.integers(-15, 15, scan.shape, dtype=np.int16)
    if sick:
        scan[8:14, 20:32, 10:20][lungs[8:14, 20:32, 10:20]] = -500
    write(folder, scan, affine=an_affine(SPACING), study=name or patient, patient=name or patient)
    return folder


def write_cohort(root: Path, controls: int = 8, others: int = 4) -> Path:
    """A labelled archive of such chests."""
    for label, count in (("control", controls), ("Covid-19", others), ("CAP", others)):
        for number in range(count):
            name = f"{label.lower()}{number}"
            write_chest(root / label / name, name, sick=label != "control")
    return root


def with_masks(root, masks):
    """A sick and a healthy patient, and masks of lesions for those named."""
    rows = ["study,patient,label,lesions"]
    for name, label in (("sick", "CAP"), ("well", "Control")):
        write_chest(root / label / name, name, sick=name == "sick")
        file = f"truth/{name}.nii" if name in masks else ""
        rows.append(f"{label}/{name},{name},{label},{file}")
        if file:
            (root / "truth").mkdir(exist_ok=True)
            affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ an_affine(SPACING)
            image = nib.Nifti1Image(masks[name], affine)
            image.header.set_sform(affine, 1)
            nib.save(image, root / file)
    (root / "cohort.csv").write_text("\n".join(rows) + "\n")
    return root


def flat_card(folder):
    """The card of a folder with its settings side by side with the rest."""
    card = json.loads((folder / "card.json").read_text())
    classes, settings = card.pop("classes"), card.pop("settings")
    return {**card, **settings, "classes": classes["titles"], "normal": classes["normal"]}


def put_card(folder, card):
    """Write a card as `flat_card` gave it, whatever was changed in it."""
    top = {k: v for k, v in card.items() if k in ENVELOPE}
    top["classes"] = {"titles": card["classes"], "normal": card.get("normal", "Control")}
    top["settings"] = {k: v for k, v in card.items() if k not in (*ENVELOPE, "normal", "settings")}
    (folder / "card.json").write_text(json.dumps(top))
