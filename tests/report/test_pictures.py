import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from covidctnet.evidence import Heatmap, Mask
from covidctnet.report.evidence import draw_picture
from covidctnet.report.pictures import (
    OUTLINE,
    RESIDUAL_LIMIT,
    TILE,
    attention_stops,
    colour_attention,
    colour_residual,
    residual_stops,
)
from tests.report.answers import images

KINDS = ("input", "denoised", "residual")


def picture(given):
    content = draw_picture(given).content
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)


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
    expected = [f"rgb({red} {green} {blue})" for red, green, blue in ends]
    assert [residual_stops()[0], residual_stops()[-1]] == expected


def test_a_slice_that_is_not_square_keeps_its_shape():
    first = tile(picture(images(images=(np.ones((3, 12, 24)),) * 3)), 0, 0)
    assert first[TILE // 2].mean() > 250
    assert first[: TILE // 5].mean() < 4


def test_values_beyond_the_window_and_nan_are_drawn_as_its_ends():
    shape = (3, 24, 24)
    drawn = picture(images(images=(np.full(shape, np.nan), np.full(shape, 7.0), np.zeros(shape))))
    assert tile(drawn, 0, 0).mean() < 4
    assert tile(drawn, 1, 0).mean() > 250


@pytest.mark.parametrize("given", [(), images(slices=0)], ids=["nothing", "no slices"])
def test_nothing_to_draw_is_no_picture(given):
    assert draw_picture(given) is None


def a_heatmap(slices=3):
    """Full attention in the lower right quarter."""
    (panels,) = images(slices)
    attention = np.zeros((slices, 24, 24), dtype=np.float32)
    attention[:, 12:, 12:] = 1.0
    where = {"slices": panels.slices, "affine": panels.affine}
    return Heatmap(label="covid19", values=attention, over=panels["input"], **where)


def test_an_outline_of_nothing_changes_no_picture():
    nothing = np.zeros((3, 24, 24), dtype=bool)
    assert draw_picture(images(outline=nothing)).content == draw_picture(images()).content


def test_attention_is_a_fourth_row_over_the_input_and_changes_no_other():
    evidence = (*images(slices=2), a_heatmap(2))
    drawn, before = picture(evidence), picture(images(slices=2))
    assert draw_picture(evidence).kinds == (*KINDS, "attention")
    assert draw_picture(evidence).heights_mm == (-200.0, -190.0)
    assert drawn.shape == (4 * TILE + 6, 2 * TILE + 2, 3)
    assert np.abs(drawn[: 3 * TILE] - before[: 3 * TILE]).mean() < 1
    last = tile(drawn, 3, 1)
    red, green, blue = last[TILE * 3 // 4 :, TILE * 3 // 4 :].mean(axis=(0, 1))
    assert min(red, green) > blue + 80
    # The input's square shows where there is no attention.
    inside = (slice(TILE // 4, TILE * 5 // 12),) * 2
    assert np.abs(last[inside].mean() - 0.25 * 255) < 4


def test_rows_of_other_slices_say_their_heights_themselves():
    drawn = draw_picture((*images(slices=2), a_heatmap(3).at([1])))
    assert drawn.heights_mm == ()
    assert drawn.kinds == (*(f"{k}, z = -200, -190 mm" for k in KINDS), "attention, z = -190 mm")


def test_attention_gets_lighter_all_the_way_and_none_leaves_the_slice_alone():
    colours = [[int(n) for n in stop[4:-1].split()] for stop in attention_stops()]
    lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in colours]
    assert lightness == sorted(lightness)
    assert lightness[-1] - lightness[0] > 150
    grey = np.array([0.0, 0.4, 1.0])
    for attention in (np.zeros(3), np.full(3, np.nan), np.full(3, -1.0)):
        expected = np.repeat(np.rint(grey * 255)[:, None], 3, axis=1)
        np.testing.assert_array_equal(colour_attention(attention, grey), expected)
    np.testing.assert_array_equal(
        colour_attention(np.array([1.0]), grey[:1]), colour_attention(np.array([7.0]), grey[:1])
    )


def test_a_thin_line_runs_round_the_lesions_on_the_input_alone():
    drawn, before = picture(images(outline=images()[0]["residual"] > 0.1)), picture(images())
    changed = np.abs(tile(drawn, 0, 1) - tile(before, 0, 1)).max(axis=2) > 60
    rows, columns = np.nonzero(changed)
    # The square lies at rows and columns 4 to 12 of 24, 33 to 100 of 200 pixels.
    for places in (rows, columns):
        assert abs(places.min() - 33) <= 3
        assert abs(places.max() - 99) <= 3
    assert not changed[42:92, 42:92].any()
    line = tile(drawn, 0, 1)[changed].mean(axis=0)
    assert line[0] > line[2] + 60
    assert OUTLINE[0] > OUTLINE[2]
    for row in (1, 2):
        assert np.abs(tile(drawn, row, 1) - tile(before, row, 1)).mean() < 1


def test_a_mask_is_outlined_on_what_lies_below_it_and_on_black_without():
    (panels,) = images()
    mask_voxels = panels["input"] > 0.1
    where = {"slices": panels.slices, "affine": panels.affine}
    over = picture((Mask(found=mask_voxels, over=panels["input"], **where),))
    outlined = picture(images(outline=mask_voxels))[:TILE]
    assert np.abs(over - outlined).mean() < 1
    bare = picture((Mask(found=mask_voxels, **where),))
    middle = (slice(TILE // 4, TILE * 5 // 12),) * 2
    assert tile(bare, 0, 0)[middle].max() < 40 < tile(bare, 0, 0).max()


def test_a_long_scan_without_chosen_slices_shows_some_of_them():
    many = images(slices=40)
    assert draw_picture(many).heights_mm == tuple(
        -200.0 + 10 * index for index in (0, 8, 16, 23, 31, 39)
    )
    chosen = (replace(many[0], chosen=(3, 30)),)
    assert draw_picture(chosen).heights_mm == (-170.0, 100.0)
