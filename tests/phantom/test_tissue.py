import numpy as np
import pytest

from covidctnet.phantom.fields import Grid
from covidctnet.phantom.findings import Lesion
from covidctnet.phantom.lesions import lesion_fields
from covidctnet.phantom.thorax import LOBES, lung_fields
from covidctnet.phantom.tissue import render


def painted(thorax, plan):
    low, high = thorax.build.height_range
    shift = thorax.build.shift[0]
    grid = Grid.over((low + shift, -190.0, -220.0), (high + shift, 190.0, 220.0), 4.0)
    lungs = lung_fields(thorax.build, grid)
    lesions = lesion_fields(plan, thorax, lungs)
    return lungs, lesions, render(thorax, lungs, lesions)


@pytest.fixture(scope="module")
def well(thorax):
    return painted(thorax, ())


def around(thorax, lungs, hu, point, radius_mm=7.0):
    """HU within a ball around a point of the patient's frame."""
    z, y, x = point
    near = (lungs.z - z) ** 2 + (lungs.y - y) ** 2 + (lungs.x - x) ** 2 < radius_mm**2
    assert near.any()
    return hu[near]


def test_the_heart_and_the_liver_are_soft_tissue(thorax, well):
    lungs, _, tissue = well
    heart = around(thorax, lungs, tissue.hu, (-62.0, -24.0, 22.0))
    liver = around(thorax, lungs, tissue.hu, (thorax.build.dome[0] - 45.0, 10.0, -60.0))
    assert 0 < np.median(heart) < max(80.0, 1.1 * thorax.build.blood_hu)
    assert 0 < np.median(liver) < 80


def test_the_trachea_holds_air_and_the_vertebrae_bone(thorax, well):
    lungs, _, tissue = well
    assert around(thorax, lungs, tissue.hu, (60.0, 6.0, 1.0), 5.0).mean() < -850
    spine = float(thorax.build.spine_y(np.array(-48.0)))
    assert around(thorax, lungs, tissue.hu, (-48.0, spine, 0.0), 18.0).max() > 200


def test_fat_lies_under_the_skin(thorax, well):
    lungs, _, tissue = well
    build = thorax.build
    deep = build.half_width + build.muscle + build.fat * 0.6
    assert np.median(around(thorax, lungs, tissue.hu, (-40.0, 0.0, deep), 5.0)) < -60


def test_lungs_leave_out_the_trachea_and_the_heart(thorax, well):
    lungs, _, tissue = well
    for point in ((60.0, 6.0, 1.0), (-62.0, -24.0, 22.0)):
        assert around(thorax, lungs, tissue.lungs, point, 5.0).max() < 0.5


def test_every_lobe_is_there(thorax):
    assert set(np.unique(thorax.lobes)) == set(LOBES)


def test_fluid_is_water_and_no_lung(thorax):
    effusion = Lesion("effusion", (0.0, 0.0, 1.0), 30.0, 5, 1.0)
    _, lesions, tissue = painted(thorax, (effusion,))
    wet = lesions.fluid > 0.95
    assert wet.sum() > 50
    assert 0 < np.median(tissue.hu[wet]) < 30
    assert tissue.lungs[wet].max() < 0.1


def test_fluid_stays_on_its_side(thorax):
    effusion = Lesion("effusion", (0.0, 0.0, 1.0), 30.0, 5, 1.0)
    lungs, lesions, _ = painted(thorax, (effusion,))
    assert (lungs.x[lesions.fluid > 0] > 0).all()


def test_emphysema_takes_density_away_and_adds_none(thorax, well):
    top = float(thorax.points[:, 0].max())
    _, lesions, tissue = painted(thorax, (Lesion("emphysema", (top, 0.0, 0.0), 400.0, 1, 1.0),))
    assert lesions.air.min() < -30
    assert not lesions.dense.any()
    assert (tissue.hu <= well[2].hu + 1e-3).all()


def test_a_patch_that_does_not_cross_keeps_to_its_lobe(thorax):
    near = np.argmin(np.abs(thorax.points - (-30.0, 30.0, -70.0)).sum(axis=1))
    z, y, x = thorax.points[near]
    lobe = int(thorax.lobes[near])
    patch = Lesion("patch", (float(z), float(y), float(x)), 40.0, lobe, 0.5)
    lungs, lesions, _ = painted(thorax, (patch,))
    sick = lesions.dense > 0.15
    lobes = thorax.build.lobe(lungs.z, lungs.y, lungs.x)
    assert np.mean(lobes[sick] == lobe) > 0.95
