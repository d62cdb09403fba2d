from dataclasses import replace

import pytest

from covidctnet.errors import UsageError
from covidctnet.slicewise.operating import OperatingPoints
from covidctnet.weights.thresholds import points_of, thresholds_of

POINTS = OperatingPoints(0.3, 0.8, 0.1, 12, 20)


def test_a_card_without_points_names_none():
    assert thresholds_of({}) == {}
    assert thresholds_of({"settings": {"points": None}}) == {}
    assert thresholds_of({"settings": ["older"]}) == {}


def test_points_of_answered_probabilities_are_taken_as_they_are():
    card = {"operating_points": POINTS.to_card()}
    assert thresholds_of(card) == {"balanced": 0.3, "rule-in": 0.8, "rule-out": 0.1}


def test_points_of_scores_that_are_moved_before_they_are_answered_are_moved_alike():
    found = thresholds_of({"settings": {"points": POINTS.to_card()}})
    assert found["balanced"] == pytest.approx(0.5)
    for score in (0.05, 0.2, 0.31, 0.9):
        for name, value in POINTS.thresholds.items():
            assert (POINTS.decided(score) > found[name]) == (score > value)


def test_what_chose_the_points_stays_with_them():
    drawn = replace(POINTS, chosen_on="drawn examples")
    assert points_of({"operating_points": drawn.to_card()}).chosen_on == "drawn examples"
    assert points_of({"settings": {"points": POINTS.to_card()}}).chosen_on == "validation patients"
    assert "chosen_on" not in POINTS.to_card()
    assert points_of({}) is None


def test_impossible_points_are_refused():
    with pytest.raises(UsageError, match="expected thresholds between 0 and 1"):
        thresholds_of({"operating_points": {**POINTS.to_card(), "rule_in": 3}})
