"""The cohort as archives: without those held back, with Controls for a denoiser, and these alone.

An archive reads nothing outside of its folder, so each has the files of its patients as links to
the same bytes (hard links), which take no room.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread

from covidctnet.classes import CHEST_CT, Label
from covidctnet.cohort.pseudonyms import FORMER
from covidctnet.files import table_text, write_whole
from pipelines.experiments.systems.plan import Plan

__all__ = ["Patient", "make_archives", "read_patients"]


@dataclass(frozen=True)
class Patient:
    """What is known of one phantom.

    Attributes:
        name: In the cohort.
        label: What it has.
        site: Scanner and X-ray unit.
        split: ``train``, ``val`` or ``test``.
        denoiser: Its split where a denoiser learns from Controls of its own; the same otherwise.
        lesions_percent: Of its lungs that ground glass and consolidation fill.
        traits: Of its scan, as evaluations group by: ``slice_mm`` and ``kernel``.
    """

    name: str
    label: Label
    site: str
    split: str
    denoiser: str
    lesions_percent: float
    traits: Mapping[str, str | float]

    @property
    def pseudonym(self) -> str:
        """By which answers name it."""
        return FORMER.patient(self.name)


def make_archives(plan: Plan, phantoms: Path, folder: Path) -> None:
    """Divide the cohort, and write ``patients.json`` and the archives.

    Args:
        plan: How.
        phantoms: That ``covidctnet phantom --radiographs`` wrote.
        folder: Receives ``scans``, ``scans_denoiser``, ``scans_test``, ``radiographs`` and
            ``radiographs_test``; what is there is replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scans, pictures = _rows(phantoms / "cohort.csv"), _rows(phantoms / "radiographs/images.csv")
    splits: dict[str, str] = {}
    known = [row for row in scans if row["site"] not in plan.cohort.unseen]
    for label in CHEST_CT:
        own = [row["patient"] for row in known if CHEST_CT.parse(row["label"]) is label]
        splits |= plan.division.splits(own)
    denoisers = dict(splits)
    controls = [r["patient"] for r in known if CHEST_CT.parse(r["label"]) is CHEST_CT.CONTROL]
    denoisers |= plan.division.denoisers([p for p in controls if splits[p] == "train"])
    for row in scans:
        row["split"] = splits.get(row["patient"], "test")
    for row in pictures:
        row["split"] = splits.get(row["patient"], "test")
    learning = [row for row in scans if row["split"] != "test"]
    tested = [row for row in scans if row["split"] == "test"]
    _scans(phantoms, folder / "scans", learning)
    apart = [{**row, "split": denoisers[row["patient"]]} for row in learning]
    _scans(phantoms, folder / "scans_denoiser", apart)
    _scans(phantoms, folder / "scans_test", tested)
    for name, is_test in (("radiographs", False), ("radiographs_test", True)):
        rows = [row for row in pictures if (row["split"] == "test") is is_test]
        _link(phantoms / "radiographs", folder / name, [row["file"] for row in rows])
        _write(folder / name / "images.csv", rows)
    people = [_told(phantoms, row, denoisers.get(row["patient"], "test")) for row in scans]
    write_whole(folder / "patients.json", json.dumps(people, indent=1) + "\n")


def read_patients(folder: Path) -> dict[str, Patient]:
    """What `make_archives` wrote of the patients, by pseudonym."""
    told = json.loads((folder / "patients.json").read_text(encoding="utf-8"))
    people = [Patient(**{**one, "label": CHEST_CT.parse(one["label"])}) for one in told]
    return {patient.pseudonym: patient for patient in people}


def _told(phantoms: Path, row: Mapping[str, str], denoiser: str) -> dict[str, Any]:
    name = row["patient"]
    truth = json.loads((phantoms / "truth" / name / "phantom.json").read_text(encoding="utf-8"))
    found = truth["findings"]
    first = dcmread(min((phantoms / row["study"]).iterdir()), stop_before_pixels=True)
    return {
        "name": name,
        "label": row["label"],
        "site": row["site"],
        "split": row["split"],
        "denoiser": denoiser,
        "lesions_percent": found["ground_glass_percent"] + found["consolidation_percent"],
        "traits": {
            "slice_mm": float(first.SpacingBetweenSlices),
            "kernel": str(first.ConvolutionKernel),
        },
    }


def _scans(phantoms: Path, target: Path, rows: Sequence[Mapping[str, str]]) -> None:
    _link(phantoms, target, [row[name] for row in rows for name in ("study", "lesions")])
    _write(target / "cohort.csv", rows)


def _link(source: Path, target: Path, names: Iterable[str]) -> None:
    """The same files under another folder."""
    for name in names:
        there = source / name
        files = [p for p in sorted(there.rglob("*")) if p.is_file()] if there.is_dir() else [there]
        for file in files:
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, place)
            except OSError:  # a disk without such links
                shutil.copyfile(file, place)


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(table: Path, rows: Sequence[Mapping[str, str]]) -> None:
    head = list(rows[0])
    write_whole(table, table_text([head, *([row[name] for name in head] for row in rows)]))
