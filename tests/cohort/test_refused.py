"""Studies that could not be used are somewhere, and in one fold's test at most."""

from collections import Counter

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.members import Member, Refused
from covidctnet.cohort.refused import place_refused, refused_in_folds
from covidctnet.cohort.schemes import kfold, leave_one_site_out, settings_of
from covidctnet.cohort.splits import SplitSettings, make_splits

SITES = ("amber", "dune", "ember")
MEMBERS = tuple(
    Member(f"{label.key}{n}", f"p {label.key}{n}", label, site=SITES[n % 3])
    for label in CHEST_CT
    for n in range(24)
)


def refused(count=30, **more):
    labels = list(CHEST_CT)
    return [
        Refused(f"r{n}", f"q{n}", labels[n % 3], "SLICE_GAP", site=SITES[n // 3 % 3], **more)
        for n in range(count)
    ]


def test_every_split_has_its_share_of_the_refused_and_nobody_moves():
    splits = make_splits(MEMBERS, SplitSettings(test=0.3))
    placed = place_refused(splits, refused())
    assert placed.assignment == splits.assignment and placed.digest == splits.digest
    counts = Counter(r.split for r in placed.refused)
    assert None not in counts
    assert 5 <= counts["test"] <= 12
    again = place_refused(splits, refused(33), previous=placed)
    assert [r.split for r in again.refused[:30]] == [r.split for r in placed.refused]


def test_a_refused_patient_is_tested_on_in_one_fold_of_k_unless_the_denoiser_has_it():
    settings = settings_of("kfold", folds=3)
    placed = place_refused(make_splits(MEMBERS, settings), refused()).refused
    drawn = kfold(MEMBERS, settings, 3)
    folds = refused_in_folds(placed, drawn, by_site=False, earlier={})
    times = Counter(r.study for s in folds.values() for r in s.refused if r.split == "test")
    denoisers = {r.study for r in placed if str(r.split).startswith("denoiser")}
    assert times.keys() == {r.study for r in placed} - denoisers
    assert set(times.values()) == {1}
    assert max(Counter(sum(r.split == "test" for r in s.refused) for s in folds.values())) <= 12
    # Whoever joins later moves nobody.
    more = place_refused(make_splits(MEMBERS, settings), refused(36)).refused
    later = refused_in_folds([*placed, *more[30:]], drawn, by_site=False, earlier=folds)
    for name, splits in folds.items():
        assert later[name].refused[:30] == splits.refused


def test_a_refused_study_is_tested_on_where_its_site_is():
    settings = settings_of("leave-one-site-out")
    drawn = leave_one_site_out(MEMBERS, settings)
    folds = refused_in_folds(refused(), drawn, by_site=True, earlier={})
    for splits in folds.values():
        (site,) = {m.site for m in splits.members if m.split == "test"}
        assert {r.site for r in splits.refused if r.split == "test"} == {site}
