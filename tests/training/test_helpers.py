"""What helps people who train: an estimate, a learning rate, an early look, other loggers."""

import csv
import re
import sys
from dataclasses import asdict

import pytest
import torch
from pytorch_lightning import loggers

from covidctnet import surroundings
from covidctnet.cli import main
from covidctnet.preprocess import PreprocessSettings
from covidctnet.training.estimate import Estimate, Measure
from covidctnet.training.look import look_at_answers, look_at_pictures
from covidctnet.weights import load_weights, save_weights
from covidctnet.weights.card import taught_by
from tests.small import DEPTH, tiny_weights

TINY = ("--model.base=2", "--model.depth=1", "--data.batch_size=2", "--data.validation_slices=2")
TINY += ("--device=cpu", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2")


def denoiser(work, *more):
    return main(["train-denoiser", "--work", str(work), *TINY, *more])


def test_an_estimate_measures_a_few_steps_and_writes_no_weights(little_work, capsys):
    more = ("--estimate", "--trainer.max_epochs=50", "--trainer.limit_train_batches=1.0")
    assert denoiser(little_work, *more) == 0
    told = capsys.readouterr().out
    assert re.search(r"estimate of the denoiser on cpu with \d+ threads", told)
    assert re.search(r"an epoch of \d+ steps and \d+ validation steps \d", told)
    assert "50 epochs" in told and re.search(r"memory \d+\.\d GB", told)
    left = {p.name for p in little_work.iterdir()}
    assert not left & {"weights", "denoiser"}


def test_an_estimate_counts_steps_and_validations_of_all_epochs():
    found = Estimate("denoiser", "cpu", 2.0, 1.0, 100, 10, 24, 2, 3 * 10**9, 5.0)
    assert found.epoch_s == 2.0 * 100 + 1.0 * 10 / 2
    assert "24 epochs 82 min at most" in str(found)
    assert "memory 3.0 GB" in str(found)


def test_the_first_steps_warm_up_and_a_limit_in_steps_counts():
    measure = Measure()
    measure._steps, measure._validation, measure._counts = (
        [9.0, 9.0, 9.0, 1.0, 1.2, 1.1],
        [0.5],
        (8, 2),
    )

    class Trainer:
        limit_train_batches = 0.5
        limit_val_batches = None
        max_epochs = 100
        max_steps = 10
        check_val_every_n_epoch = 1

    found = measure.estimate("net", Trainer())
    assert (found.step_s, found.validation_step_s) == (1.1, 0.5)
    assert (found.steps, found.validation_steps) == (4, 2)
    # Ten steps are two and a half epochs of four.
    assert found.epochs == 3


def test_a_learning_rate_is_suggested_and_the_curve_kept(little_work, capsys):
    assert denoiser(little_work, "--find-lr", "12", "--trainer.limit_train_batches=1.0") == 0
    told = capsys.readouterr().out
    rate = float(re.search(r"--model.learning_rate (\S+), where", told)[1])
    assert 1e-8 <= rate <= 1
    with (little_work / "denoiser" / "learning-rate.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == sorted(rates) and len(rows) > 5
    assert not (little_work / "weights").exists()
    assert not list((little_work / "denoiser").rglob("*.ckpt"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--find-lr", "2"), "expected --find-lr of 5 steps or more, got 2"),
        (("--find-lr", "9", "--estimate"), "expected --estimate or --find-lr, got both"),
        (("--look", "-1"), "expected --look of 0 examples or more, got -1"),
        (("--logger", "tensorflow"), "expected --logger as one of files, wandb, mlflow"),
    ],
)
def test_impossible_wishes_are_one_line(little_work, capsys, more, message):
    assert denoiser(little_work, *more) == 2
    assert message in capsys.readouterr().err
    assert not (little_work / "denoiser").exists()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_whose_package_is_missing_is_named_with_its_extra(
    little_work, capsys, monkeypatch, name
):
    real = surroundings.find_spec
    monkeypatch.setattr(surroundings, "find_spec", lambda m: None if m == name else real(m))
    assert denoiser(little_work, "--logger", name) == 2
    told = capsys.readouterr().err
    assert f"expected the package {name} for --logger {name}, {name} is missing" in told
    assert f"pip install 'covidctnet[{name}]'" in told
    assert not (little_work / "denoiser").exists()


class Kept(loggers.Logger):
    """Stands for a logger whose package is not installed here."""

    made: dict = {}  # noqa: RUF012
    seen: list = []  # noqa: RUF012

    def __init__(self, **how):
        super().__init__()
        self.made.clear()
        self.seen.clear()
        self.made.update(how)

    name = version = "kept"

    def log_metrics(self, metrics, step=None):
        self.seen.extend(metrics)

    def log_hyperparams(self, params, *rest, **more):
        pass


@pytest.mark.parametrize(("name", "kind"), [("wandb", "WandbLogger"), ("mlflow", "MLFlowLogger")])
def test_curves_go_to_another_logger_and_stay_in_the_work_folder(
    little_work, monkeypatch, name, kind
):
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(surroundings, "find_spec", lambda module: True)
    monkeypatch.setattr(loggers, kind, Kept)
    assert denoiser(little_work, "--logger", name) == 0
    assert "val_loss" in Kept.seen
    # Nothing leaves the machine, and the files are there as without it.
    folder = little_work / "denoiser"
    if name == "wandb":
        assert Kept.made["offline"] is True
        assert Kept.made["save_dir"] == str(folder / "wandb")
    else:
        place = (folder / "mlflow").absolute()
        assert Kept.made["tracking_uri"] == f"sqlite:///{place}/mlflow.db"
        assert Kept.made["artifact_location"] == (place / "artifacts").as_uri()
        assert place.is_dir()
    assert (folder / "log" / "run1" / "metrics.csv").is_file()


def test_a_look_shows_truth_and_answer_without_a_patient():
    probabilities = torch.tensor([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
    look = look_at_answers(
        ("Control", "Covid-19", "CAP"), probabilities, torch.tensor([1, 2, 2]), 2
    )
    assert look.words == ("Covid-19 answered Covid-19 0.70", "CAP answered Control 0.60")


def test_a_look_at_pictures_has_an_example_a_row():
    panels = [torch.full((3, 1, 4, 5), value) for value in (0.2, 1.5)]
    look = look_at_pictures(panels, "one, two", 2)
    assert look.picture.shape == (8, 10)
    assert look.picture[:, 5:].max() == 1.0


def test_a_look_at_a_network_that_diverged_is_a_picture():
    spoiled = torch.tensor([float("nan"), float("inf"), 0.5, 0.0]).reshape(1, 1, 2, 2)
    assert look_at_pictures([spoiled], "spoiled", 1).picture.tolist() == [[0.0, 1.0], [0.5, 0.0]]


def shipped(folder, preprocessing):
    """Weights as they travel, of networks that have learned nothing, with what they have seen."""
    tiny = load_weights(tiny_weights(folder))
    seen = {"seen": "0123456789ab", "studies_by_kind": {"patients": 3}}
    card = {
        "architecture": tiny.card["architecture"],
        "preprocessing": preprocessing,
        "synthetic_only": False,
        "training": {"denoiser": {"data": seen}, "classifier": {"data": seen}},
    }
    networks = {kind: tiny.network(kind) for kind in card["architecture"]}
    save_weights(folder, networks, card=card)
    return folder


def test_the_recipe_of_fine_tuning_keeps_the_denoiser_and_starts_from_the_classifier(
    little_work, tmp_path, capsys
):
    folder = shipped(tmp_path / "shipped", asdict(PreprocessSettings(size=40)))
    flags = ["--model.base=1", f"--data.depth={DEPTH}", "--data.batch_size=2", "--device=cpu"]
    flags += ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    # Nothing is learned at this rate: what is written is what it started from.
    flags += ["--model.learning_rate=1e-30", "--init", str(folder), "--data.denoiser", str(folder)]
    assert main(["train-classifier", "--work", str(little_work), *flags]) == 0
    told = capsys.readouterr().err
    assert re.search(r"epoch 1, validation examples: \S+ answered \S+ \d\.\d\d", told)
    made, start = load_weights(little_work / "weights"), load_weights(folder)
    for kind in ("denoiser", "classifier"):
        for name, value in start.network(kind).state_dict().items():
            torch.testing.assert_close(made.network(kind).state_dict()[name], value)
    # Whom the shipped weights have seen is refused in an evaluation of these, too.
    assert made.card["training"].keys() == {"denoiser", "classifier"} | {
        "start: denoiser",
        "start: classifier",
    }
    assert taught_by(made.card, "classifier")["0123456789ab"] == "start: classifier"
    assert not made.card["synthetic_only"]


def test_a_stage_that_sets_its_own_rates_is_no_place_to_find_one(tmp_path, capsys):
    from tests.picture_set import write_pictures

    flags = ["--model.backbone=efficientnet_lite0", "--model.pretrained=", "--data.size=64"]
    flags += ["--data.images", str(write_pictures(tmp_path / "set")), "--find-lr", "20"]
    work = ["--work", str(tmp_path / "work"), "--device=cpu", "--data.batch_size=4"]
    assert main(["train", "resnet50_slices", "classifier", *work, *flags]) == 2
    assert "classifier sets its own for groups of layers" in capsys.readouterr().err


def test_a_package_that_settings_need_is_named(little_work, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "comet_ml", None)
    assert denoiser(little_work, "--trainer.logger=CometLogger") == 2
    told = capsys.readouterr().err
    assert "comet" in told and told.count("\n") == 1
