import numpy as np
import pytest

from covidctnet.errors import UsageError
from covidctnet.phantom.fields import Grid
from covidctnet.phantom.rays import (
    Beam,
    Field,
    attenuation,
    line_integrals,
    magnification,
    water_per_mm,
)

GRID = Grid.over((-60.0, -60.0, -60.0), (60.0, 60.0, 60.0), 2.0)
FIELD = Field(41, 41, 2.0)
MIDDLE = 20


def box(low, high, hu=0.0):
    """HU of a box of water in air, its edges between voxels of 2 mm; (slice, row, column)."""
    out = np.full(GRID.shape, -1000.0, np.float32)
    inside = [(axis > a) & (axis < b) for axis, a, b in zip(GRID.axes, low, high, strict=True)]
    out[np.ix_(*inside)] = hu
    return out


@pytest.mark.parametrize("view", ["PA", "AP"])
@pytest.mark.parametrize("distance_mm", [None, 1800.0])
@pytest.mark.parametrize(("kev", "per_cm"), [(60.0, 0.2059), (100.0, 0.1707)])
def test_a_box_of_water_attenuates_as_the_closed_form_says(view, distance_mm, kev, per_cm):
    beam = Beam(view, kev, distance_mm)
    mu = attenuation(box((-41, -31, -41), (41, 31, 41)), kev)
    found = line_integrals(mu, GRID, beam, FIELD)
    # 31 planes of 2 mm; slanted rays are longer by the secant of their angle.
    away = np.hypot(FIELD.up[:, None], FIELD.left[None, :])
    slant = 1.0 if distance_mm is None else np.hypot(1, away / distance_mm)
    expected = np.broadcast_to(per_cm / 10 * 62.0 * slant, found.shape)
    inside = np.s_[5:-5, 5:-5]
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-5)


def test_twice_the_density_attenuates_twice_and_air_not_at_all():
    one, two = (attenuation(box((-21, -21, -21), (21, 21, 21), hu), 60.0) for hu in (0.0, 1000.0))
    beam = Beam(distance_mm=None)
    first, second = (line_integrals(mu, GRID, beam, FIELD) for mu in (one, two))
    np.testing.assert_allclose(second, 2 * first, rtol=1e-6)
    assert not line_integrals(
        attenuation(np.full(GRID.shape, -1000.0), 60), GRID, beam, FIELD
    ).any()
    # A scanner's numbers below air are no source of photons.
    assert attenuation(np.array([-1024.0]), 60.0) == 0


def test_the_rays_are_linear_before_the_detector():
    rng = np.random.default_rng(0)
    one, two = rng.uniform(0, 0.03, (2, *GRID.shape)).astype(np.float32)
    beam = Beam()
    both = line_integrals(one + 3 * two, GRID, beam, FIELD)
    parts = line_integrals(one, GRID, beam, FIELD) + 3 * line_integrals(two, GRID, beam, FIELD)
    np.testing.assert_allclose(both, parts, rtol=1e-4)


@pytest.mark.parametrize(("view", "nearer"), [("PA", -41.0), ("AP", 41.0)])
def test_a_cone_magnifies_what_is_farther_from_the_detector_more(view, nearer):
    beam = Beam(view, distance_mm=700.0, gap_mm=0.0)
    field = Field(81, 161, 0.5)
    widths = {}
    for middle in (-40.0, 40.0):
        mu = attenuation(box((-41, middle - 3, -11), (41, middle + 3, 11)), 60.0)
        found = line_integrals(mu, GRID, beam, field)[40]
        widths[middle] = (found > found.max() / 2).sum() * 0.5
        expected = 22 * magnification(GRID, beam, middle)
        assert widths[middle] == pytest.approx(expected, abs=1.0)
    far, near = -nearer / 41 * 40, nearer / 41 * 40
    # The box ends at the detector: 700 mm to the source, 122 mm of box.
    assert widths[far] / widths[near] == pytest.approx((700 - 21) / (700 - 101), rel=0.03)


def test_parallel_rays_magnify_nothing():
    assert magnification(GRID, Beam(distance_mm=None), 50.0) == 1.0


def test_the_head_is_up_and_the_patients_right_is_at_the_left():
    beam = Beam(distance_mm=None)
    # Above and to the patient's right: high in z, low in x.
    mu = attenuation(box((21, -11, -35), (35, 11, -21)), 60.0)
    found = line_integrals(mu, GRID, beam, FIELD)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert row < MIDDLE and column < MIDDLE
    for view in ("PA", "AP"):
        shown = line_integrals(mu, GRID, Beam(view), FIELD)
        assert shown[:MIDDLE, :MIDDLE].max() > 0.2 and not shown[MIDDLE + 2 :].any()
        assert not shown[:, MIDDLE + 2 :].any()


def test_water_follows_the_table_and_falls_between_its_points():
    assert water_per_mm(60.0) == pytest.approx(0.02059)
    assert 0.01837 < water_per_mm(70.0) < 0.02059


@pytest.mark.parametrize(
    "wrong",
    [{"view": "LL"}, {"kev": 5.0}, {"kev": float("nan")}, {"distance_mm": 50.0}],
)
def test_beams_that_there_are_not_are_refused(wrong):
    with pytest.raises(UsageError, match=r"expected .* got"):
        Beam(**wrong)


def test_attenuation_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expected attenuation of shape \(61, 61, 61\)"):
        line_integrals(np.zeros((2, 2, 2), np.float32), GRID, Beam(), FIELD)
