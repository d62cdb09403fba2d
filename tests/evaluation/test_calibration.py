import numpy as np
import pytest
from scipy import stats

from covidctnet.errors import CohortError
from covidctnet.evaluation.calibration import (
    calibration_error,
    error_by_chance,
    reliability,
    risk_coverage,
)
from covidctnet.evaluation.intervals import redraw
from covidctnet.trust.calibration import Calibration, PredictionSets, fit_temperature, soften


def rng(seed=0):
    return np.random.default_rng(seed)


def calibrated(n, seed=0, sharpness=0.6):
    """Probabilities, and truths drawn from them: a model that means what it says."""
    generator = rng(seed)
    probabilities = generator.dirichlet(np.full(3, sharpness), n)
    truth = np.array([generator.choice(3, p=row) for row in probabilities])
    return truth, probabilities


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_spoiled_the_probabilities_is_found(temperature):
    truth, probabilities = calibrated(4000)
    spoiled = soften(probabilities, 1 / temperature)
    assert fit_temperature(truth, spoiled) == pytest.approx(temperature, rel=0.1)


def test_softening_keeps_the_order_and_sums_to_one():
    _, probabilities = calibrated(200)
    for temperature in (0.3, 5.0):
        softened = soften(probabilities, temperature)
        assert np.allclose(softened.sum(axis=1), 1)
        assert (softened.argsort(axis=1) == probabilities.argsort(axis=1)).all()
    assert np.allclose(soften(probabilities, 1.0), probabilities)


def test_a_handful_of_right_answers_asks_for_no_certainty():
    truth = np.array([0, 1, 2, 0, 1, 2])
    probabilities = np.full((6, 3), 0.2)
    probabilities[np.arange(6), truth] = 0.6
    softened = soften(probabilities, fit_temperature(truth, probabilities))
    assert 0.6 < softened.max() < 0.97


def test_a_calibration_goes_through_a_card_and_back():
    import json

    truth, probabilities = calibrated(60)
    fitted = Calibration.fit(truth, probabilities)
    assert Calibration.from_card(json.loads(json.dumps(fitted.to_card()))) == fitted
    with pytest.raises(ValueError, match="temperature"):
        Calibration.from_card({"temperature": -1, "sets": fitted.to_card()["sets"]})


def test_one_label_alone_calibrates_nothing():
    with pytest.raises(CohortError, match="two labels or more"):
        fit_temperature(np.zeros(9, int), np.full((9, 3), 1 / 3))


def test_a_calibrated_model_lies_on_the_diagonal_and_a_bold_one_below():
    truth, probabilities = calibrated(6000)
    for filled in reliability(truth, probabilities):
        assert abs(filled.accuracy - filled.confidence) < 5 * np.sqrt(0.25 / filled.n)
    bold = reliability(truth, soften(probabilities, 0.3))
    assert all(b.accuracy < b.confidence for b in bold if b.n > 200)
    assert sum(b.n for b in bold) == 6000


def test_the_error_falls_with_the_right_temperature():
    truth, probabilities = calibrated(600)
    bold = soften(probabilities, 0.3)
    before = calibration_error(truth, bold, redraw(truth, rng()))
    after = calibration_error(
        truth, soften(bold, fit_temperature(truth, bold)), redraw(truth, rng())
    )
    assert after.high < before.low
    assert 0 <= after.low <= after.value


def test_a_calibrated_model_is_seldom_told_that_it_is_not():
    """The interval reaches down to 0 for most: with plain percentiles it does for none."""

    def reaches(seed):
        truth, probabilities = calibrated(100, seed=seed)
        return calibration_error(truth, probabilities, redraw(truth, rng())).low == 0

    assert sum(reaches(seed) for seed in range(20)) >= 12


def test_chance_alone_makes_the_error_of_a_calibrated_model_and_not_of_a_bold_one():
    def errors(seed, temperature):
        truth, probabilities = calibrated(200, seed=100 + seed)
        probabilities = soften(probabilities, temperature)
        error = calibration_error(truth, probabilities, redraw(truth, rng(), count=1)).value
        by_chance = error_by_chance(probabilities, rng=rng(), draws=200)
        assert 0 < by_chance.low < by_chance.value < by_chance.high
        return by_chance.low <= error <= by_chance.high, error > by_chance.high

    # Binomial of 30 and 0.95: fewer than 24 happens once in a thousand times.
    assert sum(errors(seed, 1.0)[0] for seed in range(30)) >= 24
    assert all(errors(seed, 0.3)[1] for seed in range(5))


def test_the_calibration_error_of_a_worked_case():
    """Two answers at 0.8 of which one is right, two at 0.6 both right: (2 x 0.3 + 2 x 0.4) / 4."""
    probabilities = np.array([[0.8, 0.2, 0], [0.8, 0.2, 0], [0.6, 0.4, 0], [0.6, 0.4, 0]])
    truth = np.array([0, 1, 0, 0])
    estimate = calibration_error(truth, probabilities, redraw(truth, rng()))
    assert estimate.value == pytest.approx(0.35)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_hold_the_truth_as_often_as_promised(coverage):
    truth, probabilities = calibrated(300, seed=1)
    spoiled = soften(probabilities, 0.2)  # the promise does not rest on calibration
    fitted = PredictionSets.fit(truth, spoiled, coverage=coverage)
    truth, probabilities = calibrated(500, seed=2)
    inside = fitted.sets(soften(probabilities, 0.2))[np.arange(500), truth].sum()
    # Over both draws: 300 to fit and 500 to try.
    spread = np.sqrt(coverage * (1 - coverage) * (1 / 300 + 1 / 500))
    assert inside / 500 >= coverage - 3 * spread


def test_coverage_over_many_draws_is_the_one_promised():
    shares = []
    for seed in range(200):
        truth, probabilities = calibrated(90, seed=seed)
        fitted = PredictionSets.fit(truth[:40], probabilities[:40], coverage=0.9)
        sets = fitted.sets(probabilities[40:])
        shares.append(sets[np.arange(50), truth[40:]].mean())
    error = stats.sem(shares)
    assert np.mean(shares) > 0.9 - 3 * error
    assert np.mean(shares) < 0.9 + 1 / 41 + 0.03


def test_too_few_patients_promise_all_labels():
    truth, probabilities = calibrated(8)
    assert PredictionSets.fit(truth, probabilities, coverage=0.9).sets(probabilities).all()


def test_no_set_is_empty_and_the_label_given_is_in_it():
    truth, probabilities = calibrated(400)
    sets = PredictionSets.fit(truth, probabilities, coverage=0.5).sets(probabilities)
    assert sets[np.arange(400), probabilities.argmax(axis=1)].all()


def test_a_coverage_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        PredictionSets.fit(np.zeros(3, int), np.full((3, 3), 1 / 3), coverage=1.0)


def test_the_risk_of_a_worked_case():
    probabilities = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.4, 0.6, 0], [0.5, 0.3, 0.2]])
    coverage, risk = risk_coverage(np.array([0, 1, 1, 0]), probabilities)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 0.5, 1 / 3, 0.25])


def test_knowing_when_one_does_not_know_lowers_the_risk():
    truth, probabilities = calibrated(3000)
    coverage, risk = risk_coverage(truth, probabilities)
    assert risk[coverage <= 0.3][-1] < 0.5 * risk[-1]
