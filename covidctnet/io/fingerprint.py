"""The state of a study's files: what an answer rests on, without reading them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

from covidctnet.io.archive import File, Link, Member

__all__ = ["changed_at", "fingerprint_of"]


class HasFiles(Protocol):
    """A study, as far as its files go."""

    @property
    def files(self) -> tuple[File, ...]:
        """The files it is made of."""


def fingerprint_of(study: HasFiles) -> str:
    """Digest of the names, sizes and moments of change of a study's files.

    Names without folders, so that a moved study keeps it. The moment tells voxels that were
    changed in place, which keep their size; a copy with a new moment is asked again, which costs
    time and nothing else. A file that cannot be asked counts with its name alone.
    """
    digest = hashlib.sha256()
    for path in sorted(study.files, key=lambda path: (path.name, str(path))):
        try:
            stat = path.stat()
            state = f"{stat.st_size}\0{stat.st_mtime_ns}"
        except OSError:
            state = ""
        digest.update(f"{path.name}\0{state}\0".encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]


def changed_at(study: HasFiles) -> float:
    """When a file of a study was last written, in seconds since 1970; 0 where none can be asked.

    A copy may set the moment of change to that of its source; the system's own moment (`st_ctime`)
    is set by no program, so it is taken where the system has it.
    """
    newest = 0.0
    for path in {_on_disk(path) for path in study.files}:
        try:
            stat = path.lstat()
        except OSError:
            continue
        # Windows tells the moment of creation by that name.
        newest = max(newest, stat.st_mtime if os.name == "nt" else stat.st_ctime)
    return newest


def _on_disk(file: File) -> Path:
    if isinstance(file, Member):
        return file.archive
    return file.path if isinstance(file, Link) else file
