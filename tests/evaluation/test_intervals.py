import numpy as np
import pytest
from scipy import stats

from covidctnet.evaluation.intervals import (
    Estimate,
    auc,
    auc_difference,
    auc_interval,
    bootstrap,
    interval_of_draws,
    redraw,
    wilson,
)

# AUC of normal scores one standard deviation apart.
TRUE_AUC = float(stats.norm.cdf(1 / np.sqrt(2)))


def rng(seed=0):
    return np.random.default_rng(seed)


def drawn(generator, positives=20, negatives=30):
    positive = np.arange(positives + negatives) < positives
    return positive, generator.normal(0, 1, len(positive)) + positive


def test_an_auc_of_one_still_has_an_interval():
    positive = np.arange(20) < 8
    estimate = auc_interval(positive, positive.astype(float))
    assert estimate.value == estimate.high == 1
    assert 0.6 < estimate.low < 0.95
    turned = auc_interval(positive, -positive.astype(float))
    assert (turned.low, turned.high) == pytest.approx((0, 1 - estimate.low))


def test_more_patients_narrow_the_interval():
    widths = []
    for times in (1, 4, 16):
        positive, scores = drawn(rng(3), 10, 10)
        estimate = auc_interval(np.tile(positive, times), np.tile(scores, times))
        widths.append(estimate.high - estimate.low)
    assert widths[0] > 1.7 * widths[1] > 2.9 * widths[2]


@pytest.mark.parametrize(("positives", "negatives"), [(10, 10), (20, 60)])
def test_intervals_of_an_auc_cover_the_truth_about_as_often_as_they_say(positives, negatives):
    generator = rng(1)
    inside = 0
    for _ in range(300):
        estimate = auc_interval(*drawn(generator, positives, negatives))
        inside += estimate.low <= TRUE_AUC <= estimate.high
    # Binomial of 300 and 0.95: fewer than 274 happens once in a thousand times.
    assert inside >= 274


def test_the_area_is_that_of_hanley_and_mcneils_example():
    """Radiology 143:29 (1982), table I: 58 normal and 51 abnormal CT, rated from 1 to 5; 0.893."""
    ratings = np.arange(1, 6).repeat([33, 6, 6, 11, 2]), np.arange(1, 6).repeat([3, 2, 2, 11, 33])
    positive = np.repeat([False, True], [58, 51])
    estimate = auc_interval(positive, np.concatenate(ratings))
    assert estimate.value == pytest.approx(0.893, abs=5e-4)
    # Their standard error is 0.032; Newcombe's interval is of the same width and leans inwards.
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 0.032, rel=0.1)
    assert estimate.value - estimate.low > estimate.high - estimate.value


def test_one_group_alone_has_no_auc():
    assert str(auc_interval(np.ones(5, bool), np.arange(5.0))) == "not estimable (n=5)"


def test_a_score_does_not_differ_from_itself_or_its_own_ranks():
    positive, scores = drawn(rng())
    for other in (scores, np.exp(scores)):
        difference, p_value = auc_difference(positive, scores, other)
        assert (difference.value, p_value) == (0, 1)


def test_the_difference_is_that_of_the_two_areas_and_turns_with_them():
    positive, first = drawn(rng(1))
    second = -first
    difference, p_value = auc_difference(positive, first, second)
    turned, same = auc_difference(positive, second, first)
    assert difference.value == pytest.approx(auc(positive, first) - auc(positive, second))
    assert (turned.value, turned.low) == pytest.approx((-difference.value, -difference.high))
    assert p_value == pytest.approx(same)
    assert p_value < 0.05
    assert difference.low > 0


def test_the_variance_is_that_of_the_definition():
    """DeLong's components pair by pair, as the paper writes them, without ranks."""
    positive, first = drawn(rng(4), 7, 9)
    second = np.round(rng(5).normal(0, 1, len(positive)) + 0.5 * positive, 1)  # with ties

    def kernel(scores):
        x, y = scores[positive][:, None], scores[~positive][None, :]
        return (x > y) + 0.5 * (x == y)

    gap = kernel(first) - kernel(second)
    variance = np.var(gap.mean(axis=1), ddof=1) / 7 + np.var(gap.mean(axis=0), ddof=1) / 9
    difference, _ = auc_difference(positive, first, second)
    assert difference.high - difference.value == pytest.approx(1.959964 * np.sqrt(variance))


def test_alike_scores_are_called_different_about_as_seldom_as_said():
    generator = rng(7)
    wrong = 0
    for _ in range(300):
        positive, first = drawn(generator, 40, 40)
        second = generator.normal(0, 1, len(positive)) + positive
        wrong += auc_difference(positive, first, second)[1] < 0.05
    # Binomial of 300 and 0.05: more than 28 happens once in a thousand times.
    assert wrong <= 28


def test_too_few_cases_have_a_difference_without_an_interval():
    difference, p_value = auc_difference(np.array([True, False]), np.array([1.0, 0]), np.zeros(2))
    assert difference.value == 0.5
    assert np.isnan([difference.low, p_value]).all()


def test_perfect_scores_and_their_opposite_differ_without_an_interval():
    """Four cases must not give a p-value of nothing."""
    positive = np.array([True, True, False, False])
    difference, p_value = auc_difference(positive, np.arange(4.0)[::-1], np.arange(4.0))
    assert difference.value == 1
    assert np.isnan([difference.low, difference.high, p_value]).all()


def test_a_difference_of_areas_stays_between_minus_one_and_one():
    positive = np.repeat([True, False], 4)
    first = np.array([9.0, 8, 7, 3, 4, 2, 1, 0])
    difference, _ = auc_difference(positive, first, -first)
    assert difference.value < difference.high == 1


def test_the_bootstrap_draws_within_groups():
    groups = np.repeat([0, 1], [5, 15])
    sums = set()

    def figures(index):
        sums.add(int(groups[index].sum()))
        return {"first": float(index[0])}

    bootstrap(figures, redraw(groups, rng(), count=50))
    assert sums == {15}


def test_studies_of_a_patient_are_drawn_together():
    """Ten patients with ten like studies each are ten patients, not a hundred."""
    values = rng().normal(0, 1, 10).repeat(10)
    patients = np.arange(10).repeat(10)

    def width(**rest):
        estimate = bootstrap(
            lambda i: {"m": float(values[i].mean())}, redraw(np.zeros(100), rng(), **rest)
        )
        return estimate["m"].high - estimate["m"].low

    assert width(patients=patients) == pytest.approx(np.sqrt(10) * width(), rel=0.1)


def test_two_patients_with_many_studies_are_too_few():
    groups, patients = np.zeros(20), np.arange(20) % 2
    estimate = bootstrap(
        lambda i: {"m": float(i.mean())}, redraw(groups, rng(), patients=patients)
    )["m"]
    assert np.isnan(estimate.low)


def test_what_no_draw_changes_has_no_interval():
    estimate = bootstrap(lambda i: {"all right": 1.0}, redraw(np.zeros(9), rng(), count=50))[
        "all right"
    ]
    assert str(estimate) == "1.000 (interval not estimable, n=9)"


def test_the_bootstrap_of_a_mean_is_as_wide_as_its_standard_error():
    values = rng().normal(0, 1, 400)
    estimate = bootstrap(
        lambda i: {"mean": float(values[i].mean())}, redraw(np.zeros(400), rng(1))
    )["mean"]
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_a_figure_that_is_not_defined_has_no_interval():
    estimate = bootstrap(lambda i: {"f": float("nan")}, redraw(np.zeros(9), rng(), count=5))["f"]
    assert str(estimate) == "not estimable (n=9)"


def test_wilson_is_that_of_a_textbook():
    """Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263, and 0 of 20."""
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611)):
        estimate = wilson(hits, n)
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)


def test_the_draws_are_those_that_the_seed_gives_and_hold_whole_patients():
    groups, patients = np.repeat([0, 1], 12), np.arange(24) // 2
    draws = redraw(groups, rng(), patients=patients, count=20)
    assert draws.is_clustered and draws.n == 24 and len(draws.indices) == 20
    for index, other in zip(
        draws.indices, redraw(groups, rng(), patients=patients, count=20).indices, strict=True
    ):
        assert np.array_equal(index, other)
        assert np.array_equal(index[::2] + 1, index[1::2])


def test_draws_that_differ_by_rounding_alone_give_no_interval():
    drawn = np.array([1.0, 1 - 2**-53, 1.0] * 20)
    estimate = interval_of_draws(1.0, drawn, 12)
    assert estimate.value == 1 and np.isnan(estimate.low)


def test_an_interval_with_a_negative_end_is_written_with_a_word():
    assert str(Estimate(-0.018, -1.029, -0.014, 8)) == "-0.018 (-1.029 to -0.014, n=8)"
    assert str(Estimate(0.7, 0.4, 0.9, 8)) == "0.700 (0.400-0.900, n=8)"
