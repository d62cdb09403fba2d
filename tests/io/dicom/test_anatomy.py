"""Whether two scans at one place show one body."""

import numpy as np
import pytest

from covidctnet.errors import StudyError
from covidctnet.io import find_studies, read_study
from tests.io import series


def anonymised(number, folder, **values):
    def change(ds, index):
        ds.SeriesNumber = number
        ds.StudyDate = "20200101"
        ds.PatientName = "ANON"
        ds.FrameOfReferenceUID = series.uid(folder)
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


def write(folder, name, scan, number, **values):
    change = anonymised(number, name, **values)
    series.write(folder / name, scan, change=change, series=name, patient="ANON")


def body(seed, *, wide=0.9):
    rng = np.random.default_rng(seed)
    scan = series.a_body(seed=seed).astype(float)
    # Organs of its own.
    for _ in range(6):
        z, y, x = rng.integers(4, 28), rng.integers(8, 30), rng.integers(6, 28)
        scan[max(0, z - 6) : z + 6, y - 5 : y + 5, x - 4 : x + 4] = rng.choice([-900, 200, 60])
    return scan.astype(np.int16)


def test_two_patients_under_one_study_uid_and_id_in_one_range_are_refused(tmp_path):
    write(tmp_path, "a", body(1), 1)
    write(tmp_path, "b", body(2), 2, ConvolutionKernel="B70f")
    codes = []
    for study in find_studies(tmp_path):
        try:
            read_study(study)
            codes.append("read")
        except StudyError as error:
            codes.append(error.code)
            assert "show different bodies" in error.message
    assert codes == ["AMBIGUOUS_SERIES"]


def test_another_kernel_of_one_scan_is_one_body_and_one_of_them_is_read(tmp_path):
    scan = body(1)
    rng = np.random.default_rng(5)
    write(tmp_path, "a", scan, 1)
    noisy = (scan + rng.normal(0, 10, scan.shape)).astype(np.int16)
    write(tmp_path, "b", noisy, 2, ConvolutionKernel="B70f")
    (study,) = find_studies(tmp_path)
    np.testing.assert_array_equal(read_study(study).array, scan)


@pytest.mark.parametrize("marks", [{"PatientSex": "F", "PatientBirthDate": "19500101"}])
def test_headers_that_agree_on_the_patient_are_believed(tmp_path, marks):
    write(tmp_path, "a", body(1), 1, **marks)
    write(tmp_path, "b", body(2), 2, ConvolutionKernel="B70f", **marks)
    (study,) = find_studies(tmp_path)
    assert read_study(study).shape == series.BODY_SHAPE
