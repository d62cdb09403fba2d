"""Volumes from arrays, and to the files and images of other libraries.

What `Volume.from_array`, `Volume.save` and `Volume.to_sitk` do; an array takes the same last step
as a scan that was read from a file.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covidctnet.errors import StudyError, UsageError
from covidctnet.files import write_whole
from covidctnet.io.canonical import (
    canonical,
    check_size,
    is_sheared,
    volume_of,
)
from covidctnet.io.dicom.geometry import MIN_SLICES
from covidctnet.io.nifti import ras_to_lps
from covidctnet.volume import PAINTED_MARK, PAINTED_NOTE, SAVED_MARK, SYNTHETIC_NOTE, Volume

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["image_of", "nifti_bytes", "save_nifti", "volume_bytes", "volume_from_array"]

# Beyond these a number is no spacing in mm; what is no chest CT is refused by its last step.
SPACING_RANGE_MM = (0.02, 50.0)


def volume_from_array(
    array: Any,
    spacing: Sequence[float] | None = None,
    *,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    affine: Any = None,
) -> Volume:
    """A scan from an array in Hounsfield units: see `covidctnet.Volume.from_array`.

    Raises:
        UsageError: For an array or a geometry that cannot be a scan's.
        StudyError: ``NOT_HU``, ``TOO_FEW_SLICES``, ``ABSURD_SIZE``, ``ABSURD_EXTENT`` for its
            content.
    """
    voxels = np.asarray(array)
    if voxels.ndim != 3 or voxels.dtype.kind not in "iuf":
        raise UsageError(
            "expected an array of real numbers with three axes (slice, row, column), got "
            f"{voxels.ndim} axes of {voxels.dtype}. Give one scan in Hounsfield units."
        )
    check_size(voxels.shape)
    if min(voxels.shape) < MIN_SLICES:
        raise StudyError(
            "TOO_FEW_SLICES",
            f"expected at least {MIN_SLICES} voxels along every axis, got "
            f"{' x '.join(map(str, voxels.shape))}. Give the whole scan.",
        )
    if (spacing is None) == (affine is None):
        raise UsageError(
            "expected either spacing=(slice, row, column) in mm or affine=, a 4 x 4 matrix to "
            f"patient mm in LPS, got {'neither' if spacing is None else 'both'}. Give one."
        )
    if affine is None:
        to_lps = _straight(_numbers("spacing", spacing), _numbers("origin", origin))
    else:
        to_lps = _checked(affine)
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise StudyError(
            "NOT_HU", "expected finite HU, the array holds NaN or Inf. Set them to -1024 if they "
            "are padding."
        )  # fmt: skip
    # A copy: padding is set to air in place.
    volume = volume_of(np.array(voxels), to_lps, study="", reader="array")
    return replace(volume, source=replace(volume.source, study=volume.source.mark))


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        order = "(slice, row, column)" if name == "spacing" else "(x, y, z) in LPS"
        raise UsageError(
            f"expected {name} as three finite numbers {order} in mm, got {values!r}. Give them."
        )
    return numbers


def _straight(spacing: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """The affine of canonical axes: slices along +z, rows along +y, columns along +x of LPS."""
    low, high = SPACING_RANGE_MM
    if spacing.min() < low or spacing.max() > high:
        raise UsageError(
            f"expected spacing (slice, row, column) from {low:g} to {high:g} mm, got "
            f"{' x '.join(f'{s:g}' for s in spacing)}. Give it in mm; to turn an axis, pass affine."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)[::-1]
    affine[:3, 3] = origin
    return affine


def _checked(affine: Any) -> np.ndarray:
    try:
        matrix = np.asarray(affine, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    what = ""
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        what = "something else"
    elif np.linalg.norm(matrix[:3, :3], axis=0).min() < SPACING_RANGE_MM[0]:
        what = f"axes shorter than {SPACING_RANGE_MM[0]} mm"
    elif is_sheared(matrix):
        what = "axes that are not at right angles"
    if what:
        raise UsageError(
            "expected affine as a finite 4 x 4 matrix from (slice, row, column, 1) to patient mm "
            f"in LPS with axes at right angles, got {what}. For a matrix of nibabel, negate its "
            "first two rows."
        )
    return matrix


def save_nifti(volume: Volume, path: str | Path) -> Path:
    """Write a volume as NIfTI-1: see `covidctnet.Volume.save`.

    Raises:
        UsageError: If the name does not end in .nii or .nii.gz, or its folder does not exist.
        StorageError: If the disk is full or refuses.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError(
            f"expected a file name that ends in .nii or .nii.gz, got {path.name!r}. Give it one."
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"expected a folder to write {path.name!r} into, there is none. Make it first."
        )
    write_whole(path, volume_bytes(volume, is_packed=path.suffix == ".gz"))
    return path


def volume_bytes(volume: Volume, *, is_packed: bool = True) -> bytes:
    """The content of a NIfTI-1 file of a volume, its axes those of the patient.

    Args:
        volume: With any affine.
        is_packed: Compress it.
    """
    turned = canonical(volume.array, volume.affine)
    # NIfTI counts the fastest axis first: columns, rows, slices.
    return nifti_bytes(
        turned.array.T,
        turned.affine[:, [2, 1, 0, 3]],
        description=_description(volume),
        is_packed=is_packed,
    )


def nifti_bytes(
    array: np.ndarray,
    affine: np.ndarray,
    *,
    description: str = SAVED_MARK,
    is_packed: bool = True,
) -> bytes:
    """The content of a NIfTI-1 file; the same for the same voxels.

    Args:
        array: Three axes, the fastest first.
        affine: 4 x 4, from (index on each axis, 1) to LPS mm.
        description: Text in the header.
        is_packed: Compress it.
    """
    import nibabel as nib

    to_ras = ras_to_lps(affine)
    image = nib.Nifti1Image(array, to_ras, dtype=array.dtype)
    header = image.header
    header.set_slope_inter(1, 0)
    header.set_xyzt_units("mm")
    image.set_qform(to_ras, code="scanner")
    image.set_sform(to_ras, code="scanner")
    header["descrip"] = description
    content = image.to_bytes()
    # Without a time of writing.
    return gzip.compress(content, 6, mtime=0) if is_packed else content


def _description(volume: Volume) -> str:
    """What the file says about itself: drawn lesions and phantoms stay recognisable."""
    if PAINTED_NOTE in volume.source.notes:
        return f"{PAINTED_MARK} {volume.source.host}".strip()
    if SYNTHETIC_NOTE in volume.source.notes:
        return f"{SAVED_MARK} {SYNTHETIC_NOTE}"
    return SAVED_MARK if volume.units == "HU" else f"{SAVED_MARK} {volume.units}"


def image_of(volume: Volume) -> SimpleITK.Image:
    """A volume as an image of SimpleITK: see `covidctnet.Volume.to_sitk`."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(volume.array)
    directions = volume.affine[:3, [2, 1, 0]] / volume.spacing[::-1]
    image.SetSpacing(volume.spacing[::-1])
    image.SetOrigin(volume.affine[:3, 3].tolist())
    image.SetDirection(directions.ravel().tolist())
    return image
