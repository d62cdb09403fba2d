import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK

from covidctnet.classes import CHEST_CT
from covidctnet.io import read_volume
from covidctnet.phantom import SCANNERS, make_phantom
from covidctnet.phantom.series import write_series, write_truth
from covidctnet.volume import SYNTHETIC_NOTE


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(CHEST_CT.COVID19, 5, scanner=SCANNERS["ember"], matrix=64, spacing_mm=7.3)


@pytest.fixture(scope="module")
def scan(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    write_series(phantom, folder, patient="p1")
    return folder


@pytest.fixture(scope="module")
def truth(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    write_truth(phantom, folder)
    return folder


def test_the_series_read_back_is_the_phantom(phantom, scan):
    volume = read_volume(scan)
    np.testing.assert_array_equal(volume.array, phantom.volume.array)
    np.testing.assert_allclose(volume.affine, phantom.volume.affine, atol=1e-4)
    assert volume.units == "HU"
    assert SYNTHETIC_NOTE in volume.source.notes


def test_itk_reads_the_same_series(phantom, scan):
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(scan))
    image = SimpleITK.ReadImage(names)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), phantom.volume.array)
    np.testing.assert_allclose(image.GetOrigin(), phantom.volume.affine[:3, 3], atol=1e-4)
    np.testing.assert_allclose(image.GetSpacing()[::-1], phantom.volume.spacing, atol=1e-4)
    np.testing.assert_allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-9)


def test_the_first_file_is_the_head(phantom, scan):
    heights = [pydicom.dcmread(f).ImagePositionPatient[2] for f in sorted(scan.iterdir())]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == phantom.volume.shape[0]


def test_headers_say_who_made_the_scan_and_how(phantom, scan):
    header = pydicom.dcmread(next(iter(sorted(scan.iterdir()))))
    assert header.Manufacturer == "covidctnet phantom"
    assert header.ManufacturerModelName == "ember"
    assert header.ConvolutionKernel == SCANNERS["ember"].kernel
    assert float(header.SliceThickness) == pytest.approx(7.3)
    assert header.PatientID == "p1"
    assert header.StudyDate == ""


def test_the_same_phantom_gives_the_same_bytes_and_another_patient_other_uids(
    phantom, scan, tmp_path
):
    again, other = tmp_path / "again", tmp_path / "other"
    for folder, patient in ((again, "p1"), (other, "p2")):
        folder.mkdir()
        write_series(phantom, folder, patient=patient)
    assert all((again / f.name).read_bytes() == f.read_bytes() for f in scan.iterdir())
    first, second = (pydicom.dcmread(folder / "IM0001.dcm") for folder in (again, other))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert first[keyword].value != second[keyword].value


@pytest.mark.parametrize("name", ["lungs", "lesions"])
def test_truth_masks_lie_on_the_scan(phantom, truth, name):
    image = nib.load(truth / f"{name}.nii.gz")
    mask = np.asarray(image.dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(mask, getattr(phantom, name))
    slices, rows, columns = phantom.volume.shape
    for index in ((0, 0, 0), (slices - 1, 0, columns - 1), (3, rows - 1, 5)):
        ras = image.affine @ (*index[::-1], 1.0)
        lps = phantom.volume.affine @ (*index, 1.0)
        np.testing.assert_allclose(ras * (-1, -1, 1, 1), lps, atol=1e-4)


def test_truth_masks_are_read_on_the_grid_of_the_scan(phantom, truth, scan):
    mask = SimpleITK.ReadImage(str(truth / "lungs.nii.gz"))
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(scan))
    image = SimpleITK.ReadImage(names)
    assert mask.GetSize() == image.GetSize()
    np.testing.assert_allclose(mask.GetOrigin(), image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(mask.GetSpacing(), image.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(mask.GetDirection(), image.GetDirection(), atol=1e-6)


def test_the_truth_tells_what_was_drawn(phantom, truth):
    data = json.loads((truth / "phantom.json").read_text())
    assert data["synthetic"] is True
    assert data["label"] == "Covid-19"
    assert data["seed"] == 5
    assert data["scanner"] == "ember"
    assert data["findings"] == dict(phantom.findings)
