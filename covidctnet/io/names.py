"""What names of files say: which are numbered alike, and what programs append to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

__all__ = ["DICOM_NAMES", "NamesOfSlices", "digits", "packed_suffix", "plain_name", "shape"]

DICOM_NAMES = (".dcm", ".dicom", ".ima")
# What programs that compress append.
_PACKED = (".gz", ".bz2", ".xz", ".lzma", ".zst", ".zstd", ".lz4", ".z", ".br")
# What programs append to a file that they have not written to its end.
_UNFINISHED = (
    ".part",
    ".partial",
    ".crdownload",
    ".download",
    ".opdownload",
    ".filepart",
    ".incomplete",
    ".aria2",
    ".tmp",
    ".temp",
)


def shape(name: str) -> str:
    """A name in small letters with # for every number."""
    return re.sub(r"\d+", "#", name.lower())


def digits(name: str) -> list[int]:
    """The numbers in a name, in order."""
    return [int(found) for found in re.findall(r"\d+", name)]


def packed_suffix(name: str) -> str:
    """The suffix of a program that compresses, if a name has one; else nothing."""
    return next((suffix for suffix in _PACKED if name.lower().endswith(suffix)), "")


def _whole_name(name: str) -> str:
    """A name without what a program appended while it wrote, or compressed, the file."""
    if name.startswith(".") and name.count(".") > 1:
        # As rsync names it meanwhile: .IM0041.dcm.Xq3aYb
        return name[1:].rpartition(".")[0]
    for suffix in (*_PACKED, *_UNFINISHED):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    # Whatever stands behind DICOM's suffix was put there: .dcm.bak, .dcm.locked
    begin, _, _ = name.rpartition(".")
    return begin if begin.lower().endswith(DICOM_NAMES) else name


def plain_name(name: str) -> str:
    """A name in small letters without what programs append, and without DICOM's suffix."""
    return _stem(_whole_name(name))


def _stem(name: str) -> str:
    """A name in small letters without the suffix of DICOM files."""
    name = name.lower()
    return next((name[: -len(end)] for end in DICOM_NAMES if name.endswith(end)), name)


class NamesOfSlices:
    """The names of the DICOM files in one folder.

    Args:
        names: Of all of them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._stems = {_stem(name) for name in names}
        self._shapes = {shape(stem) for stem in self._stems if re.search(r"\d", stem)}

    def may_be_slice(self, name: str) -> bool:
        """Whether a file is numbered as the slices are, and is not next to one of that name.

        A picture or a note of a slice has the name of the slice with another suffix.
        """
        return any(
            shape(stem) in self._shapes and stem not in self._stems for stem in _stems_of(name)
        )

    def has_shape_of(self, name: str) -> bool:
        """Whether a file of another folder is numbered as the slices are."""
        return any(shape(stem) in self._shapes for stem in _stems_of(name))


def _stems_of(name: str) -> Iterator[str]:
    yield _stem(name)
    if (whole := _whole_name(name)) != name:
        yield _stem(whole)
