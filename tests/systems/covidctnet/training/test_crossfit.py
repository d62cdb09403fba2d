"""Cross-fitting: nobody is answered by networks that it taught, and the whole way runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml

from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.cohort.members import Member
from covidctnet.cohort.splits import Splits
from covidctnet.cohort.store import Store
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.intervals import auc
from covidctnet.evidence import Panels
from covidctnet.results import Prediction
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.systems.covidctnet.training.bank import read_list
from covidctnet.systems.covidctnet.training.crossfit import CrossFit
from covidctnet.systems.covidctnet.training.folds import (
    ALL,
    CrossFitSettings,
    fold_splits,
    group_sites,
)
from covidctnet.volume import SYNTHETIC_NOTE
from covidctnet.weights import load_weights
from covidctnet.weights.card import taught_by
from covidctnet.weights.shipped import presets_root
from pipelines.strangers.run import (
    MODEL,
    Answered,
    answer_folds,
    pooled_auc,
    render,
    settings_of,
)
from pipelines.strangers.run import main as strangers
from tests.little_work import put_study

SITES = ("north", "north", "south", "south", "east")


def members(*, ill=1, phantoms=10):
    real = [Member(f"c{n}", f"pc{n}", CHEST_CT.CONTROL, site=site) for n, site in enumerate(SITES)]
    real += [Member(f"i{n}", f"pi{n}", CHEST_CT.COVID19, site="north") for n in range(ill)]
    drawn = [
        Member(f"p{n}", f"pp{n}", list(CHEST_CT)[n % 3], site="scanner") for n in range(phantoms)
    ]
    return real + drawn, frozenset(m.study for m in drawn)


def test_sites_are_grouped_by_size_and_never_cut():
    sites = ["a"] * 8 + ["b"] * 7 + ["c", "d", "e", "f"]
    groups = group_sites(sites, 3)
    assert groups["1"] == ("a",) and groups["2"] == ("b",)
    assert groups["3"] == ("c", "d", "e", "f")
    with pytest.raises(CohortError, match="Controls of 3 sites or more for 3 folds, got 2"):
        group_sites(["a", "b"], 3)


def test_every_control_is_held_back_once_and_teaches_all_other_folds():
    cohort, synthetic = members()
    found = fold_splits(cohort, synthetic, CrossFitSettings())
    assert found.keys() == {"1", "2", "3", ALL}
    for number in range(len(SITES)):
        homes = [found[fold].assignment[f"c{number}"] for fold in "123"]
        assert sorted(homes) == ["denoiser_train", "denoiser_train", "test"]
        assert found[ALL].assignment[f"c{number}"] == "denoiser_train"
    for splits in found.values():
        assert splits.assignment["i0"] == "test"
        assert {splits.assignment[study] for study in synthetic} <= {
            "denoiser_train",
            "denoiser_val",
            "train",
        }


def test_whom_the_cohort_file_holds_back_teaches_no_fold():
    cohort, synthetic = members()
    found = fold_splits(cohort, synthetic, CrossFitSettings(), kept_out=frozenset({"c0", "p1"}))
    assert all(s.assignment["c0"] == s.assignment["p1"] == "test" for s in found.values())
    outside = [replace(m, split="external") if m.study == "c0" else m for m in cohort]
    found = fold_splits(outside, synthetic, CrossFitSettings(), kept_out=frozenset({"c0"}))
    assert all(s.assignment["c0"] == "external" for s in found.values())


def test_a_control_without_a_site_is_refused():
    cohort, synthetic = members()
    nowhere = [replace(m, site=None) if m.study == "c1" else m for m in cohort]
    with pytest.raises(CohortError, match="the site of every Control, 1 of 5 have none"):
        fold_splits(nowhere, synthetic, CrossFitSettings())


def test_without_phantoms_some_controls_choose_the_denoiser():
    cohort, synthetic = members(phantoms=0)
    found = fold_splits(cohort, synthetic, CrossFitSettings())
    assert "denoiser_val" in found[ALL].assignment.values()


def test_nobody_moves_between_runs():
    cohort, synthetic = members()
    before = fold_splits(cohort, synthetic, CrossFitSettings())
    # They sort before the others: places by the order of names would go to them.
    late = [Member(f"a{n}", f"pa{n}", CHEST_CT.CONTROL, site="scanner") for n in range(40)]
    names = synthetic | {m.study for m in late}
    after = fold_splits([*cohort, *late], names, CrossFitSettings(), earlier=before)
    for fold, splits in before.items():
        assert splits.assignment.items() <= after[fold].assignment.items()
        # Denoisers that are trained already must not be said to know them.
        assert {after[fold].assignment[m.study] for m in late} == {"train"}
    moved = [replace(m, site="south") if m.study == "c0" else m for m in cohort]
    with pytest.raises(CohortError, match=r"study c\d would move from \w+ to \w+ in fold"):
        fold_splits(moved, synthetic, CrossFitSettings(), earlier=before)


@pytest.mark.parametrize(
    "wrong",
    [
        {"folds": 1},
        {"examples": 0},
        {"validation": 1.0},
        {"examples": 3, "validation": 0.1},
        {"residual": ResidualSettings("linear")},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UsageError, match="must"):
        CrossFitSettings(**wrong)


SETTINGS = {
    "folds": 3,
    "examples": 3,
    "copies": 2,
    "validation": 0.34,
    "residual": {
        "depth": 34,
        "depth_resize": "nearest",
        "classifier_input": "both",
        "within": "lungs",
    },
}


@pytest.fixture(scope="module")
def fitted_work(tmp_path_factory):
    """A cross-fitted work folder of five Controls, an ill patient and four phantoms."""
    work = tmp_path_factory.mktemp("crossfit")
    store = Store(work / "preprocessed")
    told = []
    for number, site in enumerate(SITES):
        study = put_study(store, f"control{number}", CHEST_CT.CONTROL, site=site, field="lungs")
        told.append(Member(study, f"control{number}", CHEST_CT.CONTROL, "denoiser_train", site))
    ill = put_study(store, "ill", CHEST_CT.CAP, site="north", field="lungs")
    told.append(Member(ill, "ill", CHEST_CT.CAP, "test", "north", is_requested=True))
    about = {"notes": (SYNTHETIC_NOTE,), "site": "scanner", "field": "lungs"}
    for number in range(12):
        label = CHEST_CT.CONTROL if number < 9 else CHEST_CT.CAP
        study = put_study(store, f"phantom{number}", label, **about)
        told.append(Member(study, f"phantom{number}", label, "train", "scanner"))
    Splits(tuple(told)).save(work / "splits.json")
    preset = presets_root() / "compact"
    settings = work / "cross-fit.yaml"
    settings.write_text(yaml.safe_dump({"settings": SETTINGS}))
    assert preset.is_dir()
    code = main(["cross-fit", str(work), "--config", str(settings), "--networks", "tiny-test",
                 "--device", "cpu", "--workers", "1"])  # fmt: skip
    assert code == 0
    return work, settings


@pytest.fixture(scope="module", autouse=True)
def tiny_preset(tmp_path_factory):
    """Networks and runs of a few steps, found where presets lie."""
    root = tmp_path_factory.mktemp("presets")
    few = {"max_epochs": 1, "limit_train_batches": 2, "precision": "32-true"}
    small = {"base": 2, "depth": 1, "bidirectional": False}
    stages = {
        "train-denoiser": {"data": {"batch_size": 2, "validation_slices": 2}, "model": small},
        "train-lungs": {
            "data": {"batch_size": 2, "painted": 1, "validation_slices": 2},
            "model": small,
        },
        "train-classifier": {"data": {"batch_size": 2}, "model": {"base": 2}},
    }
    folder = root / "tiny-test"
    folder.mkdir()
    for stage, told in stages.items():
        (folder / f"{stage}.yaml").write_text(yaml.safe_dump({**told, "trainer": few}))
    patch = pytest.MonkeyPatch()
    patch.setattr("covidctnet.systems.covidctnet.training.crossfit.presets_root", lambda: root)
    yield
    patch.undo()


def fitted(fitted_work):
    work, settings = fitted_work
    return CrossFit(work, settings_of(settings))


def test_no_network_that_answers_a_control_has_learned_from_it(fitted_work):
    found = fitted(fitted_work)
    hosts = [s for s in found.studies if found._is_host(s)]
    assert len(hosts) == len(SITES)
    for study in hosts:
        fold = found.fold_of(study)
        assert fold != ALL
        mark = found.studies[study].source.mark
        for folder in (found.networks(fold), found.folder(fold) / "weights"):
            assert mark not in taught_by(load_weights(folder).card)
        assert mark in taught_by(load_weights(found.folder(ALL) / "weights").card)


def test_examples_are_seen_by_the_networks_of_their_own_fold_and_listed_elsewhere(fitted_work):
    found = fitted(fitted_work)
    settings = found.settings
    for job in found.jobs():
        if found._is_host(job.study):
            assert job.weights == found.networks(found.fold_of(job.study))
    for fold in found.splits:
        listed = read_list(found.folder(fold) / "examples.json", settings.residual)
        named = {e.study for examples in listed.values() for e in examples}
        held_back = {s for s in found.studies if found.fold_of(s) == fold and fold != ALL}
        assert named and not named & held_back
        assert {len(examples) > 0 for examples in listed.values()} == {True}
    with pytest.raises(UsageError, match=r"expected examples for a classifier of .*depth=35"):
        read_list(found.folder(ALL) / "examples.json", replace(settings.residual, depth=35))
    with pytest.raises(UsageError, match="cannot be read"):
        read_list(found.folder(ALL) / "nothing.json", ResidualSettings())


def test_the_claim_tells_the_depth_where_older_folders_have_it(fitted_work):
    found = fitted(fitted_work)
    told = json.loads((found.root / "cross-fit.json").read_text())["settings"]
    assert told["depth"] == 34 and "depth" not in told["residual"]


def test_an_interrupted_run_goes_on_and_a_finished_one_does_nothing(fitted_work):
    found = fitted(fitted_work)
    kept = {p: p.stat().st_mtime_ns for p in found.bank.folder.rglob("*.safetensors")}
    assert len(kept) == len(found.jobs())
    found.draw_examples()
    assert {p: p.stat().st_mtime_ns for p in found.bank.folder.rglob("*.safetensors")} == kept
    gone = next(iter(kept))
    gone.write_bytes(gone.read_bytes()[:100])
    found.draw_examples()
    assert gone.stat().st_size > 100


def test_the_weights_of_all_answer_and_say_what_they_have_seen(fitted_work):
    found = fitted(fitted_work)
    weights = load_weights(found.folder(ALL) / "weights")
    card = weights.card
    assert card["architecture"].keys() >= {"denoiser", "lungs", "classifier"}
    assert card["calibration"]["sets"]["n"] == len(SITES)
    assert card["calibration"]["examples"] == len(SITES) * len(CHEST_CT) * SETTINGS["examples"]
    assert card["lesion_volume"]["patients"] == len(SITES)
    points = card["operating_points"]
    per_class = len(SITES) * SETTINGS["examples"]
    assert (points["positives"], points["negatives"]) == (per_class, 2 * per_class)
    assert points["chosen_on"].startswith("examples drawn from Controls")
    model_card = (found.folder(ALL) / "weights" / "model-card.md").read_text()
    assert "Chosen on 15 + 30 examples drawn from Controls" in model_card
    assert "real lungs with painted lesions" in weights.trained_on
    assert "no real patient with Covid-19 or pneumonia" in weights.caveat
    model = CovidCTNet(weights, device="cpu", precision="32")
    study = found.studies[next(s for s in found.studies if found._is_host(s))]
    one, two = (
        model(study.volume(), lungs=model.lungs_of(study), keep="volumes") for _ in range(2)
    )
    assert one.probabilities == two.probabilities
    panels = one.find(Panels)
    assert not panels["residual"][~panels.lungs].any()


def test_every_real_patient_gets_a_row_and_no_phantom_does(fitted_work, tmp_path, capsys):
    work, settings = fitted_work
    table = tmp_path / "strangers.csv"
    arguments = ["--work", str(work), "--settings", str(settings), "--table", str(table)]
    assert strangers(arguments) == 0
    page = capsys.readouterr().out
    assert "| Controls called Control |" in page
    rows = table.read_text().splitlines()
    assert len(rows) == 1 + len(SITES) + 1
    found = answer_folds(fitted((work, settings)))
    assert {p.networks for p in found.patients} == {"fold 1", "fold 2", "fold 3", "fold all"}
    (ill,) = [p for p in found.patients if p.is_ill]
    assert ill.scores_by.keys() == {"fold 1", "fold 2", "fold 3"}
    assert all(len(p.scores_by) == 1 for p in found.patients if not p.is_ill)
    assert "density -650 to 50 HU" in render(found, "x", command="y")


def test_a_folder_of_other_settings_is_not_taken_for_finished(fitted_work, tmp_path):
    work, _ = fitted_work
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"settings": {**SETTINGS, "examples": 6}}))
    arguments = ["cross-fit", str(work), "--config", str(other), "--networks", "tiny-test"]
    assert main([*arguments, "--device", "cpu"]) == 2
    again = CrossFit(work, settings_of(other))
    with pytest.raises(UsageError, match="holds another cross-fitted work folder"):
        again.train_networks("tiny-test")


def test_reading_a_work_folder_writes_nothing(fitted_work):
    work, settings = fitted_work
    before = {p: p.stat().st_mtime_ns for p in work.rglob("*")}
    fitted((work, settings))
    assert {p: p.stat().st_mtime_ns for p in work.rglob("*")} == before


def patient(truth, scores, networks="one"):
    said = Prediction("s", {CHEST_CT.CONTROL: 1.0, CHEST_CT.COVID19: 0.0, CHEST_CT.CAP: 0.0})
    by = {name: {MODEL: value} for name, value in scores.items()}
    return Answered("s", truth, "", said, networks, {MODEL: 0.0}, by)


def test_only_answers_of_the_same_networks_are_compared():
    """Networks that score everybody higher must not part the classes."""
    ill = [patient(CHEST_CT.CAP, {"fold 1": 0.3, "fold 2": 0.9})]
    controls = [
        patient(CHEST_CT.CONTROL, {"fold 1": 0.2}),
        patient(CHEST_CT.CONTROL, {"fold 2": 0.95}),
    ]
    assert pooled_auc(ill, controls, MODEL).value == 0.5
    perfect = pooled_auc(ill, controls[:1], MODEL)
    assert perfect.value == 1.0
    assert perfect.low < 1.0  # three patients prove nothing
    assert perfect.n == 2


def test_the_area_is_that_of_the_ranks_where_one_model_answers_all():
    rng = np.random.default_rng(0)
    ill = [patient(CHEST_CT.CAP, {"one": v}) for v in rng.normal(1, 1, 12)]
    controls = [patient(CHEST_CT.CONTROL, {"one": v}) for v in rng.normal(0, 1, 20)]
    found = pooled_auc(ill, controls, MODEL)
    values = [p.scores_by["one"][MODEL] for p in (*ill, *controls)]
    truth = np.repeat([True, False], [12, 20])
    assert found.value == pytest.approx(auc(truth, np.array(values)))
    assert found.low < found.value < found.high


def test_settings_of_something_else_are_refused(tmp_path):
    file = tmp_path / "other.yaml"
    file.write_text("trainer: {max_epochs: 3}")
    with pytest.raises(UsageError, match=r"expected settings of cross-fitting in 'other.yaml'"):
        settings_of(file)
