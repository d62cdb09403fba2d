import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from covidctnet.errors import UsageError
from covidctnet.systems.covidctnet.residual import DepthPlan, ResidualSettings


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
    with pytest.raises(ValueError, match="expected 20 slices, got 3"):
        DepthPlan.linear(300, 10).apply(np.zeros((3, 2, 2), np.float32))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 60))
def test_the_antialiased_plan_equals_scikit_image_on_the_whole_volume(count, depth):
    residual = np.random.default_rng(count).normal(size=(count, 4, 3)).astype(np.float32)
    theirs = resize(residual, (depth, 4, 3), anti_aliasing=True)
    plan = DepthPlan.antialiased(count, depth)
    assert plan.needed.tolist() == list(range(count))
    np.testing.assert_allclose(plan.apply(residual), theirs, atol=2e-6)


@pytest.mark.parametrize(("count", "depth"), [(300, 50), (20, 50), (50, 50)])
def test_both_plans_stand_at_the_same_places(count, depth):
    plan = DepthPlan.antialiased(count, depth)
    np.testing.assert_array_equal(plan.centres, DepthPlan.linear(count, depth).centres)
    # A ramp says where a slice came from; at the ends the mirror bends it.
    inside = slice(depth // 5, -depth // 5)
    np.testing.assert_allclose(
        (plan.matrix @ np.arange(count))[inside], plan.centres[inside], rtol=1e-5
    )


def test_three_hundred_slices_are_blurred_before_fifty_are_taken():
    row = DepthPlan.antialiased(300, 50).matrix[25]
    at = np.arange(300)
    spread = np.sqrt((row * at**2).sum() - (row * at).sum() ** 2)
    assert spread == pytest.approx(np.sqrt(2.5**2 + 0.25), rel=0.01)  # and linear's half voxel


def test_the_settings_choose_the_plan():
    assert len(ResidualSettings(depth=10).plan(300).needed) == 20
    assert len(ResidualSettings("antialiased", depth=10).plan(300).needed) == 300


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"depth_resize": "cubic"},
            "depth_resize must be linear, nearest or antialiased, got 'cubic'",
        ),
        ({"depth_resize": []}, "depth_resize"),
        ({"signed": "no"}, "signed must be true or false"),
        ({"signed": 1}, "signed must be true or false"),
        ({"classifier_input": "lungs"}, "classifier_input must be residual, ct or both, got 'lun"),
        ({"depth": 0}, "depth must be a whole number from 1 to 2048, got 0"),
        ({"classifier_input": None}, "classifier_input must be residual, ct or both, got None"),
    ],
)
def test_impossible_residuals_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        ResidualSettings(**wrong)


RESIDUAL, CT = np.full((2, 3, 3), -0.5), np.ones((2, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("which", "expected"), [("residual", [-0.5]), ("ct", [1]), ("both", [-0.5, 1])]
)
def test_the_classifier_reads_the_residual_first_and_the_ct_second(which, expected):
    choice = ResidualSettings(classifier_input=which)
    array = choice.compose(residual=RESIDUAL, ct=CT)
    assert array.shape == (choice.channels, 2, 3, 3)
    assert array.dtype == np.float32
    assert array[:, 0, 0, 0].tolist() == expected


def test_what_the_classifier_does_not_read_may_be_missing():
    assert ResidualSettings().compose(residual=RESIDUAL, ct=None).shape == (1, 2, 3, 3)
    ct = ResidualSettings(classifier_input="ct")
    assert ct.compose(residual=None, ct=CT).shape == (1, 2, 3, 3)
    with pytest.raises(ValueError, match="a classifier of both expects ct, got none"):
        ResidualSettings(classifier_input="both").compose(residual=RESIDUAL, ct=None)
    with pytest.raises(ValueError, match="a classifier of ct expects ct, got none"):
        ct.compose(residual=RESIDUAL, ct=None)


def test_the_input_is_told_only_where_it_is_not_the_papers():
    assert ResidualSettings().deciding() == {"depth_resize": "linear", "signed": True}
    both = ResidualSettings("antialiased", False, "both")
    assert both.deciding()["classifier_input"] == "both"
    assert ResidualSettings(**both.deciding()) == both


@pytest.mark.parametrize(("count", "depth"), [(300, 50), (23, 5), (5, 23), (50, 50)])
def test_the_nearest_plan_takes_one_slice_each_and_its_mask(count, depth):
    plan = DepthPlan.nearest(count, depth)
    assert (plan.matrix.sum(axis=1) == 1).all() and set(np.unique(plan.matrix)) <= {0.0, 1.0}
    chosen = plan.needed[plan.matrix.argmax(axis=1)]
    exact = np.clip((np.arange(depth) + 0.5) * count / depth - 0.5, 0, count - 1)
    assert np.abs(chosen - exact).max() <= 0.5
    mask = np.arange(count)[:, None, None] % 2 == 0
    assert np.array_equal(plan.mask(mask)[:, 0, 0], chosen % 2 == 0)


def test_a_shrunk_classifier_reads_means_over_blocks():
    settings = ResidualSettings(classifier_input="both", shrink=2)
    residual, ct = np.random.default_rng(0).random((2, 3, 4, 6), dtype=np.float32)
    seen = settings.compose(residual=residual, ct=ct)
    assert seen.shape == (2, 3, 2, 3)
    assert seen[0, 1, 1, 2] == pytest.approx(residual[1, 2:4, 4:6].mean())
    assert seen[1, 2, 0, 0] == pytest.approx(ct[2, :2, :2].mean())
    with pytest.raises(ValueError, match="does not divide into blocks of 2"):
        settings.compose(residual=residual[:, :3], ct=ct[:, :3])


def test_settings_that_came_later_are_named_only_where_they_decide():
    """Cards that are older than a setting must keep their digest."""
    assert ResidualSettings().deciding() == {"depth_resize": "linear", "signed": True}
    assert ResidualSettings(depth=34).deciding() == ResidualSettings().deciding()
    later = ResidualSettings(within="lungs", shrink=2, classifier_input="both").deciding()
    assert ResidualSettings(**later).deciding() == later
    assert later.keys() >= {"within", "shrink", "classifier_input"}
