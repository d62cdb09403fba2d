import math

import numpy as np
import pytest
from scipy import optimize

from covidctnet.classes import CHEST_CT, Classes
from covidctnet.evaluation.intervals import redraw
from covidctnet.evaluation.recalibration import (
    calibrate_by_class,
    decompose,
    fit_logistic,
    groups_of,
)

TWO = Classes(("Control", "Ill"), normal="Control")


def drawn(n, *, count=200, patients=None, seed=0):
    rng = np.random.default_rng(seed)
    return redraw(np.zeros(n, dtype=int), rng, patients=patients, count=count)


def told_and_true(n, *, slope=1.0, intercept=0.0, seed=0):
    """What is told, and what happens with another logit: intercept + slope times that told."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, n)
    happened = rng.random(n) < 1 / (1 + np.exp(-(intercept + slope * logit)))
    return 1 / (1 + np.exp(-logit)), happened


def of_two(told, happened, draws):
    probabilities = np.stack([1 - told, told], axis=1)
    return calibrate_by_class(happened.astype(int), probabilities, TWO, draws)[TWO.ILL]


def test_brier_score_of_four_patients_is_the_mean_of_their_squares():
    told, happened = np.array([0.9, 0.6, 0.3, 0.2]), np.array([True, False, True, False])
    found = of_two(told, happened, drawn(4))
    assert found.brier.value == pytest.approx((0.01 + 0.36 + 0.49 + 0.04) / 4)
    assert found.scaled_brier.value == pytest.approx(1 - 0.225 / 0.25)


def test_telling_everybody_the_share_of_the_class_has_a_scaled_brier_score_of_nought():
    happened = np.arange(20) < 5
    found = of_two(np.full(20, 0.25), happened, drawn(20))
    assert found.scaled_brier.value == pytest.approx(0)
    assert found.in_the_large.value == pytest.approx(0, abs=1e-9)
    assert math.isnan(found.slope.value)  # there is no line through one point


def test_the_parts_of_the_brier_score_add_up_to_it():
    told, happened = told_and_true(300, slope=0.4, seed=3)
    told = told.round(2)  # ties
    parts = decompose(happened, told)
    score = float(((told - happened) ** 2).mean())
    assert parts.miscalibration - parts.discrimination + parts.uncertainty == pytest.approx(score)
    assert parts.miscalibration > 0.01
    assert 0 < parts.discrimination < parts.uncertainty


def test_probabilities_that_are_the_shares_of_their_groups_have_no_miscalibration():
    told = np.repeat([0.2, 0.5, 0.8], 10)
    happened = np.concatenate([np.arange(10) < 2, np.arange(10) < 5, np.arange(10) < 8])
    parts = decompose(happened, told)
    assert parts.miscalibration == pytest.approx(0)
    assert parts.discrimination == pytest.approx(((told - 0.5) ** 2).mean())


def test_slope_and_intercept_are_those_of_the_largest_likelihood():
    told, happened = told_and_true(400, slope=0.5, intercept=-0.7, seed=1)
    logit = np.log(told / (1 - told))

    def surprise(line):
        odds = line[0] + line[1] * logit
        return np.logaddexp(0, np.where(happened, -odds, odds)).sum()

    best = optimize.minimize(surprise, [0.0, 1.0], method="Nelder-Mead", tol=1e-10).x
    found = of_two(told, happened, drawn(400))
    assert found.intercept.value == pytest.approx(best[0], abs=1e-4)
    assert found.slope.value == pytest.approx(best[1], abs=1e-4)
    assert found.slope.low < 0.5 < found.slope.high < 1
    assert found.intercept.low < -0.7 < found.intercept.high < 0


def test_two_by_two_counts_have_the_closed_form_of_their_log_odds():
    """Told 0.2 or 0.8, of whom 3 of 10 and 6 of 10 have it: the line goes through both points."""
    told = np.repeat([0.2, 0.8], 10)
    happened = np.concatenate([np.arange(10) < 3, np.arange(10) < 6])
    low, high = math.log(3 / 7), math.log(6 / 4)
    (intercept,), (slope,) = fit_logistic(told, happened, np.ones((1, 20)))
    assert slope == pytest.approx((high - low) / (2 * math.log(4)))
    assert intercept == pytest.approx((high + low) / 2)


def test_weights_count_a_case_as_often_as_they_say():
    told, happened = told_and_true(40, seed=5)
    weights = np.random.default_rng(0).integers(0, 4, 40)
    repeated = np.repeat(np.arange(40), weights)
    at_once = fit_logistic(told, happened, weights[None].astype(float))
    again = fit_logistic(told[repeated], happened[repeated], np.ones((1, len(repeated))))
    np.testing.assert_allclose(at_once, again, atol=1e-8)


@pytest.mark.parametrize(
    ("told", "happened"),
    [
        pytest.param([0.1, 0.2, 0.7, 0.9], [False, False, True, True], id="separated"),
        pytest.param([0.1, 0.5, 0.5, 0.9], [False, False, True, True], id="a-tie-at-the-border"),
        pytest.param([0.9, 0.8, 0.2, 0.1], [False, False, True, True], id="the-wrong-way-round"),
        pytest.param([0.1, 0.2, 0.7, 0.9], [True] * 4, id="one-kind"),
        pytest.param([0.0, 0.0, 1.0, 1.0], [False, False, True, True], id="certain"),
    ],
)
def test_a_slope_that_does_not_exist_is_not_made_up(told, happened):
    found = of_two(np.array(told), np.array(happened), drawn(4))
    assert str(found.slope) == "not estimable (n=4)"
    assert str(found.intercept) == "not estimable (n=4)"


def test_calibration_in_the_large_matches_the_mean_that_was_told():
    """At the shifted logit, as many are told ill as are."""
    told, happened = told_and_true(200, intercept=1.0, seed=2)
    large = of_two(told, happened, drawn(200)).in_the_large.value
    logit = np.log(told / (1 - told)) + large
    assert (1 / (1 + np.exp(-logit))).mean() == pytest.approx(happened.mean())
    assert large > 0.5


def test_the_interval_holds_the_slope_that_was_true_in_nineteen_of_twenty_cohorts():
    held = []
    for seed in range(60):
        told, happened = told_and_true(150, slope=0.6, seed=seed)
        slope = of_two(told, happened, drawn(150, seed=seed)).slope
        held.append(slope.low <= 0.6 <= slope.high)
    assert 0.85 <= np.mean(held) <= 1


def test_four_copies_of_every_patient_leave_the_interval_as_wide():
    told, happened = told_and_true(80, seed=4)
    once = of_two(told, happened, drawn(80)).brier
    owners = np.tile(np.arange(80), 4)
    several = of_two(np.tile(told, 4), np.tile(happened, 4), drawn(320, patients=owners)).brier
    assert several.value == pytest.approx(once.value)
    assert several.high - several.low == pytest.approx(once.high - once.low, rel=0.25)


def test_nearly_separated_cases_have_a_slope_but_no_interval():
    told = np.linspace(0.02, 0.98, 30)
    happened = told > 0.5
    happened[14], happened[15] = True, False
    found = of_two(told, happened, drawn(30))
    assert found.slope.value > 3
    assert math.isnan(found.slope.low)


def test_the_curve_has_groups_of_one_size_in_order_and_keeps_ties_together():
    told, happened = told_and_true(100, seed=6)
    groups = groups_of(happened, told, drawn(100))
    assert [g.observed.n for g in groups] == [10] * 10
    assert [g.told for g in groups] == sorted(g.told for g in groups)
    assert sum(g.observed.value * g.observed.n for g in groups) == pytest.approx(happened.sum())
    (one,) = groups_of(happened, np.full(100, 0.4), drawn(100))
    assert (one.told, one.observed.n) == (pytest.approx(0.4), 100)
    assert len(groups_of(happened[:3], told[:3], drawn(3))) == 1


def test_every_class_of_three_is_compared_with_the_rest():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 60)
    truth = np.array([rng.choice(3, p=p) for p in probabilities])
    found = calibrate_by_class(truth, probabilities, CHEST_CT, drawn(60))
    assert list(found) == list(CHEST_CT)
    for label, one in found.items():
        gap = probabilities[:, label] - (truth == label)
        assert one.brier.value == pytest.approx((gap**2).mean())
        assert one.positive == (truth == label).sum()
