"""How far groups lie apart, and that small groups say nothing."""

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.fairness import disparities
from covidctnet.evaluation.intervals import wilson
from covidctnet.evaluation.strata import newcombe, strata
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import case

pytestmark = pytest.mark.usefixtures(few_draws.__name__)
SURE = {label: np.eye(3)[label] for label in CHEST_CT}


def group(sex, right, n):
    return [
        case(
            f"{sex}{k}",
            CHEST_CT.COVID19,
            SURE[CHEST_CT.COVID19 if k < right else CHEST_CT.CAP],
            traits={"sex": sex},
        )
        for k in range(n)
    ]


def found(cases):
    rows = disparities(strata(cases, rng=np.random.default_rng(0)))
    return {(one.trait, one.figure): one for one in rows}


def test_the_gap_is_between_the_lowest_and_the_highest_group():
    cases = group("F", 9, 10) + group("M", 6, 12) + group("X", 3, 4)
    gap = found(cases)["sex", "sensitivity"]
    assert (gap.lowest, gap.highest) == ("M", "F")
    expected = newcombe(wilson(9, 10), wilson(6, 12))
    assert (gap.gap.value, gap.gap.low) == pytest.approx((expected.value, expected.low))
    # Four patients are too few for a figure, and are said to be.
    assert (gap.groups, gap.not_estimable) == (2, 1)


def test_patients_who_do_not_tell_are_no_group():
    cases = group("F", 9, 10) + group("M", 6, 12) + group("", 0, 10)
    assert found(cases)["sex", "accuracy"].lowest == "M"


def test_one_group_has_nothing_to_lie_apart_from():
    assert found(group("F", 9, 10) + group("M", 2, 4)) == {}
