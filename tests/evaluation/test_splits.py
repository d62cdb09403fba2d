import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.splits import SPLITS, Member, Splits, SplitSettings, make_splits
from covidctnet.results import Label


def a_cohort(controls=20, covids=12, caps=12, scans_each=1):
    members = []
    for label, count in zip(Label, (controls, covids, caps), strict=True):
        for patient in range(count):
            for scan in range(scans_each):
                members.append(
                    Member(f"{label.key}-{patient}-{scan}", f"{label.key}-{patient}", label)
                )
    return members


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 40), st.integers(3, 30), st.integers(1, 3), st.integers(0, 99))
def test_no_patient_is_in_two_splits_whatever_the_cohort(controls, others, scans, seed):
    splits = make_splits(a_cohort(controls, others, others, scans), SplitSettings(seed=seed))
    homes = {}
    for member in splits.members:
        assert homes.setdefault(member.patient, member.wanted) == member.wanted
    assert all(splits.studies(name) for name in SPLITS)


def test_denoiser_patients_take_part_in_nothing_else_and_are_controls():
    splits = make_splits(a_cohort(), SplitSettings())
    apart = {m.patient for m in splits.members if m.wanted.startswith("denoiser")}
    rest = {m.patient for m in splits.members if not m.wanted.startswith("denoiser")}
    assert not apart & rest
    assert all(patient.startswith("control") for patient in apart)


def test_shares_are_what_was_asked_for():
    counts = make_splits(a_cohort(100, 100, 100), SplitSettings()).counts()
    assert counts["denoiser_train"]["Control"] == pytest.approx(51, abs=1)
    assert counts["train"]["CAP"] == pytest.approx(70, abs=1)
    assert counts["test"]["Covid-19"] == pytest.approx(15, abs=1)


def test_the_seed_decides_and_the_order_of_the_cohort_does_not():
    cohort = a_cohort()
    assert (
        make_splits(cohort, SplitSettings()).digest
        == make_splits(cohort[::-1], SplitSettings()).digest
    )
    assert (
        make_splits(cohort, SplitSettings()).digest
        != make_splits(cohort, SplitSettings(seed=1)).digest
    )


def test_a_grown_archive_moves_nobody():
    old = make_splits(a_cohort(20), SplitSettings())
    new = make_splits(a_cohort(40), SplitSettings(), previous=old)
    assert old.assignment.items() <= new.assignment.items()


def test_wishes_of_the_cohort_file_are_obeyed():
    cohort = a_cohort()
    cohort[0] = Member(cohort[0].study, cohort[0].patient, Label.CONTROL, "test")
    cohort[1] = Member(cohort[1].study, cohort[1].patient, Label.CONTROL, "Denoiser")
    assignment = make_splits(cohort, SplitSettings()).assignment
    assert assignment["control-0-0"] == "test"
    assert assignment["control-1-0"] == "denoiser_train"


def test_a_patient_in_two_splits_is_refused():
    cohort = a_cohort(scans_each=2)
    for index, split in enumerate(["train", "test"]):
        cohort[index] = Member(cohort[index].study, cohort[index].patient, Label.CONTROL, split)
    with pytest.raises(CohortError, match="control-0 stands in two splits, train and test"):
        make_splits(cohort, SplitSettings())


def test_a_patient_with_two_labels_is_refused():
    with pytest.raises(CohortError, match="has two labels, Control and CAP"):
        Splits((Member("a", "p", Label.CONTROL, "train"), Member("b", "p", Label.CAP, "train")))


def test_infected_patients_cannot_train_the_denoiser():
    with pytest.raises(CohortError, match="Control patients only"):
        Splits((Member("a", "p", Label.CAP, "denoiser_train"),))


def test_the_same_study_twice_is_refused():
    member = Member("a", "p", Label.CAP, "train")
    with pytest.raises(CohortError, match="Remove the copies"):
        Splits((member, member))


def test_too_few_patients_are_refused_with_the_number_needed():
    with pytest.raises(CohortError, match=r"Control needs at least 5 patients.*got 4"):
        make_splits(a_cohort(controls=4), SplitSettings())


def test_saved_splits_come_back(tmp_path):
    splits = make_splits(a_cohort(), SplitSettings(seed=3))
    splits.save(tmp_path / "splits.json")
    assert Splits.load(tmp_path / "splits.json").assignment == splits.assignment
    assert [p.name for p in tmp_path.iterdir()] == ["splits.json"]


def test_edited_splits_are_refused(tmp_path):
    path = tmp_path / "splits.json"
    make_splits(a_cohort(), SplitSettings()).save(path)
    data = json.loads(path.read_text())
    row = next(r for r in data["studies"] if r["split"] == "test")
    row["split"] = "train"
    path.write_text(json.dumps(data))
    with pytest.raises(CohortError, match="was changed after it was written"):
        Splits.load(path)


def test_damaged_or_missing_splits_are_refused(tmp_path):
    with pytest.raises(UsageError, match="run preprocess first"):
        Splits.load(tmp_path / "splits.json")
    (tmp_path / "splits.json").write_text("{")
    with pytest.raises(CohortError, match="damaged"):
        Splits.load(tmp_path / "splits.json")


@pytest.mark.parametrize("wrong", [{"denoiser_controls": 1.0}, {"validation": 0.6, "test": 0.5}])
def test_impossible_shares_are_refused(wrong):
    with pytest.raises(UsageError, match="must"):
        SplitSettings(**wrong)
