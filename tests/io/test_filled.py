"""Scans that were cut short and filled up, and turned scans that only look like it."""

import numpy as np
import pytest

from covidctnet import StudyError
from covidctnet.io.filled import check_damage, check_filled
from tests.io.series import a_body


def ending_in(value):
    """A scan whose last slice has one value in its lower half."""
    hu = a_body()
    hu[-1, hu.shape[1] // 2 :] = value
    return hu


def test_a_file_that_ends_in_stored_zeros_is_refused():
    with pytest.raises(StudyError, match=r"CORRUPT_FILE.*1 of 32 have one value in a part"):
        check_filled(ending_in(0), code="CORRUPT_FILE", filler=0)


def test_air_outside_of_a_turned_scan_is_no_broken_file():
    hu = ending_in(-1024)
    check_filled(hu, code="CORRUPT_FILE", filler=0)
    with pytest.raises(StudyError, match="CORRUPT_SLICE"):
        check_filled(hu, code="CORRUPT_SLICE")


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
    for filler in (None, 0):
        with pytest.raises(StudyError, match=r"CORRUPT_FILE.*1 of 32 have rows of one value"):
            check_filled(hu, code="CORRUPT_FILE", filler=filler)


def test_a_run_of_one_value_within_a_row_is_refused():
    hu = a_body(shape=(12, 40, 160))
    check_filled(hu, code="CORRUPT_SLICE")
    hu[5, 20, 40:120] = -1024
    hu[[4, 6], 20, 40:120] = np.arange(80) % 7 + 40
    with pytest.raises(StudyError, match="1 of 12 have one value in a part of a row"):
        check_filled(hu, code="CORRUPT_SLICE")
