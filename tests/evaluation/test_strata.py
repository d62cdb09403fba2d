import math
from dataclasses import replace

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.intervals import wilson
from covidctnet.evaluation.strata import generalisation_gap, known_sites, newcombe, strata
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import case, simulated

pytestmark = pytest.mark.usefixtures(few_draws.__name__)
SURE = {label: np.eye(3)[label] for label in CHEST_CT}


def rng():
    return np.random.default_rng(0)


def rows(cases, trait, **rest):
    return {s.value: s for s in strata(cases, rng=rng(), **rest) if s.trait == trait}


def test_the_difference_of_two_proportions_is_that_of_newcombes_example():
    """56/70 against 48/80, method 10 of the paper: 0.2 (0.0524 to 0.3339)."""
    estimate = newcombe(wilson(56, 70), wilson(48, 80))
    assert estimate.value == pytest.approx(0.2)
    assert (estimate.low, estimate.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_every_patient_is_in_one_group_of_a_trait():
    cases = simulated(45)
    for trait in ("site", "kernel", "slice_mm", "noise_hu"):
        assert sum(s.n for s in rows(cases, trait).values()) == 45


def test_slices_fall_into_bands_that_hold_their_upper_edge():
    cases = [
        case(f"{k}", CHEST_CT.CONTROL, SURE[CHEST_CT.CONTROL], traits={"slice_mm": mm})
        for k, mm in enumerate([0.6, 1.5, 1.6, 3.0, 5.0, 8.0])
    ]
    table = rows(cases, "slice_mm")
    assert {value: s.n for value, s in table.items()} == {
        "≤ 1.5": 2,
        "1.5 to 3": 2,
        "3 to 5": 1,
        "> 5": 1,
    }


def test_a_trait_that_all_share_tells_nothing_and_is_left_out():
    cases = [case(f"{k}", label, SURE[label], site="here") for k, label in enumerate(CHEST_CT)]
    assert strata(cases, rng=rng()) == ()


def test_a_trait_that_divides_as_an_earlier_one_does_is_left_out():
    cases = [
        case(f"{n}", CHEST_CT.CAP, [0, 0, 1], site="ab"[n % 2], traits={"scanner": "xy"[n % 2]})
        for n in range(6)
    ]
    assert {s.trait for s in strata(cases, rng=np.random.default_rng(0))} == {"site"}


def test_cases_that_do_not_tell_a_trait_are_a_group_of_their_own():
    cases = [
        case("a", CHEST_CT.CAP, SURE[CHEST_CT.CAP], traits={"kernel": "lung"}),
        case("b", CHEST_CT.CAP, SURE[CHEST_CT.CAP]),
    ]
    assert {v: s.n for v, s in rows(cases, "kernel").items()} == {"lung": 1, "not told": 1}


def test_the_figures_of_a_group_are_those_of_its_patients():
    labels = [CHEST_CT.COVID19] * 6 + [CHEST_CT.CONTROL] * 5
    cases = [case(f"{n}", label, SURE[label], site="one") for n, label in enumerate(labels)]
    cases[0] = case("0", CHEST_CT.COVID19, SURE[CHEST_CT.CAP], site="one")
    cases += [case("d", CHEST_CT.CAP, SURE[CHEST_CT.CAP], site="two")]
    one = rows(cases, "site")["one"]
    assert one.accuracy.value == pytest.approx(10 / 11)
    assert (one.sensitivity.value, one.sensitivity.n) == (pytest.approx(5 / 6), 6)
    assert (one.specificity.value, one.specificity.n) == (1.0, 5)
    assert math.isnan(one.macro_auc.value)  # nobody of this site has CAP


def test_a_figure_over_fewer_than_five_patients_is_not_estimable():
    cases = [case(f"{n}", CHEST_CT.CAP, SURE[CHEST_CT.CAP], site="one") for n in range(5)]
    cases += [case(f"c{n}", CHEST_CT.COVID19, SURE[CHEST_CT.CAP], site="one") for n in range(4)]
    # Five studies of four patients are four patients.
    cases += [
        replace(case(f"t{n}", CHEST_CT.CAP, SURE[CHEST_CT.CAP], site="two"), patient=f"p{n % 4}")
        for n in range(5)
    ]
    table = rows(cases, "site")
    assert table["one"].accuracy.value == pytest.approx(5 / 9)
    assert math.isnan(table["one"].sensitivity.value)
    assert math.isnan(table["two"].accuracy.value)
    assert str(table["two"].accuracy) == "not estimable (n=5)"


def test_intervals_of_a_group_are_wider_where_patients_have_several_studies():
    def group(studies):
        return [
            replace(
                case(f"{n}-{k}", CHEST_CT.CAP, SURE[CHEST_CT.CAP if n % 3 else CHEST_CT.CONTROL]),
                patient=f"p{n}",
                site="one",
            )
            for n in range(12)
            for k in range(studies)
        ]

    other = [case(f"o{n}", CHEST_CT.CAP, SURE[CHEST_CT.CAP], site="two") for n in range(6)]
    single, fourfold = (rows(group(k) + other, "site")["one"].accuracy for k in (1, 4))
    assert fourfold.value == pytest.approx(single.value)
    # Wilson's over 48 studies would be half as wide.
    assert fourfold.high - fourfold.low > 0.8 * (single.high - single.low)


def test_the_fall_is_known_minus_unseen():
    cases = [
        case(f"{site}{k}", truth, SURE[truth if site == "old" else CHEST_CT.CONTROL], site=site)
        for site in ("old", "new")
        for k, truth in enumerate([*CHEST_CT] * 4)
    ]
    gap = generalisation_gap(cases, known_sites={"old"}, rng=rng())
    assert (gap.accuracy[0].value, gap.accuracy[1].value) == (1.0, pytest.approx(1 / 3))
    assert gap.accuracy_lost.value == pytest.approx(2 / 3)
    assert gap.accuracy_lost.low > 0.2
    assert gap.macro_auc_lost.value == pytest.approx(0.5)


@pytest.mark.parametrize("known", [set(), {"amber", "birch", "cobalt"}, {"elsewhere"}])
def test_without_patients_of_both_kinds_there_is_no_fall(known):
    assert generalisation_gap(simulated(12), known_sites=known, rng=rng()) is None


def test_the_sites_of_the_training_stand_in_the_card():
    card = {
        "training": {
            "denoiser": {"data": {"sites": ["a", "b"]}},
            "classifier": {"data": {"sites": ["b", "c"]}},
        }
    }
    assert known_sites(card) == {"a", "b", "c"}
    assert known_sites({}) == frozenset()
