"""Masks of lesions that somebody drew, from NIfTI files, on the grid of a scan or of an answer."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from covidctnet.errors import CohortError, StudyError
from covidctnet.evidence import CONSOLIDATION, GROUND_GLASS, OTHER_LESION, Mask
from covidctnet.io.canonical import check_size
from covidctnet.io.nifti import ras_to_lps
from covidctnet.volume import Volume

__all__ = ["MaskFile", "lesion_truth", "values_in_mask"]

# The mask has the grid of the scan, and preprocessing keeps all of the scan: a smaller share of it
# within the grid of the answer means another patient, or another frame of reference.
MIN_MASK_WITHIN = 0.9


@dataclass(frozen=True)
class MaskFile:
    """A mask of lesions on disk.

    Attributes:
        path: NIfTI.
        values: Of its voxels, those that are lesions, all of one kind; empty for codes: 0 none, 1
            ground glass, 2 consolidation, 3 other.
    """

    path: Path
    values: tuple[int, ...] = ()

    def absolute(self) -> MaskFile:
        """The same with a path that does not depend on the working folder."""
        return replace(self, path=self.path.absolute())


def values_in_mask(path: Path) -> frozenset[int]:
    """The values that the voxels of a mask have.

    Raises:
        CohortError: If the file is no mask of whole numbers. The file is not named.
    """
    mask, _ = _read_mask(path)
    found = np.unique(mask)
    # Not by casting first: NaN has no whole number.
    if not (np.isfinite(found).all() and (found == np.floor(found)).all()):
        raise CohortError("expected whole numbers in a mask, got others. Write its labels.")
    return frozenset(int(value) for value in found)


def lesion_truth(
    file: MaskFile | Path,
    like: Volume | Mask,
    *,
    codes: tuple[int, ...] = (GROUND_GLASS, CONSOLIDATION),
) -> np.ndarray:
    """A lesion mask from a NIfTI file, on the grid of a volume or of a mask.

    Args:
        file: Whole numbers: 0 none, 1 ground glass, 2 consolidation, 3 other, as
            `covidctnet.phantom.series.write_truth` writes them; a mask of 0 and 1 is one too. Or
            numbers of its own: all values that are lesions count as the first code.
        like: With the target grid; a mask is of all slices.
        codes: What counts as lesion.

    Returns:
        bool, the shape of `like`: voxels of which more than half the area within their slice is
        lesion. Along z the mask is asked at the middle of the slice: the classifier's slices lie
        further apart than they are thick.

    Raises:
        CohortError: If the file is no such mask, or lies elsewhere than the volume. The file is
            not named.
    """
    given = file if isinstance(file, MaskFile) else MaskFile(file)
    mask, affine = _read_mask(given.path)
    if given.values:
        mask = np.isin(mask, given.values).astype(np.uint8) * np.uint8(GROUND_GLASS)
    elif not np.isin(mask, range(OTHER_LESION + 1)).all():
        raise CohortError(
            f"expected whole numbers from 0 to {OTHER_LESION} in a lesion mask, got one that runs "
            f"from {mask.min():g} to {mask.max():g}. Give a mask of 0 and 1, or of those codes."
        )
    if like.affine is None:
        raise CohortError(
            "expected an answer with a scale to compare a lesion mask with, got none. Leave the "
            "masks out."
        )
    _expect_overlap(mask.shape, np.linalg.inv(like.affine) @ affine, like.shape)
    to_mask = np.linalg.inv(affine) @ like.affine
    lesion = np.isin(mask, codes).astype(np.uint8)
    mask_mm = np.linalg.norm(affine[:3, :3], axis=0).min()
    # Odd numbers of points: a border through the middle of a voxel must not always lose it.
    plane_mm = np.linalg.norm(like.affine[:3, 1:3], axis=0)
    rows, columns = (math.ceil(mm / mask_mm - 1e-6) // 2 * 2 + 1 for mm in plane_mm)
    hits = np.zeros(like.shape, dtype=np.uint16)
    for row in (np.arange(rows) + 0.5) / rows - 0.5:
        for column in (np.arange(columns) + 0.5) / columns - 0.5:
            hits += ndimage.affine_transform(
                lesion,
                to_mask[:3, :3],
                to_mask[:3] @ [0, row, column, 1],
                output_shape=like.shape,
                order=0,
                mode="grid-constant",  # half a voxel beyond the last centre is mask still
            )
    return hits * 2 > rows * columns


def _read_mask(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The values, and the affine from their indices to LPS mm."""
    try:
        image = nib.load(path)
        assert isinstance(image, nib.Nifti1Image)
        check_size(image.shape)
        mask = np.asanyarray(image.dataobj)
    except (OSError, EOFError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        raise CohortError(
            f"expected a lesion mask that can be read, got {type(error).__name__}. Write it as "
            "NIfTI again."
        ) from None
    except StudyError as error:
        raise CohortError(
            f"expected a usable lesion mask, got one that is refused: {error.message} Write it as "
            "NIfTI again."
        ) from None
    except (nib.filebasedimages.ImageFileError, AssertionError):
        raise CohortError(
            "expected a lesion mask as NIfTI, got another file. Convert it."
        ) from None
    header = image.header
    if mask.ndim != 3 or not (header["qform_code"] > 0 or header["sform_code"] > 0):
        raise CohortError(
            "expected a lesion mask of three dimensions with a qform or an sform, got "
            f"{mask.ndim} dimensions and codes {int(header['qform_code'])} and "
            f"{int(header['sform_code'])}. Write it with the affine of the scan."
        )
    affine = ras_to_lps(np.asarray(image.affine, dtype=np.float64))
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise CohortError(
            "expected a lesion mask with a usable affine, got none. Write it with the scan's."
        )
    return mask, affine


def _expect_overlap(shape: tuple[int, ...], there: np.ndarray, like: tuple[int, ...]) -> None:
    """Refuse a mask that lies elsewhere than the answer.

    Args:
        shape: Of the mask.
        there: From its voxels to those of the answer.
        like: Shape of the answer.
    """
    # A lattice of points through the mask's grid is enough to tell how much of it lies within.
    points = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 11) for n in shape), indexing="ij"))
    places = there[:3, :3] @ points.reshape(3, -1) + there[:3, 3:]
    # Resampling to whole steps may leave a slice out at the far end.
    low, high = -1.5, np.array(like)[:, None] + 0.5
    within = float(((places >= low) & (places <= high)).all(axis=0).mean())
    if within < MIN_MASK_WITHIN:
        raise CohortError(
            f"expected a lesion mask with the geometry of its scan, {within:.0%} of one lies "
            "within it. Check that the mask is of this scan and keeps its affine."
        )
