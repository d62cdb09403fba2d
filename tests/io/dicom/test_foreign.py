"""Slices of another body among those of a scan are noticed by their pixels."""

import numpy as np
import pytest

from covidctnet.errors import StudyError
from covidctnet.io import find_studies, read_study
from covidctnet.io.dicom.foreign import foreign_slices
from tests.io import series

# As fine as real scans, so that neighbours are alike.
OWN = series.a_body(shape=(64, 40, 36))


def another():
    """A body that stands elsewhere and has lungs of another form."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in OWN.shape), indexing="ij")
    hu = np.full(OWN.shape, -1000.0)
    hu[(y / 0.6) ** 2 + ((x - 0.2) / 0.7) ** 2 < 1] = 40
    hu[((x - 0.2) / 0.5) ** 2 + ((y - 0.2) / 0.25) ** 2 + (z / 1.4) ** 2 < 1] = -850
    hu += np.random.default_rng(8).normal(0, 8, hu.shape)
    # No lower value can be stored.
    hu = np.maximum(hu, -1024)
    return np.rint(hu).astype(np.int16)


def code_of(folder, scan):
    series.write(folder, scan, change=lambda ds, i: setattr(ds, "InstanceNumber", i + 1))
    (study,) = find_studies(folder)
    try:
        read_study(study)
    except StudyError as error:
        return error.code, error.message
    return "read", ""


@pytest.mark.parametrize("count", [1, 2, 5, 12, 32])
def test_slices_of_another_body_under_the_headers_of_a_scan_are_refused(tmp_path, count):
    scan = OWN.copy()
    scan[20 : 20 + count] = another()[20 : 20 + count]
    first, last = foreign_slices(scan.astype(np.float32), np.full(63, 2.5))
    # Of two halves nothing says which one is foreign.
    assert (first, last) == (20, 63 if count == 32 else 19 + count)
    code, message = code_of(tmp_path, scan)
    assert code == "OVERLAPPING_ACQUISITIONS"
    assert "unlike the slices before and behind" in message and "slice" in message


def test_the_rest_of_a_scan_that_is_of_another_body_is_refused(tmp_path):
    assert code_of(tmp_path, np.concatenate([OWN[:32], another()[32:]]))[0] != "read"


def test_a_scan_of_one_body_is_read(tmp_path):
    assert code_of(tmp_path, OWN)[0] == "read"


def test_a_breath_between_two_slices_is_no_other_body():
    images = series.a_body(shape=(64, 40, 36)).astype(np.float32)
    breath = series.a_body(phase=0.1, shape=(64, 40, 36)).astype(np.float32)
    away = np.full(63, 2.5)
    assert foreign_slices(np.concatenate([images[:32], breath[32:]]), away) is None
    assert foreign_slices(np.concatenate([images[:32], breath[32:40], images[40:]]), away) is None


def test_slices_behind_a_gap_may_be_unlike():
    images = np.concatenate([OWN[:32], another()[32:]]).astype(np.float32)
    away = np.full(63, 2.5)
    assert foreign_slices(images, away) == (32, 63)
    away[31] = 40.0
    assert foreign_slices(images, away) is None
