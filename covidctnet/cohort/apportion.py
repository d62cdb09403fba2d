"""Patients into splits by shares, stratified: counts first, then who."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["apportion", "assign", "spread"]


def assign(
    strata: Mapping[str, str],
    shares: Mapping[str, float],
    fixed: Mapping[str, str],
    rng: np.random.Generator,
) -> dict[str, str]:
    """Draw a split for every patient who has none.

    Where nobody is fixed, every split gets its share of the patients and of every stratum, both to
    the nearest whole patient above or below. Fixed patients count; the others make up for them.

    Args:
        strata: Stratum of every patient, in the order in which they are drawn from.
        shares: Of each split, in any unit. No split stays empty while there are patients for all.
        fixed: Split of those who have one, in `shares` or elsewhere; may name others too.
        rng: Draws who goes where.

    Returns:
        Split of every patient of `strata` who is not in `fixed`.
    """
    counted = [p for p in strata if fixed.get(p) in shares or p not in fixed]
    free = [p for p in rng.permutation(list(strata)).tolist() if p not in fixed]
    splits = list(shares)
    names = sorted({strata[p] for p in counted})
    sizes = Counter(strata[p] for p in counted)
    totals = apportion(len(counted), list(shares.values()))
    table = spread([sizes[name] for name in names], totals)
    room = {
        (name, split): cell
        for name, row in zip(names, table, strict=True)
        for split, cell in zip(splits, row, strict=True)
    }
    lacking = dict(zip(splits, totals, strict=True))
    for patient in counted:
        if patient in fixed:
            room[strata[patient], fixed[patient]] -= 1
            lacking[fixed[patient]] -= 1
    assigned: dict[str, str] = {}
    for patient in free:
        # Fixed patients may fill a split beyond its count, never all of them.
        open_splits = [s for s in splits if room[strata[patient], s] > 0]
        split = max(open_splits, key=lambda s: lacking[s])
        room[strata[patient], split] -= 1
        lacking[split] -= 1
        assigned[patient] = split
    _fill_empty(assigned, splits, Counter(fixed[p] for p in counted if p in fixed))
    return assigned


def apportion(count: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that sum to `count`, near to the shares of it: by largest remainder.

    Args:
        count: Patients.
        shares: In any unit, all above 0.

    Returns:
        At least 1 for each share where there are patients for all; then by share.

    Source: Hamilton's method, with a minimum of one.
    """
    ideal = [count * share / sum(shares) for share in shares]
    least = 1 if count >= len(shares) else 0
    numbers = [max(int(value), least) for value in ideal]
    while sum(numbers) != count:
        step = 1 if sum(numbers) < count else -1
        able = [i for i, n in enumerate(numbers) if step > 0 or n > least]
        furthest = max(able, key=lambda i: step * (ideal[i] - numbers[i]))
        numbers[furthest] += step
    return numbers


def spread(rows: Sequence[int], columns: Sequence[int]) -> list[list[int]]:
    """A table of whole numbers with these sums, every cell its share rounded down or up.

    A cell's share is row times column over the sum of all. Rounding each to the nearest would miss
    the sums; which ones go up is a matching of rows to columns, and there always is one.

    Args:
        rows: Sum of every row.
        columns: Sum of every column; together as many as the rows.

    Returns:
        One list a row.

    Source: controlled rounding, Cox 1987, J. Am. Stat. Assoc. 82:520; the matching by augmenting
    paths, in whole numbers throughout.
    """
    count = sum(rows)
    if not count:
        return [[0] * len(columns) for _ in rows]
    table = [[row * column // count for column in columns] for row in rows]
    rest = [[row * column % count for column in columns] for row in rows]
    needs = [total - sum(cells) for total, cells in zip(rows, table, strict=True)]
    open_columns = [total - sum(cells[c] for cells in table) for c, total in enumerate(columns)]
    up: list[set[int]] = [set() for _ in rows]

    def raise_one(row: int, tried: set[int]) -> bool:
        """One more cell of a row goes up, if need be by moving those of other rows."""
        for column in sorted(range(len(columns)), key=lambda c: -rest[row][c]):
            if not rest[row][column] or column in up[row] or column in tried:
                continue
            tried.add(column)
            if open_columns[column]:
                open_columns[column] -= 1
                up[row].add(column)
                return True
            for other, raised in enumerate(up):
                if column in raised and raise_one(other, tried):
                    raised.remove(column)
                    up[row].add(column)
                    return True
        return False

    for row, need in enumerate(needs):
        for _ in range(need):
            is_raised = raise_one(row, set())
            assert is_raised, "controlled rounding always has a solution"
    return [[n + (c in up[r]) for c, n in enumerate(cells)] for r, cells in enumerate(table)]


def _fill_empty(assigned: dict[str, str], splits: Sequence[str], fixed: Counter[str]) -> None:
    """No split stays empty while another has two patients of whom one may move."""
    for empty in splits:
        counts = fixed + Counter(assigned.values())
        able = [p for p, split in assigned.items() if counts[split] > 1]
        if not counts[empty] and able:
            assigned[max(able, key=lambda p: counts[assigned[p]])] = empty
