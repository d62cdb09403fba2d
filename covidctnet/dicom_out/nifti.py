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

__all__ = ["drawn", "nifti_files"]

RESIDUAL = "residual"


def nifti_files(
    prediction: Prediction, grid: SourceGrid, reader: str
) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of an answer, one at a time.

    Args:
        prediction: See `drawn`.
        grid: See `drawn`.
        reader: See `drawn`.
    """
    for name, array, affine in drawn(prediction, grid, reader):
        mark = SAVED_MARK if name == RESIDUAL else f"{MASK_MARK} of {name}"
        yield f"{name}.nii.gz", nifti_bytes(array, affine, description=mark)


def drawn(
    prediction: Prediction, grid: SourceGrid, reader: str
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Masks of an answer, and its residual, one at a time.

    Masks are uint8, placed by the rule of `covidctnet.dicom_out.place`; the residual is int16 in
    HU, linear between the voxels of its grid, 0 outside.

    Args:
        prediction: Its evidence with all voxels.
        grid: Of the source.
        reader: Name of the source's reader.

    Yields:
        Name, voxels in the order of the source with the fastest axis first, and the affine from
        their indices to LPS mm.
    """
    if not grid.origin.affine:
        return
    affine = grid.reader_affine
    # NIfTI counts the fastest axis first; the other readers give it last.
    is_reversed = reader != "nifti"
    if is_reversed:
        affine = affine[:, [2, 1, 0, 3]]

    def ordered(array: np.ndarray) -> np.ndarray:
        return array.T if is_reversed else array

    regions = None
    for segment in segments_of(prediction.evidence, grid, prediction.classes):
        mask = segment.draw()
        if segment.kind == "region":
            regions = mask if regions is None else regions | mask
        else:
            yield segment.kind, ordered(mask.astype(np.uint8)), affine
    if regions is not None:
        yield "regions", ordered(regions.astype(np.uint8)), affine
    residual = _residual(prediction.evidence)
    if residual is not None:
        width = residual.window_hu[1] - residual.window_hu[0]
        hu = grid.interpolated(residual[RESIDUAL], residual, width)
        yield RESIDUAL, ordered(hu), affine


def _residual(evidence: Iterable[Evidence]) -> Panels | None:
    for one in evidence:
        if isinstance(one, Panels) and RESIDUAL in one.names and whole(one):
            return one
    return None
