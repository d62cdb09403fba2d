import numpy as np
import pytest
from PIL import Image

from covidctnet.errors import StudyError
from covidctnet.io.picture import Picture, read_picture
from covidctnet.radiograph.convert import grey_of, save_png


def test_a_converted_file_is_a_grey_png_of_8_bits_with_the_same_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "a.tif")
    save_png(grey_of(read_picture(tmp_path / "a.tif")), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.mode) == ("PNG", "L")
        assert np.array_equal(np.asarray(image), pixels)


def test_a_file_that_is_there_is_not_replaced(tmp_path):
    Image.new("L", (40, 40), 7).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(FileExistsError):
        save_png(grey_of(read_picture(tmp_path / "a.png")), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before


def test_more_than_8_bits_are_stretched_and_keep_their_order():
    deep = np.linspace(300, 3900, 64 * 64).reshape(64, 64).astype(np.uint16)
    grey = grey_of(Picture(deep, "grey", "PNG", "I;16", 16))
    assert (grey.min(), grey.max()) == (0, 255)
    assert (np.diff(grey.ravel().astype(int)) >= 0).all()
    even = grey_of(Picture(np.full((40, 40), 9, np.uint16), "grey", "PNG", "I;16", 16))
    assert not even.any()


def test_a_slice_of_a_ct_is_no_radiograph():
    ct = Picture(np.zeros((64, 64), np.int16), "HU", "DICOM", "MONOCHROME2", 16)
    with pytest.raises(StudyError, match="expected a radiograph, got a slice of a CT") as caught:
        grey_of(ct)
    assert caught.value.code == "NOT_RADIOGRAPH"
