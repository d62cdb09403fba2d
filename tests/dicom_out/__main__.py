"""Writes docs/measured/dicom.md: DICOM results of many sources, checked by other programs.

    python -m tests.dicom_out FOLDER ...

with folders of phantoms and of real scans; the catalogue of hard inputs is always there.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import metadata
from itertools import chain
from pathlib import Path

from covidctnet import find_studies
from covidctnet.errors import StudyError
from covidctnet.io import Study
from tests.catalogue.cases import Truth, every_case
from tests.dicom_out import checks
from tests.dicom_out.judge import Judged, judge

PAGE = Path(__file__).resolve().parents[2] / "docs" / "measured" / "dicom.md"
# Every so many of the catalogue's cases that are read; the others differ in what is refused.
EVERY = 4
HEADER = """\
# DICOM results, checked

Made by `make dicom-results DATA="FOLDER ..."`.

Answers with seeded lungs, lesions and a region, on grids of their own, to sources of many kinds;
their SEG, SR and secondary capture were written and asked:

- {tools}: lines of errors.
- The tables of PS3.3 that highdicom carries: elements of type 1 and 2 of mandatory modules.
- SimpleITK for the pixels of the SEG, pydicom for the places: every voxel of every source image
  against its own place in the patient, computed from its header alone. Voxels in the middle between
  two of a grid may have the label of either and are left out.
{dcmqi}
*Refused*: sources whose UIDs or patient id break the standard (`BAD_IDENTITY`), as a PACS would
drop results that refer to them. Scans that are not read at all have no results and are not here.

| sources | studies | refused | objects | errors | voxels | wrong |
|---|---|---|---|---|---|---|
"""


def _catalogue() -> Iterator[tuple[str, Study]]:
    cases = [case for case in every_case() if case.format == "dicom" and not case.options]
    for case in cases[::EVERY]:
        with tempfile.TemporaryDirectory() as folder:
            if isinstance(case.build(Path(folder)), Truth):
                for study in find_studies(folder):
                    yield "catalogue of hard inputs", study


def _folders(paths: Sequence[Path]) -> Iterator[tuple[str, Study]]:
    for path in paths:
        for study in find_studies(path):
            if study.format == "dicom":
                yield path.name, study


def _judged(study: Study, seed: int, dcmqi: bool) -> Judged | None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return judge(study, Path(folder), seed=seed, dcmqi=dcmqi)
        except StudyError:
            return None


def main(paths: Sequence[str]) -> int:
    """Write the page; 1 where something is wrong."""
    dcmqi = checks.program("segimage2itkimage") is not None
    tools = f"`dciodvfy` (dicom3tools {metadata.version('dicom3tools')})"
    line = (
        "- dcmqi (ITK and dcmtk): every marked voxel at the same place, within 0.11 mm.\n"
        if dcmqi
        else ""
    )
    rows: dict[str, list[Judged]] = {}
    studies = chain(_folders([Path(path) for path in paths]), _catalogue())
    for seed, (name, study) in enumerate(studies):
        if (one := _judged(study, seed, dcmqi)) is not None:
            rows.setdefault(name, []).append(one)
    lines = []
    for name, found in rows.items():
        codes = Counter(one.code for one in found if one.code)
        refused = ", ".join(f"{n} {code}" for code, n in codes.items()) or "0"
        for one in found:
            for error, count in Counter(one.errors).most_common(5):
                sys.stderr.write(f"{name}: {count} x {error}\n")
        lines.append(
            f"| {name} | {len(found)} | {refused} | {sum(one.objects for one in found)} | "
            f"{sum(len(one.errors) for one in found)} | {sum(one.voxels for one in found):,} | "
            f"{sum(one.wrong for one in found)} |"
        )
    PAGE.write_text(HEADER.format(tools=tools, dcmqi=line) + "\n".join(lines) + "\n")
    every = [one for found in rows.values() for one in found]
    return int(any(one.errors or one.wrong for one in every))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
