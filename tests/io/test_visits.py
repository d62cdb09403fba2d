"""One study UID for many patients: each scan is answered, or the study is refused by name."""

import shutil

import numpy as np
import pytest

from covidctnet import find_studies, read_study
from tests.io import series

LONG = series.a_scan((20, 20, 16))


def scan(number):
    return LONG[: 20 - 3 * number] + np.int16(number)


def write_patients(folder, *, flat, **values):
    """Three patients whose scans have other lengths and much in common."""

    def change(ds, index):
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    for number in range(3):
        into = folder if flat else folder / f"patient-{number}"
        name = f"{number}-" + "{:04d}.dcm"
        series.write(into, scan(number), change=change, series=f"of-{number}", name=name)


def arrays_below(folder):
    return sorted((read_study(s).array for s in find_studies(folder)), key=len, reverse=True)


@pytest.mark.parametrize("flat", [False, True], ids=["folders", "one folder"])
@pytest.mark.parametrize(
    "values",
    [
        {"SeriesNumber": 2},
        {"SeriesNumber": 2, "FrameOfReferenceUID": ""},
        {"FrameOfReferenceUID": ""},
        {"SeriesNumber": 2, "StudyInstanceUID": ""},
        {"FrameOfReferenceUID": "", "StudyInstanceUID": ""},
    ],
    ids=["one number", "one number, no frame", "no frame", "no study", "no study, no frame"],
)
def test_no_patient_of_three_under_one_study_uid_vanishes(tmp_path, flat, values):
    write_patients(tmp_path, flat=flat, **values)
    found = arrays_below(tmp_path)
    assert len(found) == 3
    for number, array in enumerate(found):
        np.testing.assert_array_equal(array, scan(number))


def test_thin_and_thick_series_of_two_patients_stay_with_their_patient(tmp_path):
    thin, affine_of_thin = series.a_scan((40, 20, 16)), series.an_affine((1.25, 0.8, 0.7))
    for patient in range(2):
        folder = tmp_path / f"patient-{patient}"
        for number, array, affine in ((2, LONG, None), (3, thin, affine_of_thin)):
            series.write(
                folder / f"series-{number}",
                array + np.int16(patient),
                affine=affine,
                series=f"{patient}-{number}",
                change=lambda ds, i, number=number: setattr(ds, "SeriesNumber", number),
            )
    found = find_studies(tmp_path)
    assert [study.path.name for study in found] == ["patient-0", "patient-1"]
    for patient, study in enumerate(found):
        np.testing.assert_array_equal(read_study(study).array, thin + np.int16(patient))


@pytest.mark.parametrize("flat", [False, True], ids=["folders", "one folder"])
def test_two_phases_of_one_visit_stay_one_study(tmp_path, flat):
    for number in (2, 3):
        series.write(
            tmp_path if flat else tmp_path / f"phase-{number}",
            LONG[: 22 - number],
            series=f"phase-{number}",
            name=f"{number}-" + "{:04d}.dcm",
            change=lambda ds, i, number=number: setattr(ds, "SeriesNumber", number),
        )
    (study,) = find_studies(tmp_path)
    np.testing.assert_array_equal(read_study(study).array, LONG)


def test_one_series_in_two_folders_stays_one_scan(tmp_path):
    series.write(tmp_path / "a", LONG, skip=tuple(range(10)))
    series.write(tmp_path / "b", LONG, skip=tuple(range(10, 20)))
    (study,) = find_studies(tmp_path)
    np.testing.assert_array_equal(read_study(study).array, LONG)


def test_a_copy_of_one_patient_of_several_is_found_once(tmp_path):
    write_patients(tmp_path, flat=False, SeriesNumber=2)
    shutil.copytree(tmp_path / "patient-0", tmp_path / "copy of patient-0")
    found = find_studies(tmp_path)
    assert len({study.id for study in found}) == len(found) == 3
    arrays = sorted((read_study(study).array for study in found), key=len, reverse=True)
    for number, array in enumerate(arrays):
        np.testing.assert_array_equal(array, scan(number))
