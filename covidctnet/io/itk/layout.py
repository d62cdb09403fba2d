"""What a text header of MetaImage or NRRD says of the voxels, and how its values are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.canonical import check_size
from covidctnet.io.dicom import MIN_SLICES

MILLIMETRES = {"", "mm", "millimeter", "millimetre", "millimeters", "millimetres", "?", "???"}
ZIPPED, BZIPPED, RAW = "gzip", "bzip2", "raw"
# Numbers of a header that were written with fewer digits may differ by this.
AGREE = 1e-4
# Directions are unit vectors within this.
UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Layout:
    """What a header says.

    Attributes:
        shape: Voxels, the fastest axis first.
        dtype: Of a voxel, with its byte order.
        affine: From (index on the slowest, middle, fastest axis) to LPS mm.
        encoding: ``raw``, ``gzip`` (zlib streams too) or ``bzip2``.
        data: Name of the file that holds the voxels; None for the header's own.
        lines: Lines in front of the voxels.
        skip: Bytes in front of them; -1 when the voxels are the last bytes of the file.
        notes: What was decided about the header.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    affine: np.ndarray
    encoding: str
    data: str | None
    lines: int = 0
    skip: int = 0
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Of all voxels."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def affine_of(directions: np.ndarray, origin: Sequence[float] | np.ndarray) -> np.ndarray:
    """From (slowest, middle, fastest) to LPS mm; rows of `directions` are axes, fastest first."""
    affine = np.eye(4)
    affine[:3, :3] = directions[::-1].T
    affine[:3, 3] = origin
    return affine


def agreed(fields: Mapping[str, str], names: Sequence[str]) -> tuple[float, ...] | None:
    """The numbers of fields that mean the same; None without any."""
    present = [(name, floats(fields[name])) for name in names if name in fields]
    if not present:
        return None
    first, numbers = present[0]
    for name, others in present[1:]:
        if len(others) != len(numbers) or not np.allclose(others, numbers, rtol=0, atol=AGREE):
            raise lost(f"its fields {first} and {name} contradict each other")
    return numbers


def floats(text: str) -> tuple[float, ...]:
    """Numbers with blanks between them; ``NO_GEOMETRY`` if one is none."""
    try:
        # Python takes 3_5 for 35.
        if "_" in text:
            raise ValueError
        return tuple(float(part) for part in text.split())
    except ValueError:
        raise lost("a number in its header is none") from None


def whole_number(text: str) -> int:
    """What a header skips, -1 or more; ``CORRUPT_FILE`` if it is no number."""
    if not re.fullmatch(r"-1|\d{1,9}", text.strip()):
        raise corrupt("what its header skips is no number")
    return int(text)


def sizes_of(text: str) -> list[int]:
    """Voxels along every axis, as the header has them."""
    try:
        sizes = [int(n) for n in text.split()]
    except ValueError:
        raise corrupt("its size is no number") from None
    if not sizes or min(sizes) < 1:
        raise corrupt("expected three axes of one voxel or more")
    return sizes


def shape_of(sizes: Sequence[int]) -> tuple[int, int, int]:
    """The three axes of one volume, checked against the limits of size."""
    if len(sizes) < 3:
        raise corrupt(f"expected three axes, got {len(sizes)}")
    if any(size > 1 for size in sizes[3:]):
        raise several(sizes)
    shape = (sizes[0], sizes[1], sizes[2])
    check_size(shape)
    if min(shape) < MIN_SLICES:
        raise StudyError(
            "TOO_FEW_SLICES",
            f"expected at least {MIN_SLICES} voxels along every axis, got "
            f"{' x '.join(map(str, shape))}. Give the whole scan.",
        )
    return shape


def units_of(text: str) -> list[str]:
    """What NRRD says axes are counted in; some programs leave the quotes out."""
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([^\s"]+)', text)]


def check_units(unit: str) -> None:
    """Refuse lengths that are not counted in millimetres."""
    if unit.strip().lower() not in MILLIMETRES:
        raise lost(f"it counts in {unit.strip()[:20]!r}, not in mm")


KEEP_TOGETHER = "Put the header and one file of voxels into one folder, or write both as one file"


def corrupt(what: str, advice: str = "Export it again") -> StudyError:
    """The error of a damaged file."""
    return StudyError("CORRUPT_FILE", f"expected a whole MHA, MHD or NRRD file: {what}. {advice}.")


def several(sizes: Sequence[int]) -> StudyError:
    """The error of several volumes in one file."""
    return StudyError(
        "OVERLAPPING_ACQUISITIONS",
        f"expected one volume, got an image of {' x '.join(map(str, sizes))}. "
        "Give one three-dimensional image.",
    )


def not_a_number() -> StudyError:
    """The error of voxels that are no single real number."""
    return StudyError("NOT_HU", "expected one real number a voxel. Give a CT in HU.")


def lost(what: str) -> StudyError:
    """The error of a header that does not say where the voxels lie."""
    return StudyError(
        "NO_GEOMETRY",
        f"expected spacing in mm, directions and origin: {what}. "
        "Convert the scan again from DICOM.",
    )
