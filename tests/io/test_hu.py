import numpy as np
import pytest

from covidctnet.io.hu import noise_hu


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
