"""Training on several processes."""

import csv
import os
import subprocess
import sys

import pytest
import torch

from covidctnet.cli import main
from covidctnet.systems.covidctnet.training.data import ResidualData
from covidctnet.systems.covidctnet.training.tasks import ClassifierTask
from covidctnet.weights import load_weights

DENOISER = ["--model.base=2", "--model.depth=1", "--trainer.limit_train_batches=1"]
CLASSIFIER = ["--model.base=1", "--data.depth=34", "--data.batch_size=1"]
TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]


def test_two_processes_train_one_network_and_validate_every_study_once(little_work):
    """Three studies for two processes: torch's own sampler would count one of them twice."""
    work = ["--work", str(little_work), "--trainer.max_epochs=1"]
    assert main(["train-denoiser", *work, *DENOISER]) == 0
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "covidctnet", "train-classifier", *work, *CLASSIFIER, *TWO],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert sorted(p.name for p in (little_work / "weights").iterdir()) == [
        "card.json",
        "classifier.safetensors",
        "curves",
        "denoiser.safetensors",
        "model-card.md",
    ]
    assert [p.name for p in (little_work / "classifier" / "log").iterdir()] == ["run1"]
    with (little_work / "classifier" / "log" / "run1" / "metrics.csv").open(newline="") as file:
        (figures,) = [row for row in csv.DictReader(file) if row["val_loss"]]
    last = torch.load(little_work / "classifier" / "checkpoints" / "last.ckpt", weights_only=True)
    task = ClassifierTask(base=1, depth=34, size=40)
    task.load_state_dict(last["state_dict"])
    weights = load_weights(little_work / "weights")
    for name, value in weights.classifier().state_dict().items():
        assert torch.equal(value, last["state_dict"][f"network.{name}"]), name
    data = ResidualData(little_work, depth=34, batch_size=3, device="cpu")
    data.prepare_data()
    data.setup("fit")
    ((inputs, labels),) = data.val_dataloader()
    with torch.no_grad():
        logits = task.eval().network(inputs).float()
    right = (logits.argmax(dim=1) == labels).float().mean()
    assert len(labels) == 3
    assert float(figures["val_accuracy"]) == pytest.approx(float(right), abs=1e-6)
    alone = torch.nn.functional.cross_entropy(logits, labels)
    assert float(figures["val_loss"]) == pytest.approx(float(alone), abs=1e-6)
