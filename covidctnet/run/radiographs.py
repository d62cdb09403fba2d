"""Labelled radiographs to evaluate: ``images.csv``, ``cohort.csv``, or a folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covidctnet.classes import Classes
from covidctnet.cohort.archive import CohortStudy, read_cohort
from covidctnet.errors import CohortError
from covidctnet.radiograph.find import find_radiographs
from covidctnet.slicewise.table import read_images

__all__ = ["labelled_radiographs"]


def labelled_radiographs(roots: Sequence[Path], classes: Classes) -> tuple[CohortStudy, ...]:
    """Read folders of labelled radiographs.

    A folder with ``cohort.csv`` is read as an archive of scans is; any other as training reads it:
    with ``images.csv``, or with a folder for each class, in which files are named ``PATIENT_*`` or
    lie in a folder for each patient.

    Args:
        roots: The folders.
        classes: Of the labels.

    Returns:
        A study for each radiograph; a patient may have several.

    Raises:
        UsageError: If there is no such folder.
        CohortError: If a table or folder contradicts itself, or a radiograph is there twice.
    """
    out: list[CohortStudy] = []
    for root in map(Path, roots):
        if (root / "cohort.csv").is_file() and not (root / "images.csv").is_file():
            out += read_cohort(root, classes=(classes,), find=find_radiographs)
            continue
        for image in read_images(root, classes, patient_in_name=True):
            found = find_radiographs(image.file)
            if len(found) != 1:
                raise CohortError(
                    f"{image.where}: expected a radiograph, got a file of another kind. Remove it."
                )
            out.append(
                CohortStudy(
                    found[0],
                    image.file.resolve().relative_to(root.resolve()),
                    str(image.patient),
                    image.label,
                    image.source,
                    image.split,
                    root,
                )
            )
    first_entries: dict[str, CohortStudy] = {}
    for entry in out:
        if (first := first_entries.setdefault(entry.study.id, entry)) is not entry:
            whose = "one patient" if first.patient == entry.patient else "two patients"
            raise CohortError(
                f"expected every radiograph once, got study {entry.study.id} twice, of {whose}. "
                "Remove one of them."
            )
    return tuple(out)
