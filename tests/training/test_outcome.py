"""What a training run leaves behind, and what it says when it goes wrong."""

import csv
import getpass
import os
import shutil
import signal

import pytest
import torch

from covidctnet.cli import main
from covidctnet.cohort.splits import Splits
from covidctnet.systems.covidctnet.training import tasks
from covidctnet.systems.covidctnet.training.tasks import ClassifierTask, DenoiserTask
from covidctnet.weights import load_weights
from covidctnet.writer import SoleWriter
from tests.little_work import PATIENTS, fill
from tests.small import flat_card

DENOISER = ("--model.base=2", "--model.depth=1", "--data.batch_size=2")
DENOISER += ("--data.validation_slices=4", "--trainer.limit_train_batches=2")
CLASSIFIER = ("--model.base=1", "--data.depth=34", "--data.batch_size=2")


def train(stage, work, *options, epochs=1):
    small = DENOISER if stage == "denoiser" else CLASSIFIER
    arguments = [f"train-{stage}", "--work", str(work), *small, *options]
    return main([*arguments, f"--trainer.max_epochs={epochs}"])


def card(work):
    return flat_card(work / "weights")


def checkpoint(work, stage, name):
    return torch.load(work / stage / "checkpoints" / f"{name}.ckpt", weights_only=True)


def losses(work, stage):
    with (work / stage / "log" / "run1" / "metrics.csv").open(newline="") as file:
        return [float(row["val_loss"]) for row in csv.DictReader(file) if row.get("val_loss")]


@pytest.fixture(scope="module")
def with_denoiser(tmp_path_factory):
    """A work folder with a trained denoiser, made once; tests get copies."""
    work = fill(tmp_path_factory.mktemp("denoiser") / "little")
    assert train("denoiser", work) == 0
    return work


@pytest.fixture(scope="module")
def with_classifier(with_denoiser, tmp_path_factory):
    """The same with a classifier."""
    work = copy(with_denoiser, tmp_path_factory.mktemp("classifier"))
    assert train("classifier", work) == 0
    return work


def copy(work, folder):
    return shutil.copytree(work, folder / work.name)


@pytest.fixture
def denoiser_work(with_denoiser, tmp_path):
    return copy(with_denoiser, tmp_path)


@pytest.fixture
def trained_work(with_classifier, tmp_path):
    return copy(with_classifier, tmp_path)


@pytest.fixture(params=[("denoiser", DenoiserTask), ("classifier", ClassifierTask)])
def gone_by(request, tmp_path, monkeypatch):
    """A stage that was spoiled after its best epoch, and where."""
    stage, task = request.param
    if stage == "classifier":
        work = copy(request.getfixturevalue("with_denoiser"), tmp_path)
    else:
        work = fill(tmp_path / "little")

    def spoil(self):
        if self.current_epoch == 2:
            list(self.network.parameters())[-1].data[0] += 50

    monkeypatch.setattr(task, "on_train_epoch_start", spoil)
    assert train(stage, work, epochs=4) == 0
    return stage, work


def test_the_weights_and_the_figures_on_the_card_are_those_of_the_best_epoch(gone_by):
    stage, work = gone_by
    curve = losses(work, stage)
    best = curve.index(min(curve))
    assert best < 2
    assert len(curve) == 4
    told = card(work)["metrics"][stage]
    assert told["epoch"] == best
    assert told["val_loss"] == pytest.approx(curve[best], abs=1e-5)
    kept = checkpoint(work, stage, "best")["state_dict"]
    weights = load_weights(work / "weights")
    network = weights.denoiser() if stage == "denoiser" else weights.classifier()
    for name, value in network.state_dict().items():
        assert torch.equal(value, kept[f"network.{name}"]), name


def test_the_card_counts_the_patients_of_every_split(with_classifier):
    splits = Splits.load(with_classifier / "splits.json")
    trained = card(with_classifier)["training"]
    for stage, names in (
        ("denoiser", ("denoiser_train", "denoiser_val")),
        ("classifier", ("train", "val")),
    ):
        told = trained[stage]["data"]
        assert told["splits_digest"] == splits.digest
        assert told["studies"] == sum(len(splits.studies(name)) for name in names)
        for label, count in PATIENTS.items():
            assert sum(split[label.title] for split in told["patients"].values()) == count


def test_weights_of_phantoms_say_so(with_denoiser, with_classifier):
    assert card(with_denoiser)["synthetic_only"] is True
    assert card(with_classifier)["synthetic_only"] is True
    kinds = card(with_classifier)["training"]["classifier"]["data"]["studies_by_kind"]
    assert kinds.keys() == {"synthetic patients (phantoms)"}


def test_weights_that_saw_a_patient_in_either_stage_do_not_call_themselves_synthetic(
    with_denoiser, patients_work
):
    denoiser = str(with_denoiser / "weights")
    assert train("classifier", patients_work, "--data.denoiser", denoiser) == 0
    assert card(patients_work)["synthetic_only"] is False
    kinds = card(patients_work)["training"]["classifier"]["data"]["studies_by_kind"]
    assert kinds.keys() == {"patients"}


@pytest.mark.parametrize("stage", ["denoiser", "classifier"])
def test_the_learning_curve_travels_with_the_weights(with_classifier, stage):
    with (with_classifier / "weights" / "curves" / f"{stage}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert any(row["val_loss"] for row in rows)
    assert [int(row["step"]) for row in rows] == sorted(int(row["step"]) for row in rows)


def test_the_card_names_no_folder_and_no_user(little_work):
    config = little_work / "mine.yaml"
    config.write_text("patience: 3\n")
    assert train("denoiser", little_work, "--config", str(config)) == 0
    text = (little_work / "weights" / "card.json").read_text()
    told = card(little_work)["training"]["denoiser"]["command"]
    assert told.startswith("covidctnet train-denoiser --data.work little ")
    assert "mine.yaml" in told
    for secret in (str(little_work.parent), f"/{getpass.getuser()}/"):
        assert secret not in text


def test_a_denoiser_trained_anew_takes_the_old_classifier_away(trained_work):
    assert "classifier.safetensors" in card(trained_work)["files"]
    assert train("denoiser", trained_work, "--seed_everything=1") == 0
    assert list(card(trained_work)["files"]) == ["denoiser.safetensors"]
    assert not (trained_work / "weights" / "classifier.safetensors").exists()


def kill(network):
    for parameter in network.parameters():
        parameter.data.zero_()


def test_a_dead_start_is_noticed_and_leaves_no_weights(little_work, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "DEAD_AFTER_STEPS", 4)
    monkeypatch.setattr(DenoiserTask, "on_fit_start", lambda self: kill(self.network))
    assert train("denoiser", little_work, epochs=9) == 2
    told = capsys.readouterr().err
    assert "one constant after 4 steps" in told
    assert "--seed_everything" in told
    assert len(losses(little_work, "denoiser")) == 2
    assert not (little_work / "weights").exists()


def enliven(network):
    network.head[2].weight.data *= 100.0


def test_a_live_start_is_left_alone(little_work, monkeypatch):
    monkeypatch.setattr(tasks, "DEAD_AFTER_STEPS", 1)
    monkeypatch.setattr(DenoiserTask, "on_fit_start", lambda self: enliven(self.network))
    assert train("denoiser", little_work, epochs=3) == 0
    assert card(little_work)["metrics"]["denoiser"]["val_lungs_spread"] > tasks.DEAD_SPREAD


def test_a_compiled_network_learns_what_the_plain_one_learns(little_work, monkeypatch):
    # Traces and differentiates as the real one does, but writes no kernels: no compiler is needed.
    monkeypatch.setattr("covidctnet.systems.covidctnet.denoise.COMPILER", "aot_eager")
    assert train("denoiser", little_work) == 0
    plain = load_weights(little_work / "weights").denoiser().state_dict()
    shutil.rmtree(little_work / "denoiser")
    torch._dynamo.reset()
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    assert train("denoiser", little_work, "--model.compiled=true") == 0
    assert graphs["unique_graphs"] > before + 1  # one only shows that compiling works
    compiled = load_weights(little_work / "weights").denoiser().state_dict()
    assert plain.keys() == compiled.keys()
    for name, values in plain.items():
        torch.testing.assert_close(compiled[name], values, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("stage", ["denoiser", "classifier"])
def test_a_run_that_diverged_leaves_the_weights_as_they_were(denoiser_work, capsys, stage):
    before = card(denoiser_work)
    assert train(stage, denoiser_work, "--model.learning_rate=1e30", epochs=3) == 2
    assert "training diverged" in capsys.readouterr().err
    assert card(denoiser_work) == before


@pytest.mark.parametrize(
    ("stage", "missing", "command"),
    [
        ("denoiser", "splits.json", "preprocess"),
        ("classifier", "weights/card.json", "train-denoiser"),
    ],
)
def test_a_folder_that_is_not_ready_says_what_to_run_and_stays_clean(
    little_work, capsys, stage, missing, command
):
    if stage == "denoiser":
        (little_work / "splits.json").unlink()
    before = sorted(little_work.rglob("*"))
    assert train(stage, little_work) == 2
    told = capsys.readouterr().err
    assert missing in told
    assert f"run covidctnet {command} first" in told
    assert sorted(little_work.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.batch_size=0"], "batch_size must be 1 or more"),
        (["--model.base=0"], "base must be even"),
        (["--seed_everything=-3"], "-3 is not in bounds"),
        (["--trainer.strategy=foo"], "invalid strategy name"),
        (["--trainer.precision=12"], "bf16-true, bf16-mixed"),
        ([f"--ckpt_path={__file__}"], "no whole checkpoint"),
        (["--device=cpu", "--trainer.devices=3"], "give either it or them"),
    ],
)
def test_a_wrong_setting_is_wrong_usage_in_one_line(little_work, capsys, options, message):
    assert train("denoiser", little_work, *options) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_run_that_ends_before_its_first_validation_keeps_a_checkpoint_and_says_so(
    little_work, capsys
):
    assert train("denoiser", little_work, "--trainer.max_steps=1") == 2
    assert "before its first validation" in capsys.readouterr().err
    assert not (little_work / "weights").exists()
    assert checkpoint(little_work, "denoiser", "last")["global_step"] == 1


@pytest.mark.parametrize("stage", ["denoiser", "classifier"])
def test_an_option_nobody_knows_is_told_in_one_line(little_work, capsys, stage):
    assert train(stage, little_work, "--nonsense=1") == 2
    told = capsys.readouterr().err
    assert "--nonsense" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("stage", "task"), [("denoiser", DenoiserTask), ("classifier", ClassifierTask)]
)
def test_ctrl_c_exits_130_and_the_run_can_go_on(
    little_work, with_denoiser, monkeypatch, capsys, stage, task
):
    if stage == "classifier":
        shutil.copytree(with_denoiser / "weights", little_work / "weights")
    handler = signal.getsignal(signal.SIGINT)

    def interrupt(self):
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(task, "on_train_epoch_start", interrupt)
        assert train(stage, little_work, epochs=3) == 130
    assert "stopped by SIGINT" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler
    assert train(stage, little_work, "--ckpt_path=last", epochs=3) == 0
    assert checkpoint(little_work, stage, "last")["epoch"] == 2


@pytest.mark.parametrize("at", ["a step", "the validation"])
def test_a_signal_saves_the_step_and_the_run_goes_on_to_the_same_bits(
    little_work, tmp_path, monkeypatch, capsys, at
):
    batches = "--trainer.limit_train_batches=4"
    whole = shutil.copytree(little_work, tmp_path / "whole")
    assert train("denoiser", whole, batches, epochs=3) == 0

    def terminate(self, *arguments):
        if self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    hook = "on_before_zero_grad" if at == "a step" else "on_validation_epoch_start"
    with monkeypatch.context() as patch:
        patch.setattr(DenoiserTask, hook, terminate)
        assert train("denoiser", little_work, batches, epochs=3) == 143
    assert "stopped by SIGTERM; what was finished is kept" in capsys.readouterr().err
    assert not (little_work / "weights").exists()
    kept = checkpoint(little_work, "denoiser", "last")["global_step"]
    assert kept == (5 if at == "a step" else 9)
    assert train("denoiser", little_work, batches, "--ckpt_path=last", epochs=3) == 0
    first, second = (checkpoint(w, "denoiser", "last") for w in (whole, little_work))
    assert first["global_step"] == second["global_step"] == 12
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name


def test_without_a_checkpoint_the_last_one_is_the_beginning(little_work, tmp_path, capsys):
    other = shutil.copytree(little_work, tmp_path / "other")
    assert train("denoiser", little_work, "--ckpt_path", "last") == 0
    assert "starts at the beginning" in capsys.readouterr().err
    assert train("denoiser", other) == 0
    first, second = (checkpoint(w, "denoiser", "last")["state_dict"] for w in (little_work, other))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_checkpoint_that_is_not_there_is_wrong_usage(little_work, capsys):
    assert train("denoiser", little_work, "--ckpt_path=/nowhere/mine.ckpt") == 2
    told = capsys.readouterr().err
    assert "'mine.ckpt' does not exist" in told
    assert "/nowhere" not in told


def test_a_trial_run_of_a_batch_writes_no_weights(little_work):
    assert train("denoiser", little_work, "--trainer.fast_dev_run=true") == 0
    assert not (little_work / "weights").exists()


@pytest.mark.parametrize("stage", ["denoiser", "classifier"])
def test_training_on_a_gpu_that_is_not_there_is_wrong_usage(
    denoiser_work, monkeypatch, capsys, stage
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert train(stage, denoiser_work, "--device=cuda") == 2
    assert "device 'cuda' is not on this machine" in capsys.readouterr().err


def test_one_seed_decides_weights_noise_and_order(little_work):
    assert train("denoiser", little_work, "--seed_everything=7") == 0
    told = card(little_work)["training"]["denoiser"]["config"]
    assert (told["seed"], told["model"]["seed"]) == (7, 7)


@pytest.mark.parametrize(
    "options",
    [
        ("--model.noise.kind=field", "--model.noise.region=slice"),
        ("--model.loss=bce", "--model.schedule=constant"),
        ("--trainer.precision=bf16-mixed",),
        ("--trainer.accumulate_grad_batches=2", "--trainer.gradient_clip_val=1.0"),
        ("--data.workers=1",),
        ("--trainer.logger=false",),
    ],
    ids=lambda options: options[0],
)
def test_the_flags_of_recipe_and_trainer_work(little_work, options):
    assert train("denoiser", little_work, *options) == 0
    assert torch.isfinite(
        load_weights(little_work / "weights").denoiser().state_dict()["encoder1.0.weight"]
    ).all()


def test_the_input_of_the_classifier_reaches_the_card(denoiser_work):
    assert train("classifier", denoiser_work, "--data.precision=32") == 0
    plain = card(denoiser_work)
    assert plain["residual"] == {"depth_resize": "linear", "signed": True}
    assert plain["architecture"]["classifier"] == {"base": 1, "depth": 34, "size": 40}
    options = ("--data.classifier_input=both", "--data.precision=bf16")
    assert train("classifier", denoiser_work, *options) == 0
    told = card(denoiser_work)
    assert told["residual"] == {**plain["residual"], "classifier_input": "both"}
    assert told["architecture"]["classifier"]["channels"] == 2
    assert told["training"]["classifier"]["config"]["residual_precision"] == "bf16"
    weights = load_weights(denoiser_work / "weights")
    assert weights.classifier().input_shape[0] == 2


@pytest.mark.parametrize("option", ["--data.classifier_input=lungs", "--data.precision=64"])
def test_an_input_nobody_knows_is_wrong_usage_in_one_line(denoiser_work, capsys, option):
    assert train("classifier", denoiser_work, option) == 2
    told = capsys.readouterr().err
    assert option.partition("=")[2] in told
    assert told.count("\n") == 1


def test_two_runs_never_train_one_stage_at_once(little_work, capsys):
    (little_work / "denoiser").mkdir()
    with SoleWriter(little_work / "denoiser"):
        assert train("denoiser", little_work) == 2
    assert "another run writes into this folder" in capsys.readouterr().err
    assert not (little_work / "weights").exists()
