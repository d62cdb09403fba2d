"""NIfTI of an answer in the geometry of its source: lungs, lesions, and what was compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from covidctnet.dicom_out.place import SourceGrid
from covidctnet.dicom_out.segments import segments_of, whole
from covidctnet.evidence import Evidence, Panels
from covidctnet.io.convert import nifti_bytes
from covidctnet.results import Prediction
from covidctnet.volume import MASK_MARK, SAVED_MARK

__all__ = ["nifti_files"]


def nifti_files(
    prediction: Prediction, grid: SourceGrid, reader: str
) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of an answer, one at a time.

    Masks are uint8, placed by the rule of `covidctnet.dicom_out.place`; the residual is int16 in
    HU, linear between the voxels of its grid, 0 outside.

    Args:
        prediction: Its evidence with all voxels.
        grid: Of the source.
        reader: Name of the source's reader.
    """
    if not grid.origin.affine:
        return
    # NIfTI counts the fastest axis first; the other readers give it last.
    is_reversed = reader != "nifti"

    def packed(array: np.ndarray, description: str = SAVED_MARK) -> bytes:
        affine = grid.reader_affine
        if is_reversed:
            return nifti_bytes(array.T, affine[:, [2, 1, 0, 3]], description=description)
        return nifti_bytes(array, affine, description=description)

    regions = None
    for segment in segments_of(prediction.evidence, grid, prediction.classes):
        mask = segment.draw()
        if segment.kind == "region":
            regions = mask if regions is None else regions | mask
        else:
            yield (
                f"{segment.kind}.nii.gz",
                packed(mask.astype(np.uint8), f"{MASK_MARK} of {segment.kind}"),
            )
    if regions is not None:
        yield "regions.nii.gz", packed(regions.astype(np.uint8), f"{MASK_MARK} of regions")
    residual = _residual(prediction.evidence)
    if residual is not None:
        width = residual.window_hu[1] - residual.window_hu[0]
        hu = grid.interpolated(residual["residual"], residual, width)
        yield "residual.nii.gz", packed(hu)


def _residual(evidence: Iterable[Evidence]) -> Panels | None:
    for one in evidence:
        if isinstance(one, Panels) and "residual" in one.names and whole(one):
            return one
    return None
