import math

import numpy as np
import pytest

from covidctnet.evaluation.intervals import auc, auc_difference
from covidctnet.evaluation.multireader import (
    Components,
    components_of,
    jackknife,
    model_against_readers,
    obuchowski_rockette,
)
from tests.evaluation.few_draws import few_draws

pytestmark = pytest.mark.usefixtures(few_draws.__name__)

# Van Dyke et al. (1993): five readers judge aortic dissection of 114 patients on CINE MRI and on
# spin-echo MRI. Empirical areas and jackknife covariances as two programs publish them for these
# data (R packages MRMCaov, its README, and RJafroc, dataset02), to the digits printed there.
AREAS = np.array(
    [
        [0.9196457, 0.8587762, 0.9038647, 0.9731079, 0.8297907],
        [0.9478261, 0.9053140, 0.9217391, 0.9993559, 0.9299517],
    ]
)
COMPONENTS = Components(0.0008022883, 0.0003466137, 0.0003440748, 0.0002390284)
WITHIN = (0.0004839618, 0.0002041879)


def test_obuchowski_rockette_gives_the_published_result_of_van_dykes_data():
    found = obuchowski_rockette(AREAS, COMPONENTS, WITHIN, 114)
    assert found.f == pytest.approx(4.456319, rel=1e-5)
    assert found.df == pytest.approx(15.25967, rel=1e-5)
    assert found.p == pytest.approx(0.05166569, rel=1e-5)
    difference = found.difference
    assert difference.value == pytest.approx(-0.04380032, abs=1e-7)
    assert difference.low == pytest.approx(-0.0879594986, abs=1e-6)
    assert difference.high == pytest.approx(0.0003588544, abs=1e-6)


def test_each_condition_alone_has_the_published_interval():
    found = obuchowski_rockette(AREAS, COMPONENTS, WITHIN, 114)
    assert found.first.value == pytest.approx(0.8970370, abs=1e-7)
    assert (found.first.low, found.first.high) == pytest.approx((0.8252236, 0.9688505), abs=1e-6)
    assert found.second.value == pytest.approx(0.9408374, abs=1e-7)


def readings(n, readers, *, effect=0.0, seed=0):
    """Scores of two conditions: what all share of a case, a reader's own, and chance."""
    rng = np.random.default_rng(seed)
    positive = np.arange(n) % 2 == 0
    case = rng.normal(0, 0.8, n)
    own = rng.normal(0, 0.4, (readers, n))
    skill = rng.normal(1.2, 0.15, readers)
    scores = np.empty((2, readers, n))
    for condition, gain in enumerate((effect, 0.0)):
        for reader in range(readers):
            lift = skill[reader] + gain + rng.normal(0, 0.05)
            noise = rng.normal(0, 0.6, n)
            scores[condition, reader] = positive * lift + case + own[reader] + noise
    return positive, scores


def analysed(positive, scores):
    conditions, readers, n = scores.shape
    figures = np.array([[auc(positive, own) for own in part] for part in scores])
    left_out = jackknife(positive, scores.reshape(-1, n)).reshape(conditions, readers, n)
    within = [components_of(left_out[k : k + 1]).cov2 for k in range(conditions)]
    return obuchowski_rockette(figures, components_of(left_out), within, n)


def test_the_variance_of_one_difference_is_that_of_delong():
    """One reader, two conditions: var + var - 2 cov1, by the jackknife and by DeLong."""
    positive, scores = readings(200, 1, seed=3)
    left_out = jackknife(positive, scores.reshape(-1, 200)).reshape(2, 1, 200)
    parts = components_of(left_out)
    estimate, _ = auc_difference(positive, scores[0, 0], scores[1, 0])
    spread = (estimate.high - estimate.low) / (2 * 1.959964)
    assert math.sqrt(2 * (parts.variance - parts.cov1)) == pytest.approx(spread, rel=0.02)


def test_the_jackknife_of_a_mean_has_the_closed_form():
    values = np.random.default_rng(0).normal(size=30)
    left_out = (values.sum() - values) / 29
    parts = components_of(left_out.reshape(1, 1, 30))
    assert parts.variance == pytest.approx(values.var(ddof=1) / 30)


def test_swapping_the_conditions_swaps_the_sign_alone():
    positive, scores = readings(80, 4, effect=0.3)
    one, other = analysed(positive, scores), analysed(positive, scores[::-1])
    assert one.difference.value == pytest.approx(-other.difference.value)
    assert one.p == pytest.approx(other.p)
    assert one.first.value == pytest.approx(other.second.value)


def test_equal_conditions_are_called_different_in_about_one_of_twenty_studies():
    found = [analysed(*readings(60, 4, seed=seed)).p < 0.05 for seed in range(120)]
    assert np.mean(found) < 0.11
    better = [analysed(*readings(60, 4, effect=0.8, seed=seed)).p < 0.05 for seed in range(20)]
    assert np.mean(better) > 0.7


def test_one_reader_or_nothing_that_varies_gives_no_interval():
    one = obuchowski_rockette(AREAS[:, :1], COMPONENTS, WITHIN, 114)
    assert math.isnan(one.p) and math.isnan(one.difference.low)
    same = obuchowski_rockette(np.full((2, 3), 0.9), Components(0, 0, 0, 0), (0, 0), 20)
    assert math.isnan(same.p) and math.isnan(same.difference.low)


def against(truth, answer, labels, seed=0):
    rng = np.random.default_rng(seed)
    return model_against_readers(truth, answer, np.array(labels), 1, rng=rng)


def test_a_model_that_answers_as_its_readers_do_does_not_differ():
    truth = np.tile([0, 1, 2], 10)
    wrong = np.where(np.arange(30) % 5 == 0, 0, truth)
    for gap, p in against(truth, wrong, [wrong, wrong]).values():
        assert gap.value == 0
        assert math.isnan(p)  # no draw differs


def test_the_difference_is_the_models_share_less_the_mean_of_the_readers():
    truth = np.tile([0, 1], 20)
    half = np.where(np.arange(40) < 20, truth, 1 - truth)
    three = np.where(np.arange(40) < 30, truth, 1 - truth)
    gap, p = against(truth, truth, [half, three])["accuracy"]
    assert gap.value == pytest.approx(1 - (0.5 + 0.75) / 2)
    assert 0 < gap.low < gap.high
    assert p < 0.1


def test_a_reader_who_read_half_is_compared_on_that_half():
    truth = np.tile([0, 1], 20)
    answer = np.where(np.arange(40) < 20, truth, 1 - truth)  # right in the first half only
    half = np.where(np.arange(40) < 20, truth, -1)
    gap, _ = against(truth, answer, [half, half])["accuracy"]
    assert gap.value == 0


def test_other_readers_widen_the_interval():
    """Readers who differ much say less of other readers than readers who are alike."""
    truth = np.tile([0, 1], 40)
    rng = np.random.default_rng(1)

    def reader(share, seed):
        wrong = np.random.default_rng(seed).random(80) > share
        return np.where(wrong, 1 - truth, truth)

    answer = np.where(rng.random(80) < 0.8, truth, 1 - truth)
    alike = against(truth, answer, [reader(0.75, s) for s in range(4)])["accuracy"][0]
    spread = against(truth, answer, [reader(p, 9) for p in (0.5, 0.6, 0.9, 1.0)])["accuracy"][0]
    assert spread.high - spread.low > 1.2 * (alike.high - alike.low)


def test_one_reader_is_no_sample_of_readers():
    truth = np.tile([0, 1], 20)
    gap, p = against(truth, truth, [1 - truth])["accuracy"]
    assert gap.value == 1
    assert math.isnan(gap.low) and math.isnan(p)


def test_cases_of_one_patient_are_left_out_together():
    """Four copies of every case: the covariances are those of the patients, once each."""
    positive, scores = readings(40, 2, effect=0.4, seed=5)
    patients = np.repeat(np.arange(40), 4)
    once = jackknife(positive, scores.reshape(-1, 40))
    often = jackknife(
        np.repeat(positive, 4), np.repeat(scores.reshape(-1, 40), 4, axis=1), patients
    )
    assert often == pytest.approx(once)


def test_the_difference_to_readers_is_as_sure_as_there_are_patients():
    truth = np.tile([0, 1, 2], 10)
    generator = np.random.default_rng(4)
    labels = np.where(generator.random((3, 30)) < 0.6, truth, (truth + 1) % 3)
    answer = np.where(generator.random(30) < 0.8, truth, (truth + 1) % 3)
    once = model_against_readers(truth, answer, labels, 1, rng=np.random.default_rng(0))
    four = [np.repeat(part, 4, axis=-1) for part in (truth, answer, labels)]
    owners = np.repeat(np.arange(30), 4)
    often = model_against_readers(*four, 1, rng=np.random.default_rng(0), patients=owners)
    for name, (gap, p) in once.items():
        assert (often[name][0].low, often[name][0].high) == pytest.approx((gap.low, gap.high))
        assert often[name][1] == pytest.approx(p)


def test_a_class_of_one_patient_gives_no_interval():
    truth = np.array([1, 0, 0, 0, 0, 0])
    gap, p = against(truth, truth, [1 - truth, truth])["accuracy"]
    assert gap.value == pytest.approx(0.5)
    assert math.isnan(gap.low) and math.isnan(p)


def test_readers_who_gain_alike_have_the_p_value_of_an_endless_denominator():
    """Each reader gains 0.1: only cases vary, so F has no finite degrees of freedom below."""
    areas = np.array([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6]])
    found = obuchowski_rockette(areas, Components(0.002, 0.001, 0.001, 0.0005), (0.001,) * 2, 60)
    assert found.df > 1e6
    reach = (found.difference.high - found.difference.low) / 2 / 1.959964
    assert found.p == pytest.approx(math.erfc(0.1 / reach / math.sqrt(2)), rel=1e-3)
