import csv
import json
import re
import shlex
import shutil

import pytest
import torch
import yaml

from covidctnet.cli import main
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.system import SYSTEM
from covidctnet.systems.covidctnet.training.tasks import ClassifierTask, DenoiserTask
from covidctnet.training.run import shareable_command, train
from covidctnet.weights import load_weights
from covidctnet.weights.shipped import presets_root
from tests.small import DEPTH, PREPROCESSING, write_cohort

PRESETS = sorted(p.parent.name for p in presets_root().glob("*/train-denoiser.yaml"))
DENOISER = ("--model.base", "2", "--data.batch_size", "2", "--data.validation_slices", "4")
DENOISER += ("--trainer.limit_train_batches", "3", "--trainer.precision", "32-true")
DENOISER += ("--model.shrink", "1")
CLASSIFIER = ("--model.base", "1", "--data.depth", str(DEPTH), "--data.batch_size", "2")
CLASSIFIER += ("--trainer.precision", "32-true", "--data.shrink", "1")
SMALL = [f"--settings.{name}={value}" for name, value in PREPROCESSING.items()]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A work folder with a preprocessed cohort of sixteen."""
    root = tmp_path_factory.mktemp("training")
    data = write_cohort(root / "data")
    assert main(["preprocess", str(data), "-o", str(root / "work"), "--workers=1", *SMALL]) == 0
    return root / "work"


@pytest.fixture
def work(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "work")


@pytest.fixture(scope="module")
def denoised(prepared, tmp_path_factory):
    """A work folder whose denoiser is trained."""
    work = shutil.copytree(prepared, tmp_path_factory.mktemp("denoised") / "work")
    assert main(["train-denoiser", "--work", str(work), *DENOISER, "--trainer.max_epochs=1"]) == 0
    return work


def test_training_without_a_terminal_says_how_far_it_is(work, monkeypatch, capfd):
    monkeypatch.setattr("covidctnet.progress.LINE_EVERY_S", 0.02)
    assert main(["train-denoiser", "--work", str(work), *DENOISER, "--trainer.max_epochs=1"]) == 0
    told = capfd.readouterr().err
    assert re.search(r"^training the denoiser: epoch 1 of at most 1, step \d of 3", told, re.M)
    assert "_Reporter" not in last(work, "denoiser")["callbacks"]


def last(work, stage):
    return torch.load(work / stage / "checkpoints" / "last.ckpt", weights_only=True)


def best(work, stage):
    return torch.load(work / stage / "checkpoints" / "best.ckpt", weights_only=True)


def curve(work, stage):
    rows = []
    for path in sorted((work / stage / "log").glob("run*/metrics.csv")):
        with path.open(newline="") as file:
            rows += csv.DictReader(file)
    return rows


def assert_equal(first, second):
    assert first["global_step"] == second["global_step"]
    for key, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][key]), key


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_both_networks(work, preset):
    arguments = ["--work", str(work), "--preset", preset, "--trainer.max_epochs", "1"]
    assert main(["train-denoiser", *arguments, *DENOISER]) == 0
    assert main(["train-classifier", *arguments, *CLASSIFIER]) == 0
    card = load_weights(work / "weights").card
    assert PreprocessSettings(**card["preprocessing"]) == PreprocessSettings(**PREPROCESSING)
    assert f"--preset {preset}" in card["training"]["denoiser"]["command"]
    # What the preset says, and no flag above, is what was trained.
    told = yaml.safe_load((presets_root() / preset / "train-denoiser.yaml").read_text())["model"]
    config = card["training"]["denoiser"]["config"]["model"]
    architecture = card["architecture"]["denoiser"]
    assert config["loss"] == told.get("loss", "l1")
    assert config["noise"]["kind"] == told["noise"]["kind"]
    assert architecture["bidirectional"] == told.get("bidirectional", True)
    assert architecture["gates"] == told.get("gates", "sigmoid")
    assert not card["synthetic_only"]
    assert str(work) not in json.dumps(dict(card))


def test_the_denoisers_patients_take_part_in_nothing_later(prepared):
    splits = json.loads((prepared / "splits.json").read_text())
    text = json.dumps(splits)
    assert "control0" not in text  # patients go by pseudonyms
    seen = {}
    for member in splits["studies"]:
        assert seen.setdefault(member["patient"], member["split"]) == member["split"]
    assert {"denoiser_train", "denoiser_val", "train", "val", "test"} <= set(seen.values())


class KilledError(Exception):
    """Stands for a killed run."""


@pytest.mark.parametrize(
    ("stage", "task"), [("denoiser", DenoiserTask), ("classifier", ClassifierTask)]
)
def test_an_interrupted_run_resumes_to_the_same_bits(denoised, tmp_path, monkeypatch, stage, task):
    options = DENOISER if stage == "denoiser" else CLASSIFIER
    arguments = [*options, "--trainer.max_epochs=4", "--model.schedule=cosine"]
    whole = shutil.copytree(denoised, tmp_path / "whole")
    shutil.rmtree(whole / "denoiser")
    halved = shutil.copytree(whole, tmp_path / "halved")
    command = f"train-{stage}"
    assert main([command, "--work", str(whole), *arguments]) == 0

    def interrupt(self):
        if self.current_epoch == 2:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(task, "on_train_epoch_start", interrupt)
        assert main([command, "--work", str(halved), *arguments]) == 1
    assert main([command, "--work", str(halved), *arguments, "--ckpt_path", "last"]) == 0
    assert_equal(last(whole, stage), last(halved, stage))
    epochs = [row["epoch"] for row in curve(halved, stage) if row.get("val_loss")]
    assert epochs == ["0", "1", "2", "3"]


class Worse(torch.nn.CrossEntropyLoss):
    """A loss that is larger by one."""

    def forward(self, logits, label):
        return super().forward(logits, label) + 1


def test_a_run_goes_on_where_its_folder_was_moved_to(denoised, tmp_path, monkeypatch, recwarn):
    """Scratch disks and requeued jobs change the path: the best checkpoint stays the best."""
    here = shutil.copytree(denoised, tmp_path / "here")
    arguments = ["--trainer.max_epochs=2", *CLASSIFIER]
    assert main(["train-classifier", "--work", str(here), *arguments]) == 0
    before = best(here, "classifier")["epoch"]
    moved = here.rename(tmp_path / "moved")
    # Only a run that forgot its best would choose a later epoch.
    monkeypatch.setattr(
        ClassifierTask, "on_fit_start", lambda self: setattr(self, "criterion", Worse())
    )
    arguments = ["--trainer.max_epochs=4", "--ckpt_path=last", *CLASSIFIER]
    assert main(["train-classifier", "--work", str(moved), *arguments]) == 0
    assert best(moved, "classifier")["epoch"] == before
    assert load_weights(moved / "weights").card["metrics"]["classifier"]["epoch"] == before
    assert not [w for w in recwarn if "dirpath has changed" in str(w.message)]


def test_a_finished_run_that_was_moved_can_be_resumed(denoised, tmp_path):
    here = shutil.copytree(denoised, tmp_path / "here")
    arguments = [*CLASSIFIER, "--trainer.max_epochs=1"]
    assert main(["train-classifier", "--work", str(here), *arguments]) == 0
    moved = here.rename(tmp_path / "moved")
    resumed = ["train-classifier", "--work", str(moved), *arguments, "--ckpt_path=last"]
    assert main(resumed) == 0


def test_checkpoints_hold_no_path(denoised):
    for name in ("best", "last"):
        held = (denoised / "denoiser" / "checkpoints" / f"{name}.ckpt").read_bytes()
        assert str(denoised).encode() not in held


def test_the_last_checkpoint_is_that_of_the_last_epoch_also_when_it_was_not_the_best(
    denoised, tmp_path
):
    work = shutil.copytree(denoised, tmp_path / "work")
    # Nothing is learned at this rate: the first epoch stays the best, or ties with it.
    arguments = [*CLASSIFIER, "--trainer.max_epochs=3", "--model.learning_rate=1e-12"]
    assert main(["train-classifier", "--work", str(work), *arguments]) == 0
    assert last(work, "classifier")["epoch"] == 2


def test_the_same_seed_trains_the_same_network_and_another_another(work, tmp_path):
    other = shutil.copytree(work, tmp_path / "other")
    third = shutil.copytree(work, tmp_path / "third")
    for folder, seed in ((work, 0), (other, 0), (third, 1)):
        arguments = ["--work", str(folder), *DENOISER, "--trainer.max_epochs=1"]
        assert main(["train-denoiser", *arguments, "--seed_everything", str(seed)]) == 0
    assert_equal(last(work, "denoiser"), last(other, "denoiser"))
    weights = [
        last(f, "denoiser")["state_dict"]["network.encoder1.0.weight"] for f in (work, third)
    ]
    assert not torch.equal(*weights)


def test_curves_are_kept_as_csv_and_for_tensorboard(denoised):
    rows = [row for row in curve(denoised, "denoiser") if row.get("val_loss")]
    assert {"val_loss", "val_residual_painted", "val_lungs_spread"} <= set(rows[-1])
    assert list((denoised / "denoiser" / "tensorboard").glob("run1/events.*"))
    assert sorted(p.name for p in (denoised / "denoiser").rglob("*.ckpt")) == [
        "best.ckpt",
        "last.ckpt",
    ]


def test_training_stops_when_it_no_longer_gets_better(work):
    # A learning rate of nothing: no epoch is better than the first.
    arguments = ["--work", str(work), *DENOISER, "--trainer.max_epochs=9", "--patience=2"]
    assert main(["train-denoiser", *arguments, "--model.learning_rate=1e-30"]) == 0
    assert last(work, "denoiser")["epoch"] <= 3


def test_a_classifier_without_a_denoiser_is_refused_in_one_line(work, capsys):
    assert main(["train-classifier", "--work", str(work), *CLASSIFIER]) == 2
    assert "weights" in capsys.readouterr().err


def test_the_command_on_the_card_tells_no_folder():
    preset = str(presets_root() / "demo" / "train-denoiser.yaml")
    arguments = ["--config", preset, "--data.work=/home/doe/runs/mine", "--ckpt_path", "/x/a.ckpt"]
    assert shareable_command("covidctnet train-denoiser", arguments) == (
        "covidctnet train-denoiser --preset demo --data.work=mine --ckpt_path a.ckpt"
    )
    assert shareable_command("train", [f"--config={preset}"]) == "train --preset demo"


def test_the_command_on_the_card_can_be_pasted_with_an_attribution_in_it():
    words = ["--attribution", "Lungs of six (CC BY 3.0): https://a.org/by/3.0, it's theirs", "-v"]
    told = shareable_command("covidctnet train-denoiser", words)
    assert shlex.split(told) == ["covidctnet", "train-denoiser", *words]


def test_the_command_on_the_card_keeps_a_licence_whole():
    words = ["--licence", "https://a.org/licences/by-nc/4.0", "-v"]
    told = shareable_command("covidctnet train-denoiser", words)
    assert shlex.split(told) == ["covidctnet", "train-denoiser", *words]


def test_training_is_a_function_too_and_states_no_licence_of_weights_that_are_not_ours(work):
    arguments = ["--data.work", str(work), *DENOISER, "--trainer.max_epochs=1"]
    folder = train(SYSTEM.stage("denoiser"), arguments, program="test")
    card = load_weights(folder).card
    assert list(card["files"]) == ["denoiser.safetensors"]
    assert card["licence"] == "not stated"
    assert "Licence: not stated." in (folder / "model-card.md").read_text()
    again = [*arguments, "--licence", "CC BY-NC 4.0"]
    folder = train(SYSTEM.stage("denoiser"), again, program="test")
    assert load_weights(folder).card["licence"] == "CC BY-NC 4.0"
    assert "Licence: CC BY-NC 4.0." in (folder / "model-card.md").read_text()
