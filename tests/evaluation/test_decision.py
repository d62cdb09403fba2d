import numpy as np
import pytest

from covidctnet.evaluation.decision import decision_curve, figures_at
from covidctnet.evaluation.intervals import redraw


def drawn(n, patients=None):
    return redraw(np.zeros(n, dtype=int), np.random.default_rng(0), patients=patients, count=100)


def at(curve, threshold):
    return float(curve.model.y[np.argmin(np.abs(curve.model.x - threshold))])


def test_net_benefit_is_true_positives_less_false_ones_at_the_odds():
    """Ten patients, threshold 0.2: four true and three false positives, 4/10 - 3/10 * 0.2/0.8."""
    told = np.array([0.9, 0.8, 0.5, 0.3, 0.1, 0.6, 0.4, 0.2, 0.15, 0.05])
    positive = np.arange(10) < 5
    curve = decision_curve(positive, told, drawn(10))
    assert at(curve, 0.2) == pytest.approx(0.4 - 0.3 * 0.25)
    assert at(curve, 0.5) == pytest.approx(0.3 - 0.1)


def test_acting_on_all_is_worth_the_share_of_the_class_less_the_rest_at_the_odds():
    positive = np.arange(20) < 6
    curve = decision_curve(positive, np.full(20, 0.995), drawn(20))
    np.testing.assert_allclose(curve.model.y, curve.everybody, atol=1e-12)
    assert curve.everybody[49] == pytest.approx(0.3 - 0.7)
    # Where the threshold is the share of the class, acting on all is worth nothing.
    assert curve.everybody[29] == pytest.approx(0)
    assert curve.useful is None


def test_a_model_that_is_always_right_is_worth_the_share_of_the_class_at_every_threshold():
    positive = np.arange(20) < 6
    curve = decision_curve(positive, positive.astype(float), drawn(20))
    np.testing.assert_allclose(curve.model.y, 0.3)
    assert curve.useful == (0.01, 0.99)


def test_the_band_moves_with_how_common_the_class_is():
    """Perfect answers have the share of the class as net benefit, and chance moves that."""
    positive = np.arange(40) < 12
    curve = decision_curve(positive, positive.astype(float), drawn(40))
    assert curve.model.low[0] < 0.3 - 0.05 < 0.3 + 0.05 < curve.model.high[0]


def test_a_fixed_threshold_is_applied_as_it_is_and_above_it_only():
    told = np.array([0.9, 0.7, 0.5, 0.5, 0.2, 0.1])
    positive = np.array([True, True, True, False, False, False])
    (point,) = figures_at({"rule-in": 0.5}, positive, told, drawn(6))
    assert point.sensitivity.value == pytest.approx(2 / 3)
    assert (point.specificity.value, point.ppv.value) == (1, 1)
    assert point.npv.value == pytest.approx(3 / 4)
    assert (point.sensitivity.n, point.ppv.n, point.npv.n) == (3, 2, 4)


def test_a_share_of_nobody_is_not_estimable():
    told, positive = np.array([0.1, 0.2, 0.3]), np.array([True, False, False])
    (point,) = figures_at({"rule-in": 0.9}, positive, told, drawn(3))
    assert str(point.ppv) == "not estimable (n=0)"


def test_several_studies_of_a_patient_do_not_narrow_the_intervals_at_a_threshold():
    rng = np.random.default_rng(0)
    told, positive = rng.random(30), np.arange(30) < 15
    once = figures_at({"x": 0.5}, positive, told, drawn(30))[0].sensitivity
    owners = np.tile(np.arange(30), 5)
    several = figures_at(
        {"x": 0.5}, np.tile(positive, 5), np.tile(told, 5), drawn(150, patients=owners)
    )[0].sensitivity
    assert several.value == once.value
    assert several.high - several.low > 0.8 * (once.high - once.low)
