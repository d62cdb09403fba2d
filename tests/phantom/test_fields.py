import numpy as np
import pytest

from covidctnet.phantom.fields import Grid, SlabSampler, SmoothField, coverage, linear_weights

BOX = ((-60.0, -80.0, -90.0), (60.0, 80.0, 90.0))


def test_a_smooth_field_has_unit_variance_and_no_mean():
    grid = Grid.over((-250.0, -180.0, -220.0), (210.0, 180.0, 220.0), 7.0)
    field = SmoothField(3, 9.0).on(grid)
    assert field.mean() == pytest.approx(0.0, abs=0.03)
    assert field.std() == pytest.approx(1.0, abs=0.03)


def test_a_smooth_field_does_not_depend_on_the_grid():
    fine = SmoothField(3, 13.0).on(Grid.over(*BOX, 2.0))
    coarse = SmoothField(3, 13.0).on(Grid.over(*BOX, 4.0))
    np.testing.assert_allclose(fine[::2, ::2, ::2], coarse, atol=2e-5)


def test_another_seed_is_another_field():
    grid = Grid.over(*BOX, 8.0)
    first, second = (SmoothField(seed, 9.0).on(grid) for seed in (1, 2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.2


def test_a_slab_has_the_values_of_the_whole():
    grid = Grid.over(*BOX, 5.0)
    sample, smooth = SlabSampler(grid), SmoothField(3, 9.0)
    whole = smooth.on(grid)
    for slices, slab in grid.slabs(4 * grid.shape[1] * grid.shape[2]):
        assert slab.shape[0] <= 4
        np.testing.assert_array_equal(sample(smooth, slab), whole[slices])


def test_slabs_cover_the_grid_once_and_keep_its_pitch():
    grid = Grid.over(*BOX, 5.0)
    slabs = list(grid.slabs(1))
    assert len(slabs) == grid.shape[0]
    np.testing.assert_array_equal(np.concatenate([slab.z for _, slab in slabs]), grid.z)
    assert {slab.pitch for _, slab in slabs} == {grid.pitch}


def test_a_window_holds_the_voxels_within_reach():
    grid = Grid.over((0.0, 0.0, 0.0), (10.0, 10.0, 10.0), 1.0)
    assert grid.window(np.array([5.0, 0.0, 10.0]), 2.0) == (slice(3, 8), slice(0, 3), slice(8, 11))
    empty = grid.window(np.array([50.0, 5.0, 5.0]), 2.0)[0]
    assert empty.start == empty.stop


def test_half_a_voxel_lies_inside_a_surface_through_its_centre():
    np.testing.assert_allclose(coverage(np.array([-5.0, 0.0, 5.0]), 2.0), [1.0, 0.5, 0.0])


def test_linear_weights_carry_a_ramp_exactly_and_repeat_the_edges():
    source, target = np.array([0.0, 2.0, 4.0]), np.array([-1.0, 0.5, 3.0, 9.0])
    low, high, part = linear_weights(source, target)
    np.testing.assert_allclose(
        source[low] + part * (source[high] - source[low]), [0.0, 0.5, 3.0, 4.0]
    )
