import numpy as np
import pytest

from covidctnet.chest.lungs import close_lungs, lung_mask
from covidctnet.errors import StudyError
from covidctnet.preprocess import PreprocessSettings, preprocess
from tests.volumes import a_chest, a_volume


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_two_ellipsoid_lungs_are_found():
    volume, truth = a_chest()
    assert dice(lung_mask(volume), truth) > 0.97


def test_a_windowed_volume_gives_the_same_lungs():
    volume, truth = a_chest()
    unit = preprocess(volume, PreprocessSettings(spacing_mm=3.0, size=120))
    mask = lung_mask(unit)
    assert mask.sum() * unit.voxel_ml == pytest.approx(truth.sum() * volume.voxel_ml, rel=0.03)


def test_vessels_belong_to_the_lungs():
    volume, truth = a_chest()
    array = volume.array.copy()
    array[:, 50, 30:34][truth[:, 50, 30:34]] = 40
    mask = lung_mask(volume.then("with a vessel", array))
    assert dice(mask, truth) > 0.97
    assert mask[25, 50, 32]


def test_air_outside_the_body_is_no_lung():
    volume, _ = a_chest()
    assert not (lung_mask(volume) & (volume.array == -1000)).any()


def test_lungs_that_touch_in_front_do_not_take_the_heart():
    volume, truth = a_chest()
    array = volume.array.copy()
    # A bridge of lung in front of the heart, as at the anterior junction line.
    array[15:35, 32:36, 45:75] = -850
    mask = lung_mask(volume.then("joined", array))
    heart = np.zeros_like(truth)
    heart[20:30, 45:55, 57:63] = True
    assert not (mask & heart).any()


def test_the_trachea_and_the_main_bronchi_are_no_lung():
    volume, truth = a_chest()
    array = volume.array.copy()
    airway = np.zeros_like(truth)
    airway[28:, 47:52, 57:62] = True
    airway[28:32, 47:51, 45:75] = True
    airway &= ~truth
    array[airway] = -1000
    mask = lung_mask(volume.then("with airways", array))
    assert (mask & airway).sum() < 0.1 * airway.sum()
    assert dice(mask, truth) > 0.96


def test_lungs_that_hold_little_but_gas_are_still_lungs():
    volume, truth = a_chest()
    array = np.where(truth, np.int16(-960), volume.array)
    assert dice(lung_mask(volume.then("emphysema", array)), truth) > 0.96


def test_no_lung_gives_an_empty_mask():
    mask = lung_mask(a_volume(array=np.full((20, 40, 40), 40, np.int16), spacing=(5, 5, 5)))
    assert mask.shape == (20, 40, 40)
    assert not mask.any()


def test_mirrored_scan_gives_the_mirrored_mask():
    volume, _ = a_chest()
    array = volume.array.copy()
    array[:, 60:80, 20:35] = 40
    volume = volume.then("asymmetric", array)
    mirrored = volume.then("mirrored", volume.array[:, :, ::-1])
    assert dice(lung_mask(mirrored)[:, :, ::-1], lung_mask(volume)) > 0.98


def test_a_residual_has_no_lungs():
    zeros = np.zeros((9, 20, 16), np.float32)
    volume = a_volume().then("residual", zeros, units="residual", window_hu=(-1000.0, 400.0))
    with pytest.raises(StudyError, match="WRONG_UNITS"):
        lung_mask(volume)


@pytest.mark.parametrize("patient", ["COVID-19/P002", "CAP/cap002", "Control/normal001"])
def test_real_lungs_have_a_plausible_volume(real_scan, patient):
    volume = real_scan(f"covid_ct_md/{patient}")
    assert 3000 < lung_mask(volume).sum() * volume.voxel_ml < 5000


def test_lungs_are_closed_over_vessels_and_left_open_over_large_consolidation():
    air = np.zeros((3, 100, 100), dtype=bool)
    air[:, 10:90, 10:90] = True
    air[:, 48:51, 10:90] = False  # a vessel of 3 mm
    air[1, 10:60, 10:60] = False  # consolidation of 5 cm that reaches the pleura
    closed = close_lungs(air, (6.0, 1.0, 1.0))
    assert closed[0, 12:88, 12:88].all()
    assert not closed[1, 15:40, 15:40].any()
    assert closed[2, 12:88, 12:88].all()  # a slice away, nothing is bridged
    assert (air <= closed).all()
