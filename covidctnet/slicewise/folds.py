"""Folds in which no patient and no source is on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from covidctnet.errors import CohortError, UsageError

__all__ = ["joined_groups", "make_folds"]


def joined_groups(*keys: Sequence[str | None], pairs: Iterable[tuple[int, int]] = ()) -> np.ndarray:
    """Groups of pictures that have to stay together.

    Pictures that share a value of any key are in one group, and so are those that hang together by
    several: patients of one source, and all sources of such a patient.

    Args:
        keys: One value a picture each, such as its patient and its source; None is unknown and
            joins nothing.
        pairs: More pictures to join, such as copies.

    Returns:
        Number of each picture's group, in the order in which they come first.
    """
    count = len(keys[0])
    edges = list(pairs)
    for number, values in enumerate(keys):
        if len(values) != count:
            raise UsageError(
                f"expected {count} values of each key, got {len(values)} of key {number + 1}. "
                "Give one a picture."
            )
        first: dict[str, int] = {}
        edges += [
            (first.setdefault(value, place), place)
            for place, value in enumerate(values)
            if value is not None
        ]
    rows, columns = np.array(edges, dtype=int).reshape(-1, 2).T
    graph = sparse.coo_array((np.ones(len(rows), bool), (rows, columns)), (count, count))
    _, labels = csgraph.connected_components(graph, directed=False)
    _, first_places, numbers = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first_places))
    found: np.ndarray = order[numbers]
    return found


def make_folds(
    labels: Sequence[int], groups: Sequence[int], count: int, *, seed: int = 0
) -> np.ndarray:
    """Divide pictures in folds, whole groups each, so that every fold has its share of each class.

    Large groups are placed first, each where the classes are then spread most evenly; the seed
    decides among equal ones.

    Args:
        labels: Class of each picture.
        groups: Group of each picture, see `joined_groups`.
        count: How many folds.
        seed: Of the order of groups of one size.

    Returns:
        Fold of each picture, 0 to ``count - 1``.

    Raises:
        UsageError: If there are fewer than two folds.
        CohortError: If a class has fewer groups than there are folds, or a fold lacks one.
    """
    if count < 2:
        raise UsageError(f"expected 2 folds or more, got {count}. Ask for more.")
    classes, class_of = np.unique(np.asarray(labels), return_inverse=True)
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.zeros((len(names), len(classes)), dtype=int)
    np.add.at(sizes, (group_of, class_of), 1)
    for label, groups_with in zip(classes, (sizes > 0).sum(axis=0), strict=True):
        if groups_with < count:
            raise CohortError(
                f"expected at least {count} groups (sources or patients) with class {int(label)}, "
                f"one for each fold, got {groups_with}. Ask for fewer folds."
            )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(names))
    order = order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]
    share = sizes.sum(axis=0)
    filled = np.zeros((count, len(classes)))
    fold_of_group = np.zeros(len(names), dtype=int)
    for group in order:
        # The sum of squares is smallest when each fold has the same part of every class.
        more = ((filled + sizes[group] / share) ** 2 - filled**2).sum(axis=1)
        best = int(np.lexsort((filled.sum(axis=1), np.round(more, 9)))[0])
        fold_of_group[group] = best
        filled[best] += sizes[group] / share
    if not filled.all():
        raise CohortError(
            f"expected every class in each of {count} folds, got groups of several classes that "
            "leave one out. Ask for fewer folds."
        )
    found: np.ndarray = fold_of_group[group_of]
    return found
