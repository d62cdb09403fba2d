"""Reading in a child process: what leaves for it, and how a volume or a picture comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, Self

import numpy as np

from covidctnet.io.archive import File, Link, Member
from covidctnet.io.dicom.result_headers import read_result_headers
from covidctnet.io.discover import Study
from covidctnet.io.picture import Picture, read_mask, read_picture
from covidctnet.io.read import read_study
from covidctnet.volume import Volume, source_of
from covidctnet.workers.isolate import Child, Limits, Reply

__all__ = ["HeaderChild", "PictureChild", "ReadingChild", "bytes_of", "packed", "unpacked"]


class ReadingChild:
    """Reads studies in a child process, one after the other.

    See `covidctnet.workers.isolate.Child`.

    Args:
        limits: What a study may cost.
        task: What the child does with a study; `work`, but for those who try its limits.
    """

    def __init__(self, limits: Limits | None = None, *, task: str = f"{__name__}:work") -> None:
        self._child = Child(task, limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, study: Study) -> Volume:
        """`covidctnet.read_study`, elsewhere.

        Raises:
            StudyError: As `covidctnet.read_study`.
            ChildError: If the child died or hung.
        """
        reply, array = self._child.ask({"study": packed(study)}, files_bytes=bytes_of(study))
        assert array is not None
        return Volume(
            array,
            np.array(reply["affine"]),
            "HU",
            source_of(reply["source"]),
            tuple(reply["steps"]),
        )

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._child.close()


class HeaderChild:
    """Reads what results in DICOM copy from headers in a child process, one study after the other.

    Args:
        limits: What a study may cost.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._child = Child(f"{__name__}:header_work", limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, study: Study, images: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """`covidctnet.io.dicom.result_headers.read_result_headers`, elsewhere.

        Raises:
            StudyError: As `read_result_headers`.
            ChildError: If the child died or hung.
        """
        request = {"study": packed(study), "images": [*images]}
        headers, _ = self._child.ask(request, files_bytes=bytes_of(study))
        return headers

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._child.close()


class PictureChild:
    """Reads pictures in a child process, one after the other.

    Args:
        limits: What a picture may cost.
        task: What the child does with a picture; `picture_work`, but for those who try its limits.
    """

    def __init__(
        self, limits: Limits | None = None, *, task: str = f"{__name__}:picture_work"
    ) -> None:
        self._child = Child(task, limits=limits)

    def __enter__(self) -> PictureChild:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, path: File) -> Picture:
        """`covidctnet.io.picture.read_picture`, elsewhere.

        Raises:
            StudyError: As `read_picture`.
            ChildError: If the child died or hung.
        """
        values, pixels = self._child.ask({"path": _packed_file(path)})
        assert pixels is not None
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return Picture(pixels, **{**values, **lists})

    def mask(self, path: File) -> np.ndarray:
        """`covidctnet.io.picture.read_mask`, elsewhere.

        Raises:
            StudyError: As `read_mask`.
            ChildError: If the child died or hung.
        """
        _, labels = self._child.ask({"path": _packed_file(path), "is_mask": True})
        assert labels is not None
        return labels

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._child.close()


def picture_work(path: str | list[Any], is_mask: bool = False) -> Reply:
    """What the child of `PictureChild` does."""
    if is_mask:
        return {}, read_mask(_unpacked_file(path))
    picture = read_picture(_unpacked_file(path))
    names = ("units", "format", "mode", "bits", "notes", "flags", "spacing_mm")
    return {name: getattr(picture, name) for name in names}, picture.pixels


def work(study: dict[str, Any]) -> Reply:
    """What the child of `ReadingChild` does."""
    volume = read_study(unpacked(study))
    reply = {
        "affine": volume.affine.tolist(),
        "source": asdict(volume.source),
        "steps": volume.steps,
    }
    return reply, volume.array


def header_work(study: dict[str, Any], images: list[tuple[int, int]]) -> Reply:
    """What the child of `HeaderChild` does."""
    return read_result_headers(unpacked(study).files, images), None


def packed(study: Study) -> dict[str, Any]:
    """A study as values fit for JSON."""
    return {
        "id": study.id,
        "path": str(study.path),
        "format": study.format,
        "files": [_packed_file(file) for file in study.files],
        "series_uid": study.series_uid,
        "stack": study.stack,
        "notes": study.notes,
    }


def unpacked(values: dict[str, Any]) -> Study:
    """What `packed` packed."""
    return Study(
        id=values["id"],
        path=Path(values["path"]),
        format=values["format"],
        files=tuple(_unpacked_file(file) for file in values["files"]),
        series_uid=values["series_uid"],
        stack=values["stack"],
        notes=tuple(values["notes"]),
    )


def _packed_file(file: File) -> str | list[Any]:
    if isinstance(file, Link):
        return [str(file)]
    return str(file) if isinstance(file, Path) else [str(file.archive), *astuple(file)[1:]]


def _unpacked_file(file: str | list[Any]) -> File:
    if isinstance(file, str):
        return Path(file)
    return Member(Path(file[0]), *file[1:]) if len(file) > 1 else Link(Path(file[0]))


def bytes_of(study: Study) -> int:
    """Bytes of a study's files; those that cannot be asked count nothing."""
    total = 0
    for path in study.files:
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
