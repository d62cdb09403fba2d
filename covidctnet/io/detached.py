"""The file that a MetaImage or NRRD header names for its voxels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from covidctnet.io.archive import BadArchiveError, File
from covidctnet.io.itk import data_file_of, folded

__all__ = ["VoxelFiles"]


class VoxelFiles:
    """Finds the file that a MetaImage or NRRD header names.

    Args:
        files: All that was found.
        given: Files that the caller named.
    """

    def __init__(self, files: Sequence[File], given: set[Path]) -> None:
        self._files = files
        self._given = given

    def voxels_of(self, header: File) -> File | None:
        """The file in the folder of a header that it names; None when none is."""
        try:
            name = data_file_of(header)
        except (OSError, BadArchiveError):
            return None
        if name is None:
            return None
        path = header.parent / name
        if str(path) in self._exact:
            return self._exact[str(path)]
        alike = self._alike.get((str(header.parent), folded(name)), [])
        if alike:
            return alike[0] if len(alike) == 1 else None
        # The folder of a file that the caller named was not walked. A link is followed from a link
        # alone.
        if not isinstance(header, Path) or header not in self._given:
            return None
        if header.is_symlink() and not path.exists():
            # Next to the link lies nothing of that name: next to what it leads to it may.
            path = header.resolve().parent / name
        if not path.exists():
            found = [file for file in _folder_of(header) if folded(file.name) == folded(name)]
            if len(found) != 1:
                return None
            path = found[0]
        if path.is_file() and (header.is_symlink() or not path.is_symlink()):
            return path
        return None

    @cached_property
    def _exact(self) -> dict[str, File]:
        """Files by their whole name; where no header is, none is needed."""
        return {str(path): path for path in self._files}

    @cached_property
    def _alike(self) -> dict[tuple[str, str], list[File]]:
        """Files by folder and name: a header may come from a disk without case."""
        found: dict[tuple[str, str], list[File]] = {}
        for file in self._files:
            found.setdefault((str(file.parent), folded(file.name)), []).append(file)
        return found


def _folder_of(file: Path) -> list[Path]:
    """What lies in the folder of a file."""
    try:
        return sorted(file.parent.iterdir())
    except OSError:
        return []
