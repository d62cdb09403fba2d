"""What of a cohort's other columns reaches a figure."""

from covidctnet.cohort.traits import values_of


def test_ages_of_ninety_and_above_are_told_as_ninety():
    rows = [{"age": "34", "age_at_scan": "97", "slice_mm": "95"}, {"age": "103"}]
    ages = [str(n) for n in range(91, 97)]
    found = values_of([*rows, *({"age_at_scan": age, "slice_mm": age} for age in ages)])
    assert [row["age"] for row in found[:2]] == [34.0, 90.0]
    assert {row["age_at_scan"] for row in found if "age_at_scan" in row} == {90.0}
    # Only ages: a number of another column stays as it is.
    assert {row["slice_mm"] for row in found[2:]} == {float(n) for n in ages}
