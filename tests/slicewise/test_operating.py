"""Thresholds of patients: chosen on some, read on others."""

import numpy as np
import pytest

from covidctnet.errors import UsageError
from covidctnet.slicewise.operating import OperatingPoints, fit_operating_points

SCORES = np.array([0.1, 0.2, 0.6, 0.3, 0.7, 0.9])
ILL = np.array([False, False, False, True, True, True])


def test_the_three_points_lie_halfway_between_scores_of_patients():
    points = fit_operating_points(SCORES, ILL)
    assert points.rule_out == pytest.approx(0.25)
    assert points.rule_in == pytest.approx(0.65)
    # At 0.25 one negative is wrong, at 0.65 one positive: the first of equals.
    assert points.balanced == pytest.approx(0.25)
    assert (points.positives, points.negatives) == (3, 3)


def test_no_negative_is_above_rule_in_and_no_positive_below_rule_out():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, ill = rng.random(12).round(1), rng.random(12) < 0.5
        ill[:2] = True, False
        points = fit_operating_points(scores, ill)
        assert not (scores[~ill] > points.rule_in).any()
        assert (scores[ill] > points.rule_out).all() or points.rule_out == 0
        assert 0 < points.balanced < 1


def test_a_score_is_above_one_half_just_where_it_is_above_the_threshold():
    points = OperatingPoints(0.2, 0.6, 0.1, 3, 3)
    values = np.linspace(0, 1, 101)
    shown = np.array([points.decided(v) for v in values])
    assert points.decided(0.2) == 0.5
    np.testing.assert_array_equal(shown > 0.5, values > 0.2)
    assert (np.diff(shown) > 0).all() and shown[0] == 0 and shown[-1] == 1


def test_one_half_as_threshold_changes_nothing():
    points = OperatingPoints(0.5, 0.6, 0.1, 3, 3)
    assert points.decided(0.37) == pytest.approx(0.37)


def test_every_point_is_read_in_words():
    told = OperatingPoints(0.2, 0.6, 0.1, 3, 4).in_words(0.3, "Covid-19", "Non-Covid")
    assert "of 3 + 4 validation patients" in told
    assert "balanced (above 0.2): Covid-19" in told
    assert "rule-in (above 0.6): Non-Covid" in told and "rule-out (above 0.1): Covid-19" in told


def test_points_come_back_from_a_card():
    points = fit_operating_points(SCORES, ILL)
    assert OperatingPoints.from_card(points.to_card()) == points
    assert OperatingPoints.from_card(None) is None


@pytest.mark.parametrize("ill", [np.ones(6, bool), np.zeros(6, bool)])
def test_patients_of_one_kind_choose_no_threshold(ill):
    with pytest.raises(UsageError, match="with and without the disease"):
        fit_operating_points(SCORES, ill)


def test_thresholds_that_are_none_are_refused():
    with pytest.raises(UsageError, match="expected thresholds between 0 and 1"):
        OperatingPoints(1.5, 0.6, 0.1, 3, 3)
