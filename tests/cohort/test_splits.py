import hashlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.members import DRAWN
from covidctnet.cohort.splits import Member, Splits, SplitSettings, make_splits
from covidctnet.errors import CohortError, UsageError


def a_cohort(controls=20, covids=12, caps=12, scans_each=1):
    members = []
    for label, count in zip(CHEST_CT, (controls, covids, caps), strict=True):
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
    assigned = {}
    for member in splits.members:
        assert assigned.setdefault(member.patient, member.split) == member.split
    assert all(splits.studies(name) for name in DRAWN)


def test_denoiser_patients_take_part_in_nothing_else_and_are_controls():
    splits = make_splits(a_cohort(), SplitSettings())
    apart = {m.patient for m in splits.members if m.split.startswith("denoiser")}
    rest = {m.patient for m in splits.members if not m.split.startswith("denoiser")}
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
    cohort[0] = Member(cohort[0].study, cohort[0].patient, CHEST_CT.CONTROL, "test")
    cohort[1] = Member(cohort[1].study, cohort[1].patient, CHEST_CT.CONTROL, "Denoiser")
    assignment = make_splits(cohort, SplitSettings()).assignment
    assert assignment["control-0-0"] == "test"
    assert assignment["control-1-0"] == "denoiser_train"


def test_a_patient_in_two_splits_is_refused():
    cohort = a_cohort(scans_each=2)
    for index, split in enumerate(["train", "test"]):
        cohort[index] = Member(cohort[index].study, cohort[index].patient, CHEST_CT.CONTROL, split)
    with pytest.raises(CohortError, match="control-0 is in two splits, train and test"):
        make_splits(cohort, SplitSettings())


def test_a_patient_with_two_labels_is_refused():
    with pytest.raises(CohortError, match="has two labels, Control and CAP"):
        Splits(
            (Member("a", "p", CHEST_CT.CONTROL, "train"), Member("b", "p", CHEST_CT.CAP, "train"))
        )


def test_infected_patients_cannot_train_the_denoiser():
    with pytest.raises(CohortError, match="Control patients only"):
        Splits((Member("a", "p", CHEST_CT.CAP, "denoiser_train"),))


def test_the_same_study_twice_is_refused():
    member = Member("a", "p", CHEST_CT.CAP, "train")
    with pytest.raises(CohortError, match="Remove the copies"):
        Splits((member, member))


def test_a_volume_under_two_patients_is_refused_with_studies_and_pseudonyms():
    cohort = a_cohort()
    cohort[0], cohort[30] = replace(cohort[0], content="c"), replace(cohort[30], content="c")
    with pytest.raises(CohortError) as error:
        make_splits(cohort, SplitSettings())
    for word in (
        "identical volume",
        "study control-0-0 (patient control-0, ",
        "study covid19-10-0",
    ):
        assert word in str(error.value)


def test_copies_under_one_patient_and_unknown_contents_do_no_harm():
    cohort = a_cohort(scans_each=2)
    cohort[:2] = [replace(m, content="c") for m in cohort[:2]]
    assert len(make_splits(cohort, SplitSettings()).members) == len(cohort)


def test_a_series_under_two_patients_is_refused_once_and_a_constant_of_many_is_none():
    cohort = a_cohort()
    pair = [replace(m, series=("s", "t")) for m in cohort[:2]]
    with pytest.raises(CohortError, match="one series is study control-0-0") as error:
        make_splits([*pair, *cohort[2:]], SplitSettings())
    assert str(error.value).count("one series") == 1
    for shared in (3, 9):
        with pytest.raises(CohortError, match="one series is study control-0-0"):
            few = [replace(m, series=("s",)) for m in cohort[:shared]]
            make_splits([*few, *cohort[shared:]], SplitSettings())
    make_splits([replace(m, series=("constant",)) for m in cohort], SplitSettings())


def test_the_copies_that_are_not_told_are_counted():
    cohort = [replace(m, content=m.patient[-1]) for m in a_cohort(10, 10, 10)]
    with pytest.raises(CohortError, match="and 7 more"):
        make_splits(cohort, SplitSettings())


def test_sites_decide_who_goes_where_and_one_site_is_like_none():
    cohort = a_cohort()
    one = [replace(m, site="amber") for m in cohort]
    many = [replace(m, site=f"site{n % 4}") for n, m in enumerate(cohort)]
    digests = [make_splits(members, SplitSettings()).digest for members in (cohort, one, many)]
    assert digests[0] == digests[1] != digests[2]


def test_too_few_patients_are_refused_with_the_number_needed():
    with pytest.raises(CohortError, match=r"Control needs at least 5 patients.*got 4"):
        make_splits(a_cohort(controls=4), SplitSettings())


def test_saved_splits_come_back(tmp_path):
    cohort = a_cohort()
    cohort[0] = replace(cohort[0], split="test", site="amber", content="c", series=("a", "b"))
    splits = replace(make_splits(cohort, SplitSettings(seed=3)), fold="1 of 3")
    splits.save(tmp_path / "splits.json")
    loaded = Splits.load(tmp_path / "splits.json")
    assert set(loaded.members) == set(splits.members)
    assert replace(loaded, members=()) == replace(splits, members=())
    assert [m.study for m in loaded.members if m.is_requested] == [cohort[0].study]
    assert [p.name for p in tmp_path.iterdir()] == ["splits.json"]


def test_splits_of_before_there_were_sites_and_contents_are_read(tmp_path):
    # As version 0.1 wrote them, with the digest that it gave.
    rows = [{"study": "a", "patient": "p", "label": "CAP", "split": "train"}]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]
    data = {"digest": digest, "seed": 4, "patients": {}, "studies": rows}
    (tmp_path / "splits.json").write_text(json.dumps(data))
    assert Splits.load(tmp_path / "splits.json") == Splits(
        (Member("a", "p", CHEST_CT.CAP, "train"),), 4
    )


def test_the_digest_changes_with_any_assignment_and_with_nothing_else():
    splits = make_splits(a_cohort(6, 3, 3), SplitSettings())
    digests = {splits.digest}
    for place, member in enumerate(splits.members):
        other = "val" if member.split != "val" else "test"
        members = [*splits.members]
        members[place] = replace(member, split=other)
        digests.add(replace(splits, members=tuple(members)).digest)
    assert len(digests) == 1 + len(splits.members)
    known = tuple(replace(m, site="amber", content=m.study) for m in splits.members)
    assert replace(splits, members=known).digest == splits.digest


def test_a_copy_written_across_a_border_is_refused_when_read(tmp_path):
    path = tmp_path / "splits.json"
    make_splits(a_cohort(), SplitSettings()).save(path)
    data = json.loads(path.read_text())
    for row in (data["studies"][0], data["studies"][-1]):
        row["content"] = "same"
    path.write_text(json.dumps(data))
    with pytest.raises(CohortError, match="under two patients"):
        Splits.load(path)


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
    for text in (
        "{",
        "[]",
        '{"studies": [{}], "seed": 0}',
        '{"studies": [], "seed": 0, "drawn_by": 3}',
    ):
        (tmp_path / "splits.json").write_text(text)
        with pytest.raises(CohortError, match="damaged"):
            Splits.load(tmp_path / "splits.json")


@pytest.mark.parametrize(
    "wrong",
    [
        {"denoiser_controls": 1.0},
        {"validation": 0.6, "test": 0.5},
        {"seed": -1},
        {"test": math.nan},
    ],
)
def test_impossible_shares_are_refused(wrong):
    with pytest.raises(UsageError, match="must"):
        SplitSettings(**wrong)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("train", True),
        ("denoiser_train", True),
        ("denoiser_val", True),
        ("val", False),
        ("test", False),
    ],
)
def test_painted_lungs_stand_with_their_host_or_it_is_the_denoisers(tmp_path, host, allowed):
    lungs = Member("a", "p", CHEST_CT.CONTROL, host, content="ab" * 32)
    painted = Member("b", "q", CHEST_CT.CAP, "train", content="cd" * 32, host="ab" * 6)
    if not allowed:
        with pytest.raises(CohortError, match=f"study b in train and study a in {host} are"):
            Splits((lungs, painted))
        return
    Splits((lungs, painted)).save(tmp_path / "splits.json")
    assert Splits.load(tmp_path / "splits.json").members == (lungs, painted)


def test_copies_of_painted_lungs_stand_together_without_their_host_too():
    one = Member("a", "p", CHEST_CT.CAP, "train", content="ab" * 32, host="01" * 6)
    other = Member("b", "q", CHEST_CT.COVID19, "test", content="cd" * 32, host="01" * 6)
    with pytest.raises(CohortError, match="study b in test and study a in train are the same"):
        Splits((one, other))
    Splits((one, replace(other, split="train")))
    Splits((one, replace(other, host="02" * 6)))


def test_a_cohort_file_that_places_everybody_may_leave_a_stage_empty():
    """Controls alone are enough to train denoisers, as cross-fitting does."""
    controls = [
        Member(f"s{number}", f"p{number}", CHEST_CT.CONTROL, split="denoiser_train")
        for number in range(3)
    ]
    splits = make_splits(controls, SplitSettings())
    assert set(splits.assignment.values()) == {"denoiser_train"}
    with pytest.raises(CohortError, match="needs at least"):
        make_splits([*controls, Member("s9", "p9", CHEST_CT.CAP)], SplitSettings())
