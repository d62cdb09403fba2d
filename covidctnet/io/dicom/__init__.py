"""DICOM files to volumes: headers, the choice of a series, geometry, voxels."""

from covidctnet.io.archive import DamagedFileError
from covidctnet.io.dicom.elements import NotDicomError, looks_like_dicom
from covidctnet.io.dicom.frame import Identity
from covidctnet.io.dicom.geometry import MIN_SLICES
from covidctnet.io.dicom.grouping import Group, group
from covidctnet.io.dicom.identity import identify, owner_elements, owners
from covidctnet.io.dicom.objects import CT_IMAGE, ENHANCED_CT, PHANTOM_MANUFACTURER, series_key
from covidctnet.io.dicom.radiograph import DicomRadiograph, is_radiograph, read_radiograph
from covidctnet.io.dicom.read import read_dicom
from covidctnet.io.dicom.series import Dropped, Stack
from covidctnet.io.dicom.single import SingleSlice, read_slice
from covidctnet.io.dicom.survey import Survey, holds_series, keys_of_slices, survey

__all__ = [
    "CT_IMAGE",
    "ENHANCED_CT",
    "MIN_SLICES",
    "PHANTOM_MANUFACTURER",
    "DamagedFileError",
    "DicomRadiograph",
    "Dropped",
    "Group",
    "Identity",
    "NotDicomError",
    "SingleSlice",
    "Stack",
    "Survey",
    "group",
    "holds_series",
    "identify",
    "is_radiograph",
    "keys_of_slices",
    "looks_like_dicom",
    "owner_elements",
    "owners",
    "read_dicom",
    "read_radiograph",
    "read_slice",
    "series_key",
    "survey",
]
