import io

import numpy as np
import pytest
from PIL import Image

from covidctnet.report.pictures import (
    RESIDUAL_LIMIT,
    TILE,
    colour_residual,
    draw_picture,
    residual_stops,
)
from tests.report.answers import images


def picture(given):
    return np.asarray(Image.open(io.BytesIO(draw_picture(given))).convert("RGB")).astype(int)


def tile(drawn, row, column):
    top, left = row * (TILE + 2), column * (TILE + 2)
    return drawn[top : top + TILE, left : left + TILE]


def test_a_row_a_kind_and_a_column_a_slice():
    drawn = picture(images(slices=2))
    assert drawn.shape == (3 * TILE + 4, 2 * TILE + 2, 3)
    # The square lies at rows and columns 4 to 12 of 24.
    inside = (slice(TILE // 4, TILE * 5 // 12),) * 2
    for column in range(2):
        assert np.abs(tile(drawn, 0, column)[inside].mean() - 0.25 * 255) < 4
        assert tile(drawn, 1, column)[inside].mean() < 4
        red, _, blue = tile(drawn, 2, column)[inside].mean(axis=(0, 1))
        assert red > blue + 60


def test_zero_is_black_more_is_orange_less_is_blue():
    zero, more, less = colour_residual(np.array([0.0, 0.1, -0.1])).astype(int)
    assert zero.max() <= 10
    assert more[0] > more[2] + 50
    assert less[2] > less[0] + 50


def test_colours_stop_at_the_limit_and_nothing_is_no_difference():
    far, limit, nothing = colour_residual(np.array([9.0, RESIDUAL_LIMIT, np.nan]))
    assert (far == limit).all()
    assert nothing.max() <= 10


def test_the_page_s_scale_has_the_picture_s_colours():
    ends = colour_residual(np.array([-RESIDUAL_LIMIT, RESIDUAL_LIMIT]))
    wanted = [f"rgb({red} {green} {blue})" for red, green, blue in ends]
    assert [residual_stops()[0], residual_stops()[-1]] == wanted


def test_a_slice_that_is_not_square_keeps_its_shape():
    given = images(shape=(12, 24))
    for kind in ("input", "denoised", "residual"):
        given[kind] = np.ones_like(given[kind])
    first = tile(picture(given), 0, 0)
    assert first[TILE // 2].mean() > 250
    assert first[: TILE // 5].mean() < 4


def test_values_beyond_the_window_and_nan_are_drawn_as_its_ends():
    given = images()
    given["input"] = np.full_like(given["input"], np.nan)
    given["denoised"] = np.full_like(given["denoised"], 7)
    drawn = picture(given)
    assert tile(drawn, 0, 0).mean() < 4
    assert tile(drawn, 1, 0).mean() > 250


@pytest.mark.parametrize("given", [{}, {"input": None}, images(slices=0)], ids=["no", "none", "0"])
def test_nothing_to_draw_is_no_picture(given):
    assert draw_picture(given) is None


def test_kinds_of_different_shape_are_refused():
    given = {**images(), "residual": images(slices=2)["residual"]}
    with pytest.raises(ValueError, match="three stacks of slices of one shape"):
        draw_picture(given)
