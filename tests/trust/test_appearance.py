"""What a scan looks like, in numbers."""

import numpy as np
import pytest

from covidctnet.trust.appearance import FEATURES, GRAIN, describe_appearance
from tests.volumes import a_chest

WINDOW = (-1000.0, 400.0)


def look(hu, lungs, **changes):
    unit = np.clip((hu.array + 1000.0) / 1400.0, 0, 1).astype(np.float32)
    scan = hu.then("window", unit, units="unit", window_hu=WINDOW, **changes)
    return dict(zip(FEATURES, describe_appearance(scan, lungs), strict=True))


@pytest.fixture
def chest():
    return a_chest((60, 50, 60), 6.0)


def with_array(hu, array):
    return hu.then("changed", array.astype(hu.array.dtype))


def test_lengths_volumes_and_densities_are_those_of_the_scan(chest):
    hu, lungs = chest
    features = look(hu, lungs)
    assert np.expm1(features["length of the scan"]) == pytest.approx(360)
    length = np.count_nonzero(lungs.any(axis=(1, 2))) * 6.0
    assert np.expm1(features["length of the lungs"]) == pytest.approx(length)
    assert np.expm1(features["lung volume"]) == pytest.approx(lungs.sum() * hu.voxel_ml)
    area = lungs[20:40].sum() * 36.0 / 20
    assert features["cross-section of the lungs, middle third"] == pytest.approx(np.sqrt(area))
    # Of the same density throughout; the window rounds it.
    assert features["lung density, percentile 50"] == pytest.approx(-850, abs=1)


def test_a_finer_grid_of_the_same_scan_looks_alike(chest):
    hu, lungs = chest
    affine = np.array(hu.affine)
    affine[:3, :3] /= 2
    twice = [np.repeat(np.repeat(np.repeat(x, 2, 0), 2, 1), 2, 2) for x in (hu.array, lungs)]
    fine = hu.then("repeated", twice[0], affine=affine)
    coarse, finer = look(hu, lungs), look(fine, twice[1])
    same = [name for name in FEATURES if name not in ("noise", "lung texture")]
    for name in same:
        assert finer[name] == pytest.approx(coarse[name], rel=0.01), name


def test_air_around_the_body_changes_no_cross_section(chest):
    hu, lungs = chest
    wider = [((0, 0), (8, 8), (8, 8)), -1000, False]
    padded = hu.then("padded", np.pad(hu.array, wider[0], constant_values=wider[1]))
    features = look(padded, np.pad(lungs, wider[0], constant_values=wider[2]))
    whole = look(hu, lungs)
    for third in ("lower", "middle", "upper"):
        name = f"cross-section of the lungs, {third} third"
        assert features[name] == pytest.approx(whole[name])


def test_noise_in_soft_tissue_and_lung_texture_are_told_apart(chest):
    hu, lungs = chest
    rng = np.random.default_rng(0)
    still = look(hu, lungs)
    soft = (hu.array > -60) & (hu.array < 160)
    noisy = np.where(soft, hu.array + rng.normal(0, 20, hu.array.shape), hu.array)
    grainy = np.where(lungs, hu.array + rng.normal(0, 40, hu.array.shape), hu.array)
    noisy, grainy = (look(with_array(hu, x), lungs) for x in (noisy, grainy))
    assert noisy["noise"] > still["noise"] + 1
    assert noisy["lung texture"] == pytest.approx(still["lung texture"])
    assert grainy["lung texture"] > still["lung texture"] + 1
    assert grainy["noise"] == pytest.approx(still["noise"])


def test_the_lower_half_of_a_chest_has_its_lungs_elsewhere(chest):
    hu, lungs = chest
    half = look(hu.then("cut", hu.array[:30]), lungs[:30])
    whole = look(hu, lungs)
    name = "cross-section of the lungs, upper third"
    assert half[name] > 1.5 * whole[name]
    assert np.expm1(half["length of the scan"]) == pytest.approx(180)


def test_a_scan_without_lungs_or_soft_tissue_is_described_too(chest):
    hu, lungs = chest
    air = hu.then("air", np.full_like(hu.array, -1000))
    features = look(air, np.zeros_like(lungs))
    assert np.isfinite(list(features.values())).all()
    assert features["lung density, percentile 98"] == -1000
    assert features["noise"] == features["lung volume"] == 0


def test_noise_is_the_median_distance_from_the_mean_of_two_neighbours(chest):
    hu, lungs = chest
    # Columns of 30 and 50 HU in turn: every voxel lies 20 from the mean of its neighbours.
    columns = np.where(np.arange(hu.array.shape[2]) % 2, 30, 50)
    striped = np.where((hu.array > -60) & ~lungs, columns, hu.array)
    features = look(with_array(hu, striped), lungs)
    assert np.expm1(features["noise"]) == pytest.approx(20, abs=0.1)
    assert np.expm1(features["lung texture"]) == pytest.approx(0, abs=0.1)


def test_every_feature_has_a_grain_of_its_own():
    assert GRAIN.shape == (len(FEATURES),) and (GRAIN > 0).all()


def test_less_slices_than_are_looked_at_do_no_harm(chest):
    hu, lungs = chest
    features = look(hu.then("cut", hu.array[20:23]), lungs[20:23])
    assert np.isfinite(list(features.values())).all()
