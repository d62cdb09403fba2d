"""Slices with drawn lungs: the layouts of the Kaggle set "finding lungs in CT".

Two layouts, both read:

- ``2d_images/NAME.tif`` with ``2d_masks/NAME.tif``, a slice a file; the patient is the part of the
  name before ``_Z_``;
- ``3d_images/IMG_NUMBER.nii.gz`` with ``3d_images/MASK_NUMBER.nii.gz``, a patient a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image, UnidentifiedImageError

from covidctnet.errors import CohortError, StudyError, UsageError
from covidctnet.io.nifti import ras_to_lps
from covidctnet.io.read import read_volume

__all__ = ["LungPair", "find_lung_pairs"]

# A drawn slice is no larger; a file that says so is broken or hostile.
MAX_SIDE = 4096
# Slices kept as bytes have lost their HU; their 256 values are taken for the window.
_BYTES = np.dtype("u1")


@dataclass(frozen=True)
class LungPair:
    """Files of one patient: images, and their drawn lungs in the same order.

    Attributes:
        patient: Pseudonym, 12 hexadecimal digits.
        images: Slices, or one volume.
        masks: As many.
    """

    patient: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]

    def read(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """The slices and their lungs.

        Returns:
            The slices, (slice, row, column), in HU as int16, or in [0, 1] as float32 where bytes
            were kept; the lungs, bool, the same shape; and whether they are HU.

        Raises:
            StudyError: If a file cannot be read, or image and mask disagree.
        """
        if self.images[0].name.endswith(".nii.gz"):
            return self._read_volume()
        pictures = [_picture(path, self.patient) for path in self.images]
        masks = [_picture(path, self.patient) > 0 for path in self.masks]
        for picture, mask in zip(pictures, masks, strict=True):
            if picture.shape != mask.shape or picture.shape != pictures[0].shape:
                raise _differ(self.patient, picture.shape, mask.shape)
        slices, lungs = np.stack(pictures), np.stack(masks)
        if slices.dtype == _BYTES:
            return slices.astype(np.float32) / 255, lungs, False
        return np.clip(slices, -2000, 4000).astype(np.int16), lungs, True

    def _read_volume(self) -> tuple[np.ndarray, np.ndarray, bool]:
        volume = read_volume(self.images[0])
        try:
            image = nib.load(self.masks[0])
            shape, affine = image.shape, image.affine  # type: ignore[attr-defined]
        except (OSError, ValueError, nib.filebasedimages.ImageFileError) as error:
            raise StudyError(
                "CORRUPT_FILE",
                f"the mask cannot be read ({type(error).__name__}). Get it anew.",
                study=self.patient,
            ) from None
        if sorted(shape) != sorted(volume.shape):
            raise _differ(self.patient, volume.shape, shape)
        # By the voxels' places, as the volume was turned to the canonical orientation.
        inverse = np.linalg.inv(ras_to_lps(affine)) @ volume.affine
        corners = ((0, 0, 0), tuple(n - 1 for n in volume.shape))
        begin, end = (np.round(inverse @ [*corner, 1])[:3].astype(int) for corner in corners)
        data = np.asarray(image.dataobj) > 0  # type: ignore[attr-defined]
        order = [int(np.argmax(np.abs(inverse[:3, k]))) for k in range(3)]
        steps = tuple(slice(None, None, 1 if end[k] >= begin[k] else -1) for k in range(3))
        lungs = np.ascontiguousarray(data[steps].transpose(order))
        if lungs.shape != volume.shape:
            raise _differ(self.patient, volume.shape, lungs.shape)
        return volume.array, lungs, True


def find_lung_pairs(folder: Path) -> tuple[LungPair, ...]:
    """Pairs in either layout, a patient an entry, sorted by name.

    Args:
        folder: Holds ``2d_images`` and ``2d_masks`` (or ``images`` and ``masks``), or
            ``3d_images``; both are taken when both are there, with patients of their own.

    Raises:
        UsageError: If there is no such folder.
        CohortError: If it has neither layout, or an image without a mask.
    """
    if not folder.is_dir():
        raise UsageError(f"expected a folder with drawn lungs, {folder.name!r} is none")
    pairs = [*_pairs_of_slices(folder), *_pairs_of_volumes(folder)]
    if not pairs:
        raise CohortError(
            "no drawn lungs found: expected 2d_images/*.tif with 2d_masks/*.tif, or "
            "3d_images/IMG_*.nii.gz with 3d_images/MASK_*.nii.gz"
        )
    return tuple(pairs)


def _pairs_of_slices(folder: Path) -> Iterator[LungPair]:
    patients: dict[str, list[tuple[Path, Path]]] = {}
    for images, masks in (("2d_images", "2d_masks"), ("images", "masks")):
        for image in sorted((folder / images).glob("*.tif")):
            mask = folder / masks / image.name
            if not mask.is_file():
                raise CohortError(f"an image of {images}/ has no mask of its name in {masks}/")
            patients.setdefault(image.stem.partition("_Z_")[0], []).append((image, mask))
    for name, files in patients.items():
        yield LungPair(_pseudonym("2d", name), *map(tuple, zip(*files, strict=True)))


def _pairs_of_volumes(folder: Path) -> Iterator[LungPair]:
    for image in sorted((folder / "3d_images").glob("IMG_*.nii.gz")):
        mask = image.with_name(image.name.replace("IMG_", "MASK_", 1))
        if not mask.is_file():
            raise CohortError("an IMG_*.nii.gz of 3d_images/ has no MASK_*.nii.gz of its number")
        yield LungPair(_pseudonym("3d", image.name), (image,), (mask,))


def _pseudonym(layout: str, name: str) -> str:
    return hashlib.sha256(f"{layout} {name}".encode()).hexdigest()[:12]


def _picture(path: Path, patient: str) -> np.ndarray:
    try:
        with Image.open(path, formats=["TIFF"]) as image:
            if max(image.size) > MAX_SIDE:
                raise StudyError(
                    "ABSURD_SIZE",
                    f"a slice is at most {MAX_SIDE} voxels wide, got {max(image.size)}.",
                    study=patient,
                )
            array = np.asarray(image)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise StudyError(
            "CORRUPT_FILE",
            f"a slice cannot be read as TIFF ({type(error).__name__}). Get it anew.",
            study=patient,
        ) from None
    if array.ndim == 3 and (array == array[:, :, :1]).all():  # grey, saved as colours
        array = array[:, :, 0]
    if array.ndim != 2:
        raise StudyError(
            "CORRUPT_FILE", f"expected grey slices, got colours ({array.shape}).", study=patient
        )
    return array


def _differ(patient: str, image: tuple[int, ...], mask: tuple[int, ...]) -> StudyError:
    return StudyError(
        "CORRUPT_FILE",
        f"image and mask differ in shape: {image} and {mask}. Get the pair anew.",
        study=patient,
    )
