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


VISIT = {
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "PatientAge": "070Y",
    "StudyTime": "101112",
    "PatientID": "p1",
}
ONE_MARK = [
    {"StudyTime": "134501"},
    {"StudyDate": "20200306", "StudyTime": "080000"},
    {"PatientAge": "069Y"},
    {"PatientAge": "840M"},
    {"PatientSex": "M"},
    {"PatientBirthDate": "19500701", "PatientAge": "069Y"},
    {"PatientID": "0p1"},
]


def write_visit(folder, name, scan, number, affine=None, **values):
    change = anonymised(number, "frame", **{**VISIT, **values})
    into = name + "{:04d}.dcm"
    series.write(folder, scan, change=change, series=name, affine=affine, name=into)


def thick(scan):
    scan = scan.reshape(16, 2, *scan.shape[1:]).mean(axis=1)
    return np.rint(scan).astype(np.int16), series.an_affine((5.0, 0.8, 0.7), (-50.0, -60.0, 11.25))


@pytest.mark.parametrize("told", ONE_MARK, ids=lambda told: "-".join(told))
@pytest.mark.parametrize("way", ["thick", "same", "kernel"])
def test_a_series_of_one_scan_that_differs_in_one_mark_is_no_other_patient(tmp_path, told, way):
    scan, affine = body(1), None
    second, more = scan, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}
    if way == "thick":
        second, affine = thick(scan)
    elif way == "kernel":
        second = (scan + np.random.default_rng(5).normal(0, 3, scan.shape)).astype(np.int16)
    write_visit(tmp_path, "a", scan, 1)
    write_visit(tmp_path, "b", second, 2, affine, **more, **told)
    (study,) = find_studies(tmp_path)
    np.testing.assert_array_equal(read_study(study).array, scan)


@pytest.mark.parametrize("way", ["other noise", "other body", "other noise, thick"])
def test_a_scan_of_its_own_that_differs_in_one_mark_is_another_study(tmp_path, way):
    scan = body(1)
    noise = np.random.default_rng(9).normal(0, 8, scan.shape)
    smooth = np.where(scan < -500, -850, np.where(scan > 100, 200, 40))
    second, affine = np.rint(smooth + noise).astype(np.int16), None
    if way == "other body":
        second = body(2)
    elif way.endswith("thick"):
        second, affine = thick(second)
    derived = {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}
    write_visit(tmp_path, "a", scan, 1)
    write_visit(tmp_path, "b", second, 2, affine, PatientAge="059Y", **derived)
    assert sorted(len(read_study(study).array) for study in find_studies(tmp_path)) == sorted(
        (len(scan), len(second))
    )


def test_a_series_of_one_scan_that_differs_in_two_marks_stays_apart(tmp_path):
    scan = body(1)
    write_visit(tmp_path, "a", scan, 1)
    second, affine = thick(scan)
    write_visit(tmp_path, "b", second, 2, affine, PatientSex="M", PatientAge="050Y")
    assert len(find_studies(tmp_path)) == 2
