"""Which DICOM objects there are, and where a file says what it is."""

from __future__ import annotations

import hashlib

from pydicom.dataset import Dataset

from covidctnet.io.dicom.elements import DamagedFileError
from covidctnet.io.dicom.values import items, meta_text, tag_of, text, uid

__all__ = [
    "CT_IMAGE",
    "DICOMDIR",
    "ENHANCED_CT",
    "FUNCTIONAL_GROUPS",
    "MAX_FRAMES",
    "MAX_SIDE",
    "PHANTOM_MANUFACTURER",
    "PIXEL_KEYWORDS",
    "check_end",
    "group_item",
    "series_key",
    "sop_class_of",
]

# No scanner makes larger images; a header that claims more is wrong, or meant to exhaust memory.
MAX_SIDE = 4096
MAX_FRAMES = 4096

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
DICOMDIR = "1.2.840.10008.1.3.10"
# What `covidctnet.phantom` writes as Manufacturer: pixels that were computed, not measured.
PHANTOM_MANUFACTURER = "covidctnet phantom"
# How an image stores its pixels.
PIXEL_KEYWORDS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)
FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def series_key(series_uid: str) -> str:
    """What stands for a series where its UID must not."""
    return hashlib.sha256(series_uid.encode()).hexdigest()[:8]


def sop_class_of(data: Dataset) -> str:
    """The SOP class; anonymisers leave it to the file's meta group, or to the modality alone."""
    found = uid(data, "SOPClassUID") or meta_text(data, "MediaStorageSOPClassUID")
    return found or (CT_IMAGE if text(data, "Modality").upper() == "CT" else "")


def check_end(data: Dataset, study_uid: str) -> None:
    """Refuse a file that ends before it says where it belongs; one that leaves it out goes on."""
    behind = ("SeriesInstanceUID", "InstanceNumber", "ImagePositionPatient", "FrameOfReferenceUID")
    if not study_uid and not any(tag_of(keyword) in data for keyword in behind):
        raise DamagedFileError("its header does not say where it belongs")


def group_item(sequence: str, *sources: Dataset) -> Dataset:
    """The item of a sequence in the first of some data sets that has it; else an empty one."""
    for source in sources:
        if found := items(source, sequence):
            return found[0]
    return Dataset()
