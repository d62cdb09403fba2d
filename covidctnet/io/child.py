"""Reading in a child process: what leaves a study for it, and how the volume comes back."""

from __future__ import annotations

from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any, Self

import numpy as np

from covidctnet.io.archive import Member
from covidctnet.io.discover import Study
from covidctnet.io.read import read_study
from covidctnet.volume import Volume, source_of
from covidctnet.workers.isolate import Child, Limits, Reply

__all__ = ["ReadingChild", "bytes_of", "packed", "unpacked"]


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
        told, array = self._child.ask({"study": packed(study)}, files_bytes=bytes_of(study))
        assert array is not None
        return Volume(
            array,
            np.array(told["affine"]),
            "HU",
            source_of(told["source"]),
            tuple(told["steps"]),
        )

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._child.close()


def work(study: dict[str, Any]) -> Reply:
    """What the child does."""
    volume = read_study(unpacked(study))
    told = {
        "affine": volume.affine.tolist(),
        "source": asdict(volume.source),
        "steps": volume.steps,
    }
    return told, volume.array


def packed(study: Study) -> dict[str, Any]:
    """A study as values fit for JSON."""
    return {
        "id": study.id,
        "path": str(study.path),
        "format": study.format,
        "files": [
            str(file) if isinstance(file, Path) else [str(file.archive), *astuple(file)[1:]]
            for file in study.files
        ],
        "series_uid": study.series_uid,
        "notes": study.notes,
    }


def unpacked(values: dict[str, Any]) -> Study:
    """What `packed` packed."""
    return Study(
        id=values["id"],
        path=Path(values["path"]),
        format=values["format"],
        files=tuple(
            Path(file) if isinstance(file, str) else Member(Path(file[0]), *file[1:])
            for file in values["files"]
        ),
        series_uid=values["series_uid"],
        notes=tuple(values["notes"]),
    )


def bytes_of(study: Study) -> int:
    """Bytes of a study's files; those that cannot be asked count nothing."""
    total = 0
    for path in study.files:
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total
