"""What is known of a study, and what would be done with it: for a person who wonders why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from covidctnet.chest.gate import check_chest, look_for_chest
from covidctnet.errors import StudyError
from covidctnet.io.dicom import DamagedFileError, NotDicomError, owners
from covidctnet.io.discover import Study, find_studies
from covidctnet.io.read import read_study
from covidctnet.preprocess import preprocess
from covidctnet.radiograph.child import RadiographChild
from covidctnet.results import reservations
from covidctnet.run.headers import InspectingChild, headers_of, millimetres, undivided
from covidctnet.run.inspect_radiographs import (
    describe_radiograph,
    pictures_under,
    readers_of_radiographs,
)
from covidctnet.volume import Volume
from covidctnet.workers.isolate import ChildError

__all__ = ["describe", "ids_of", "inspect_paths", "render"]

# Patients of one study that are shown; an anonymiser may have written another into every file.
MOST_IDS = 10


def describe(
    study: Study,
    *,
    voxels: bool = True,
    headers: Callable[[Study], dict[str, Any]] = headers_of,
    read: Callable[[Study], Volume] = read_study,
) -> dict[str, Any]:
    """What a study holds and what would be done with it; no names, ids or dates.

    Args:
        study: From `find_studies`.
        voxels: Read the volume and put it through the gates. Otherwise DICOM is assessed by its
            headers alone, and what is called readable may still be refused for its voxels.
        headers: What tells of the headers of a DICOM study.
        read: What reads it.

    Returns:
        Plain values, ready for JSON: ``study``, ``kind`` (``CT``), ``format``, ``files``;
        ``series``, one entry a stack of images (``key``, ``kind``, ``images``, ``files``,
        ``matrix``, ``spacing_mm``, ``orientation``, ``kernel``, ``chosen``, ``why``), whose files
        add up to those of the study; ``outcome``, ``readable``, or ``refused`` or ``failed`` with
        ``code`` and ``message``; ``geometry`` of the volume, ``flags`` and ``notes``; ``chest``,
        what its lungs measure (see `covidctnet.chest.gate.Chest`), None when it was not looked for.
    """
    description: dict[str, Any] = {
        "study": study.id,
        "kind": "CT",
        "format": study.format,
        "files": len(study.files),
        "series": [],
        "outcome": "readable",
        "code": None,
        "message": None,
        "geometry": None,
        "flags": [],
        "notes": [],
        "chest": None,
    }
    try:
        if study.format == "dicom":
            description.update(notes=list(study.notes), series=undivided(study))
            description.update(headers(study))
        if description["outcome"] == "readable" and (voxels or study.format != "dicom"):
            _look(read(study), description)
    except StudyError as error:
        description.update(outcome="refused", code=error.code, message=error.message)
    except ChildError as error:
        description.update(outcome="failed", code=error.code, message=error.message)
    return description


def inspect_paths(
    paths: Sequence[Path | str] | Path | str,
    *,
    voxels: bool = True,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[Study, dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """`describe` for every study under some paths, radiographs too, and what was passed over.

    Studies are looked at and read in a child process, as `covidctnet.classify_studies` reads them.

    Args:
        paths: Folders and files.
        voxels: See `describe`.
        progress: Called with (done, total) after every study.
        note: Called with every study and its description.

    Returns:
        ``studies``, each with its ``path``, which may carry a name; ``files``, how many were found;
        ``skipped``, a number of files, and ``reasons``, the same by reason; ``pictures``, how many
        of them are PNG, JPEG or TIFF; ``read_by``, systems that answer radiographs; ready for JSON.

    Raises:
        UsageError: If a path does not exist.
    """
    paths = [paths] if isinstance(paths, (str, Path)) else paths
    found = find_studies(paths)
    pictures = pictures_under(paths, found)
    scans = [study for study in found if study.id not in pictures.replaced]
    descriptions = []
    with InspectingChild() as child, RadiographChild() as picture:
        for done, study in enumerate([*scans, *pictures.radiographs], start=1):
            if done > len(scans):
                description = describe_radiograph(study, picture if voxels else None)
            else:
                description = describe(study, voxels=voxels, headers=child.headers, read=child)
            descriptions.append({"path": str(study.path), **description})
            if note:
                note(study, descriptions[-1])
            if progress:
                progress(done, len(scans) + len(pictures.radiographs))
    return {
        "studies": descriptions,
        "files": sum(len(study.files) for study in found) + found.skipped,
        "skipped": found.skipped,
        "reasons": dict(found.reasons),
        "pictures": pictures.others,
        "read_by": list(readers_of_radiographs()) if pictures.radiographs else [],
    }


def ids_of(study: Study, *, every_file: bool = False) -> list[str]:
    """Patient and accession of a study for its owner's eyes; none when no header tells them.

    They are for the terminal of the person who asks: no log, report or file may hold them.

    Args:
        study: From `find_studies`.
        every_file: Look for further ones in all files, as where patients are mixed.
    """
    if study.format != "dicom":
        return []
    found: dict[str, None] = {}
    for path in study.files:
        with suppress(NotDicomError, DamagedFileError, OSError):
            found[", ".join(f"{what} {value}" for what, value in owners(path) if value)] = None
            if not every_file or len(found) > MOST_IDS:
                break
    ids = [one for one in found if one]
    return [*ids[:MOST_IDS], "and others"] if len(ids) > MOST_IDS else ids


def render(inspection: dict[str, Any]) -> str:
    """The result of `inspect_paths` for a person to read."""
    lines: list[str] = []
    for study in inspection["studies"]:
        lines.append(f"study {study['study']}  {study['format']}, {_many(study['files'], 'file')}")
        lines.append(f"   {printable(study['path'])}")
        if study.get("ids"):
            lines += [f"   {one}" for one in study["ids"]]
        for series in study["series"]:
            mark = "*" if series["chosen"] else " "
            text = f" {mark} {series['key']:<11} {series['images']} x {series['kind']}"
            if not series["files"]:
                text += " in files counted above"
            elif series["files"] != series["images"]:
                text += f" in {_many(series['files'], 'file')}"
            if series["matrix"]:
                text += f" of {_times(series['matrix'])}, {series['orientation']}"
            if series["spacing_mm"]:
                text += f", {_times(series['spacing_mm'])} mm, {series['kernel']} kernel"
            lines.append(text + (f" ({series['why']})" if series["why"] else ""))
        if study["kind"] == "radiograph":
            lines.append(f"   {_radiograph(study, inspection['read_by'])}")
        elif study["geometry"]:
            shape, spacing = study["geometry"]["shape"], study["geometry"]["spacing_mm"]
            doubts = reservations(study["flags"])
            facts = [flag for flag in study["flags"] if flag not in doubts]
            flags = f", flagged {', '.join(doubts)}" if doubts else ""
            flags += f"; {', '.join(facts)}" if facts else ""
            lines.append(
                f"   {_verdict(study)}: {_times(shape)} voxels of {_times(spacing)} mm{flags}"
            )
        if study["chest"]:
            lines.append(
                f"   lungs: {study['chest']['lungs_ml']:.0f} ml over "
                f"{study['chest']['length_mm']:.0f} mm"
            )
        if study["code"]:
            lines.append(f"   {study['outcome']}: {study['code']}: {study['message']}")
        lines += [f"   note: {note}" for note in study["notes"]]
    if not inspection["studies"]:
        lines.append("no study found")
    lines += [f"passed over: {n} {reason}" for reason, n in sorted(inspection["reasons"].items())]
    if inspection["pictures"]:
        lines.append(
            f"of these, {_many(inspection['pictures'], 'picture')} (PNG, JPEG, TIFF): "
            "radiographs are answered by weights of a system that reads them, slices teach systems "
            "of slices (train SYSTEM STAGE --data.images); covidctnet quality checks how they were "
            "made"
        )
    if any(series["chosen"] for study in inspection["studies"] for series in study["series"]):
        lines.append("* the series that is read")
    inside = inspection["files"] - inspection["skipped"]
    lines.append(
        f"{_many(inspection['files'], 'file')} found: {inside} in "
        f"{_many(len(inspection['studies']), 'study', 'studies')}, "
        f"{inspection['skipped']} passed over"
    )
    return "\n".join(lines)


def printable(text: str) -> str:
    """A path as a terminal may show it: what moves the cursor, or is no text, is escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def _look(volume: Volume, description: dict[str, Any]) -> None:
    """What the voxels say: geometry, flags, notes, lungs."""
    description["geometry"] = {
        "shape": list(volume.shape),
        "spacing_mm": millimetres(volume.spacing),
    }
    description["flags"] = list(volume.source.flags)
    description["notes"] = list(volume.source.notes)
    chest, _ = look_for_chest(preprocess(volume))
    description["chest"] = {name: round(value, 4) for name, value in asdict(chest).items()}
    description["flags"] = sorted(
        {*description["flags"], *check_chest(chest, study=description["study"])}
    )


def _verdict(study: dict[str, Any]) -> str:
    """What is known of a volume: it may still be refused for what its voxels show."""
    if study["outcome"] != "readable":
        return "volume"
    return "readable" if study["chest"] else "readable by its headers, voxels not looked at"


def _radiograph(study: dict[str, Any], systems: Sequence[str]) -> str:
    """A line of a radiograph: whether it is readable, and by what."""
    doubts = reservations(study["flags"])
    text = f"radiograph for {', '.join(systems) or 'no system that is installed'}"
    if study["outcome"] == "readable":
        text = f"readable: {text}"
        text += "" if study["geometry"] else " by its header, pixels not looked at"
    if study["geometry"]:
        spacing = study["geometry"]["spacing_mm"]
        text += f": {_times(study['geometry']['shape'])} pixels"
        text += f" of {_times(spacing)} mm" if spacing else ""
    return text + (f", flagged {', '.join(doubts)}" if doubts else "")


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
