"""Columns that may become groups of figures, and those that would tell of a person."""

import pytest

from covidctnet.cohort.traits import kept_columns, values_of

DATES = [
    "2020-03-05",
    "20200305",
    "5.3.2020",
    "05/03/20",
    "2020/3/5",
    "5 Mar 2020",
    "5-mar-20",
    "March 5, 2020",
    "5. März 2020",
    "Mar 2020",
    "05.03.2020 10:15",
    "2020-03-05T10:15:00",
]


def kept(name, values):
    return name in kept_columns({name: values})[0]


@pytest.mark.parametrize("date", DATES)
def test_a_column_that_holds_a_date_however_written_is_not_kept(date):
    assert not kept("onset", ["none"] * 8 + [date])


@pytest.mark.parametrize("text", ["May", "3-5", "1.5", "G1/2", "70-80", "March street", "10:15"])
def test_what_is_no_date_is_kept(text):
    assert kept("group", [text, "other"] * 8)


@pytest.mark.parametrize("count", [3, 12, 300])
def test_names_are_no_groups_however_few_patients_there_are(count):
    assert not kept("who", [f"Canary {chr(97 + n % 26)}{n}" for n in range(count)])


def test_texts_that_many_share_are_groups():
    assert kept("smoker", ["yes", "no", "never"] * 4)
    assert kept("scanner", ["A", "B", "C", "D"])


def test_long_numbers_that_studies_of_a_patient_share_are_not_kept():
    numbers = [str(20481000 + n) for n in range(10)]
    assert not kept("case", numbers)
    assert not kept("case", [*numbers, *numbers[:4]])
    assert not kept("case", numbers[:3])
    assert kept("crp", [str(3 + 7 * n) for n in range(10)])
    assert kept("income", ["10000", "20000"] * 5)


def test_ages_of_ninety_and_above_are_told_as_ninety():
    rows = [{"age": "34", "age_at_scan": "97", "slice_mm": "95"}, {"age": "103"}]
    ages = [str(n) for n in range(91, 97)]
    found = values_of([*rows, *({"age_at_scan": age, "slice_mm": age} for age in ages)])
    assert [row["age"] for row in found[:2]] == [34.0, 90.0]
    assert {row["age_at_scan"] for row in found if "age_at_scan" in row} == {90.0}
    # Only ages: a number of another column stays as it is.
    assert {row["slice_mm"] for row in found[2:]} == {float(n) for n in ages}
