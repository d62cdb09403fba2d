from dataclasses import asdict, replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

import covidctnet
from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.errors import StudyError, UsageError, WeightsError
from covidctnet.slicewise.operating import OperatingPoints
from covidctnet.slicewise.sampling import lung_slices
from covidctnet.systems.resnet50_slices.classes import CLASSES
from covidctnet.systems.resnet50_slices.settings import SliceSettings
from covidctnet.systems.resnet50_slices.training.data import LabelledSlices, SliceData
from covidctnet.systems.resnet50_slices.training.schedule import FineTune
from covidctnet.systems.resnet50_slices.training.task import SliceTask
from covidctnet.training.work import WorkFolder
from covidctnet.weights import load_weights, save_weights
from tests.little_work import little_work
from tests.picture_set import write_pictures
from tests.volumes import a_chest

__all__ = ["little_work"]

SMALL = [
    "--model.backbone=efficientnet_lite0",
    "--model.pretrained=",
    "--data.size=32",
    "--data.slices=2",
    "--data.batch_size=4",
    "--device=cpu",
]


def train(work, *more):
    arguments = ["train", "resnet50_slices", "classifier", "--work", str(work), *SMALL, *more]
    return main(arguments)


@pytest.fixture
def trained(little_work):
    assert train(little_work, "--trainer.max_epochs=2", "--trainer.limit_train_batches=1") == 0
    return little_work / "weights"


def test_two_steps_write_weights_with_settings_and_patients(trained):
    weights = load_weights(trained)
    assert weights.classes == CLASSES
    settings = SliceSettings.from_card(weights.card["settings"])
    assert replace(settings, points=None) == SliceSettings(size=32, slices=2)
    figures = weights.card["metrics"]["operating points"]
    assert figures["patients"] == settings.points.positives + settings.points.negatives > 1
    assert figures["rule-in specificity"] == figures["rule-out sensitivity"] == 1
    assert weights.card["architecture"] == {"classifier": {"backbone": "efficientnet_lite0"}}
    assert weights.card["training"]["classifier"]["data"]["seen"]
    assert weights.card["metrics"]["classifier"]["val_loss"] > 0
    assert "phantoms" in weights.caveat


def test_the_last_epoch_is_kept_where_that_is_asked_for(little_work):
    more = ["--checkpoint=last", "--trainer.max_epochs=2", "--trainer.limit_train_batches=1"]
    assert train(little_work, *more) == 0
    card = load_weights(little_work / "weights").card
    assert card["metrics"]["classifier"]["epoch"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"size": 8}}, "impossible settings .expected a size of 32 to 2048"),
        ({"settings": {"colour": 1}}, "impossible settings .expected size, fit"),
        ({"classes": ["Covid-19", "Non-Covid"]}, "in this order"),
    ],
)
def test_a_card_with_other_classes_or_settings_is_refused(change, said, trained, tmp_path):
    weights = load_weights(trained)
    network = weights.network("classifier")
    with pytest.raises(WeightsError, match=said):
        save_weights(tmp_path / "w", {"classifier": network}, card={**weights.card, **change})


def test_a_run_with_fewer_slices_than_a_batch_is_refused_in_one_line(little_work, capsys):
    assert train(little_work, "--data.batch_size=400") == 2
    told = capsys.readouterr().err
    assert "expected at least 400 slices for a batch" in told and "Traceback" not in told


def test_the_same_seed_trains_the_same_network(little_work, tmp_path):
    found = []
    for _ in range(2):
        more = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
        assert train(little_work, *more, "--seed_everything=43") == 0
        found.append(load_weights(little_work / "weights").digest)
    assert found[0] == found[1]


def test_slices_lie_evenly_over_the_lungs():
    areas = np.array([0, 0, 1, 50, 90, 100, 100, 80, 60, 20, 5, 0])
    assert lung_slices(areas, 20) == (3, 4, 5, 6, 7, 8, 9, 10)
    assert lung_slices(areas, 1) == (7,)
    assert lung_slices(areas, 4) == (4, 6, 8, 10)
    with pytest.raises(StudyError, match="NOT_CHEST"):
        lung_slices(np.zeros(5), 3)


def test_hounsfield_units_become_bytes_of_the_lung_window():
    settings = SliceSettings(size=32)
    hu = np.full((40, 60), -1350.0)
    assert not settings.slice(hu).any()
    assert (settings.slice(hu + 1500) == 255).all()
    assert (settings.slice(np.full((40, 60), -600.0)) == 128).all()
    assert (settings.slice(np.full((40, 60), 3000, np.int16)) == 255).all()


def test_stored_scans_give_slices_with_two_classes(little_work):
    studies = WorkFolder(little_work).studies("train")
    slices = LabelledSlices.of_scans(studies, SliceSettings(size=32, slices=2))
    expected = [int(study.label is CHEST_CT.COVID19) for study in studies for _ in range(2)]
    assert slices.labels == expected and set(expected) == {0, 1}
    picture, label = slices[0, -1]
    assert picture.dtype == torch.uint8 and picture.shape == (1, 32, 32)
    assert label.dtype == torch.int64


def test_impossible_settings_are_refused(little_work):
    for bad in ({"size": 8}, {"fit": "squash"}, {"slices": 0}, {"width": 0.0}):
        with pytest.raises(UsageError, match="expected"):
            SliceSettings(**{**asdict(SliceSettings()), **bad})
    with pytest.raises(UsageError, match="expected a batch_size of 2 or more"):
        SliceData(str(little_work), batch_size=1)
    for more in ({"images": "a"}, {"patients_unknown": True}):
        with pytest.raises(UsageError, match=r"or --data\.scans"):
            SliceData(str(little_work), scans="b", **more)


def test_a_task_starts_from_its_seed_alone():
    first = SliceTask("efficientnet_lite0", pretrained="", seed=5).network.head[2].weight
    torch.rand(7)
    again = SliceTask("efficientnet_lite0", pretrained="", seed=5).network.head[2].weight
    assert torch.equal(first, again)


def test_pictures_teach_as_scans_do_and_their_patients_are_in_no_card(tmp_path):
    folder = write_pictures(tmp_path / "set")
    work = tmp_path / "work"
    more = [f"--data.images={folder}", "--trainer.max_epochs=1", "--data.fit=crop"]
    assert train(work, *more) == 0
    card = load_weights(work / "weights").card
    told = card["training"]["classifier"]["data"]
    assert told["pictures"] == 16 and told["patients"] == 8
    assert "p0" not in str(card["training"]["classifier"]["data"])
    assert not card["synthetic_only"]


def test_a_crop_lies_elsewhere_in_every_epoch_and_in_the_middle_in_validation(tmp_path):
    folder = write_pictures(tmp_path / "set", size=(40, 80))
    data = SliceData(str(tmp_path / "work"), images=str(folder), size=40, batch_size=2)
    data.setup("fit")
    slices = data.slices_of("val")
    middle, _ = slices[0, -1]
    first = data.sides["val"][0].pixels()
    assert np.array_equal(middle[0].numpy(), first[:, 20:60])
    places = {tuple(slices[0, seed][0][0, 0].tolist()) for seed in range(20)}
    assert len(places) > 10
    assert torch.equal(slices[0, 5][0], slices[0, 5][0])


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*smaller than the logging interval")
@pytest.mark.parametrize("batches_a_step", [1, 2])
def test_the_learning_rates_of_a_run_end_with_its_last_step(batches_a_step, tmp_path):
    folder = write_pictures(tmp_path / "set")
    data = SliceData(str(tmp_path / "work"), images=str(folder), size=32, batch_size=4)
    task = SliceTask("efficientnet_lite0", pretrained="", augment=False)
    seen = []
    task.on_train_batch_end = lambda *rest: seen.append(
        [group["lr"] for group in task.trainer.optimizers[0].param_groups]
    )
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        accumulate_grad_batches=batches_a_step,
    )
    trainer.fit(task, data)
    steps = 3 * 3 if batches_a_step == 1 else 3 * 2
    plan = FineTune(steps // 3, epochs=2, frozen_epochs=1)
    assert trainer.global_step == steps == plan.steps
    expected = [rate for rate in plan.at(steps - 1).rates for _ in range(2)]
    assert seen[-1] == pytest.approx(expected)
    assert seen[0] == pytest.approx([r for r in plan.at(0).rates for _ in range(2)])


def test_the_answer_for_a_scan_is_decided_at_the_threshold_of_validation_patients(trained):
    model = covidctnet.load(trained, device="cpu", precision="32")
    volume, _ = a_chest()
    prepared = model.prepare(volume)
    model.settings = replace(model.settings, points=None)
    mean = model(prepared).probabilities[CLASSES.target]
    for threshold in (mean / 2, (1 + mean) / 2):
        points = OperatingPoints(threshold, 0.9, 0.1, 2, 2)
        model.settings = replace(model.settings, points=points)
        answer = model(prepared)
        assert (answer.label == CLASSES.target) == (mean > threshold)
        assert any("operating points of 2 + 2 validation patients" in n for n in answer.notes)


def test_unknown_patients_choose_no_threshold(tmp_path):
    folder = write_pictures(tmp_path / "set")
    table = folder / "images.csv"
    rows = table.read_text().splitlines()
    rows = [rows[0], *(f"{f},unknown,{label}" for f, _, label in (r.split(",") for r in rows[1:]))]
    table.write_text("\n".join(rows) + "\n")
    more = [f"--data.images={folder}", "--trainer.max_epochs=1", "--data.patients_unknown=true"]
    assert train(tmp_path / "work", *more) == 0
    card = load_weights(tmp_path / "work" / "weights").card
    assert card["settings"]["points"] is None and "operating points" not in card["metrics"]


def test_lungs_can_be_blacked_out_in_training_and_then_are_in_use(tmp_path):
    folder = write_pictures(tmp_path / "set")
    more = [f"--data.images={folder}", "--trainer.max_epochs=1", "--data.lungs_blacked_out=true"]
    assert train(tmp_path / "work", *more) == 0
    model = covidctnet.load(tmp_path / "work" / "weights", device="cpu", precision="32")
    volume, _ = a_chest()
    black = model.prepare(volume).pictures
    model.settings = replace(model.settings, lungs_blacked_out=False)
    assert (model.prepare(volume).pictures > 0).sum() > 1.3 * (black > 0).sum()
