import numpy as np
import pytest

from covidctnet.errors import StudyError
from covidctnet.io.hu import as_hu, check_hu, noise_hu
from tests.io import series


def tissue(noise, *, edge=False, shape=(20, 64, 64)):
    """Soft tissue in air with noise of a known standard deviation."""
    rng = np.random.default_rng(0)
    scan = np.full(shape, -1000.0)
    scan[:, 8:56, 8:56] = 40 + rng.normal(0, noise, (shape[0], 48, 48))
    if edge:
        scan[:, 30:, 30:] += 60
    return scan


@pytest.mark.parametrize("noise", [5.0, 12.0, 25.0])
def test_the_noise_that_was_added_is_found(noise):
    found = noise_hu(tissue(noise).astype(np.int16))
    assert found == pytest.approx(noise, rel=0.05)


def test_borders_of_organs_are_no_noise():
    assert noise_hu(tissue(5.0, edge=True)) == pytest.approx(5.0, rel=0.05)


def test_air_alone_has_no_noise_to_tell():
    assert np.isnan(noise_hu(np.full((4, 16, 16), -1000, np.int16)))


def test_one_slice_smaller_than_a_square_tells_nothing():
    assert np.isnan(noise_hu(np.zeros((1, 5, 5), np.int16)))


def test_values_whose_sign_was_turned_are_refused():
    # A little bone becomes air, so air alone is no proof.
    scan = -series.a_scan((12, 64, 64)).astype(np.int16)
    scan[:6, 30:34, 30:34], scan[6:, 30:34, 30:34] = -800, -810
    with pytest.raises(StudyError, match="as if their sign was turned"):
        check_hu(scan)


def test_soft_tissue_that_lies_elsewhere_is_refused():
    scan = series.a_scan((12, 64, 64)).astype(np.float32)
    scan[:, 20:40, 10:20] = -200
    scan = np.where(scan > -500, scan + 200, scan)
    with pytest.raises(StudyError, match=r"most soft tissue lies near 2\d\d HU; a slope"):
        check_hu(scan)


def test_negative_values_that_a_header_calls_unsigned_are_refused_with_what_to_correct():
    unsigned = series.a_scan().astype(np.uint16)
    with pytest.raises(StudyError, match=r"calls unsigned\. Correct .*PixelRepresentation"):
        as_hu(unsigned)
    with pytest.raises(StudyError, match=r"up to 90000\. Export the original"):
        as_hu(np.array([[[0, 90_000]]]))
