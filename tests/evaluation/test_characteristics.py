"""The first table of a paper, its standardised differences against numbers worked out by hand."""

import math

import pytest

from covidctnet.evaluation.characteristics import Patient, characteristics, difference


def test_the_difference_of_means_is_in_pooled_standard_deviations():
    # Means 2 and 4, variances 1 and 4: 2 / sqrt(2.5).
    assert difference([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx(2 / math.sqrt(2.5))


def test_the_difference_of_two_values_is_that_of_the_shares():
    # 0.5 and 0.2: 0.3 / sqrt((0.25 + 0.16) / 2).
    first, second = ["f"] * 5 + ["m"] * 5, ["f"] * 2 + ["m"] * 8
    assert difference(first, second) == pytest.approx(0.3 / math.sqrt(0.205))


def test_the_difference_of_several_values_does_not_depend_on_their_order():
    first = ["a"] * 5 + ["b"] * 3 + ["c"] * 2
    second = ["a"] * 2 + ["b"] * 3 + ["c"] * 5
    renamed = {"a": "z", "b": "y", "c": "x"}
    found = difference(first, second)
    assert found == pytest.approx(difference([renamed[v] for v in first],
                                             [renamed[v] for v in second]))  # fmt: skip
    # By hand: d = (0, 0.3) of b and c, mean variances 0.21 and 0.205, mean covariance -0.105.
    assert found == pytest.approx(math.sqrt(0.09 * 0.21 / (0.21 * 0.205 - 0.105**2)))


@pytest.mark.parametrize(
    ("first", "second"),
    [([1.0], [2.0, 3.0]), (["a"], ["b", "c"]), ([], [1.0, 2.0]), ([1.0, 1.0], [2.0, 2.0]),
     (["a", "a"], ["b", "b"])],
)  # fmt: skip
def test_a_difference_that_cannot_be_estimated_is_none(first, second):
    assert math.isnan(difference(first, second))


def test_groups_that_are_alike_do_not_differ():
    assert difference(["a", "a"], ["a", "a", "a"]) == 0
    assert difference([3.0, 3.0], [3.0, 3.0]) == 0


def people():
    return [
        Patient("p1", "train", {"age": 40.0, "sex": "F", "site": "A"}),
        Patient("p2", "train", {"age": 60.0, "sex": "M", "site": "A"}),
        Patient("p2", "train", {"age": 61.0, "sex": "M", "site": "B"}),
        Patient("p3", "test", {"age": 50.0, "site": "B"}),
        Patient("p4", "test", {"age": math.nan, "sex": "F", "site": ""}),
    ]


def lines(table):
    return {(line.trait, line.value): line for line in table.lines}


def test_a_patient_counts_once_and_what_is_missing_is_counted():
    table = characteristics(people(), by="split", groups=("train", "val", "test"))
    assert table.groups == ("train", "test")
    assert table.patients == (2, 2)
    found = lines(table)
    assert str(found["age", ""].cells[0]) == "50.0 (14.1); 50.0 [45.0, 55.0]"
    assert str(found["age", ""].cells[1]) == "50.0 (not estimable); 50.0 [50.0, 50.0]"
    assert [cell.n for cell in found["age", "missing"].cells] == [0, 1]
    assert str(found["sex", "F"].cells[0]) == "1 (50 %)"
    # Of those for whom it is known.
    assert str(found["sex", "F"].cells[1]) == "1 (100 %)"
    assert [cell.n for cell in found["site", "missing"].cells] == [0, 1]
    assert found["sex", "F"].differences[0] == 0
    assert math.isnan(found["sex", "F"].differences[1])


def test_rare_values_are_put_together():
    people = [Patient(f"{n}", "all", {"scanner": f"s{n // (1 + (n < 20))}"}) for n in range(60)]
    table = characteristics(people, by="split", groups=["all"])
    assert len(table.lines) == 12
    assert sum(line.cells[0].n for line in table.lines) == 60
    assert any(line.value == "all others" for line in table.lines)


def test_a_table_is_plain_text_and_plain_json():
    import json

    table = characteristics(people(), by="split", groups=("train", "test"))
    head, first, *_ = table.rows()
    assert head == ("", "", "train (n = 2)", "test (n = 2)", "SMD, test")
    assert first[0] == "age"
    assert first[-1] == "not estimable"
    assert "NaN" not in json.dumps(table.as_plain())
