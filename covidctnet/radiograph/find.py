"""Radiographs under folders and files: each picture is a study of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from covidctnet.io.archive import BadArchiveError, File
from covidctnet.io.dicom import (
    DamagedFileError,
    NotDicomError,
    identify,
    is_radiograph,
    looks_like_dicom,
)
from covidctnet.io.discover import Found, Study, content_id, study_id
from covidctnet.io.walk import Walk

__all__ = ["find_radiographs", "is_named_as_picture"]

_HEAD_BYTES = 1024
# By how they begin: PNG, JPEG, TIFF, BigTIFF; and those that are refused by name: GIF, WebP, BMP,
# JPEG 2000.
_PICTURES = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"GIF8",
    b"RIFF",
    b"BM",
    b"\0\0\0\x0cjP  ",
)
_NAMES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".gif", ".bmp", ".webp")
_DICOM_NAMES = (".dcm", ".dicom", ".ima")


def is_named_as_picture(path: File) -> bool:
    """Whether a name claims a picture or DICOM."""
    return path.name.lower().endswith((*_NAMES, *_DICOM_NAMES))


def find_radiographs(paths: Sequence[Path | str] | Path | str) -> Found:
    """Find the radiographs under some paths.

    Every picture (PNG, JPEG, TIFF, or DICOM of CR or DX) is a study, also where several are of one
    patient. Other DICOM files are one study for each StudyInstanceUID, which is refused when it is
    read. A file that is named as a picture and is none is a study that is refused. Other files are
    passed over and counted. Archives and links are treated as by `covidctnet.find_studies`.

    Args:
        paths: Folders, files, or both.

    Returns:
        Studies sorted by path, each once.

    Raises:
        UsageError: As `covidctnet.find_studies`.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    walk = Walk.under([Path(path) for path in paths])
    skipped: Counter[str] = walk.skipped
    skipped.update({"links": len(walk.links)} if walk.links else {})
    studies: dict[str, Study] = {}
    others: dict[str, list[File]] = {}

    def add(study: Study) -> None:
        if studies.setdefault(study.id, study) is not study:
            skipped["copies"] += 1

    for folder in walk.closed:
        add(Study(study_id(str(folder)), folder, "closed", (folder,)))
    for archive in walk.broken:
        add(Study(study_id(str(archive)), Path(str(archive)), "archive", (archive,)))
    for file in walk.files:
        try:
            kind, key = _kind_of(file)
        except (OSError, BadArchiveError):
            kind, key = "picture" if is_named_as_picture(file) else "other", ""
        if kind == "picture":
            add(Study(key or study_id(str(file)), Path(str(file)), "picture", (file,)))
        elif kind == "dicom":
            others.setdefault(key, []).append(file)
        else:
            skipped["not a radiograph"] += 1
    for key, files in others.items():
        add(Study(key, Path(str(files[0])), "dicom", tuple(sorted(files, key=str))))
    return Found(tuple(sorted(studies.values(), key=lambda s: (str(s.path), s.id))), dict(skipped))


def _kind_of(file: File) -> tuple[str, str]:
    """``picture``, ``dicom`` or ``other``, and the id of its study."""
    if file.name.startswith("."):
        return "other", ""
    with file.open("rb") as opened:
        head = opened.read(_HEAD_BYTES)
    if not looks_like_dicom(head):
        is_picture = head.startswith(_PICTURES) or is_named_as_picture(file)
        return ("picture", content_id(file)) if is_picture else ("other", "")
    try:
        identity = identify(file)
        if is_radiograph(file):
            uids = f"{identity.study_uid}\n{identity.sop_uid}"
            has_uids = identity.study_uid and identity.sop_uid
            return "picture", study_id(uids) if has_uids else content_id(file)
    except NotDicomError:
        return "other", ""
    except DamagedFileError:
        return "picture", content_id(file)
    return "dicom", study_id(identity.study_uid)
