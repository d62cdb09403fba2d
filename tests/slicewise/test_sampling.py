import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidctnet.errors import StudyError, UsageError
from covidctnet.slicewise.sampling import MIN_LUNG_SHARE, Sampling, lung_range

Z = np.arange(100) * 2.0 - 150


@settings(deadline=None)
@given(
    st.permutations(range(30)), st.sampled_from([{}, {"every": 4}, {"equal": 7}, {"step_mm": 5}])
)
def test_the_same_positions_are_chosen_in_whatever_order_slices_come(order, how):
    chosen = Sampling(**how)(Z[:30])
    shuffled = np.array(order)[Sampling(**how)(Z[:30][order])]
    assert shuffled.tolist() == chosen.tolist()


def test_all_slices_come_from_the_lowest_to_the_highest():
    assert Sampling()(Z[::-1]).tolist() == list(range(99, -1, -1))


def test_every_third_slice_is_taken():
    assert Sampling(every=3)(Z).tolist() == list(range(0, 100, 3))


@pytest.mark.parametrize("count", [1, 2, 7, 15, 99, 100])
def test_equal_slices_lie_at_equal_distances(count):
    chosen = Sampling(equal=count)(Z)
    assert len(chosen) == count == len(set(chosen.tolist()))
    # To the nearest slice, which is at most half a step away.
    middles = Z[0] + (np.arange(count) + 0.5) / count * (Z[-1] - Z[0])
    assert np.abs(Z[chosen] - middles).max() <= 1 + 1e-9


def test_slices_are_chosen_by_millimetres_where_steps_are_uneven():
    z = np.concatenate([np.arange(0, 50, 1.0), np.arange(50, 150, 5.0)])
    chosen = z[Sampling(step_mm=10)(z)]
    assert chosen.tolist() == list(np.arange(0, 150, 10.0))


def test_a_step_finer_than_the_slices_takes_each_once():
    assert Sampling(step_mm=0.5)(Z).tolist() == list(range(100))


def test_slices_beyond_the_lungs_are_left_out():
    area = np.zeros(100)
    area[20:80] = 100 * np.sin(np.linspace(0.01, np.pi - 0.01, 60))
    chosen = Sampling()(Z, area)
    least = MIN_LUNG_SHARE * area.max()
    assert chosen.tolist() == np.flatnonzero(area >= least).tolist()
    fifteen = Sampling(equal=15)(Z, area)
    assert len(fifteen) == 15 and (area[fifteen] >= least).all()


def test_a_slice_without_lungs_between_slices_with_lungs_stays():
    assert lung_range(np.array([0, 0, 50, 0, 100, 4, 0])) == (2, 4)


def refused(code, said, call, *values):
    with pytest.raises(StudyError, match=said) as caught:
        call(*values)
    assert caught.value.code == code


def test_a_scan_that_cannot_be_sampled_is_refused_by_name():
    refused("SLICE_ORDER", r"got two at z = 2 mm", Sampling(), [0, 2, 2, 4])
    refused("NO_GEOMETRY", r"got 1 positions for 2 slices", Sampling(), [0, float("nan")])
    refused("NO_GEOMETRY", r"got 0 positions for 0 slices", Sampling(), [])
    refused("TOO_FEW_SLICES", r"at least 15 slices .* got 14", Sampling(equal=15), Z[:14])
    refused("NOT_CHEST", r"got none among 100", Sampling(), Z, np.zeros(100))
    uneven = [0, 1, 2, 3, 1000]
    refused("UNEVEN_SPACING", r"only 2 are near", Sampling(equal=4), uneven)


@pytest.mark.parametrize("values", [{"every": 0}, {"equal": -1}, {"step_mm": float("nan")}])
def test_settings_that_choose_nothing_are_refused(values):
    with pytest.raises(UsageError, match="above 0"):
        Sampling(**values)


def test_two_ways_at_once_are_refused():
    with pytest.raises(UsageError, match="got every and equal"):
        Sampling(every=2, equal=5)
