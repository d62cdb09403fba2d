from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.apportion import apportion, assign, spread
from covidctnet.cohort.members import DRAWN
from covidctnet.cohort.schemes import (
    NAMED,
    SCHEMES,
    kfold,
    leave_one_site_out,
    settings_of,
)
from covidctnet.cohort.splits import Member, SplitSettings, make_splits
from covidctnet.errors import CohortError, UsageError

SITES = ("amber", "dune", "fjord")
FOLDS = settings_of("kfold", folds=3)


def a_cohort(counts=(40, 24, 24), sites=SITES, scans_each=1):
    """Patients of the three labels, scanned at the sites in turn; patient p's last scan at p's."""
    return [
        Member(f"{label.key}-{p}-{scan}", f"{label.key}-{p}", label, site=sites[p % len(sites)])
        for label, count in zip(CHEST_CT, counts, strict=True)
        for p in range(count)
        for scan in range(scans_each)
    ]


def assigned(splits):
    found = {}
    for member in splits.members:
        assert found.setdefault(member.patient, member.split) == member.split
    return found


margins = st.lists(st.integers(0, 30), min_size=1, max_size=9)


@settings(max_examples=200, deadline=None)
@given(margins, st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_a_spread_table_has_its_sums_and_every_cell_is_rounded_down_or_up(rows, weights):
    columns = apportion(sum(rows), weights)
    table = np.array(spread(rows, columns))
    assert table.sum(axis=1).tolist() == rows
    assert table.sum(axis=0).tolist() == columns
    if sum(rows):
        assert (np.abs(table - np.outer(rows, columns) / sum(rows)) < 1).all()


@given(st.integers(0, 200), st.lists(st.floats(0.01, 1), min_size=1, max_size=8))
def test_apportioned_counts_sum_up_and_leave_no_share_without(count, shares):
    counts = apportion(count, shares)
    assert sum(counts) == count
    assert count < len(shares) or min(counts) >= 1
    ideal = count * np.array(shares) / sum(shares)
    if count < len(shares) or ideal.min() >= 1:
        assert (np.abs(counts - ideal) < 1).all()


def test_apportioning_is_by_largest_remainder():
    # 25 seats by these votes: whole quotas 11, 4, 3, 3, 1, 0, then the remainders .95, .775, .75.
    votes = [47000, 16000, 15800, 12000, 6100, 3100]
    assert apportion(25, votes) == [12, 4, 4, 3, 1, 1]
    assert apportion(100, votes) == [47, 16, 16, 12, 6, 3]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 25), min_size=1, max_size=6),
    st.integers(0, 99),
)
def test_labels_and_sites_are_spread_to_within_one_patient(site_sizes, seed):
    strata = {f"{s}-{p}": str(s) for s, size in enumerate(site_sizes) for p in range(size)}
    shares = {"train": 0.6, "val": 0.1, "test": 0.3}
    placed = assign(strata, shares, {}, np.random.default_rng(seed))
    assert placed.keys() == strata.keys()
    totals = Counter(placed.values())
    cells = Counter((strata[p], split) for p, split in placed.items())
    count = len(strata)
    for split, share in shares.items():
        assert count < 10 or abs(totals[split] - share * count) < 1
        for site, size in enumerate(site_sizes):
            if count:
                assert abs(cells[str(site), split] - size * totals[split] / count) < 1


def test_newcomers_make_up_for_what_is_fixed():
    strata = {f"p{n}": "amber" for n in range(20)}
    fixed = {f"p{n}": "test" for n in range(9)}
    placed = assign(strata, {"train": 0.5, "test": 0.5}, fixed, np.random.default_rng(0))
    assert Counter(placed.values()) == {"train": 10, "test": 1}


def test_no_home_stays_empty_when_the_fixed_patients_crowd_another():
    strata = {"a": "amber", "b": "amber", "c": "dune", "d": "dune"}
    fixed = {"c": "test", "d": "test"}
    shares = {"train": 0.5, "val": 0.25, "test": 0.25}
    placed = assign(strata, shares, fixed, np.random.default_rng(0))
    assert sorted(placed.values()) == ["train", "val"]


@pytest.mark.parametrize("scheme", ["paper", "60/10/30", "shares"])
def test_every_split_has_its_share_of_every_label_and_site(scheme):
    how = settings_of(scheme)
    cohort = a_cohort((300, 150, 150))
    splits = make_splits(cohort, how)
    cells = Counter((m.label, m.site, m.split) for m in splits.members)
    assert sum(cells.values()) == len(cohort)
    for label, count in zip(CHEST_CT, (300, 150, 150), strict=True):
        for split, share in how.shares(label).items():
            totals = sum(cells[label, site, split] for site in SITES)
            assert abs(totals - share * count) < 1
            assert all(abs(cells[label, s, split] - share * count / 3) < 4 / 3 for s in SITES)


def test_the_papers_scheme_sets_67_of_97_controls_apart_and_holds_a_tenth_back():
    by_split = assigned(make_splits(a_cohort((97, 109, 104), ("tehran",)), NAMED["paper"]))
    apart = [p for p, split in by_split.items() if split.startswith("denoiser")]
    assert len(apart) == 67
    assert all(patient.startswith("control") for patient in apart)
    assert Counter(by_split.values())["test"] == pytest.approx(24, abs=1)


def test_60_10_30_divides_those_whom_the_denoiser_leaves():
    counts = Counter(assigned(make_splits(a_cohort((100, 100, 100)), NAMED["60/10/30"])).values())
    assert [counts[name] for name in ("train", "val", "test")] == [144, 24, 72]


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 50), st.integers(0, 9))
def test_k_folds_test_on_every_patient_once_but_on_the_denoisers(folds, more, seed):
    cohort = a_cohort((30 + more, 12, 12), scans_each=2)
    how = settings_of("kfold", folds=folds, seed=seed)
    divided = kfold(cohort, how, folds)
    assert list(divided) == [str(n) for n in range(folds)]
    tested = Counter(
        p for s in divided.values() for p, split in assigned(s).items() if split == "test"
    )
    aparts = [
        {p: split for p, split in assigned(s).items() if split.startswith("denoiser")}
        for s in divided.values()
    ]
    assert all(apart == aparts[0] for apart in aparts)
    assert set(aparts[0].values()) == {"denoiser_train", "denoiser_val"}
    assert set(tested.values()) == {1}
    assert tested.keys() | aparts[0].keys() == {m.patient for m in cohort}
    assert not tested.keys() & aparts[0].keys()


def test_k_folds_are_alike_in_labels_and_sites():
    folds = kfold(a_cohort((90, 45, 45)), FOLDS, 3)
    for splits in folds.values():
        cells = Counter((m.label, m.site) for m in splits.members if m.split == "test")
        # 36, 45 and 45 patients over three folds and three sites.
        assert all(abs(cells[CHEST_CT.CONTROL, site] - 4) <= 1 for site in SITES)
        assert all(cells[label, site] == 5 for label in list(CHEST_CT)[1:] for site in SITES)
        assert all(splits.studies(name) for name in DRAWN)


def test_folds_say_which_they_are_and_what_drew_them():
    folds = kfold(a_cohort(), FOLDS, 3)
    assert [s.fold for s in folds.values()] == ["0 of 3", "1 of 3", "2 of 3"]
    assert all(s.settings == FOLDS for s in folds.values())
    assert len({s.digest for s in folds.values()}) == 3


def test_k_folds_keep_the_denoisers_controls_of_the_whole():
    cohort = a_cohort()
    whole = make_splits(cohort, SplitSettings(seed=5))
    for splits in kfold(cohort, FOLDS, 3, previous=whole).values():
        for name in ("denoiser_train", "denoiser_val"):
            assert splits.studies(name) == whole.studies(name)


def test_a_grown_archive_moves_nobody_from_fold_to_fold():
    before = kfold(a_cohort((40, 24, 24)), FOLDS, 3)
    after = kfold(a_cohort((60, 30, 24)), FOLDS, 3, earlier=before)
    for name, splits in before.items():
        assert splits.assignment.items() <= after[name].assignment.items()
    tested = Counter(s for splits in after.values() for s in splits.studies("test"))
    assert set(tested.values()) == {1}


def test_the_seed_decides_the_folds_and_the_order_of_the_cohort_does_not():
    cohort = a_cohort()

    def digests(members, seed=0):
        how = replace(FOLDS, seed=seed)
        divided = [kfold(members, how, 3), leave_one_site_out(members, how)]
        return [splits.digest for folds in divided for splits in folds.values()]

    assert digests(cohort) == digests(cohort[::-1])
    assert not set(digests(cohort)) & set(digests(cohort, seed=1))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4), st.integers(1, 2), st.integers(0, 9))
def test_the_site_left_out_is_nowhere_but_in_test_and_test_holds_no_other(count, scans, seed):
    sites = [f"site{n}" for n in range(count)]
    cohort = a_cohort((24, 12, 12), sites, scans)
    folds = leave_one_site_out(cohort, settings_of("leave-one-site-out", seed=seed))
    assert list(folds) == sites
    for site, splits in folds.items():
        assert len(splits.members) == len(cohort)
        assert all((m.site == site) == (m.split == "test") for m in splits.members)
        assert all(splits.studies(name) for name in DRAWN)
        assigned(splits)


def test_who_was_scanned_at_two_sites_is_tested_on_with_each():
    cohort = a_cohort(scans_each=2)
    cohort[1] = replace(cohort[1], site="dune")
    patient = cohort[1].patient
    folds = leave_one_site_out(cohort, settings_of("leave-one-site-out"))
    assert [assigned(s)[patient] == "test" for s in folds.values()] == [True, True, False]


def test_a_grown_archive_moves_nobody_but_whose_site_was_corrected():
    how = settings_of("leave-one-site-out")
    cohort = a_cohort()
    before = leave_one_site_out(cohort, how)
    grown = [replace(cohort[0], site="dune"), *a_cohort((50, 24, 30))[1:]]
    after = leave_one_site_out(grown, how, earlier=before)
    for name, splits in before.items():
        moved = [s for s, split in splits.assignment.items() if after[name].assignment[s] != split]
        assert set(moved) <= {cohort[0].study}
    assert after["dune"].assignment[cohort[0].study] == "test"
    assert after["amber"].assignment[cohort[0].study] != "test"


def test_sites_make_folder_names_that_differ_and_stay_below():
    sites = ["St. Mary", "st-mary", "../..", "جنوب"]
    folds = leave_one_site_out(a_cohort(sites=sites), settings_of("leave-one-site-out"))
    assert len(folds) == 4
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in folds)
    assert {s.fold for s in folds.values()} == {f"site {site}" for site in sites}


def test_unknown_sites_are_refused_and_told():
    cohort = a_cohort()
    cohort[2:4] = [replace(m, site=None) for m in cohort[2:4]]
    with pytest.raises(CohortError, match=r"2 of 88 have none \(studies control-2-0, control-3-0"):
        leave_one_site_out(cohort, SplitSettings())


def test_one_site_cannot_be_left_out():
    with pytest.raises(CohortError, match="two sites or more"):
        leave_one_site_out(a_cohort(sites=["amber"]), SplitSettings())


def test_a_label_that_one_site_alone_has_is_refused_with_the_site():
    cohort = [replace(m, site="dune") if m.label is CHEST_CT.CAP else m for m in a_cohort()]
    with pytest.raises(CohortError, match="without site 'dune': CAP needs at least 2 patients"):
        leave_one_site_out(cohort, SplitSettings())


def test_more_folds_than_patients_of_a_label_are_refused():
    with pytest.raises(CohortError, match=r"CAP needs at least 5 patients.*got 4.*fewer folds"):
        kfold(a_cohort((40, 24, 4)), settings_of("kfold", folds=5), 5)


def test_the_cohort_file_may_give_controls_to_the_denoiser_in_every_fold():
    cohort = a_cohort()
    cohort[0] = replace(cohort[0], split="Denoiser")
    for splits in kfold(cohort, FOLDS, 3).values():
        assert assigned(splits)[cohort[0].patient] == "denoiser_train"
        assert [m.study for m in splits.members if m.is_requested] == [cohort[0].study]
    folds = leave_one_site_out(cohort, SplitSettings())
    assert assigned(folds["amber"])[cohort[0].patient] == "test"
    assert assigned(folds["dune"])[cohort[0].patient] == "denoiser_train"


@pytest.mark.parametrize(
    "divide", [lambda m: kfold(m, FOLDS, 3), lambda m: leave_one_site_out(m, FOLDS)]
)
def test_other_wishes_do_not_go_with_folds(divide):
    cohort = a_cohort()
    cohort[5] = replace(cohort[5], split="train")
    with pytest.raises(CohortError, match=f"places 1 patients.*{cohort[5].study}"):
        divide(cohort)


def test_a_copy_under_another_patient_is_refused_by_every_scheme():
    cohort = a_cohort()
    cohort[3], cohort[50] = (replace(cohort[n], content="same") for n in (3, 50))
    for divide in (
        lambda: make_splits(cohort, SplitSettings()),
        lambda: kfold(cohort, FOLDS, 3),
        lambda: leave_one_site_out(cohort, SplitSettings()),
    ):
        with pytest.raises(CohortError, match=f"{cohort[3].study}.*{cohort[50].study}"):
            divide()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scheme": "halves"}, "schemes are paper, 60/10/30"),
        ({"scheme": "paper", "test": 0.2}, "decides test itself"),
        ({"scheme": "60/10/30", "validation": 0.2}, "decides validation itself"),
        ({"scheme": "kfold", "folds": 5, "test": 0.2}, "decides test itself"),
        ({"scheme": "kfold", "folds": 1}, "2 folds or more"),
        ({"scheme": "kfold", "folds": 2, "validation": 0.5}, "below 1"),
        ({"scheme": "shares", "folds": 3}, "shares has none"),
        ({"scheme": "paper", "seed": -1}, "0 or more"),
    ],
)
def test_what_no_scheme_can_do_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        settings_of(**wrong)


def test_shares_that_are_given_count():
    settings = settings_of("shares", test=0.3, denoiser_controls=0.5, seed=7)
    assert settings == SplitSettings(0.5, 0.15, 0.3, 7)
    assert settings_of("60/10/30", denoiser_controls=0.2).denoiser_controls == 0.2
    assert settings_of("kfold", folds=4).test == 0.25
    assert all(settings_of(s, folds=2 if s == "kfold" else None) for s in SCHEMES)


def with_external(cohort, site):
    """The patients of one site are those of an external test."""
    return [replace(m, split="external") if m.site == site else m for m in cohort]


def test_external_patients_are_external_in_every_fold_and_no_share_counts_them():
    cohort = with_external(a_cohort((60, 36, 36)), "fjord")
    outside = {m.study for m in cohort if m.split == "external"}
    once = make_splits(cohort, settings_of("60/10/30"))
    folds = kfold(cohort, FOLDS, 3)
    for splits in (once, *folds.values()):
        assert set(splits.studies("external")) == outside
        assert splits.counts()["external"] == {"Control": 20, "Covid-19": 12, "CAP": 12}
    alone = make_splits([m for m in cohort if m.study not in outside], settings_of("60/10/30"))
    assert {s: once.assignment[s] for s in alone.assignment} == dict(alone.assignment)
    tested = Counter(study for splits in folds.values() for study in splits.studies("test"))
    assert set(tested.values()) == {1}


def test_an_external_site_is_left_out_in_no_fold():
    folds = leave_one_site_out(
        with_external(a_cohort(), "fjord"), settings_of("leave-one-site-out")
    )
    assert list(folds) == ["amber", "dune"]
    for name, splits in folds.items():
        assert {m.site for m in splits.members if m.split == "external"} == {"fjord"}
        assert {m.site for m in splits.members if m.split == "test"} == {name}


def test_external_patients_do_not_make_up_for_too_few_others():
    cohort = with_external(a_cohort((60, 36, 6)), "fjord")
    few = [m for m in cohort if not (m.label is CHEST_CT.CAP and m.site != "fjord" and
                                     m.patient != "cap-0")]  # fmt: skip
    with pytest.raises(CohortError, match=r"CAP needs at least 3 patients .*got 1"):
        make_splits(few, settings_of("60/10/30"))


def test_without_external_patients_no_count_is_of_them():
    assert "external" not in make_splits(a_cohort(), settings_of("60/10/30")).counts()
