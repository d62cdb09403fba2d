import math

import numpy as np
import pytest

from covidctnet.evaluation.agreement import agree, cohen, fleiss
from tests.evaluation.few_draws import few_draws

pytestmark = pytest.mark.usefixtures(few_draws.__name__)

# Fourteen raters put ten subjects into five categories: the example that textbooks and
# encyclopaedias give for Fleiss' kappa, with the result 0.210.
FOURTEEN_RATERS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def rng():
    return np.random.default_rng(0)


def test_fleiss_kappa_is_that_of_the_textbook_example():
    assert fleiss(FOURTEEN_RATERS) == pytest.approx(0.210, abs=5e-4)


def test_cohens_kappa_is_that_of_the_textbook_example():
    """Of 50 proposals both say yes to 20 and no to 15, one alone to 5, the other to 10: 0.4."""
    first = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    second = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert cohen(first, second, 2) == pytest.approx(0.4)


def test_two_readers_have_the_fleiss_kappa_of_their_pooled_shares():
    """Scott's pi, which Fleiss' kappa is for two readers."""
    generator = rng()
    labels = generator.integers(3, size=(2, 60))
    labels[1, :30] = labels[0, :30]
    counts = np.stack([(labels == k).sum(axis=0) for k in range(3)], axis=1)
    observed = (labels[0] == labels[1]).mean()
    expected = ((np.bincount(labels.ravel(), minlength=3) / 120) ** 2).sum()
    assert fleiss(counts) == pytest.approx((observed - expected) / (1 - expected))


def test_agreement_is_one_when_all_say_the_same_and_nought_by_chance():
    truth = np.tile([0, 1, 2], 400)
    same = agree(["a", "b", "c"], np.stack([truth] * 3), 3, rng=rng())
    assert same.all_readers.value == 1
    assert all(pair.kappa.value == 1 for pair in same.pairs)
    random = rng().integers(3, size=(2, 1200))
    chance = agree(["a", "b"], random, 3, rng=rng())
    assert abs(chance.all_readers.value) < 0.08
    assert chance.all_readers.low < chance.all_readers.value < chance.all_readers.high


def test_renaming_the_labels_changes_nothing():
    labels = rng().integers(3, size=(2, 50))
    renamed = np.array([2, 0, 1])[labels]
    assert cohen(*labels, 3) == pytest.approx(cohen(*renamed, 3))


def test_only_cases_that_both_read_count_and_for_all_those_that_all_read():
    labels = np.array([[0, 1, 2, 0, 1, 2], [0, 1, 2, 0, -1, -1], [0, 1, -1, -1, 1, 2]])
    found = agree(["a", "b", "c"], labels, 3, rng=rng())
    counted = {(p.first, p.second): p.kappa.n for p in found.pairs}
    assert counted == {("a", "b"): 4, ("a", "c"): 4, ("b", "c"): 2}
    assert found.all_readers.n == 2


def test_readers_who_share_no_case_or_use_one_label_have_no_kappa():
    apart = agree(["a", "b"], np.array([[0, 1, -1, -1], [-1, -1, 0, 1]]), 2, rng=rng())
    assert str(apart.pairs[0].kappa) == "not estimable (n=0)"
    assert math.isnan(apart.pairs[0].same)
    assert math.isnan(cohen(np.zeros(5, int), np.zeros(5, int), 2))
    assert math.isnan(agree(["a"], np.array([[0, 1]]), 2, rng=rng()).all_readers.value)


def test_cases_seen_twice_of_the_same_patients_narrow_no_kappa():
    """Each patient has four studies that are read alike: no more is known than of one study."""
    labels = rng().integers(3, size=(2, 30))
    labels[1, :15] = labels[0, :15]
    once = agree(["a", "b"], labels, 3, rng=rng())
    patients = np.repeat(np.arange(30), 4)
    often = agree(["a", "b"], np.repeat(labels, 4, axis=1), 3, rng=rng(), patients=patients)
    for one, four in ((once.pairs[0].kappa, often.pairs[0].kappa),
                      (once.all_readers, often.all_readers)):  # fmt: skip
        assert four.value == pytest.approx(one.value)
        assert (four.low, four.high) == pytest.approx((one.low, one.high))
