import math

import numpy as np
import pytest

from covidctnet.errors import UsageError
from covidctnet.systems.deeptek_unet.rule import SliceRule, dice, fit_area


def with_pixels(count, size=512, value=0.9):
    out = np.zeros((size, size), np.float32)
    out.flat[:count] = value
    return out


def test_99_pixels_are_no_positive_slice_and_100_are():
    rule = SliceRule()
    slices = np.stack([with_pixels(99), with_pixels(100)])
    assert rule.positive(slices).tolist() == [False, True]
    assert rule.area(slices).tolist() == [99, 100]


def test_a_smaller_slice_needs_the_same_share():
    assert SliceRule().positive(with_pixels(25, 256)).tolist() is True
    assert SliceRule().positive(with_pixels(24, 256)).tolist() is False


def test_a_pixel_at_the_probability_itself_does_not_count():
    assert SliceRule().area(with_pixels(500, value=0.5)) == 0
    assert SliceRule(probability=0.4).area(with_pixels(500, value=0.5)) == 500


def test_a_rule_goes_into_a_card_and_comes_back():
    rule = SliceRule(0.3, 42.5)
    assert SliceRule.from_card(rule.to_card()) == rule
    with pytest.raises(UsageError, match="expected a probability and pixels as slice rule"):
        SliceRule.from_card({"area": 3})


@pytest.mark.parametrize("values", [(0.0, 100), (1.0, 100), (0.5, 0), (0.5, float("nan"))])
def test_an_impossible_rule_is_refused(values):
    with pytest.raises(UsageError, match="expected a probability between 0 and 1"):
        SliceRule(*values)


def test_the_fitted_area_tells_the_slices_apart_and_is_the_smallest_that_does():
    areas = [0, 5, 10, 40, 60, 80]
    positive = [False, False, False, True, True, True]
    assert fit_area(SliceRule(), areas, positive).pixels == 40
    mixed = [False, False, True, False, True, True]
    assert fit_area(SliceRule(0.3), areas, mixed) == SliceRule(0.3, 10)


def test_without_slices_of_both_kinds_no_area_is_fitted():
    with pytest.raises(UsageError, match="got 2 with and 0 without"):
        fit_area(SliceRule(), [1, 2], [True, True])


def test_a_network_that_finds_nothing_keeps_the_area():
    assert fit_area(SliceRule(), [0, 0], [True, False]) == SliceRule()


def test_dice_is_told_per_image_and_pooled_over_slices_with_a_lesion():
    truth, found = np.zeros((3, 4, 4), bool), np.zeros((3, 4, 4), bool)
    truth[0, 0, :2] = found[0, 0, :1] = True  # 2 * 1 / (2 + 1)
    truth[1] = True
    found[1, :2] = True  # 2 * 8 / (16 + 8)
    found[2, 0, 0] = True  # no lesion: counts in neither
    result = dice(found, truth)
    assert result.per_image == pytest.approx((2 / 3, 2 / 3))
    assert result.mean == pytest.approx(2 / 3)
    assert result.pooled == pytest.approx(2 * 9 / 27)
    found[1, 2:] = True
    assert dice(found, truth).mean == pytest.approx((2 / 3 + 1) / 2)
    assert dice(found, truth).pooled == pytest.approx(34 / 35)


def test_dice_without_a_lesion_is_not_known():
    empty = dice(np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool))
    assert empty.per_image == () and math.isnan(empty.mean) and math.isnan(empty.pooled)
    with pytest.raises(UsageError, match="expected two masks of one shape"):
        dice(np.zeros((2, 4, 4), bool), np.zeros((2, 4, 5), bool))
