"""A synthetic radiograph as a file: DICOM (DX for presentation) or PNG, grey."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from covidctnet.io.dicom import PHANTOM_MANUFACTURER
from covidctnet.phantom.detector import XRayUnit
from covidctnet.phantom.radiograph import PhantomRadiograph

__all__ = ["radiograph_bytes", "suffix_of"]

_EMPTY = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
# Value and meaning of codes; the schemes are those of DICOM PS3.16 (CID 4031, 4010).
_CHEST = ("43799004", "SCT", "Chest")
_VIEWS = {
    "PA": ("399348003", "SCT", "postero-anterior"),
    "AP": ("399067008", "SCT", "antero-posterior"),
}
_MM_PER_INCH = 25.4


def suffix_of(unit: XRayUnit) -> str:
    """Of the names of its files."""
    return ".dcm" if unit.format == "DICOM" else ".png"


def radiograph_bytes(radiograph: PhantomRadiograph, *, patient: str) -> bytes:
    """The file; the same radiograph and patient give the same bytes.

    DICOM names the manufacturer ``covidctnet phantom``, a PNG has it as text under ``Software``:
    by these readers tell synthetic patients from real ones.

    Args:
        radiograph: What to write.
        patient: Patient ID and name, as of the patient's CT; a PNG does not hold them.
    """
    if radiograph.unit.format == "PNG":
        return _png(radiograph)
    out = io.BytesIO()
    _dicom(radiograph, patient).save_as(out, enforce_file_format=True)
    return out.getvalue()


def _png(radiograph: PhantomRadiograph) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", PHANTOM_MANUFACTURER)
    stored = radiograph.stored
    if stored.dtype == np.uint16:
        # Sixteen bits of a PNG are white at 65535, whatever a detector counts to.
        top = 2**radiograph.unit.bits - 1
        stored = np.rint(stored.astype(np.float64) * (65535 / top)).astype(np.uint16)
    if radiograph.unit.is_inverted:
        stored = np.iinfo(stored.dtype).max - stored  # nothing in a PNG could say it
    out = io.BytesIO()
    dpi = _MM_PER_INCH / radiograph.pixel_mm
    Image.fromarray(stored).save(out, "PNG", pnginfo=notes, dpi=(dpi, dpi))
    return out.getvalue()


def _dicom(radiograph: PhantomRadiograph, patient: str) -> Dataset:
    """Source of what must be there: DICOM PS3.3, A.26 (Digital X-Ray Image IOD)."""
    unit, beam = radiograph.unit, radiograph.unit.beam
    ds = Dataset()
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = _uid(radiograph, patient, "image")
    ds.StudyInstanceUID = _uid(radiograph, patient, "study")
    ds.SeriesInstanceUID = _uid(radiograph, patient, "series")
    for keyword in _EMPTY:
        setattr(ds, keyword, "")
    ds.PatientID = patient
    ds.PatientName = f"Phantom^{patient}"
    ds.Modality = "DX"
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.Manufacturer = PHANTOM_MANUFACTURER
    ds.ManufacturerModelName = unit.name
    ds.StudyDescription = "Synthetic chest"
    ds.SeriesDescription = f"Synthetic chest {beam.view}"
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = beam.view
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.AnatomicRegionSequence = Sequence([_code(_CHEST)])
    ds.ViewCodeSequence = Sequence([_view(beam.view)])
    ds.AcquisitionContextSequence = Sequence([])
    ds.ImageLaterality = "U"
    # The first row runs to the patient's left, the first column to the feet.
    ds.PatientOrientation = ["L", "F"]
    ds.PositionerType = "NONE" if beam.view == "AP" else "COLUMN"
    ds.DetectorType = "DIRECT"
    ds.DetectorConfiguration = "AREA"
    ds.ImagerPixelSpacing = [_decimal(radiograph.pixel_mm)] * 2
    if beam.distance_mm is not None:
        ds.DistanceSourceToDetector = _decimal(beam.distance_mm)
    ds.KVP = _decimal(2 * beam.kev)  # about what a beam of this mean energy is made with
    ds.ContentQualification = "RESEARCH"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    stored = radiograph.stored
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if unit.is_inverted else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if unit.is_inverted else "IDENTITY"
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if unit.is_inverted else -1
    ds.BitsAllocated = 8 if stored.dtype == np.uint8 else 16
    ds.BitsStored, ds.HighBit = unit.bits, unit.bits - 1
    ds.PixelRepresentation = 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.WindowCenter, ds.WindowWidth = _decimal(2 ** (unit.bits - 1)), _decimal(2**unit.bits)
    content = stored.astype("<u2" if stored.dtype == np.uint16 else "u1").tobytes()
    ds.PixelData = content + bytes(len(content) % 2)
    ds["PixelData"].VR = "OW" if stored.dtype == np.uint16 else "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


def _code(code: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def _view(view: str) -> Dataset:
    item = _code(_VIEWS[view])
    item.ViewModifierCodeSequence = Sequence([])
    return item


def _uid(radiograph: PhantomRadiograph, patient: str, part: str) -> str:
    pixels = radiograph.stored.tobytes().hex()
    return generate_uid(entropy_srcs=[pixels, patient, "radiograph", part])


def _decimal(value: float) -> str:
    """A number as DICOM spells it: at most 16 characters."""
    return f"{value:.8g}"
