"""Small synthetic CT series, written with pydicom: unequal axes and a mark in every slice."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

SHAPE = (12, 20, 16)
BODY_SHAPE = (32, 40, 36)
SPACING = (2.5, 0.8, 0.7)
ORIGIN = (-50.0, -60.0, 10.0)
Change = Callable[[Dataset, int], None]


def a_scan(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """HU, int16: air around tissue, no symmetry, slice k marked with 100 + k."""
    rng = np.random.default_rng(7)
    scan = np.full(shape, -1000, dtype=np.int16)
    scan[:, 3:-2, 2:-4] = 40
    scan[:, 5:-5, 4:-8] = -850
    scan += rng.integers(-20, 20, shape, dtype=np.int16)
    scan[:, 0, 1] = 100 + np.arange(shape[0])
    return scan


def a_body(
    *,
    phase: float = 0.0,
    lungs: float = -850.0,
    soft: float = 40.0,
    seed: int = 3,
    shape: tuple[int, int, int] = BODY_SHAPE,
) -> np.ndarray:
    """HU, int16: a body whose lungs change from slice to slice; `phase` moves them along z."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    hu = np.full(shape, -1000.0)
    hu[(y / 0.9) ** 2 + (x / (0.9 - 0.05 * z)) ** 2 < 1] = soft
    inside = (np.abs(x) - 0.45) ** 2 / 0.09 + (y / 0.6) ** 2 + ((z - phase) / 1.2) ** 2 < 1
    hu[inside] = lungs
    hu += np.random.default_rng(seed).normal(0, 8, shape)
    return np.clip(np.rint(hu), -1024, 3000).astype(np.int16)


def an_affine(
    spacing: tuple[float, float, float] = SPACING, origin: tuple[float, float, float] = ORIGIN
) -> np.ndarray:
    """From (slice, row, column) to LPS mm, canonical."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)[::-1]
    affine[:3, 3] = origin
    return affine


def uid(name: str) -> str:
    """A UID that depends on the name alone."""
    return generate_uid(entropy_srcs=[name])


def a_slice(
    hu: np.ndarray,
    index: int,
    *,
    study: str = "study",
    series: str = "series",
    affine: np.ndarray | None = None,
    patient: str = "patient",
) -> Dataset:
    """One CT image with slope 1 and intercept -1024."""
    affine = an_affine() if affine is None else affine
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = uid(f"{study}/{series}/{index}")
    ds.StudyInstanceUID = uid(study)
    ds.SeriesInstanceUID = uid(f"{study}/{series}")
    ds.FrameOfReferenceUID = uid(f"{study}/frame")
    ds.Modality = "CT"
    ds.PatientID = patient
    ds.PatientName = "Doe^Jane"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = 1000 - 7 * index % 5
    ds.AcquisitionNumber = 1
    ds.ConvolutionKernel = "B30f"
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / spacing
    ds.ImageOrientationPatient = [
        float(round(x, 12)) for x in (*directions[:, 2], *directions[:, 1])
    ]
    ds.ImagePositionPatient = [float(round(x, 6)) for x in affine[:3] @ [index, 0, 0, 1]]
    ds.PixelSpacing = [float(spacing[1]), float(spacing[2])]
    ds.SliceThickness = 99.0
    ds.SpacingBetweenSlices = 77.0
    ds.RescaleSlope = 1
    ds.RescaleIntercept = -1024
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = hu.shape
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    ds.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    return ds


def save(ds: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    """Write with preamble and meta group."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    native = {ImplicitVRLittleEndian: (True, True), ExplicitVRBigEndian: (False, False)}
    implicit, little = native.get(syntax, (False, True))
    ds.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=True)


def write(
    folder: Path,
    scan: np.ndarray | None = None,
    *,
    change: Change | None = None,
    skip: tuple[int, ...] = (),
    affine: np.ndarray | None = None,
    study: str = "study",
    series: str = "series",
    patient: str = "patient",
    syntax: str = ExplicitVRLittleEndian,
    name: str = "{:04d}.dcm",
) -> list[Path]:
    """Write a series, slices named in an order that is not theirs.

    Args:
        folder: Receives the files.
        scan: HU; `a_scan` by default.
        change: Called with every data set and the slice's index before it is saved.
        skip: Slices left out.
        affine: From (slice, row, column) to LPS mm.
        study: Makes the StudyInstanceUID.
        series: Makes the SeriesInstanceUID.
        patient: PatientID.
        syntax: Transfer syntax to write in; compressed ones are the caller's `change`.
        name: Of the files.
    """
    scan = a_scan() if scan is None else scan
    paths = []
    for index, hu in enumerate(scan):
        if index in skip:
            continue
        ds = a_slice(hu, index, study=study, series=series, affine=affine, patient=patient)
        if change:
            change(ds, index)
        path = folder / name.format((index * 7) % 1009)
        save(ds, path, syntax)
        paths.append(path)
    return paths
