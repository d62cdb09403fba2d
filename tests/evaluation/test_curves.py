import numpy as np
import pytest
from sklearn import metrics

from covidctnet.evaluation.curves import (
    average_precision,
    precision_recall_curve,
    risk_coverage_curve,
    roc_curve,
)
from covidctnet.evaluation.intervals import redraw
from tests.evaluation.few_draws import few_draws

pytestmark = pytest.mark.usefixtures(few_draws.__name__)


def scored(n=40, seed=0, *, ties=False):
    rng = np.random.default_rng(seed)
    positive = np.arange(n) % 3 == 0
    scores = rng.normal(positive * 1.0, 1.0)
    return positive, np.round(scores) if ties else scores


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("ties", [False, True])
def test_the_roc_curve_is_that_of_scikit_learn(ties):
    positive, scores = scored(ties=ties)
    curve = roc_curve(positive, scores, redraw(positive, rng()))
    rate, sensitivity, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    expected = [sensitivity[rate <= x + 1e-9].max() for x in curve.x]
    assert curve.y == pytest.approx(expected)
    assert (curve.positive, curve.n) == (14, 40)


@pytest.mark.parametrize("ties", [False, True])
def test_the_precision_recall_curve_is_that_of_scikit_learn(ties):
    positive, scores = scored(seed=3, ties=ties)
    curve = precision_recall_curve(positive, scores, redraw(positive, rng()))
    precision, recall, _ = metrics.precision_recall_curve(positive, scores)
    # Thresholds rise: the last that reaches a recall is the highest.
    expected = [precision[:-1][recall[:-1] >= x - 1e-9][-1] for x in curve.x]
    assert curve.y == pytest.approx(expected)


def test_the_band_holds_the_curve_of_a_middling_score():
    positive, scores = scored(90)
    curve = roc_curve(positive, scores, redraw(positive, rng()))
    assert curve.has_band
    assert (curve.low <= curve.high).all()
    assert ((curve.low <= curve.y + 0.1) & (curve.y - 0.1 <= curve.high)).mean() > 0.95


def test_a_group_of_two_has_a_curve_and_no_band():
    positive = np.array([True, True, False, False, False])
    curve = roc_curve(positive, np.arange(5.0), redraw(positive, rng()))
    assert not curve.has_band
    assert curve.y[0] == 0.0


def test_a_class_that_nobody_or_everybody_has_has_no_curve():
    scores = np.arange(4.0)
    for positive in (np.zeros(4, bool), np.ones(4, bool)):
        assert roc_curve(positive, scores, redraw(positive, rng())) is None
        assert precision_recall_curve(positive, scores, redraw(positive, rng())) is None


def test_the_risk_of_answering_all_is_the_share_of_wrong_answers():
    truth = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    probabilities = np.random.default_rng(1).dirichlet(np.ones(3), 10)
    curve = risk_coverage_curve(truth, probabilities, redraw(truth, rng()))
    assert curve.x[-1] == 1.0
    assert curve.y[-1] == pytest.approx((probabilities.argmax(axis=1) != truth).mean())
    assert curve.positive == (probabilities.argmax(axis=1) != truth).sum()


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_that_of_scikit_learn_in_every_draw(ties):
    positive, scores = scored(60, seed=5, ties=ties)
    for index in redraw(positive, rng()).indices:
        expected = metrics.average_precision_score(positive[index], scores[index])
        value = average_precision(positive[index], scores[index])
        assert value == pytest.approx(expected, rel=1e-12, abs=0)


def test_one_positive_case_that_scores_highest_or_lowest_has_the_precision_of_its_rank():
    scores = np.arange(8.0)
    assert average_precision(scores == 7, scores) == 1
    assert average_precision(scores == 0, scores) == 1 / 8


def test_patients_with_several_studies_have_a_band_of_risk():
    """Draws hold fewer studies than there are where others are drawn than those with many."""
    truth = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    probabilities = np.random.default_rng(1).dirichlet([1, 1], 8)
    draws = redraw(truth, rng(), patients=np.array([0, 0, 0, 1, 2, 3, 4, 5]))
    assert min(len(index) for index in draws.indices) < len(truth)
    curve = risk_coverage_curve(truth, probabilities, draws)
    assert len(curve.low) == len(curve.x)
    assert (curve.low <= curve.high).all()
