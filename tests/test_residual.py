import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidctnet.residual import DepthPlan


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 60))
def test_the_plan_equals_interpolating_all_slices(count, depth):
    signal = np.random.default_rng(count).random((count, 2, 3)).astype(np.float32)
    plan = DepthPlan.linear(count, depth)
    where = (np.arange(depth) + 0.5) * count / depth - 0.5
    ours = plan.apply(signal[plan.needed])
    for row in range(2):
        for column in range(3):
            theirs = np.interp(where, np.arange(count), signal[:, row, column])
            np.testing.assert_allclose(ours[:, row, column], theirs, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2000), st.integers(1, 60))
def test_at_most_two_slices_are_read_for_each_one_wanted(count, depth):
    plan = DepthPlan.linear(count, depth)
    assert len(plan.needed) <= min(2 * depth, count)
    np.testing.assert_allclose(plan.matrix.sum(axis=1), 1, atol=1e-6)


def test_the_same_depth_changes_nothing():
    slices = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    np.testing.assert_array_equal(DepthPlan.linear(3, 3).apply(slices), slices)


def test_other_slices_than_the_needed_are_refused():
    with pytest.raises(ValueError, match="wanted 20 slices, got 3"):
        DepthPlan.linear(300, 10).apply(np.zeros((3, 2, 2), np.float32))
