import numpy as np
import pytest

from covidctnet.errors import UsageError
from covidctnet.io.picture import Picture
from covidctnet.slicewise.window import Window, grey_8_bit, hu_to_8_bit


def test_the_lung_window_goes_from_minus_1350_to_150_hu():
    hu = np.array([-3000, -1350, -600, 150, 3000], np.int16)
    assert hu_to_8_bit(hu).tolist() == [0, 0, 128, 255, 255]


def test_grey_values_grow_with_hu_by_steps_of_the_window():
    hu = np.arange(-1400, 200, dtype=np.int16)
    grey = hu_to_8_bit(hu).astype(int)
    exact = np.clip((hu + 1350) / 1500 * 255, 0, 255)
    assert (np.diff(grey) >= 0).all() and np.abs(grey - exact).max() <= 0.5 + 1e-3


def test_a_window_of_ones_own_shows_its_range():
    assert hu_to_8_bit(np.array([-160, 40, 240]), Window(40, 400)).tolist() == [0, 128, 255]
    with pytest.raises(UsageError, match="a width above 0 HU"):
        Window(-600, 0)


def test_a_picture_of_8_bits_stays_as_it_is():
    pixels = np.arange(4096, dtype=np.uint8).reshape(64, 64)
    grey = grey_8_bit(Picture(pixels, "grey", "PNG", "L", 8))
    np.testing.assert_array_equal(grey, pixels)


def test_a_slice_in_hu_is_seen_through_the_window():
    hu = np.full((40, 40), -600, np.int16)
    assert (grey_8_bit(Picture(hu, "HU", "DICOM", "MONOCHROME2", 12)) == 128).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_numbers_without_a_meaning_fill_the_range_of_greys(dtype):
    pixels = np.linspace(1000, 5000, 10_000).reshape(100, 100).astype(dtype)
    grey = grey_8_bit(Picture(pixels, "grey", "TIFF", "I", 16))
    assert grey.dtype == np.uint8 and grey.min() == 0 and grey.max() == 255
    assert abs(int(np.median(grey)) - 127) <= 1


def test_a_picture_of_one_value_is_black():
    assert not grey_8_bit(Picture(np.full((40, 40), 700, np.uint16), "grey", "PNG", "I", 16)).any()
