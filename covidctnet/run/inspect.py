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
from covidctnet.results import reservations
from covidctnet.run.headers import InspectingChild, headers_of, millimetres, undivided
from covidctnet.volume import Volume
from covidctnet.workers.isolate import ChildError

__all__ = ["describe", "ids_of", "inspect_paths", "render"]


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
        Plain values, ready for JSON: ``study``, ``format``, ``files``; ``series``, one entry a
        stack of images (``key``, ``kind``, ``images``, ``files``, ``matrix``, ``spacing_mm``,
        ``orientation``, ``kernel``, ``chosen``, ``why``), whose files add up to those of the
        study; ``outcome``, ``readable``, or ``refused`` or ``failed`` with ``code`` and
        ``message``; ``geometry`` of the volume, ``flags`` and ``notes``; ``chest``, what its lungs
        measure (see `covidctnet.chest.gate.Chest`), None when it was not looked for.
    """
    told: dict[str, Any] = {
        "study": study.id,
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
            told.update(notes=list(study.notes), series=undivided(study))
            told.update(headers(study))
        if told["outcome"] == "readable" and (voxels or study.format != "dicom"):
            _look(read(study), told)
    except StudyError as error:
        told.update(outcome="refused", code=error.code, message=error.message)
    except ChildError as error:
        told.update(outcome="failed", code=error.code, message=error.message)
    return told


def inspect_paths(
    paths: Sequence[Path | str] | Path | str,
    *,
    voxels: bool = True,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[Study, dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """`describe` for every study under some paths, and what was passed over.

    Studies are looked at and read in a child process, as `covidctnet.classify_studies` reads them.

    Args:
        paths: Folders and files.
        voxels: See `describe`.
        progress: Called with (done, total) after every study.
        note: Called with every study and what is told of it.

    Returns:
        ``studies``, each with its ``path``, which may carry a name; ``files``, how many were found;
        ``skipped``, a number of files, and ``reasons``, the same by reason; ready for JSON.

    Raises:
        UsageError: If a path does not exist.
    """
    found = find_studies(paths)
    told = []
    with InspectingChild() as child:
        for done, study in enumerate(found, start=1):
            seen = describe(study, voxels=voxels, headers=child.headers, read=child)
            told.append({"path": str(study.path), **seen})
            if note:
                note(study, told[-1])
            if progress:
                progress(done, len(found))
    return {
        "studies": told,
        "files": sum(len(study.files) for study in found) + found.skipped,
        "skipped": found.skipped,
        "reasons": dict(found.reasons),
    }


def ids_of(study: Study) -> str:
    """Patient and accession of a study for its owner's eyes; empty when no header tells them.

    They are for the terminal of the person who asks: no log, report or file may hold them.
    """
    if study.format != "dicom":
        return ""
    for path in study.files:
        with suppress(NotDicomError, DamagedFileError, OSError):
            return ", ".join(f"{what} {value}" for what, value in owners(path) if value)
    return ""


def render(told: dict[str, Any]) -> str:
    """The result of `inspect_paths` for a person to read."""
    lines: list[str] = []
    for study in told["studies"]:
        lines.append(f"study {study['study']}  {study['format']}, {study['files']} files")
        lines.append(f"   {printable(study['path'])}")
        if study.get("ids"):
            lines.append(f"   {study['ids']}")
        for series in study["series"]:
            mark = "*" if series["chosen"] else " "
            text = f" {mark} {series['key']:<11} {series['images']} x {series['kind']}"
            if series["files"] != series["images"]:
                text += f" in {series['files']} files"
            if series["matrix"]:
                text += f" of {_times(series['matrix'])}, {series['orientation']}"
            if series["spacing_mm"]:
                text += f", {_times(series['spacing_mm'])} mm, {series['kernel']} kernel"
            lines.append(text + (f" ({series['why']})" if series["why"] else ""))
        if study["geometry"]:
            shape, spacing = study["geometry"]["shape"], study["geometry"]["spacing_mm"]
            doubts = reservations(study["flags"])
            facts = [flag for flag in study["flags"] if flag not in doubts]
            flags = f", flagged {', '.join(doubts)}" if doubts else ""
            flags += f"; {', '.join(facts)}" if facts else ""
            lines.append(f"   readable: {_times(shape)} voxels of {_times(spacing)} mm{flags}")
        if study["chest"]:
            lines.append(
                f"   lungs: {study['chest']['lungs_ml']:.0f} ml over "
                f"{study['chest']['length_mm']:.0f} mm"
            )
        if study["code"]:
            lines.append(f"   {study['outcome']}: {study['code']}: {study['message']}")
        lines += [f"   note: {note}" for note in study["notes"]]
    if not told["studies"]:
        lines.append("no study found")
    lines += [f"passed over: {n} {reason}" for reason, n in sorted(told["reasons"].items())]
    inside = told["files"] - told["skipped"]
    lines.append(
        f"{told['files']} files found: {inside} in {len(told['studies'])} studies, "
        f"{told['skipped']} passed over"
    )
    return "\n".join(lines)


def printable(text: str) -> str:
    """A path as a terminal may show it: what moves the cursor, or is no text, is escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


def _look(volume: Volume, told: dict[str, Any]) -> None:
    """What the voxels say: geometry, flags, notes, lungs."""
    told["geometry"] = {"shape": list(volume.shape), "spacing_mm": millimetres(volume.spacing)}
    told["flags"] = list(volume.source.flags)
    told["notes"] = list(volume.source.notes)
    chest, _ = look_for_chest(preprocess(volume))
    told["chest"] = {name: round(value, 4) for name, value in asdict(chest).items()}
    told["flags"] = sorted({*told["flags"], *check_chest(chest, study=told["study"])})


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
