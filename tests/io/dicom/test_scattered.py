"""A few UIDs drawn for many files: one scan is read whole, and two are never merged."""

import numpy as np
import pytest

from covidctnet.errors import StudyError
from covidctnet.io import find_studies, read_study
from tests.catalogue.steps import enhanced
from tests.io import series

BODY = series.a_body()
THICK = np.rint(BODY.reshape(16, 2, *BODY.shape[1:]).mean(axis=1)).astype(np.int16)
THICK_AFFINE = series.an_affine((5.0, 0.8, 0.7), (-50.0, -60.0, 11.25))


def drawn(keyword, count, seed=0):
    """Each file gets one of a few UIDs."""
    rng = np.random.default_rng(seed)

    def change(ds, index):
        setattr(ds, keyword, series.uid(f"{keyword}/{rng.integers(count)}"))

    return change


def in_turn(keyword, count):
    return lambda ds, i: setattr(ds, keyword, series.uid(f"{keyword}/{i % count}"))


def write(folder, scan, *changes, number=2, name="a", affine=None, **values):
    def change(ds, index):
        ds.SeriesNumber, ds.InstanceNumber = number, index + 1
        ds.SliceThickness = 5.0 if affine is THICK_AFFINE else 2.5
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        for one in changes:
            one(ds, index)

    into = name + "{:04d}.dcm"
    series.write(folder, scan, affine=affine, series=name, change=change, name=into)


def answers(folder):
    found = []
    for study in find_studies(folder):
        try:
            found.append(read_study(study).array)
        except StudyError as error:
            found.append(error.code)
    return found


@pytest.mark.parametrize("keyword", ["SeriesInstanceUID", "FrameOfReferenceUID"])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("way", [drawn, in_turn])
def test_a_few_uids_drawn_for_the_files_of_one_scan_do_no_harm(tmp_path, keyword, count, way):
    write(tmp_path, BODY, way(keyword, count))
    (array,) = answers(tmp_path)
    np.testing.assert_array_equal(array, BODY)


def test_study_and_series_uids_drawn_together_do_no_harm(tmp_path):
    write(tmp_path, BODY, drawn("StudyInstanceUID", 3), drawn("SeriesInstanceUID", 4, seed=1))
    (array,) = answers(tmp_path)
    np.testing.assert_array_equal(array, BODY)


@pytest.mark.parametrize("numbers", [(2, 3), (2, 2), ("", "")])
def test_uids_drawn_for_the_files_of_two_reconstructions_leave_both_whole(tmp_path, numbers):
    change = drawn("SeriesInstanceUID", 5)
    write(tmp_path, BODY, change, number=numbers[0])
    write(tmp_path, THICK, change, number=numbers[1], name="b", affine=THICK_AFFINE)
    (array,) = answers(tmp_path)
    np.testing.assert_array_equal(array, BODY)


def test_a_series_uid_for_each_file_of_two_reconstructions_without_numbers(tmp_path):
    for name, scan, affine in (("a", BODY, None), ("b", THICK, THICK_AFFINE)):
        own = [lambda ds, i, name=name: setattr(ds, "SeriesInstanceUID", series.uid(f"{name}{i}"))]
        write(tmp_path, scan, *own, number="", name=name, affine=affine)
    (array,) = answers(tmp_path)
    np.testing.assert_array_equal(array, BODY)


@pytest.mark.parametrize("way", [drawn, in_turn])
@pytest.mark.parametrize(
    "other",
    [series.a_body(lungs=-400, seed=5), series.a_body(phase=0.25, seed=4)],
    ids=["patient", "breath"],
)
def test_two_scans_in_turn_are_not_merged(tmp_path, way, other):
    woven = BODY.copy()
    woven[1::2] = other[1::2]
    write(tmp_path, woven, way("SeriesInstanceUID", 2))
    assert all(isinstance(answer, str) for answer in answers(tmp_path))


def test_a_localizer_beside_slices_with_study_uids_of_their_own_is_no_study(tmp_path):
    own = [lambda ds, i: setattr(ds, "StudyInstanceUID", series.uid(f"{ds.SOPInstanceUID}"))]
    write(tmp_path, BODY, *own)
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write(tmp_path, BODY[:1], *own, name="scout", number=1, **scout)
    (array,) = answers(tmp_path)
    np.testing.assert_array_equal(array, BODY)


def test_patients_on_one_grid_of_whom_slices_are_missing_stay_as_many(tmp_path):
    for patient in range(3):
        scan = series.a_body(seed=patient)

        def change(ds, index):
            ds.SeriesNumber = 2

        name = f"{patient}"
        series.write(
            tmp_path,
            scan,
            skip=(5 + patient,),
            study=name,
            series=name,
            change=change,
            name=name + "{:04d}.dcm",
        )
    assert answers(tmp_path) == ["SLICE_GAP"] * 3


UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def own(*keywords):
    """Each file gets UIDs of its own."""

    def change(ds, index):
        for keyword in keywords:
            setattr(ds, keyword, series.uid(f"{keyword} of {ds.SOPInstanceUID}"))

    return change


@pytest.mark.parametrize("keywords", [UIDS, UIDS[:2], UIDS[:1]])
def test_reconstructions_in_folders_next_to_each_other_are_one_study_by_their_pixels(
    tmp_path, keywords
):
    for patient in ("p", "q"):
        thin = series.a_body(seed=ord(patient), phase=0.3 if patient == "q" else 0)
        thick = np.rint(thin.reshape(16, 2, *thin.shape[1:]).mean(axis=1)).astype(np.int16)
        for name, number, scan, affine in (("a", 2, thin, None), ("b", 3, thick, THICK_AFFINE)):
            write(
                tmp_path / patient / name,
                scan,
                own(*keywords, "SOPInstanceUID"),
                number=number,
                name=name + patient,
                affine=affine,
                PatientID=patient,
            )
    assert [len(array) for array in answers(tmp_path)] == [32, 32]


def test_two_scans_in_folders_next_to_each_other_stay_two_studies(tmp_path):
    other = series.a_body(seed=9)
    write(tmp_path / "a", BODY, own(*UIDS))
    write(tmp_path / "b", other, own(*UIDS, "SOPInstanceUID"), number=3, name="b")
    assert sorted(len(array) for array in answers(tmp_path)) == [32, 32]


SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}


@pytest.mark.parametrize("keywords", [UIDS, UIDS[:1]])
def test_localizers_in_a_folder_of_their_own_belong_to_the_scan_of_their_patient(
    tmp_path, keywords
):
    for patient in ("p", "q"):
        marks = {"PatientID": patient, "FrameOfReferenceUID": series.uid(patient)}
        write(tmp_path / f"ct-{patient}", BODY, own(*keywords), name=patient, **marks)
        folder = tmp_path / f"scout-{patient}"
        write(folder, BODY[:2], own(*keywords), name=f"s{patient}", **SCOUT, **marks)
    assert [len(array) for array in answers(tmp_path)] == [32, 32]


def test_a_localizer_of_a_patient_without_a_scan_is_not_lost(tmp_path):
    write(tmp_path / "ct", BODY, own(*UIDS), name="p", PatientID="p")
    write(tmp_path / "scout", BODY[:2], own(*UIDS), name="q", PatientID="q", **SCOUT)
    found = answers(tmp_path)
    assert sorted(answer if isinstance(answer, str) else "read" for answer in found) == [
        "NOT_CT",
        "NOT_CT",
        "read",
    ]


@pytest.mark.parametrize("keywords", [UIDS, UIDS[:1], UIDS[1:2], UIDS[2:]])
def test_enhanced_ct_of_one_frame_a_file_may_have_uids_of_each_file(tmp_path, keywords):
    for k in range(len(BODY)):

        def change(ds, k=k):
            ds.SeriesNumber, ds.InstanceNumber = 2, k + 1
            own(*keywords)(ds, k)

        enhanced(range(k, k + 1), scan=BODY, name=f"{k}.dcm", instance=f"{k}", change=change)(
            tmp_path
        )
    (array,) = answers(tmp_path)
    np.testing.assert_array_equal(array, BODY)
