"""The shortcut baseline of the same patients: what size, brightness, border and format tell.

Of a scan the middle slice is looked at, of a radiograph all of it. One logistic regression learns
from the patients that teach and choose the networks, and scores those held back.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from covidctnet.classes import CHEST_CT
from covidctnet.files import write_whole
from covidctnet.io.child import PictureChild
from covidctnet.slicewise.shortcut import fit_shortcut, shortcut_features
from pipelines.experiments.systems.answers import Answers
from pipelines.experiments.systems.archives import Patient

__all__ = ["SHORTCUTS", "read_shortcut", "write_shortcuts"]

# By what is looked at, the name on the page.
SHORTCUTS: Mapping[str, str] = {
    "ct": "shortcut baseline of scans",
    "radiograph": "shortcut baseline of radiographs",
}


def write_shortcuts(phantoms: Path, patients: Mapping[str, Patient], target: Path) -> None:
    """Score the patients held back, and write their probabilities by pseudonym."""
    with (phantoms / "radiographs/images.csv").open(newline="", encoding="utf-8") as file:
        pictures = {row["patient"]: row["file"] for row in csv.DictReader(file)}
    files = {
        "ct": {p: _middle(phantoms / one.label.title / one.name) for p, one in patients.items()},
        "radiograph": {
            p: phantoms / "radiographs" / pictures[one.name] for p, one in patients.items()
        },
    }
    told: dict[str, dict[str, list[float]]] = {}
    for kind, of_patient in files.items():
        with PictureChild() as read:
            features = shortcut_features([read(of_patient[p]) for p in patients])
        labels = np.array([int(one.label) for one in patients.values()])
        tested = np.array([one.split == "test" for one in patients.values()])
        model = fit_shortcut(features[~tested], labels[~tested])
        scores = model.predict_proba(features[tested])
        names = [p for p, is_tested in zip(patients, tested, strict=True) if is_tested]
        told[kind] = dict(zip(names, scores.tolist(), strict=True))
    write_whole(target, json.dumps(told, indent=1) + "\n")


def read_shortcut(file: Path, kind: str, patients: Mapping[str, Patient]) -> Answers:
    """What `write_shortcuts` wrote of ``ct`` or ``radiograph``."""
    told = json.loads(file.read_text(encoding="utf-8"))[kind]
    names = sorted(told)
    there = {name: patients[name] for name in names}
    return Answers(SHORTCUTS[kind], CHEST_CT, there, np.array([told[n] for n in names]), {})


def _middle(folder: Path) -> Path:
    slices = sorted(folder.iterdir())
    return slices[len(slices) // 2]
