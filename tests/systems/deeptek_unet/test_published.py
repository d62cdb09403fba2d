import pytest

from covidctnet.evaluation.intervals import wilson
from covidctnet.systems.deeptek_unet.published import PUBLISHED

SLICES, SCANS = PUBLISHED


@pytest.mark.parametrize(
    ("figures", "name", "value", "low", "high"),
    [
        (SLICES, "sensitivity", 0.962, 0.932, 0.979),
        (SLICES, "specificity", 0.936, 0.920, 0.949),
        (SCANS, "sensitivity", 0.964, 0.823, 0.994),
        (SCANS, "specificity", 0.884, 0.811, 0.931),
    ],
)
def test_the_counts_give_the_rates_and_wilsons_intervals(figures, name, value, low, high):
    count = figures.counts[name]
    estimate = wilson(count.found, count.of)
    assert round(estimate.value, 3) == value
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (low, high)
    assert count.reconstructed


def test_the_scan_counts_give_the_printed_f1_and_predictive_value():
    assert round(SCANS.f1, 3) == SCANS.figures["f1"] == 0.794
    assert round(SCANS.counts["ppv"].share, 3) == SCANS.figures["ppv_printed"]


def test_no_count_gives_the_printed_slice_sensitivity():
    printed = SLICES.figures["sensitivity_printed"]
    assert printed not in {round(k / 266, 3) for k in range(267)}
