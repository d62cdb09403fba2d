"""Real scans and hard files beside the project, against SimpleITK."""

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread

from covidctnet.errors import StudyError
from covidctnet.io import find_studies, read_study, read_volume
from covidctnet.io.dicom.headers import read_frames
from covidctnet.io.dicom.voxels import read_hu
from covidctnet.io.hu import as_hu, check_hu

PATIENTS = [
    "covid_ct_md/COVID-19/P002",
    "covid_ct_md/CAP/cap002",
    "covid_ct_md/Control/normal001",
    "controls_ct/lidc0293",
    "controls_ct/tcga_bc_a3kf",
]


@pytest.mark.parametrize("patient", PATIENTS)
def test_a_real_scan_equals_simpleitk_voxel_for_voxel(shared_data, patient):
    folder = str(shared_data / patient)
    reader = SimpleITK.ImageSeriesReader()
    (key,) = reader.GetGDCMSeriesIDs(folder)
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder, key))
    image = reader.Execute()
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayViewFromImage(image))
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.affine[:3, 3], image.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(volume.spacing[::-1], image.GetSpacing(), atol=1e-3)


@pytest.mark.parametrize("name", ["JPLL", "JLSL", "RLE", "J2KR"])
def test_every_compressed_copy_of_a_slice_equals_the_uncompressed_one(shared_data, name):
    folder = shared_data / "hard_dicom" / "wg04"
    copy, _ = read_hu(read_frames(folder / f"CT1_{name}.dcm"))
    plain, notes = read_hu(read_frames(folder / "CT1_UNC.dcm"))
    np.testing.assert_array_equal(copy, plain)
    assert plain.min() >= -1024 and any("padding" in note for note in notes)


def test_a_codestream_without_sign_is_read_with_the_sign_of_the_header(shared_data):
    path = shared_data / "hard_dicom" / "pydicom_test" / "J2K_pixelrep_mismatch.dcm"
    hu, _ = read_hu(read_frames(path))
    expected = dcmread(path).pixel_array.astype(int)
    expected[expected < -1500] = -1024
    np.testing.assert_array_equal(hu[0], expected)


def test_every_hard_file_is_refused_by_name(shared_data):
    found = find_studies(shared_data / "hard_dicom")
    assert len(found) >= 15
    for study in found:
        with pytest.raises(StudyError) as caught:
            read_study(study)
        assert caught.value.code.isupper() and caught.value.study == study.id


def test_a_crop_in_mha_equals_simpleitk(shared_data):
    path = shared_data / "elastix_3dct_lung" / "3DCT_lung.mha"
    volume = read_volume(path)
    image = SimpleITK.ReadImage(str(path))
    expected = np.maximum(SimpleITK.GetArrayViewFromImage(image), -1024)
    np.testing.assert_array_equal(volume.array, expected)
    np.testing.assert_allclose(volume.spacing[::-1], image.GetSpacing())


@pytest.mark.parametrize("shift", [-1024, 1024])
@pytest.mark.parametrize("with_padding", [False, True])
def test_a_real_scan_shifted_by_1024_is_not_hu(shared_data, shift, with_padding):
    array = read_volume(shared_data / "controls_ct" / "tcga_bc_a3kf").array + np.int16(shift)
    if with_padding:
        array[:, :20] = -2000
    with pytest.raises(StudyError, match="NOT_HU"):
        check_hu(as_hu(array)[0])
