import numpy as np
import pytest
from PIL import Image

from covidctnet.errors import UsageError
from covidctnet.slicewise.resize import crop_box, grid_of, resize


def test_the_crop_of_a_wide_picture_is_its_centre_and_of_a_tall_one_too():
    assert crop_box(600, 400) == (100, 0, 500, 400)
    assert crop_box(400, 600) == (0, 100, 400, 500)
    assert crop_box(600, 400, (1.0, 1.0)) == (200, 0, 600, 400)
    assert crop_box(600, 400, (0.0, 0.9)) == (0, 0, 400, 400)


def test_a_crop_is_the_square_cut_out_first_and_then_resized():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (400, 600), np.uint8)
    expected = Image.fromarray(picture[:, 100:500]).resize((448, 448), Image.Resampling.BILINEAR)
    assert np.array_equal(resize(picture, 448), np.array(expected))


def test_a_padded_picture_is_whole_with_black_above_and_below():
    picture = np.full((100, 200), 200, np.uint8)
    padded = resize(picture, 64, fit="pad")
    assert padded.shape == (64, 64)
    assert (padded[16:48] == 200).all()
    assert not padded[:16].any() and not padded[48:].any()


@pytest.mark.parametrize("shape", [(20, 20), (1, 300), (300, 1)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_small_or_thin_picture_becomes_a_square(shape, fit):
    assert resize(np.zeros(shape, np.uint8), 32, fit=fit).shape == (32, 32)


def test_what_is_no_grey_picture_of_bytes_is_refused():
    for picture in (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), np.zeros((0, 4), np.uint8)):
        with pytest.raises(UsageError, match="expected a grey picture of bytes"):
            resize(picture, 32)
    with pytest.raises(UsageError, match="expected crop, pad or stretch as fit, got 'squish'"):
        resize(np.zeros((4, 4), np.uint8), 32, fit="squish")


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("shape", [(200, 300), (300, 200), (128, 128)])
def test_a_spot_of_the_square_lies_where_it_does_in_the_picture(fit, shape):
    picture = np.zeros(shape, np.uint8)
    picture[98:103, 117:122] = 255  # its middle is row 100, column 119
    small = resize(picture, 64, fit=fit).astype(float)
    rows, columns = np.indices(small.shape)
    row, column = ((small * n).sum() / small.sum() for n in (rows, columns))
    grid = grid_of(shape[1], shape[0], 64, fit=fit)
    found = grid @ [7, row, column, 1]
    assert found == pytest.approx([7, 100, 119, 1], abs=0.3)
