"""Work folders divided, from the command line and from Python; their studies are tiny boxes."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.cohort.divide import divide, divide_in_folds, members_of
from covidctnet.cohort.members import DRAWN
from covidctnet.cohort.schemes import NAMED, settings_of
from covidctnet.cohort.splits import SPLITS, Splits, SplitSettings, studies_of_split
from covidctnet.cohort.store import Store
from covidctnet.errors import CohortError, StorageError, UsageError
from covidctnet.volume import Source, Volume

THREE = settings_of("kfold", folds=3)
SITES = settings_of("leave-one-site-out")


def put(work, name, label, *, site="amber", content=None, patient=None):
    study = hashlib.sha256(name.encode()).hexdigest()[:12]
    source = Source(study, digest=name if content is None else content)
    Store(work / "preprocessed").put(
        Volume(np.zeros((2, 4, 4), dtype=np.float32), np.eye(4), "unit", source, (), (-1000, 400)),
        content_key=name,
        settings={},
        settings_digest="same",
        label=label,
        site=site,
        patient=patient or hashlib.sha256(f"patient {name}".encode()).hexdigest()[:12],
    )
    return study


@pytest.fixture
def work(tmp_path):
    """Twenty patients of two sites, never divided."""
    folder = tmp_path / "work"
    for label, count in zip(CHEST_CT, (10, 5, 5), strict=True):
        for number in range(count):
            put(folder, f"{label.key}{number}", label, site=("amber", "dune")[number % 2])
    return folder


def train(folder):
    """What a training leaves behind, as far as it matters here."""
    for name in ("denoiser", "weights"):
        (folder / name).mkdir()
        (folder / name / "card.json").write_text("{}")


def digest_of(folder):
    return Splits.load(folder / "splits.json").digest


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_command_divides_a_work_folder(work, capsys):
    assert main(["split", str(work)]) == 0
    splits = Splits.load(work / "splits.json")
    assert splits.settings == NAMED["paper"]
    printed = capsys.readouterr().out
    assert splits.digest in printed
    assert "train: 2 Control" in printed
    assert "amber" in printed
    assert all(splits.studies(name) for name in DRAWN)


def test_shares_and_seed_come_from_the_command_line(work):
    flags = "--scheme shares --denoiser-controls 0.3 --validation 0.2 --test 0.25 --seed 9"
    assert main(["split", str(work), *flags.split()]) == 0
    assert Splits.load(work / "splits.json").settings == SplitSettings(0.3, 0.2, 0.25, 9)


def test_dividing_twice_changes_no_byte(work):
    divide(work, SplitSettings())
    before = (work / "splits.json").read_bytes()
    divide(work, SplitSettings())
    assert (work / "splits.json").read_bytes() == before


@pytest.mark.parametrize("option", ["--redraw", "--anew"])  # the former name is still read
def test_other_shares_need_the_option_redraw(work, capsys, option):
    main(["split", str(work), "--scheme", "shares"])
    before = digest_of(work)
    assert main(["split", str(work), "--scheme", "60/10/30"]) == 2
    assert "validation 0.15, test 0.15, seed 0), got" in capsys.readouterr().err
    assert digest_of(work) == before
    assert main(["split", str(work), "--scheme", "60/10/30", option]) == 0
    assert Splits.load(work / "splits.json").settings == NAMED["60/10/30"]
    assert not list(work.glob("former-*"))


def test_what_was_trained_is_set_aside_with_its_own_splits(work):
    before = divide(work, SplitSettings())
    train(work)
    after = divide(work, SplitSettings(seed=1), redraw=True)
    assert after.digest != before.digest
    assert not (work / "weights").exists()
    former = work / f"former-{before.digest}"
    assert Splits.load(former / "splits.json").digest == before.digest
    assert (former / "denoiser" / "card.json").is_file()
    # It is a work folder that can still be evaluated.
    assert [s.id for s in studies_of_split(former, "test")] == list(before.studies("test"))


def test_networks_stay_where_nobody_moves(work):
    divide(work, SplitSettings())
    train(work)
    divide(work, SplitSettings())
    divide(work, SplitSettings(), redraw=True)
    assert (work / "weights" / "card.json").is_file()


def test_networks_of_unknown_splits_are_not_divided_over(work):
    train(work)
    with pytest.raises(UsageError, match="trained from splits that are gone"):
        divide(work, SplitSettings())
    assert not (work / "splits.json").exists()
    divide(work, SplitSettings(), redraw=True)
    assert (work / "former-unknown" / "weights").is_dir()


def test_whom_the_cohort_file_placed_stays_even_anew(work):
    splits = divide(work, SplitSettings())
    chosen = next(m for m in splits.members if m.split == "train")
    members = [replace(m, is_requested=m == chosen) for m in splits.members]
    replace(splits, members=tuple(members)).save(work / "splits.json")
    for seed in range(5):
        again = divide(work, SplitSettings(seed=seed), redraw=True)
        assert again.assignment[chosen.study] == "train"
        assert [m.study for m in again.members if m.is_requested] == [chosen.study]


def test_k_folds_are_work_folders_that_share_the_studies(work, capsys):
    assert main(["split", str(work), "--scheme", "kfold", "--folds", "3"]) == 0
    printed = capsys.readouterr().out
    tested = Counter()
    for number in range(3):
        fold = work / "folds" / str(number)
        assert f"folds/{number}  {digest_of(fold)}  {number} of 3" in printed
        assert (fold / "preprocessed").readlink() == Path("../../preprocessed")
        for name in DRAWN:
            studies = studies_of_split(fold, name)
            assert studies
            assert all(s.volume().shape == (2, 4, 4) for s in studies)
        tested.update(s.id for s in studies_of_split(fold, "test"))
    assert set(tested.values()) == {1}
    assert not (work / "splits.json").exists()


def test_folds_go_on_where_the_work_folder_is_moved(work, tmp_path):
    divide_in_folds(work, THREE, folds=3)
    moved = work.rename(tmp_path / "elsewhere")
    assert studies_of_split(moved / "folds" / "1", "train")


def test_five_folds_are_the_default(work):
    assert main(["split", str(work), "--scheme", "kfold"]) == 0
    assert sorted(p.name for p in (work / "folds").iterdir()) == list("01234")


def test_every_site_is_left_out_once(work):
    assert main(["split", str(work), "--scheme", "leave-one-site-out"]) == 0
    for site in ("amber", "dune"):
        fold = work / "folds" / site
        assert {s.site for s in studies_of_split(fold, "test")} == {site}
        for name in set(SPLITS) - {"test"}:
            assert site not in {s.site for s in studies_of_split(fold, name)}


def test_a_site_that_the_splits_tell_wins_over_the_stored_one(work):
    splits = divide(work, SplitSettings())
    corrected = replace(splits.members[0], site="fjord")
    others = [m for m in splits.members if m != splits.members[0]]
    replace(splits, members=(corrected, *others)).save(work / "splits.json")
    members, _ = members_of(work)
    assert [m.study for m in members if m.site == "fjord"] == [corrected.study]
    assert {m.site for m in members} == {"amber", "dune", "fjord"}


def test_unknown_sites_are_refused_by_the_command(work, capsys):
    study = put(work, "late", CHEST_CT.CAP, site=None)
    assert main(["split", str(work), "--scheme", "leave-one-site-out"]) == 2
    assert study in capsys.readouterr().err
    assert not (work / "folds").exists()


def test_folds_grow_with_the_archive_and_trained_ones_keep_their_patients(work):
    before = divide_in_folds(work, THREE, folds=3)
    train(work / "folds" / "0")
    for number in range(4):
        put(work, f"late{number}", CHEST_CT.CAP)
    after = divide_in_folds(work, THREE, folds=3)
    for name, splits in before.items():
        assert splits.assignment.items() < after[name].assignment.items()


def test_other_folds_want_the_word_anew_and_the_former_are_kept(work, capsys):
    divide_in_folds(work, THREE, folds=3)
    train(work / "folds" / "2")
    before = files(work / "folds")
    for scheme in (["kfold", "--folds", "4"], ["leave-one-site-out"]):
        assert main(["split", str(work), "--scheme", *scheme]) == 2
        assert "folds/0 was drawn otherwise (0 of 3" in capsys.readouterr().err
    assert files(work / "folds") == before
    assert main(["split", str(work), "--scheme", "leave-one-site-out", "--redraw"]) == 0
    assert sorted(p.name for p in (work / "folds").iterdir()) == ["amber", "dune"]
    (former,) = work.glob("folds-former-*")
    assert files(former) == before
    assert studies_of_split(former / "2", "test")


def test_nobody_moves_under_a_trained_fold(work):
    folds = divide_in_folds(work, SITES)
    study = next(m.study for m in folds["amber"].members if m.split == "denoiser_train")
    stored = Store(work / "preprocessed").get(study)
    train(work / "folds" / "amber")
    Store(work / "preprocessed").put(
        stored.volume(),
        content_key="",
        settings={},
        settings_digest="same",
        label=stored.label,
        site="amber",
        patient=stored.patient,
    )
    with pytest.raises(UsageError, match=f"'amber' were trained.*1 studies would move.*{study}"):
        divide_in_folds(work, SITES)
    assert divide_in_folds(work, SITES, redraw=True)["amber"].assignment[study] == "test"


def test_a_fold_is_not_divided_again(work):
    divide_in_folds(work, THREE, folds=3)
    with pytest.raises(UsageError, match=r"itself a fold \(1 of 3\)"):
        divide(work / "folds" / "1", SplitSettings())


def test_a_folder_with_other_studies_becomes_no_fold(work):
    (work / "folds" / "1" / "preprocessed").mkdir(parents=True)
    with pytest.raises(UsageError, match="'1' holds other preprocessed studies"):
        divide_in_folds(work, THREE, folds=3)


def test_a_system_without_links_says_so(work, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(StorageError, match=r"a link to the preprocessed.*not permitted"):
        divide_in_folds(work, THREE, folds=3)


def test_a_copy_under_two_patients_is_refused_before_and_after_it_is_divided(work, capsys):
    divide(work, SplitSettings())
    first = put(work, "control3", CHEST_CT.CONTROL, content="same")
    second = put(work, "cap2", CHEST_CT.CAP, content="same")
    assert main(["split", str(work)]) == 2
    with pytest.raises(CohortError, match="identical volume") as told:
        studies_of_split(work, "train")
    assert first in str(told.value)
    assert second in str(told.value)
    (work / "splits.json").unlink()
    capsys.readouterr()
    assert main(["split", str(work), "--scheme", "kfold"]) == 2
    error = capsys.readouterr().err
    assert f"study {second} (patient " in error
    assert "control3" not in error


def test_what_cannot_be_divided_is_refused(work, tmp_path, capsys):
    assert main(["split", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["split", str(tmp_path / "empty")]) == 2
    assert "has no studies; run preprocess first" in capsys.readouterr().err
    divide(work, SplitSettings())
    next((work / "preprocessed").glob("*.json")).unlink()
    with pytest.raises(UsageError, match="1 of 20 studies are not preprocessed"):
        divide(work, SplitSettings())


def test_a_study_without_label_is_refused(work):
    study = put(work, "nameless", None)
    with pytest.raises(CohortError, match=f"study {study} is stored without label"):
        divide(work, SplitSettings())


def test_splits_tell_what_drew_them(work):
    divide_in_folds(work, THREE, folds=3)
    data = json.loads((work / "folds" / "2" / "splits.json").read_text())
    assert data["fold"] == "2 of 3"
    assert data["drawn_by"]["test"] == pytest.approx(1 / 3)
    assert {row["site"] for row in data["studies"]} == {"amber", "dune"}


def test_folds_keep_the_denoisers_controls_until_anew_is_said(work):
    whole = divide(work, SplitSettings())
    how = replace(THREE, seed=1)
    for redraw in (False, True):
        folds = divide_in_folds(work, how, folds=3, redraw=redraw)
        same = {
            s.studies("denoiser_train") == whole.studies("denoiser_train") for s in folds.values()
        }
        assert same == {not redraw}
    assert digest_of(work) == whole.digest
