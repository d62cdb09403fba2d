"""One slice from one DICOM file, without the series that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidctnet.errors import StudyError
from covidctnet.io.archive import DamagedFileError, File
from covidctnet.io.dicom.elements import NotDicomError
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.kinds import NOT_HU, unfit
from covidctnet.io.dicom.stacks import check_content
from covidctnet.io.dicom.voxels import read_hu

__all__ = ["SingleSlice", "read_slice"]


@dataclass(frozen=True, eq=False)
class SingleSlice:
    """A CT slice that was read alone.

    Attributes:
        hu: Shape (row, column), int16 or float32.
        bits: That the file stores for each pixel.
        photometric: PhotometricInterpretation of the file.
        notes: What the reader decided.
    """

    hu: np.ndarray
    bits: int
    photometric: str
    notes: tuple[str, ...]


def read_slice(path: File) -> SingleSlice:
    """Read the only CT slice of a file to HU.

    A single slice has no neighbours, so its geometry and its rescaling are not checked against
    other slices, as those of a series are.

    Args:
        path: A DICOM file.

    Raises:
        StudyError: ``NOT_CT`` for another object, ``NOT_HU`` for a CT picture in other values,
            ``SEVERAL_PICTURES`` for many frames, ``NO_RESCALE``, ``UNSUPPORTED_SYNTAX``, or the
            code of the damage.
    """
    try:
        frames = read_frames(path)
    except NotDicomError:
        raise StudyError(
            "NOT_CT",
            "expected a CT slice, got a DICOM directory or no DICOM. Give the files of the slices.",
        ) from None
    except DamagedFileError as error:
        raise StudyError(
            error.code, f"expected a whole DICOM slice: {error}. Export it again."
        ) from None
    if len(frames) > 1:
        raise StudyError(
            "SEVERAL_PICTURES",
            f"expected one slice, got a DICOM file of {len(frames)} frames. Read it as a scan.",
        )
    (frame,) = frames
    kind = unfit(frame)
    if kind.startswith(NOT_HU):
        raise StudyError(
            "NOT_HU",
            f"expected a CT slice in HU, got a DICOM picture: {kind}. Give the original slice.",
        )
    if kind:
        raise StudyError(
            "NOT_CT", f"expected a CT slice, got a DICOM file of: {kind}. Give the CT slices."
        )
    check_content(frames)
    hu, notes = read_hu(frames)
    return SingleSlice(hu[0], frame.pixels.bits_stored, frame.pixels.photometric, notes)
