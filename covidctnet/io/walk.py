"""Files under folders, and in the zip archives there; links and devices are not followed."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from covidctnet.errors import UsageError
from covidctnet.io.archive import BadArchiveError, File, begins_as_zip, is_archive, members

__all__ = ["Walk"]

MAX_DEPTH = 32
MAX_FILES = 2_000_000


@dataclass
class Walk:
    """What lies under some paths.

    Attributes:
        files: On the disk and in archives, in a fixed order, each once.
        given: Files that the caller named.
        links: Links to files, which are not followed.
        closed: Folders that may not be read.
        broken: Archives that cannot be opened.
        skipped: Number of files and links passed over, by reason; without `links`.
    """

    files: list[File] = field(default_factory=list)
    given: set[Path] = field(default_factory=set)
    links: list[Path] = field(default_factory=list)
    closed: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def under(cls, roots: Sequence[Path]) -> Walk:
        """Walk through folders.

        Raises:
            UsageError: If a path does not exist, or a tree is deeper or larger than any archive.
        """
        walk = cls()
        found = {path for root in roots for path in walk._below(root)}
        walk.links = sorted({path for path in walk.links if path not in walk.given})
        walk.closed = sorted(set(walk.closed))
        walk._open(sorted(found))
        return walk

    def _below(self, root: Path) -> Iterator[Path]:
        try:
            is_there = root.exists()
        except OSError as error:  # below a folder that may not be entered, or too long a name
            raise UsageError(
                f"expected a folder or a file, {str(root)!r:.200} cannot be reached "
                f"({error.strerror}). Check its rights and its spelling."
            ) from None
        if not is_there:
            raise UsageError(
                f"expected a folder or a file, {str(root)!r} does not exist. Check the spelling."
            )
        # The caller may name a link; only links found on the way are not followed.
        start = root.resolve()
        if start.is_file():
            # Under its own name: what belongs to it lies next to the link as well.
            path = root.parent.resolve() / root.name if root.is_symlink() else start
            self.given.add(path)
            yield path
        elif start.is_dir():
            yield from self._in_folders(start)
        else:
            self.skipped["pipes and devices"] += 1

    def _in_folders(self, start: Path) -> Iterator[Path]:
        count = 0
        for folder, folders, names in os.walk(start, onerror=self._keep, followlinks=False):
            here = Path(folder)
            if len(here.relative_to(start).parts) >= MAX_DEPTH and folders:
                raise UsageError(
                    f"expected folders at most {MAX_DEPTH} deep, got more. Give a folder below."
                )
            try:
                links = [name for name in folders if (here / name).is_symlink()]
                modes = [(here / name, _mode(here / name)) for name in sorted(names)]
            except PermissionError:
                # It may be listed and not entered; the other folders can be read all the same.
                self.closed.append(here)
                folders.clear()
                continue
            self.skipped.update({"links": len(links)} if links else {})
            folders.sort()
            for path, mode in modes:
                if stat.S_ISLNK(mode):
                    self.links.append(path)
                elif not stat.S_ISREG(mode):
                    # Opening one may wait, or read, for ever.
                    self.skipped["pipes and devices"] += 1
                else:
                    count += 1
                    if count > MAX_FILES:
                        raise _TooManyError
                    yield path

    def _keep(self, error: OSError) -> None:
        # What may hold a scan must not vanish; reading it says why.
        path = Path(str(error.filename))
        if not path.name.startswith("."):
            self.closed.append(path)

    def _open(self, paths: Sequence[Path]) -> None:
        """Replace every archive by what it holds."""
        for path in paths:
            # A file that the caller named is an archive by its content too.
            is_zip = is_archive(path) or (path in self.given and _begins_as_zip(path))
            if not is_zip or path.name.startswith("."):
                self.files.append(path)
                continue
            try:
                found = members(path)
            except (BadArchiveError, OSError):
                # Reading it will say why.
                self.broken.append(path)
                continue
            self.files += found
            if len(self.files) > MAX_FILES:
                raise _TooManyError


class _TooManyError(UsageError):
    def __init__(self) -> None:
        super().__init__(f"expected at most {MAX_FILES} files, got more. Give a folder below.")


def _mode(path: Path) -> int:
    """What kind of file it is, as `stat` has it; 0 for one that has gone meanwhile."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return begins_as_zip(file.read(4))
    except OSError:
        return False
