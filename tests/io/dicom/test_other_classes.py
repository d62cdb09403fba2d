"""Slices stored as secondary captures: read with the others where they fit, never left out."""

import numpy as np
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from covidctnet.errors import StudyError
from covidctnet.io import find_studies, read_study
from tests.io import series

BODY = series.a_body()
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID")
SCALE = ("RescaleSlope", "RescaleIntercept")


def captured(chosen, *without, **values):
    """Some slices as secondary captures, without some elements."""

    def change(ds, index):
        ds.InstanceNumber = index + 1
        if chosen(index):
            ds.SOPClassUID, ds.Modality = SecondaryCaptureImageStorage, "OT"
            ds.ImageType = ["DERIVED", "SECONDARY"]
            for keyword in without:
                delattr(ds, keyword)
            for keyword, value in values.items():
                setattr(ds, keyword, value)

    return change


def odd(index):
    return index % 2 == 1


def behind(index):
    return index >= 20


def answer(folder):
    (study,) = find_studies(folder)
    try:
        return read_study(study)
    except StudyError as error:
        return error


def array_of(folder):
    found = answer(folder)
    if isinstance(found, StudyError):
        raise found
    return found.array


@pytest.mark.parametrize(
    "chosen",
    [odd, behind, lambda i: i % 3 > 0, lambda i: i == 9],
    ids=["every second", "the last ones", "two of three", "one"],
)
def test_captures_that_kept_their_place_and_scale_are_read_as_slices(tmp_path, chosen):
    series.write(tmp_path, BODY, change=captured(chosen))
    volume = answer(tmp_path)
    np.testing.assert_array_equal(volume.array, BODY)
    assert any("stored as Secondary Capture" in note for note in volume.source.notes)


@pytest.mark.parametrize("chosen", [odd, behind], ids=["every second", "the last ones"])
@pytest.mark.parametrize(
    ("without", "values"),
    [
        ((*PLACE, *SCALE), {}),
        ((*PLACE, *SCALE, "InstanceNumber"), {}),
        (SCALE, {}),
        ((), {"RescaleIntercept": -1000}),
    ],
    ids=["no place", "no place, no number", "no scale", "another scale"],
)
def test_captures_that_may_be_slices_refuse_the_series(tmp_path, chosen, without, values):
    series.write(tmp_path, BODY, change=captured(chosen, *without, **values))
    error = answer(tmp_path)
    assert isinstance(error, StudyError)
    if odd is chosen:
        assert error.code == "SLICE_GAP" and "Secondary Capture" in error.message
        assert "16 slices" in error.message


def test_captures_between_slices_under_another_series_uid_refuse_the_series(tmp_path):
    values = {"SeriesInstanceUID": series.uid("captures"), "SeriesNumber": 99}
    series.write(tmp_path, BODY, change=captured(odd, **values))
    assert answer(tmp_path).code == "SLICE_GAP"


@pytest.mark.parametrize(
    "values",
    [
        {"SeriesNumber": 501, "InstanceNumber": 33},
        {"InstanceNumber": 33, "Rows": 20, "Columns": 72},
    ],
    ids=["another number", "another size"],
)
def test_a_page_in_the_series_of_a_whole_scan_is_left_out(tmp_path, values):
    def numbered(ds, index):
        ds.SeriesNumber, ds.InstanceNumber = 2, index + 1

    series.write(tmp_path, BODY, change=numbered)
    page = captured(lambda i: True, *PLACE, *SCALE, **values)
    series.write(tmp_path, BODY[:1], change=page, name="page{:04d}.dcm")
    np.testing.assert_array_equal(array_of(tmp_path), BODY)


def test_captures_of_slices_at_their_places_are_left_out(tmp_path):
    series.write(tmp_path, BODY, change=captured(lambda i: False))
    series.write(tmp_path, BODY[:4], change=captured(lambda i: True), name="key{:04d}.dcm")
    np.testing.assert_array_equal(array_of(tmp_path), BODY)
