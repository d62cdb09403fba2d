import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidctnet.errors import StudyError, UsageError
from covidctnet.slicewise.aggregate import (
    RunRule,
    ScanScores,
    SliceScore,
    highest_score,
    longest_run,
    mean_score,
    patient_scores,
)

FIFTEEN = RunRule(slices=15)


def a_scan(flags, step=2.0):
    """Scores of 0.9 where a flag is set and of 0.1 elsewhere."""
    return ScanScores(
        tuple(step * i - 100 for i in range(len(flags))), tuple(0.9 if f else 0.1 for f in flags)
    )


def runs(*lengths):
    """Flags: so many positive, so many negative, and so on, by turns."""
    return [place % 2 == 0 for place, length in enumerate(lengths) for _ in range(length)]


@settings(deadline=None)
@given(before=st.integers(1, 20), behind=st.integers(1, 20), length=st.integers(1, 40))
def test_fourteen_slices_in_a_row_are_negative_and_fifteen_positive(before, behind, length):
    flags = [False] * before + [True] * length + [False] * behind
    flags += [False] * max(0, 15 - len(flags))
    assert FIFTEEN(a_scan(flags), 0.5) == (length >= 15)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=15, max_size=60), st.randoms())
def test_shuffled_slices_give_the_same_answer(flags, random):
    slices = [SliceScore("scan", 1.25 * i, 0.9 if f else 0.1) for i, f in enumerate(flags)]
    shuffled = random.sample(slices, len(slices))
    scan = ScanScores.of(shuffled)
    assert scan == ScanScores.of(slices)
    assert FIFTEEN(scan, 0.5) == FIFTEEN(ScanScores.of(slices), 0.5)


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 3))
def test_the_longest_run_is_that_of_a_count_by_hand(flags, gap):
    best = 0
    for start in range(len(flags)):
        count = negatives = 0
        for flag in flags[start:]:
            count, negatives = (count + 1, 0) if flag else (count, negatives + 1)
            if negatives > gap or not flags[start]:
                break
            best = max(best, count)
    run = longest_run(a_scan(flags), 0.5, gap=gap)
    assert (run.slices if run else 0) == best


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_a_scan_upside_down_has_a_run_as_long(flags):
    there, back = longest_run(a_scan(flags), 0.5), longest_run(a_scan(flags[::-1]), 0.5)
    assert (there is None) == (back is None)
    if there:
        assert there.slices == back.slices and math.isclose(there.mm, back.mm)


def test_the_run_says_where_it_lies_and_how_high_it_is():
    run = longest_run(a_scan([0, 0, 1, 1, 1, 0, 1, 0]), 0.5)
    assert (run.first, run.last, run.slices, run.mm) == (2, 4, 3, 6.0)
    assert longest_run(a_scan([0, 0, 0]), 0.5) is None


def test_a_score_at_the_threshold_is_negative():
    scan = ScanScores((0.0, 1.0), (0.5, 0.5000001))
    assert longest_run(scan, 0.5).first == 1


def test_a_gap_joins_runs_and_does_not_count():
    flags = runs(8, 1, 7, 4)
    assert not FIFTEEN(a_scan(flags), 0.5)
    assert RunRule(slices=15, gap=1)(a_scan(flags), 0.5)
    assert not RunRule(slices=16, gap=1)(a_scan(flags), 0.5)
    assert not RunRule(slices=15, gap=1)(a_scan(runs(8, 2, 7, 4)), 0.5)


def test_a_missing_slice_breaks_a_run_as_a_negative_one_does():
    z = [float(i) for i in range(20) if i != 8]
    scan = ScanScores(tuple(z), (0.9,) * 19)
    assert longest_run(scan, 0.5).slices == 11
    assert longest_run(scan, 0.5, gap=1).slices == 19
    assert not FIFTEEN(scan, 0.5) and RunRule(slices=15, gap=1)(scan, 0.5)


@pytest.mark.parametrize("step", [0.7, 1.0, 1.25, 2.5, 5.0])
def test_fifteen_millimetres_are_fifteen_at_every_step(step):
    rule = RunRule(mm=15)
    enough = math.ceil(15 / step - 1e-9)
    for length, expected in ((enough, True), (enough - 1, False)):
        assert rule(a_scan([False] * 25 + [True] * length + [False] * 25, step), 0.5) is expected


def test_real_counts_of_two_scans_give_their_answers():
    # Slice labels of two public scans, 2 mm apart: the longest runs are 44 and 6 slices.
    covid = a_scan([False] * 9 + [True] * 24 + [False] * 10 + [True] * 44 + [False] * 46)
    cap = a_scan([False] * 50 + runs(6, 5, 1, 7, 3, 9, 5) + [False] * 45)
    assert FIFTEEN(covid, 0.5) and not FIFTEEN(cap, 0.5)
    assert longest_run(covid, 0.5).mm == 88 and longest_run(cap, 0.5).mm == 12
    assert RunRule(mm=15)(covid, 0.5) and not RunRule(mm=15)(cap, 0.5)


def refused(code, said, call, *values):
    with pytest.raises(StudyError, match=said) as caught:
        call(*values)
    assert caught.value.code == code


def test_slices_that_are_no_whole_scan_are_refused_by_name():
    refused(
        "SLICE_ORDER", r"z = 4 mm before 2 mm\. Sort them", ScanScores, (0, 4, 2), (0.1, 0.2, 0.3)
    )
    refused("SLICE_ORDER", r"two at z = 2 mm", ScanScores, (0, 2, 2), (0.1, 0.2, 0.3))
    two = [SliceScore("a", 0, 0.1), SliceScore("b", 1, 0.2), SliceScore("b", 2, 0.2)]
    refused("MIXED_SCANS", r"got 3 slices of 2 scans\. Answer each", ScanScores.of, two)
    refused("NO_GEOMETRY", "got 0 positions for 0", ScanScores.of, [])
    refused("NO_GEOMETRY", "got 0 positions", ScanScores.of, [SliceScore("a", math.nan, 0.1)])
    refused("TOO_FEW_SLICES", r"at least 15 slices.* got 14", FIFTEEN, a_scan([True] * 14), 0.5)
    refused("TOO_FEW_SLICES", r"at least 15 mm.* got 14\.0", RunRule(mm=15), a_scan([1] * 7), 0.5)
    refused("TOO_FEW_SLICES", r"at least 15 mm.* got nan", RunRule(mm=15), a_scan([1]), 0.5)


def test_scores_that_are_no_scores_are_refused():
    with pytest.raises(UsageError, match="1 scores for 2 slices"):
        ScanScores((0, 1), (0.5,))
    with pytest.raises(UsageError, match="got 1 that are not, of 2"):
        ScanScores((0, 1), (0.5, math.nan))


@pytest.mark.parametrize(
    "values", [{}, {"slices": 15, "mm": 15}, {"slices": 0}, {"mm": -1}, {"slices": 3, "gap": -1}]
)
def test_a_rule_that_asks_for_nothing_or_two_things_is_refused(values):
    with pytest.raises(UsageError, match="expected a run"):
        RunRule(**values)


def test_mean_and_highest_score_are_those_of_all_slices():
    scan = ScanScores((0.0, 1.0, 2.0), (0.2, 0.9, 0.1))
    assert math.isclose(mean_score(scan), 0.4) and highest_score(scan) == 0.9


def test_a_patient_has_one_score_however_many_slices():
    patients, scores = ["b", "a", "b", "a", "b"], [1.0, 0.0, 0.0, 0.5, 0.5]
    assert patient_scores(patients, scores) == {"a": 0.25, "b": 0.5}
    assert patient_scores(patients, scores, np.max) == {"a": 0.5, "b": 1.0}
