"""Examples drawn from Controls: what changes, what stays, and what is refused."""

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.store import Store
from covidctnet.errors import UsageError
from covidctnet.evidence import CONSOLIDATION, GROUND_GLASS
from covidctnet.systems.covidctnet.training.examples import (
    ExampleSettings,
    _choose_slices,
    draw_example,
)
from covidctnet.training.augment import VariationSettings
from tests.little_work import put_study

STILL = VariationSettings(turn=0.0, zoom=0.0, shift=0.0, density=0.0, noise=0.0)
DEPTH = 16


@pytest.fixture
def control(tmp_path):
    store = Store(tmp_path / "preprocessed")
    return store.get(put_study(store, "someone", CHEST_CT.CONTROL))


@pytest.mark.parametrize("label", list(CHEST_CT))
def test_an_example_repeats_by_its_seed_and_changes_with_it(control, label):
    first, again, other = (
        draw_example(control, label, seed, depth=DEPTH, settings=ExampleSettings(plain=0.0))
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first.unit.array, again.unit.array)
    assert np.array_equal(first.lesions, again.lesions)
    assert not np.array_equal(first.unit.array, other.unit.array)


@pytest.mark.parametrize("label", [CHEST_CT.COVID19, CHEST_CT.CAP])
def test_disease_is_drawn_into_the_lungs_and_makes_them_denser(control, label):
    settings = ExampleSettings(STILL, stretch=0.0)
    ill = draw_example(control, label, 3, depth=DEPTH, settings=settings)
    assert ill.label is label
    assert ill.unit.shape == ill.lungs.shape == ill.lesions.shape == (DEPTH, 40, 40)
    assert 0 <= ill.unit.array.min() <= ill.unit.array.max() <= 1
    lesion = ill.lesions > 0
    assert lesion.any()
    assert (lesion & ~ill.lungs).sum() <= 0.01 * lesion.sum()
    opaque = np.isin(ill.lesions, (GROUND_GLASS, CONSOLIDATION))
    assert opaque.any()
    assert ill.unit.array[opaque].mean() > ill.unit.array[ill.lungs & ~lesion].mean() + 0.05
    assert (ill.found_by_density <= ill.lungs).all()
    air = ill.lungs & (ill.unit.array < 600 / 1400)
    assert (air <= ill.found_by_density).all()


def test_a_plain_control_is_the_scan_or_its_mirror_image(control):
    settings = ExampleSettings(STILL, stretch=0.0, plain=1.0)
    plain = draw_example(control, CHEST_CT.CONTROL, 0, depth=20, settings=settings)
    volume = np.asarray(control.volume().array)
    assert not plain.lesions.any()
    seen = plain.unit.array
    assert min(np.abs(seen - volume).max(), np.abs(seen[..., ::-1] - volume).max()) < 1e-4


def test_slices_reach_over_the_ends_or_fall_short_by_the_stretch():
    rng = np.random.default_rng(0)
    for _ in range(50):
        chosen, step = _choose_slices(200, 50, 0.1, rng)
        assert len(chosen) == 50 and (np.diff(chosen) >= 0).all()
        assert 0 <= chosen[0] <= 0.1 * 200 + step and 199 - 0.1 * 200 - step <= chosen[-1] <= 199
        assert 0.8 * 4 <= step <= 1.2 * 4
    exact, step = _choose_slices(200, 50, 0.0, rng)
    assert step == 4 and np.array_equal(exact, np.round(np.arange(50) * 4 + 1.5).astype(int))


def test_who_is_ill_keeps_the_findings_and_the_label(tmp_path):
    store = Store(tmp_path / "preprocessed")
    study = store.get(put_study(store, "ill", CHEST_CT.CAP))
    settings = ExampleSettings(plain=0.0)
    example = draw_example(study, CHEST_CT.CAP, 0, depth=DEPTH, settings=settings)
    assert example.label is CHEST_CT.CAP
    assert not example.lesions.any()
    with pytest.raises(UsageError, match="keeps its findings, got Covid-19"):
        draw_example(study, CHEST_CT.COVID19, 0, depth=DEPTH, settings=settings)


def test_settings_without_a_meaning_are_refused():
    with pytest.raises(UsageError, match="stretch must lie in"):
        ExampleSettings(stretch=0.5)
    with pytest.raises(UsageError, match="plain must lie in"):
        ExampleSettings(plain=1.5)
