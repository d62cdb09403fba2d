"""Scans that were cut short and filled up, and turned scans that only look like it."""

import numpy as np
import pytest
from scipy import ndimage

from covidctnet import StudyError
from covidctnet.io.filled import Filler, check_damage, check_filled, filler_of
from tests.io.series import a_body

# Of numbers that are HU, and of numbers that lack 1024 to it; a file for every slice.
NO_INTERCEPT = filler_of((0.0,), is_one_file=False)
SHIFTED = filler_of((-1024.0,), is_one_file=False)
FILE = filler_of((-1024.0,), is_one_file=True)


def ending_in(value, which=-1):
    """A body that fills the image; a slice has one value in its lower half."""
    hu = a_body()[:, 6:-6, 4:-4]
    hu[which, hu.shape[1] // 2 :] = value
    return hu


def turned(degrees, *, shift=0.0):
    """A body that fills the image, turned around its rows, with air outside."""
    hu = a_body()[:, 6:-6, 4:-4].astype(float)
    angle = np.radians(degrees)
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    scale = np.diag([5.0, 5.0, 5.0])
    matrix = np.linalg.inv(scale) @ turn @ scale
    middle = (np.array(hu.shape) - 1) / 2
    offset = middle - matrix @ middle + [shift, 0, 0]
    out = ndimage.affine_transform(hu, matrix, offset, order=1, cval=-1024.0)
    return np.clip(np.rint(out), -1024, 3000).astype(np.int16)


@pytest.mark.parametrize("which", [0, 11, -1])
@pytest.mark.parametrize(
    ("value", "filler"), [(0, NO_INTERCEPT), (-1024, SHIFTED), (-1024, FILE), (-1000, Filler())]
)
def test_stored_zeros_in_the_end_of_a_slice_are_refused(which, value, filler):
    what = "(one value in a part|rows of one value)"
    with pytest.raises(StudyError, match=rf"CORRUPT_FILE.*1 of 32 hold {what}"):
        check_filled(ending_in(value, which), code="CORRUPT_FILE", filler=filler)


def test_two_broken_slices_at_one_end_are_no_wedge():
    for first, second in ((9, 18), (10, 18), (10, 13), (4, 20)):
        hu = a_body()[:, 6:-6, 4:-4]
        hu[-2, -first:], hu[-1, -second:] = -1024, -1024
        with pytest.raises(StudyError, match="CORRUPT_SLICE"):
            check_filled(hu, code="CORRUPT_SLICE", filler=SHIFTED)


def test_both_outer_slices_that_end_in_stored_zeros_are_refused():
    hu = ending_in(-1024)
    hu[0, -9:] = -1024
    with pytest.raises(StudyError, match=r"CORRUPT_SLICE.*2 of 32"):
        check_filled(hu, code="CORRUPT_SLICE", filler=SHIFTED)


def test_another_value_than_stored_zeros_is_no_broken_copy():
    check_filled(ending_in(-1024), code="CORRUPT_SLICE", filler=NO_INTERCEPT)
    check_filled(ending_in(-1000), code="CORRUPT_FILE", filler=FILE)


@pytest.mark.parametrize("filler", [NO_INTERCEPT, SHIFTED, FILE, Filler()])
@pytest.mark.parametrize("degrees", [-15, -8, -4, 2, 4, 8, 15])
def test_air_outside_of_a_turned_scan_is_no_broken_copy(degrees, filler):
    check_filled(turned(degrees), code="CORRUPT_SLICE", filler=filler)


@pytest.mark.parametrize("value", [0, 40, -850])
def test_whole_slices_of_one_value_that_is_no_air_are_refused_as_they_are(value):
    hu = a_body()
    hu[-3:] = value
    with pytest.raises(StudyError, match=rf"3 of 32 hold nothing but {value} HU"):
        check_filled(hu, code="CORRUPT_SLICE", filler=SHIFTED)


def test_air_in_whole_slices_beyond_a_scan_is_read():
    hu = a_body()
    hu[:2] = hu[-3:] = -1024
    for filler in (NO_INTERCEPT, SHIFTED, FILE):
        check_filled(hu, code="CORRUPT_FILE", filler=filler)


def test_a_file_whose_last_slices_are_stored_zeros_is_refused_and_padding_of_slices_read():
    hu = a_body()
    hu[-12:] = -1024
    check_filled(hu, code="CORRUPT_SLICE", filler=SHIFTED)
    check_filled(hu, code="CORRUPT_FILE", filler=filler_of((0.0,), is_one_file=True))
    with pytest.raises(StudyError, match=r"12 of 32 at one end hold nothing but -1024 HU, stored"):
        check_filled(hu, code="CORRUPT_FILE", filler=FILE)


def test_an_oblique_wedge_of_zeros_is_no_broken_copy():
    # As a program leaves that turns a scan around two axes: rows are whole in the outermost slice.
    hu = a_body()[:, 6:-6, 4:-4]
    hu[0, :20], hu[1, :20, :8] = 0, 0
    check_filled(hu, code="CORRUPT_FILE", filler=filler_of((0.0,), is_one_file=True))
    hu[1, :20, :8] = 40
    with pytest.raises(StudyError, match="CORRUPT_FILE"):
        check_filled(hu, code="CORRUPT_FILE", filler=filler_of((0.0,), is_one_file=True))


@pytest.mark.parametrize("run", [1, 2, 3])
def test_slices_that_differ_from_those_on_both_sides_are_refused(run):
    hu = a_body()
    check_damage(hu, code="CORRUPT_SLICE")
    hu[9 : 9 + run, 20:] += 500
    with pytest.raises(StudyError, match=rf"CORRUPT_SLICE.*slices? 10 .*of {len(hu)}.*[2-5]\d%"):
        check_damage(hu, code="CORRUPT_SLICE")


def test_a_scan_that_changes_for_good_is_let_pass():
    hu = a_body()
    hu[9:, 20:] += 500
    check_damage(hu, code="CORRUPT_SLICE")
    check_damage(hu[:2], code="CORRUPT_SLICE")


def test_rows_of_one_value_within_a_slice_are_refused():
    hu = a_body()
    hu[9, 18:22] = 0
    for filler in (Filler(), NO_INTERCEPT):
        with pytest.raises(StudyError, match=r"CORRUPT_FILE.*1 of 32 hold rows of one value"):
            check_filled(hu, code="CORRUPT_FILE", filler=filler)


def test_a_run_of_one_value_within_a_row_is_refused():
    hu = a_body(shape=(12, 40, 160))
    check_filled(hu, code="CORRUPT_SLICE", filler=Filler())
    hu[5, 20, 40:120] = -1024
    hu[[4, 6], 20, 40:120] = np.arange(80) % 7 + 40
    with pytest.raises(StudyError, match="1 of 12 hold one value in a part of a row"):
        check_filled(hu, code="CORRUPT_SLICE", filler=Filler())


def test_a_masked_body_that_lies_further_back_in_one_slice_is_no_damage():
    hu = np.where(a_body(shape=(12, 100, 200)) > -400, 40, -1024).astype(np.int16)
    moved = hu.copy()
    moved[5] = np.roll(hu[5], 4, axis=0)
    assert not np.array_equal(moved, hu)
    check_filled(moved, code="CORRUPT_SLICE", filler=Filler())


def test_what_lies_beyond_a_run_to_the_edge_of_a_row_is_air_that_was_masked():
    hu = a_body(shape=(12, 40, 160))
    hu[[4, 6], 20] = np.arange(160) % 7 + 40
    hu[5, 20, :120] = -1024
    check_filled(hu, code="CORRUPT_SLICE", filler=Filler())
