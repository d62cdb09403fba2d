import numpy as np
import pytest

from covidctnet.phantom.fields import Grid
from covidctnet.phantom.trees import Tubes, draw_tubes, grow_tree

PIECES = 3  # of which a branch is made


@pytest.fixture(scope="module")
def tree():
    rng = np.random.default_rng(0)
    return grow_tree(
        rng.uniform(-50, 50, (60, 3)),
        np.zeros(3),
        rng=rng,
        tip_radius_mm=0.5,
        exponent=3.0,
    )


def test_a_tree_has_a_branch_for_every_target(tree):
    assert len(tree.start) == 60 * PIECES


def test_every_branch_starts_at_the_root_or_where_another_ends(tree):
    first, last = tree.start[:60], tree.end[-60:]
    known = np.vstack([np.zeros((1, 3)), last])
    away = np.linalg.norm(first[:, None] - known[None], axis=2).min(axis=1)
    assert away.max() < 1e-9


def test_tips_are_thinnest_and_the_trunk_follows_murray(tree):
    radius = tree.end_radius[-60:]
    assert radius.min() == pytest.approx(0.5)
    first, last = tree.start[:60], tree.end[-60:]
    at_root = np.linalg.norm(first, axis=1) == 0.0
    goes_on = (np.linalg.norm(last[:, None] - first[None], axis=2) < 1e-9).any(axis=1)
    np.testing.assert_allclose(radius[~goes_on], 0.5)
    assert (radius[at_root] ** 3).sum() == pytest.approx(np.count_nonzero(~goes_on) * 0.5**3)


@pytest.mark.parametrize("pitch_mm", [1.0, 2.0, 3.0])
def test_a_drawn_tube_has_the_volume_of_a_cylinder_at_every_pitch(pitch_mm):
    grid = Grid.over((-30.0, -15.0, -15.0), (30.0, 15.0, 15.0), pitch_mm)
    tube = Tubes.along(np.array([(-100, 1, -1), (100, 1, -1)]), 6.0)
    cover = np.zeros(grid.shape, dtype=np.float32)
    draw_tubes(tube, grid, cover)
    drawn = cover.sum() * pitch_mm**3 / (grid.shape[0] * pitch_mm)
    assert drawn == pytest.approx(np.pi * 6.0**2, rel=0.05)


def test_tubes_outside_the_grid_draw_nothing():
    grid = Grid.over((0.0, 0.0, 0.0), (9.0, 9.0, 9.0), 1.0)
    cover = np.zeros(grid.shape, dtype=np.float32)
    draw_tubes(Tubes.along(np.array([(50, 50, 50), (60, 60, 60)]), 3.0), grid, cover)
    assert not cover.any()
