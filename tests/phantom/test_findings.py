from collections import Counter

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.phantom.findings import plan_lesions
from covidctnet.phantom.thorax import LEFT, LOBES, LOWER_LOBES, RIGHT

SEEDS = 200


def plans(label, thorax):
    return [plan_lesions(label, thorax, np.random.default_rng(seed)) for seed in range(SEEDS)]


@pytest.fixture(scope="module")
def covid(thorax):
    return plans(CHEST_CT.COVID19, thorax)


@pytest.fixture(scope="module")
def cap(thorax):
    return plans(CHEST_CT.CAP, thorax)


@pytest.fixture(scope="module")
def controls(thorax):
    return plans(CHEST_CT.CONTROL, thorax)


def sides(lesions, kinds=("patch", "lobar", "buds", "effusion")):
    return {LOBES[lesion.lobe].split()[0] for lesion in lesions if lesion.kind in kinds}


def test_the_same_generator_draws_the_same_plan(thorax, covid):
    assert plan_lesions(CHEST_CT.COVID19, thorax, np.random.default_rng(7)) == covid[7]


def test_most_covid_is_on_both_sides_but_some_is_early_or_on_one(covid):
    patterns = Counter(pattern for _, pattern in covid)
    assert patterns["typical"] == max(patterns.values())
    assert patterns["one-sided"] >= 8
    assert patterns["early"] >= 15
    both = sum(len(sides(lesions, ("patch",))) == 2 for lesions, _ in covid)
    assert 0.6 * SEEDS < both < 0.95 * SEEDS


def test_covid_patches_prefer_the_lower_lobes_and_the_edge(covid, thorax):
    low, wall = [], []
    for lesions, _ in covid:
        for lesion in lesions:
            if lesion.kind == "patch":
                low.append(lesion.lobe in LOWER_LOBES)
                wall.append(thorax.wall_depth(lesion.centre))
    assert np.mean(low) > np.isin(thorax.lobes, LOWER_LOBES).mean() + 0.1
    assert np.mean(wall) < 0.6 * thorax.wall_mm.mean()


def test_lobar_cap_is_mostly_on_one_side_but_some_cap_is_ground_glass_on_both(cap):
    patterns = Counter(pattern for _, pattern in cap)
    lobar = [lesions for lesions, pattern in cap if pattern == "lobar"]
    assert np.mean([len(sides(lesions)) == 1 for lesions in lobar]) > 0.7
    assert patterns["ground-glass"] >= 8
    assert any(
        len(sides(lesions, ("patch",))) == 2 for lesions, name in cap if name == "ground-glass"
    )


def test_healthy_controls_have_no_findings_and_only_scars_are_patches(controls):
    for lesions, pattern in controls:
        kinds = {lesion.kind for lesion in lesions}
        if pattern == "healthy":
            assert not lesions
        assert kinds <= {"patch", "nodule", "band", "emphysema", "dependent"}
        assert ("patch" in kinds) == (pattern == "scar")
        assert all(lesion.radius_mm <= 13 for lesion in lesions if lesion.kind == "patch")


def test_some_of_every_class_has_findings_that_say_nothing_of_the_class(controls, covid, cap):
    shared = {"nodule", "band", "dependent", "emphysema"}
    for drawn in (controls, covid, cap):
        kinds = {lesion.kind for lesions, _ in drawn for lesion in lesions}
        assert shared <= kinds


def test_findings_start_in_the_lobe_and_side_they_name(covid, cap):
    for lesions, _ in covid + cap:
        for lesion in lesions:
            if lesion.kind in ("patch", "lobar", "nodule", "band", "buds"):
                side = LEFT if LOBES[lesion.lobe].startswith("left") else RIGHT
                assert lesion.centre[2] * side > 0


def test_densities_and_radii_are_possible(controls, covid, cap):
    for lesions, _ in controls + covid + cap:
        for lesion in lesions:
            assert 0.0 < lesion.density <= 1.0
            assert lesion.radius_mm > 0.0
            assert 0.0 <= lesion.hugging <= 1.0
