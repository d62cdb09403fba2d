"""What `inspect` tells of radiographs, and of pictures that may be radiographs or slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from covidctnet.errors import StudyError, UsageError
from covidctnet.io.archive import BadArchiveError, File
from covidctnet.io.dicom import looks_like_dicom
from covidctnet.io.discover import Study
from covidctnet.radiograph.chest import check_frontal
from covidctnet.radiograph.find import find_radiographs
from covidctnet.radiograph.read import Radiograph
from covidctnet.registry import find_system, system_names
from covidctnet.workers.isolate import ChildError

__all__ = ["Pictures", "describe_radiograph", "pictures_under", "readers_of_radiographs"]

_HEAD_BYTES = 1024


class Pictures(NamedTuple):
    """What lies under some paths besides CT.

    Attributes:
        radiographs: A study for each: DICOM that says so (CR, DX), and pictures that were named
            themselves.
        others: Number of further pictures (PNG, JPEG, TIFF): radiographs, slices or anything.
        replaced: Ids of CT studies that hold nothing but these radiographs.
    """

    radiographs: tuple[Study, ...]
    others: int
    replaced: frozenset[str]


def pictures_under(paths: Sequence[Path | str], studies: Iterable[Study]) -> Pictures:
    """Radiographs and pictures under some paths.

    Args:
        paths: Folders and files.
        studies: What `covidctnet.io.find_studies` found there.
    """
    found = [study for study in find_radiographs(paths) if study.format == "picture"]
    studies = tuple(studies)
    named = {str(file) for study in studies if study.format == "picture" for file in study.files}
    in_dicom = {str(file): study for study in studies for file in study.files}
    chosen: list[Study] = []
    others = 0
    for study in found:
        (file,) = study.files
        if _is_dicom(file) and in_dicom.get(str(file)) is not None:
            chosen.append(replace(study, format="dicom"))
        elif str(file) in named:
            chosen.append(study)
        else:
            others += 1
    ours = {str(study.files[0]) for study in chosen}
    replaced = {s.id for s in studies if s.files and all(str(file) in ours for file in s.files)}
    # A radiograph among the slices of a CT stays a file of that study.
    kept = [s for s in chosen if in_dicom[str(s.files[0])].id in replaced]
    return Pictures(tuple(kept), others, frozenset(replaced))


def describe_radiograph(study: Study, read: Callable[[Study], Radiograph] | None) -> dict[str, Any]:
    """What a radiograph holds and what would be done with it, as `describe` does of a CT.

    Args:
        study: Of `pictures_under`.
        read: What reads it; None to look at no pixel.
    """
    description: dict[str, Any] = {
        "study": study.id,
        "kind": "radiograph",
        "format": study.format,
        "files": len(study.files),
        "series": [],
        "outcome": "readable",
        "code": None,
        "message": None,
        "geometry": None,
        "flags": [],
        "notes": list(study.notes),
        "chest": None,
    }
    if read is None:
        return description
    try:
        radiograph = read(replace(study, format="picture"))
        spacing = (
            None
            if radiograph.spacing_mm is None
            else [round(mm, 4) for mm in radiograph.spacing_mm]
        )
        description["geometry"] = {"shape": list(radiograph.shape), "spacing_mm": spacing}
        description["notes"] += list(radiograph.source.notes)
        flags = check_frontal(radiograph.pixels, radiograph.findings, study=study.id)
        description["flags"] = sorted({*radiograph.source.flags, *flags})
    except StudyError as error:
        description.update(outcome="refused", code=error.code, message=error.message)
    except ChildError as error:
        description.update(outcome="failed", code=error.code, message=error.message)
    return description


def readers_of_radiographs() -> tuple[str, ...]:
    """Names of the systems that answer radiographs; one that cannot be imported is left out."""
    names = []
    for name in system_names():
        try:
            if find_system(name).modality == "radiograph":
                names.append(name)
        except UsageError:
            continue
    return tuple(names)


def _is_dicom(file: File) -> bool:
    try:
        with file.open("rb") as opened:
            return looks_like_dicom(opened.read(_HEAD_BYTES))
    except (OSError, BadArchiveError):
        return False
