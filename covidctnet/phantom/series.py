"""A synthetic patient as files: a DICOM CT series, and the truth as NIfTI masks."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from covidctnet.io.dicom import PHANTOM_MANUFACTURER
from covidctnet.io.nifti import ras_to_lps
from covidctnet.phantom.patient import Phantom
from covidctnet.volume import MASK_MARK

__all__ = ["write_series", "write_truth"]

INTERCEPT = -1024
_EMPTY = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)


def write_series(phantom: Phantom, folder: Path, *, patient: str) -> None:
    """Write the scan as a DICOM CT series, one uncompressed file a slice, head first.

    The headers carry what a scanner's would and say who made them: the manufacturer is
    ``covidctnet phantom``, by which readers tell synthetic patients from real ones. All UIDs
    follow from the voxels and `patient`: the same phantom gives the same bytes.

    Args:
        phantom: What to write.
        folder: An existing folder.
        patient: Patient ID and name.
    """
    volume = phantom.volume
    shared = _shared_header(phantom, patient)
    count = volume.shape[0]
    for number in range(1, count + 1):
        index = count - number
        ds = Dataset()
        ds.update(shared)
        ds.SOPInstanceUID = _uid(phantom, patient, "image", str(index))
        ds.InstanceNumber = number
        position = (volume.affine @ [index, 0, 0, 1])[:3]
        ds.ImagePositionPatient = [_decimal(x) for x in position]
        ds.SliceLocation = _decimal(position[2])
        ds.PixelData = (volume.array[index] - INTERCEPT).astype("<u2").tobytes()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(folder / f"IM{number:04d}.dcm", enforce_file_format=True)


def write_truth(phantom: Phantom, folder: Path) -> None:
    """Write what is known: ``lungs.nii.gz``, ``lesions.nii.gz`` and ``phantom.json``.

    Both masks have the grid of the scan. Lesions: 1 ground glass, 2 consolidation, 3 other.

    Args:
        phantom: What to write.
        folder: An existing folder.
    """
    affine = ras_to_lps(phantom.volume.affine)  # its own inverse: both turn x and y round
    for name, mask in (("lungs", phantom.lungs), ("lesions", phantom.lesions)):
        image = nib.Nifti1Image(mask.astype(np.uint8).transpose(2, 1, 0), _columns_first(affine))
        # By which it is passed over where scans are looked for.
        image.header["descrip"] = f"{MASK_MARK} of {name}"
        nib.save(image, folder / f"{name}.nii.gz")
    truth = {
        "synthetic": True,
        "label": phantom.label.title,
        "seed": phantom.seed,
        "scanner": phantom.scanner,
        "findings": dict(phantom.findings),
    }
    (folder / "phantom.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")


def _columns_first(affine: np.ndarray) -> np.ndarray:
    """The affine for indices in the order (column, row, slice) of NIfTI."""
    return affine[:, [2, 1, 0, 3]]


def _shared_header(phantom: Phantom, patient: str) -> Dataset:
    """What all slices of the series have in common."""
    volume, scanner = phantom.volume, phantom.protocol
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.StudyInstanceUID = _uid(phantom, patient, "study")
    ds.SeriesInstanceUID = _uid(phantom, patient, "series")
    ds.FrameOfReferenceUID = _uid(phantom, patient, "frame")
    ds.PositionReferenceIndicator = ""
    for keyword in _EMPTY:
        setattr(ds, keyword, "")
    ds.PatientID = patient
    ds.PatientName = f"Phantom^{patient}"
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Manufacturer = PHANTOM_MANUFACTURER
    ds.ManufacturerModelName = scanner.name
    ds.StudyDescription = "Synthetic chest"
    ds.SeriesDescription = f"Synthetic chest {scanner.kernel}"
    ds.BodyPartExamined = "CHEST"
    ds.PatientPosition = "HFS"
    ds.SeriesNumber = 1
    ds.AcquisitionNumber = 1
    ds.KVP = scanner.kvp
    ds.ConvolutionKernel = scanner.kernel
    ds.SliceThickness = _decimal(scanner.thickness_mm)
    ds.SpacingBetweenSlices = _decimal(volume.spacing[0])
    ds.PixelSpacing = [_decimal(volume.spacing[1]), _decimal(volume.spacing[2])]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.Rows, ds.Columns = volume.shape[1:]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = INTERCEPT, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = -600, 1500
    return ds


def _uid(phantom: Phantom, patient: str, *parts: str) -> str:
    return generate_uid(entropy_srcs=[phantom.volume.source.digest, patient, *parts])


def _decimal(value: float) -> str:
    """A number as DICOM spells it: at most 16 characters."""
    return f"{value:.8g}"
