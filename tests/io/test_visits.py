"""One study UID for many patients: each scan is answered, or the study is refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from covidctnet import StudyError, find_studies, read_study, read_volume
from covidctnet.io.dicom import grouping, pairs
from covidctnet.io.dicom.frame import Identity
from covidctnet.io.dicom.objects import series_key
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


STEPS = (1.25, 2.5, 5.0)


def write_steps(folder, **values):
    """Three patients in folders of their own whose slices lie 1.25, 2.5 and 5 mm apart."""

    def change(ds, index):
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    scans = []
    for number, step in enumerate(STEPS):
        scans.append(series.a_scan((40 // (number + 1), 20, 16)) + np.int16(number))
        affine = series.an_affine((step, 0.8, 0.7), (-50.0, -60.0, 10.0 + 7.3 * number))
        series.write(
            folder / f"patient-{number}",
            scans[-1],
            affine=affine,
            change=change,
            series=f"of-{number}",
        )
    return scans


@pytest.mark.parametrize(
    "values",
    [
        {"SeriesNumber": 2},
        {"SeriesNumber": 2, "FrameOfReferenceUID": ""},
        {"FrameOfReferenceUID": ""},
        {"SeriesInstanceUID": series.uid("one")},
    ],
    ids=["one number", "one number, no frame", "no frame", "one series"],
)
def test_no_patient_of_three_with_other_steps_vanishes(tmp_path, values):
    scans = write_steps(tmp_path, **values)
    found = find_studies(tmp_path)
    assert len({study.id for study in found}) == 3
    for study, scan in zip(found, scans, strict=True):
        np.testing.assert_array_equal(read_study(study).array, scan)


def test_thin_and_thick_reconstructions_without_numbers_stay_one_study(tmp_path):
    for step, count in ((1.25, 40), (5.0, 10)):
        series.write(
            tmp_path / f"{step}",
            series.a_scan((count, 20, 16)),
            affine=series.an_affine((step, 0.8, 0.7)),
            series=f"{step}",
            change=lambda ds, i: setattr(ds, "FrameOfReferenceUID", ""),
        )
    (study,) = find_studies(tmp_path)
    assert len(read_study(study).array) == 40


@pytest.mark.parametrize("first", [14, 17])
def test_one_scan_in_two_series_of_one_number_that_overlap_is_not_halved(tmp_path, first):
    def change(ds, index):
        ds.SeriesNumber, ds.SOPInstanceUID = 2, series.uid(f"{ds.SeriesInstanceUID}/{index}")

    series.write(tmp_path, LONG[:first], series="a", name="a{}.dcm", change=change)
    series.write(tmp_path, LONG, skip=tuple(range(8)), series="b", name="b{}.dcm", change=change)
    (study,) = find_studies(tmp_path)
    np.testing.assert_array_equal(read_study(study).array, LONG)


UIDS = ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"]


@pytest.mark.parametrize("keyword", UIDS)
def test_a_uid_for_each_slice_and_noise_in_the_directions_do_no_harm(tmp_path, keyword):
    rng = np.random.default_rng(2)

    def change(ds, index):
        ds.ImageOrientationPatient = [1, round(rng.normal(0, 1e-6), 9), 0, 0, 1, 1e-7 * index]
        setattr(ds, keyword, series.uid(f"{keyword}/{index}"))

    series.write(tmp_path, LONG, change=change)
    (study,) = find_studies(tmp_path)
    np.testing.assert_array_equal(read_study(study).array, LONG)


def test_a_frame_of_reference_on_every_second_slice_does_no_harm(tmp_path):
    def change(ds, index):
        if index % 2:
            ds.FrameOfReferenceUID = ""

    series.write(tmp_path, LONG, change=change)
    (study,) = find_studies(tmp_path)
    np.testing.assert_array_equal(read_study(study).array, LONG)


def identities(count, per_scan):
    """What many files under one study UID say, made up: scans of one grid, a folder each."""
    return [
        (
            Path(f"/patients/{k // per_scan}/{k % per_scan}.dcm"),
            Identity(
                study_uid="one",
                series_uid=f"series-{k // per_scan}",
                sop_class="1.2.840.10008.5.1.4.1.1.2",
                sop_uid=str(k),
                frame_of_reference="one",
                series_number="2",
                number=float(k % per_scan),
                position=(0.0, 0.0, float(k % per_scan)),
                orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
                visit=("",) * 5,
                is_slice=True,
            ),
        )
        for k in range(count)
    ]


def test_grouping_takes_no_comparison_of_every_file_with_every_other(monkeypatch):
    calls = []
    monkeypatch.setattr(pairs, "is_one_scan", lambda *_: calls.append("scan"))
    monkeypatch.setattr(pairs, "are_copies", lambda *_: calls.append("copies"))
    groups, _ = grouping.group(identities(2000, 100))
    assert len(groups) == 20
    # Pairs of the 20 scans at most, not of the 2000 files.
    assert len(calls) <= 2 * 20 * 19


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


VISIT = {
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "PatientAge": "070Y",
    "StudyDate": "20200304",
    "StudyTime": "101112",
}


def write_two(folder, first=VISIT, second=VISIT, *, into="", frame="", shift=0.0):
    """Two scans under one study UID that start together unless `shift` mm apart."""
    affine = series.an_affine(origin=(-50.0, -60.0, 10.0 + shift))
    scans = (
        (folder, LONG, series.an_affine(), 2, first),
        (folder / into, scan(1), affine, 3, second),
    )
    for where, array, its_affine, number, values in scans:

        def change(ds, index, number=number, values=values):
            ds.SeriesNumber = number
            if frame and number == 3:
                ds.FrameOfReferenceUID = series.uid(frame)
            for keyword, value in values.items():
                setattr(ds, keyword, value)

        name = f"{number}-" + "{:04d}.dcm"
        series.write(where, array, affine=its_affine, change=change, series=f"{number}", name=name)


@pytest.mark.parametrize(
    "told",
    [
        {"PatientID": "another"},
        {"PatientSex": "M"},
        {"PatientBirthDate": "19610102"},
        {"PatientAge": "059Y"},
        {"StudyDate": "20200306"},
        {"StudyTime": "134501"},
    ],
    ids=lambda told: next(iter(told)),
)
@pytest.mark.parametrize("study", [True, False], ids=["one study UID", "no study UID"])
def test_patients_in_one_folder_are_told_apart_by_any_mark_of_a_visit(tmp_path, told, study):
    values = VISIT if study else {**VISIT, "StudyInstanceUID": ""}
    write_two(tmp_path, values, {**values, **told})
    found = arrays_below(tmp_path)
    assert [len(array) for array in found] == [20, 17]
    np.testing.assert_array_equal(found[1], scan(1))


def test_series_in_one_folder_without_study_and_frame_need_something_in_common(tmp_path):
    bare = {"StudyInstanceUID": "", "FrameOfReferenceUID": ""}
    write_two(tmp_path / "bare", bare, bare)
    assert [len(array) for array in arrays_below(tmp_path / "bare")] == [20, 17]
    write_two(tmp_path / "told", {**VISIT, **bare}, {**VISIT, **bare})
    (study,) = find_studies(tmp_path / "told")
    np.testing.assert_array_equal(read_study(study).array, LONG)


def test_scans_at_heights_that_have_nothing_in_common_are_not_chosen_among(tmp_path):
    write_two(tmp_path, shift=300.0)
    said = r"2 scans lie at heights that have nothing in common.*series=KEY.*--every-series"
    with pytest.raises(StudyError, match=said) as caught:
        read_volume(tmp_path)
    assert caught.value.code == "AMBIGUOUS_SERIES"
    for name, array in (("2", LONG), ("3", scan(1))):
        key = series_key(series.uid(f"study/{name}"))
        assert key in caught.value.message
        np.testing.assert_array_equal(read_volume(tmp_path, series=key).array, array)
    found = find_studies(tmp_path, every_series=True)
    assert sorted(len(read_study(study).array) for study in found) == [17, 20]


@pytest.mark.parametrize("into", ["", "b"], ids=["one folder", "two folders"])
def test_two_frames_of_reference_of_one_visit_are_one_study(tmp_path, into):
    write_two(tmp_path, into=into, frame="own")
    (study,) = find_studies(tmp_path)
    np.testing.assert_array_equal(read_study(study).array, LONG)
    key = series_key(series.uid("study/3"))
    np.testing.assert_array_equal(read_study(study, series=key).array, scan(1))


@pytest.mark.parametrize(
    ("into", "second"),
    [("", {"PatientSex": "M"}), ("b", {"PatientSex": "M"}), ("b", {})],
    ids=["other sex", "other sex, other folder", "nothing told, other folder"],
)
def test_two_frames_of_reference_of_two_patients_stay_two_studies(tmp_path, into, second):
    first = {**VISIT} if second else {}
    write_two(tmp_path, first, {**first, **second}, into=into, frame="own")
    assert [len(array) for array in arrays_below(tmp_path)] == [20, 17]
    # The caller may choose among them all the same.
    key = series_key(series.uid("study/3"))
    np.testing.assert_array_equal(read_volume(tmp_path, series=key).array, scan(1))
    with pytest.raises(StudyError, match="a series of one of 2 studies, got 12345678") as caught:
        read_volume(tmp_path, series="12345678")
    assert caught.value.code == "UNKNOWN_SERIES"


def test_a_refused_stack_of_several_patients_does_not_keep_another_series_from_being_chosen(
    tmp_path,
):
    series.write(tmp_path, LONG, series="a")
    series.write(
        tmp_path,
        scan(1),
        series="b",
        name="b{:04d}.dcm",
        change=lambda ds, i: setattr(ds, "PatientName", f"patient {i % 2}"),
    )
    with pytest.raises(StudyError, match="MIXED_PATIENT"):
        read_volume(tmp_path)
    key = series_key(series.uid("study/a"))
    np.testing.assert_array_equal(read_volume(tmp_path, series=key).array, LONG)


def test_a_loose_image_goes_with_the_scan_of_its_own_patient(tmp_path):
    write_two(tmp_path, second={**VISIT, "PatientID": "another"})
    key_image = {**VISIT, "PatientID": "another", "SeriesNumber": 9}

    def change(ds, index):
        for keyword, value in key_image.items():
            setattr(ds, keyword, value)

    series.write(tmp_path, LONG[:1], series="key image", name="key{:04d}.dcm", change=change)
    assert [len(array) for array in arrays_below(tmp_path)] == [20, 17]


def test_scans_in_folders_that_nothing_else_tells_apart_are_refused_naming_the_folders(tmp_path):
    for number in range(3):
        series.write(tmp_path / f"{number}", scan(number), name="{:04d}.dcm")
    (study,) = find_studies(tmp_path)
    with pytest.raises(StudyError, match=r"in 3 folders.* read each folder by itself") as caught:
        read_study(study)
    assert caught.value.code == "OVERLAPPING_ACQUISITIONS"
    for number in range(3):
        np.testing.assert_array_equal(read_volume(tmp_path / f"{number}").array, scan(number))
