"""How many patients an interval takes, against the intervals themselves."""

import numpy as np
import pytest

from covidctnet.evaluation.assess import assess
from covidctnet.evaluation.intervals import auc_interval, wilson
from covidctnet.evaluation.precision import needed_for_auc, needed_for_share, precision
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import simulated

pytestmark = pytest.mark.usefixtures(few_draws.__name__)


@pytest.mark.parametrize(("share", "width"), [(0.5, 0.2), (0.9, 0.1), (0.8, 0.05), (1.0, 0.1)])
def test_so_many_patients_give_the_width_and_fewer_do_not(share, width):
    n = needed_for_share(share, width)
    # Of a count that is that share as nearly as counts go.
    counted = [wilson(round(share * k), k) for k in (n, max(1, round(0.9 * n)))]
    enough, few = (e.high - e.low for e in counted)
    assert enough == pytest.approx(width, abs=0.01)
    assert few > enough


def test_half_the_width_takes_four_times_the_patients():
    wide, narrow = needed_for_share(0.8, 0.1), needed_for_share(0.8, 0.05)
    assert narrow / wide == pytest.approx(4, rel=0.02)


def test_an_area_takes_the_patients_that_newcombes_interval_says():
    rng = np.random.default_rng(3)
    positive = np.arange(400) % 4 == 0
    scores = rng.normal(size=400) + 1.5 * positive
    found = auc_interval(positive, scores)
    n = needed_for_auc(found.value, 0.25, found.high - found.low)
    assert n == pytest.approx(400, abs=2)


def test_what_cannot_be_estimated_takes_no_number():
    assert needed_for_share(float("nan"), 0.1) is None
    assert needed_for_auc(0.8, 0.0, 0.1) is None
    assert needed_for_auc(float("nan"), 0.5, 0.1) is None


def test_the_note_has_the_width_of_each_figure():
    assessment = assess(simulated(60, failures=0), rng=np.random.default_rng(0))
    found = {one.figure: one for one in precision(assessment)}
    sensitivity = found["Covid-19 sensitivity"]
    assert sensitivity.estimate.n == 20
    assert sensitivity.width == pytest.approx(sensitivity.estimate.high - sensitivity.estimate.low)
    # An interval twice as narrow as here takes more patients than there are.
    assert sensitivity.needed[0.05] > sensitivity.needed[0.1] > sensitivity.needed[0.2] > 0


def test_a_class_that_nobody_has_is_not_estimable():
    only = [c for c in simulated(20, failures=0) if int(c.truth) != 1]
    found = {one.figure: one for one in precision(assess(only, rng=np.random.default_rng(0)))}
    assert set(found["Covid-19 sensitivity"].needed.values()) == {None}
    assert set(found["Covid-19 AUC"].needed.values()) == {None}
