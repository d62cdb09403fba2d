import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidctnet.errors import CohortError, UsageError
from covidctnet.slicewise.folds import joined_groups, make_folds


def some_groups(seed=0, count=60):
    """Groups of 1 to 12 pictures, each of one class."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 13, count)
    labels = rng.integers(0, 2, count)
    return np.repeat(labels, sizes), np.repeat(np.arange(count), sizes)


def test_no_group_is_in_two_folds():
    labels, groups = some_groups()
    folds = make_folds(labels, groups, 5)
    assert all(len(set(folds[groups == group])) == 1 for group in np.unique(groups))


@settings(deadline=None)
@given(st.integers(0, 200))
def test_every_fold_has_its_share_of_every_class(seed):
    labels, groups = some_groups(seed)
    folds = make_folds(labels, groups, 5, seed=seed)
    for label in (0, 1):
        counts = np.bincount(folds[labels == label], minlength=5)
        # One group more or less.
        assert np.abs(counts - counts.mean()).max() <= 12


def test_a_group_larger_than_a_fold_is_a_fold_of_its_own():
    labels = np.array([1] * 50 + [1] * 20 + [0] * 30)
    groups = np.concatenate([np.zeros(50, int), 1 + np.arange(50)])
    folds = make_folds(labels, groups, 5)
    assert not (labels[folds == folds[0]][50:] == 1).any()
    assert sorted(np.bincount(folds[50:70], minlength=5).tolist()) == [0, 5, 5, 5, 5]


def test_the_seed_decides_who_is_where_and_the_same_seed_the_same():
    labels, groups = some_groups()
    folds = make_folds(labels, groups, 5, seed=1)
    assert (folds == make_folds(labels, groups, 5, seed=1)).all()
    assert (folds != make_folds(labels, groups, 5, seed=2)).any()


def test_a_class_with_fewer_groups_than_folds_is_refused():
    with pytest.raises(CohortError, match=r"at least 5 groups .* with class 1.* got 2"):
        make_folds([0] * 10 + [1] * 10, [*range(10), *[20] * 5, *[21] * 5], 5)
    with pytest.raises(CohortError, match="every class in each of 2 folds"):
        # Three groups of two classes each: one of two folds lacks a class.
        make_folds([0, 1, 0, 2, 1, 2], [0, 0, 1, 1, 2, 2], 2)
    with pytest.raises(UsageError, match="2 folds or more, got 1"):
        make_folds([0, 1], [0, 1], 1)


def test_a_patient_in_two_sources_joins_them():
    patients = ["p1", "p1", "p2", "p3", None, None]
    sources = ["a", "b", "b", "c", None, "c"]
    assert joined_groups(patients, sources).tolist() == [0, 0, 0, 1, 2, 1]


def test_copies_stay_together():
    assert joined_groups([None] * 4, pairs=[(1, 3)]).tolist() == [0, 1, 2, 1]


def test_a_key_for_other_pictures_is_refused():
    with pytest.raises(UsageError, match="expected 2 values of each key, got 1 of key 2"):
        joined_groups(["a", "b"], ["c"])
