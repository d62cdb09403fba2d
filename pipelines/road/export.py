"""Make of phantoms what a researcher has: one flat export, a spreadsheet of labels, readings.

usage: python -m pipelines.road.export PHANTOMS FOLDER [--external SITE]

Every scanner of the phantoms becomes a hospital. ``FOLDER/export`` holds all slices of all
hospitals in one folder, under names that tell nothing; ``FOLDER/labels.xlsx`` a line for each
examination, with its accession number and what a clinician would write; ``FOLDER/readers.csv`` what
three readers said, who are drawn: each is wrong about a share of the examinations.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import openpyxl
import pydicom

# What the table of a hospital says in place of the names of the classes.
WORDS = {"Control": "normal", "Covid-19": "COVID", "CAP": "Pneumonia"}
READERS = {"reader A": 0.10, "reader B": 0.20, "reader C": 0.30}


def export(phantoms: Path, folder: Path, *, external: str, seed: int = 0) -> int:
    """Write export, labels and readings; the number of slices.

    Args:
        phantoms: A folder of ``covidctnet phantom``.
        folder: New or empty.
        external: The scanner whose hospital is the external test.
        seed: Of ages, sexes, order of the lines and mistakes of the readers.
    """
    rng = np.random.default_rng(seed)
    with (phantoms / "cohort.csv").open(newline="") as file:
        patients = list(csv.DictReader(file))
    sites = sorted({row["site"] for row in patients})
    hospital = {site: f"Hospital {chr(ord('A') + i)}" for i, site in enumerate(sites)}
    if external not in hospital:
        raise SystemExit(f"expected --external to be one of {', '.join(sites)}, got {external!r}")
    slices = 0
    lines = []
    readings = []
    (folder / "export").mkdir(parents=True)
    for row, number in zip(patients, rng.permutation(len(patients)), strict=True):
        accession = f"{700_000 + 37 * int(number)}"
        age = int(rng.integers(25, 85))
        sex = str(rng.choice(["F", "M"]))
        for path in sorted((phantoms / row["study"]).glob("*.dcm")):
            image = pydicom.dcmread(path)
            image.AccessionNumber = accession
            image.PatientID = f"{31_000_000 + 811 * int(number)}"
            image.PatientName = f"Phantom^{number}"
            image.PatientAge = f"{age:03d}Y"
            image.PatientSex = sex
            image.StudyDate = f"2020{1 + number % 12:02d}{1 + number % 28:02d}"
            image.InstitutionName = hospital[row["site"]]
            slices += 1
            image.save_as(folder / "export" / f"{slices:06d}.dcm")
        split = "external" if row["site"] == external else ""
        lines.append([accession, WORDS[row["label"]], split, str(rng.choice(["yes", "no"]))])
        for reader, share in READERS.items():
            wrong = [title for title in WORDS if title != row["label"]]
            said = rng.choice(wrong) if rng.random() < share else row["label"]
            readings.append([reader, accession, str(said)])
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "labels"
    for line in [["Accession number", "Diagnosis", "Split", "Smoker"], *sorted(lines)]:
        sheet.append(line)
    book.save(folder / "labels.xlsx")
    with (folder / "readers.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["reader", "accession", "label"], *sorted(readings)])
    return slices


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("phantoms", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--external", default="fjord", help="scanner of the external hospital")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    count = export(asked.phantoms, asked.folder, external=asked.external, seed=asked.seed)
    sys.stdout.write(f"{count} slices in {asked.folder}/export\n")
