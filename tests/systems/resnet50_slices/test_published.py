import pytest

from covidctnet.evaluation.intervals import wilson
from covidctnet.systems.resnet50_slices.published import OPERATING_POINTS, PUBLISHED, read_at

BY_TITLE = {figures.title: figures for figures in PUBLISHED}


@pytest.mark.parametrize(
    ("title", "name", "value", "low", "high"),
    [
        ("validation, most probable class", "sensitivity", 0.919, 0.894, 0.938),
        ("validation, most probable class", "specificity", 0.966, 0.950, 0.977),
        ("test, rule-in (also most probable class)", "sensitivity", 0.844, 0.712, 0.923),
        ("test, rule-in (also most probable class)", "specificity", 0.933, 0.821, 0.977),
        ("test, rule-in (also most probable class)", "accuracy", 0.889, 0.807, 0.939),
    ],
)
def test_the_counts_give_the_printed_rates_and_wilsons_intervals(title, name, value, low, high):
    count = BY_TITLE[title].counts[name]
    estimate = wilson(count.found, count.of)
    assert round(estimate.value, 3) == value
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (low, high)


@pytest.mark.parametrize(
    ("title", "sensitivity", "specificity"),
    [
        ("test, rule-out", 1.0, 0.60),
        ("test, radiologist 1", 0.822, 0.911),
        ("test, radiologist 2", 0.800, 0.978),
    ],
)
def test_reconstructed_counts_give_the_printed_rates(title, sensitivity, specificity):
    counts = BY_TITLE[title].counts
    assert counts["sensitivity"].reconstructed
    assert counts["sensitivity"].share == pytest.approx(sensitivity, abs=5e-4)
    assert counts["specificity"].share == pytest.approx(specificity, abs=5e-4)


def test_a_probability_is_read_at_both_operating_points():
    assert OPERATING_POINTS == {"rule-in": 0.4, "rule-out": 0.0006}
    assert read_at(0.41) == {"rule-in": True, "rule-out": True}
    assert read_at(0.4) == {"rule-in": False, "rule-out": True}
    assert read_at(0.0006) == {"rule-in": False, "rule-out": False}
