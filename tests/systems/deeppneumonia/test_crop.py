import numpy as np
import pytest
from scipy import ndimage

from covidctnet.errors import UsageError
from covidctnet.systems.deeppneumonia.crop import (
    Square,
    crop_lungs,
    fill_blanks,
    lungs_of_picture,
    what_is_cut_off,
)


@pytest.fixture
def lungs():
    y, x = np.mgrid[:120, :160]
    left = ((y - 60) / 35) ** 2 + ((x - 50) / 20) ** 2 < 1
    return left | (((y - 60) / 35) ** 2 + ((x - 105) / 22) ** 2 < 1)


@pytest.fixture
def grey(lungs):
    """Body of 200 around lungs of 20 to 90, air of 0 around the body."""
    y, x = np.mgrid[:120, :160]
    body = ((y - 60) / 55) ** 2 + ((x - 78) / 75) ** 2 < 1
    inner = np.random.default_rng(0).integers(20, 90, lungs.shape)
    return np.where(lungs, inner, np.where(body, 200, 0)).astype(np.uint8)


def test_filling_changes_no_pixel_within_the_lungs_and_leaves_little_black(grey, lungs):
    square = Square.around(lungs)
    pixels, inside = square.cut(grey), square.cut(lungs)
    filled = fill_blanks(pixels, inside)
    assert np.array_equal(filled[inside], pixels[inside])
    black = crop_lungs(grey, lungs, 112, "black")
    paper = crop_lungs(grey, lungs, 112, "paper")
    assert (paper == 0).mean() < 0.5 * (black == 0).mean()
    # Copies of lung, not of the wall.
    assert paper.max() <= 90


def test_the_same_slice_is_filled_alike_and_what_lies_around_the_lungs_does_not_count(grey, lungs):
    other = np.where(lungs, grey, 255 - grey).astype(np.uint8)
    square = Square.around(lungs)
    inside = square.cut(lungs)
    first = fill_blanks(square.cut(grey), inside)
    assert np.array_equal(first, fill_blanks(square.cut(grey), inside))
    assert np.array_equal(first, fill_blanks(square.cut(other), inside))
    changed = square.cut(grey).copy()
    changed[tuple(np.argwhere(inside)[0])] ^= 1
    assert not np.array_equal(first, fill_blanks(changed, inside))


def test_without_filling_the_crop_is_the_slice_or_the_slice_on_black(grey, lungs):
    square = Square.around(lungs)
    assert square.side == max(np.ptp(np.argwhere(lungs), axis=0) + 1)
    side = square.side
    assert np.array_equal(crop_lungs(grey, lungs, side, "none"), square.cut(grey))
    on_black = crop_lungs(grey, lungs, side, "black")
    assert np.array_equal(on_black, square.cut(grey) * square.cut(lungs))
    with pytest.raises(UsageError, match="expected none, black or paper as fill, got 'white'"):
        crop_lungs(grey, lungs, side, "white")


def test_a_square_that_reaches_beyond_the_slice_is_black_there():
    lungs = np.zeros((10, 40), dtype=bool)
    lungs[2:8, 4:36] = True
    square = Square.around(lungs)
    assert square == Square(top=-11, left=4, side=32)
    cut = square.cut(np.full((10, 40), 7, np.uint8))
    assert np.array_equal(np.flatnonzero(cut.any(1)), np.arange(11, 21))


@pytest.mark.parametrize("size", [48, 96, 200])
def test_the_middle_of_a_crop_lies_over_the_middle_of_its_square_in_the_slice(lungs, size):
    square = Square.around(lungs)
    grid = square.grid(size)
    middle = grid @ [3, (size - 1) / 2, (size - 1) / 2, 1]
    expected = [3, square.top + (square.side - 1) / 2, square.left + (square.side - 1) / 2, 1]
    assert middle == pytest.approx(expected)
    corner = grid @ [0, -0.5, -0.5, 1]
    assert corner[1:3] == pytest.approx([square.top - 0.5, square.left - 0.5])


def test_small_lungs_and_lungs_at_the_border_are_no_whole_lungs(lungs):
    assert what_is_cut_off(lungs) == ""
    small = np.zeros((100, 100), dtype=bool)
    small[40:50, 40:50] = True
    assert what_is_cut_off(small) == "lungs are 1.0% of the slice, expected 4% or more"
    for touching in (np.roll(lungs, -40, 1), np.roll(lungs, 40, 0)):
        assert what_is_cut_off(touching) == "lungs touch the border"


def test_the_lungs_of_a_picture_are_its_two_dark_regions_within_the_body(grey, lungs):
    found = lungs_of_picture(grey)
    assert found[ndimage.binary_erosion(lungs, iterations=3)].all()
    # Beyond the lungs only the narrow gap between them is closed.
    gap = (slice(20, 100), slice(60, 95))
    rest = found & ~lungs
    rest[gap] = False
    assert not rest.any()
    assert not found[:5].any() and not found[:, :3].any()
    assert not lungs_of_picture(np.full((64, 64), 220, np.uint8)).any()
    assert not lungs_of_picture(np.zeros((64, 64), np.uint8)).any()
