"""Exports and tables as hospitals give them, small."""

import csv
import datetime

import numpy as np
from openpyxl import Workbook

from tests.io import series

WORDS = ("Normal", "COVID-19", "CAP")


def export(root, count=6, *, flat=True, **changes):
    """Studies of three hospitals, one a patient; `changes` of a header by the study's number."""
    for n in range(count):
        folder = root if flat else root / f"p{n}" / "ct"
        one_study(folder, n, **changes.get(f"study{n}", {}))
    return root


def one_study(folder, n, *, name="study", **header):
    values = {
        "PatientName": f"Canary{n}^Eve",
        "PatientID": f"00{70 + n}",
        "PatientSex": "FM"[n % 2],
        "PatientBirthDate": f"19{50 + n}0203",
        "AccessionNumber": f"0{900 + n}",
        "StudyDate": f"202003{10 + n}",
        "StudyTime": "101500.5",
        "InstitutionName": f"Klinik {'ABC'[n % 3]}",
        "Manufacturer": "GE",
        "ManufacturerModelName": "Revolution",
    } | header

    def change(ds, _):
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    scan = np.zeros((3, 4, 4), np.int16) + n
    series.write(folder, scan, study=f"{name}{n}", change=change, name=f"I{n:02d}_" + "{:04d}")


def good_rows(count=6):
    head = ["Accession", "Diagnosis", "Smoker", "CRP"]
    return [head, *([f"0{900 + n}", WORDS[n % 3], "yn"[n % 2], 1.5 * n] for n in range(count))]


def write_xlsx(path, rows, *, merge=(), sheets=()):
    book = Workbook()
    page = book.active
    page.title = "Labels"
    for row in rows:
        page.append(row)
    for ref in merge:
        page.merge_cells(ref)
    for name in sheets:
        book.create_sheet(name).append(["nothing"])
    book.properties.created = datetime.datetime(2020, 1, 1)
    book.save(path)
    return path


def write_csv(path, rows, separator=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    return path
