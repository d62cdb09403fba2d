import csv
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

import covidctnet
from covidctnet.cli import main
from covidctnet.evidence import Heatmap, QualityFindings
from covidctnet.radiograph.find import find_radiographs
from covidctnet.radiograph.read import read_radiograph
from covidctnet.slicewise.operating import OperatingPoints
from covidctnet.systems.xray_vgg16.classes import CLASSES
from covidctnet.systems.xray_vgg16.training.data import RadiographData
from covidctnet.systems.xray_vgg16.training.task import RadiographTask
from covidctnet.weights import load_weights
from tests.io import series
from tests.radiograph.pictures import radiograph, write_dicom, write_png, write_radiographs

SMALL = [
    "--model.network=efficientnet_lite0",
    "--model.pretrained=",
    "--data.size=96",
    "--data.batch_size=4",
    "--device=cpu",
]


def train(folder, work, *more):
    arguments = ["train", "xray_vgg16", "classifier", "--work", str(work)]
    return main([*arguments, f"--data.images={folder}", *SMALL, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_radiographs(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    assert train(folder, work, "--trainer.max_epochs=1") == 0
    return work / "weights"


def test_a_run_writes_weights_with_settings_points_and_patients(trained):
    card = load_weights(trained).card
    assert card["system"] == "xray_vgg16" and card["classes"] == ["Normal", "Pneumonia"]
    assert card["architecture"] == {"classifier": {"network": "efficientnet_lite0", "size": 96}}
    assert card["settings"]["size"] == 96 and card["settings"]["points"]["positives"] == 1
    data = card["training"]["classifier"]["data"]
    assert data["pictures"] == 16 and data["patients"] == 8 and "p0" not in str(data)
    assert set(card["metrics"]["classifier"]) >= {"val_loss", "val_accuracy"}
    assert (trained / "curves" / "classifier.csv").is_file()
    with (trained / "curves" / "classifier.csv").open() as file:
        assert {"train_accuracy", "val_accuracy", "val_loss"} <= set(next(csv.reader(file)))


def test_radiographs_are_answered_alone_and_a_ct_among_them_is_refused(trained, tmp_path):
    write_png(tmp_path / "in" / "a.png", radiograph())
    write_dicom(tmp_path / "in" / "b.dcm", radiograph(seed=1).astype(np.uint16) * 16)
    write_dicom(tmp_path / "in" / "c.dcm", radiograph(seed=2), name="x", ViewPosition="LL")
    series.write(tmp_path / "in" / "ct")
    out = tmp_path / "out"
    assert main(["classify", str(tmp_path / "in"), "--weights", str(trained), "-o", str(out)]) == 3
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    codes = sorted(row["code"] for row in rows)
    assert codes == ["", "", "LATERAL_VIEW", "NOT_RADIOGRAPH"]
    assert {"p_normal", "p_pneumonia"} <= rows[0].keys()
    page = (out / "index.html").read_text()
    assert "attention" in page and "Pneumonia" in page


def test_radiographs_are_evaluated_by_patient_but_for_those_that_taught(trained, folder, tmp_path):
    other = write_radiographs(tmp_path / "other", patients=6)
    for file in sorted(other.glob("*.png")):
        number = int(file.stem.split("_")[0][1:])
        seed = 7000 + zlib.crc32(file.stem.encode()) % 1000
        write_png(file, radiograph(120, seed, ill=number % 2 == 0))
    out = tmp_path / "out"
    arguments = ["evaluate", "--weights", str(trained), "-o", str(out), "--data"]
    assert main([*arguments, str(other)]) == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert found["answered"] == {"Normal": 6, "Pneumonia": 6}
    assert "Xividocx" in (out / "index.html").read_text()
    assert main([*arguments, str(folder)]) == 2


def test_an_answer_is_decided_at_the_threshold_and_has_findings_and_a_heat_map(trained, tmp_path):
    model = covidctnet.load(trained, device="cpu", precision="32")
    write_png(tmp_path / "a.jpg", radiograph(), quality=50)
    prepared = model.prepare(read_radiograph(*find_radiographs(tmp_path)))
    model.settings = replace(model.settings, points=None)
    score = model(prepared).probabilities[CLASSES.target]
    for threshold in (score / 2, (1 + score) / 2):
        points = OperatingPoints(threshold, 0.9, 0.1, 2, 2)
        model.settings = replace(model.settings, points=points)
        answer = model(prepared, keep="slices")
        assert (answer.label == CLASSES.target) == (score > threshold)
        assert any("operating points of 2 + 2 validation patients" in n for n in answer.notes)
    assert [f.code for f in answer.find(QualityFindings).findings] == ["jpeg_quality"]
    heat = answer.find(Heatmap)
    assert heat.values.shape == (1, 96, 96) and heat.values.max() <= 1


def test_a_ct_scan_is_refused_by_the_predictor(trained):
    from tests.volumes import a_chest

    model = covidctnet.load(trained, device="cpu", precision="32")
    with pytest.raises(covidctnet.StudyError, match=r"NOT_RADIOGRAPH: expected a radiograph, got"):
        model.prepare(a_chest()[0])
    with pytest.raises(covidctnet.UsageError, match="expected a radiograph as it was read, got"):
        model.prepare(np.zeros((3, 3)))


def test_checkpoints_of_better_training_accuracy_vote(folder, tmp_path):
    more = ["--model.fit=votes", "--trainer.max_epochs=2", "--trainer.limit_train_batches=2"]
    assert train(folder, tmp_path, *more) == 0
    card = load_weights(tmp_path / "weights").card
    votes = card["architecture"]["classifier"].get("votes", 0)
    assert 1 <= votes <= 2 and card["architecture"]["classifier"]["bodies"] == votes
    model = covidctnet.load(tmp_path / "weights", device="cpu", precision="32")
    pictures = np.stack([model.settings.picture(radiograph(seed=n)) for n in range(2)])
    found = model.votes(pictures)
    assert found.shape == (2, votes)
    np.testing.assert_allclose(model.scores(pictures)[:, 1], found.mean(1))


def test_votes_of_a_frozen_body_share_it_and_answer_as_they_did_when_they_were_kept():
    task = RadiographTask("vgg16_block2", 96, pretrained="", fit="votes", augment=False)
    pictures = torch.rand(2, 1, 96, 96)
    expected = []
    for _ in range(2):
        with torch.no_grad():
            for weight in task.network.heads.parameters():
                weight.add_(torch.randn_like(weight) * 0.01)
        task.kept.append(task._learned())
        expected.append(task.network.eval()(pictures))
    assert not any(name.startswith("bodies.") for name in task.kept[0])
    assert task.voting_architecture["bodies"] == 1
    torch.testing.assert_close(task.voting().eval()(pictures), torch.cat(expected, 1))


def test_votes_survive_a_checkpoint():
    task = RadiographTask("vgg16_block2", 96, pretrained="", fit="votes")
    task.kept, task._best = [task._learned()], 0.75
    again = RadiographTask("vgg16_block2", 96, pretrained="", fit="votes")
    again.on_load_checkpoint({"kept": task.kept, "best_train_accuracy": task._best})
    assert again.kept is not task.kept and len(again.kept) == 1 and again._best == 0.75


def test_a_cut_body_stays_frozen_and_a_whole_one_learns_unless_said_otherwise():
    cut = RadiographTask("vgg16_block2", 96, pretrained="").train()
    assert not any(p.requires_grad for p in cut.network.bodies.parameters())
    assert not cut.network.bodies.training and cut.network.heads.training
    assert all(p.requires_grad for p in cut.network.heads.parameters())
    whole = RadiographTask("efficientnet_lite0", 96, pretrained="").train()
    assert whole.network.bodies.training
    assert all(p.requires_grad for p in whole.network.parameters())
    frozen = RadiographTask("efficientnet_lite0", 96, pretrained="", body="frozen").train()
    before = frozen.network.bodies[0].bn1.running_mean.clone()
    frozen.network(torch.rand(2, 1, 96, 96))
    assert torch.equal(frozen.network.bodies[0].bn1.running_mean, before)


def test_folds_start_from_the_same_fresh_weights():
    first = RadiographTask("vgg16_block2", 96, pretrained="", seed=5).network.state_dict()
    torch.rand(7)
    again = RadiographTask("vgg16_block2", 96, pretrained="", seed=5).network.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_classes_weigh_alike_however_many_radiographs_they_have(tmp_path):
    folder = write_radiographs(tmp_path / "set", patients=12)
    rows = (folder / "images.csv").read_text().splitlines()
    # Of every second patient with pneumonia one radiograph is left.
    (folder / "images.csv").write_text("\n".join(r for r in rows if "_1" not in r or "Norm" in r))
    data = RadiographData(str(tmp_path / "work"), images=str(folder), size=96)
    data.setup("fit")
    labels = data.slices_of("train").labels
    normal, ill = data.weights_of_classes()
    assert labels.count(0) * normal == pytest.approx(labels.count(1) * ill)
    assert sum(labels) * ill + labels.count(0) * normal == pytest.approx(len(labels))


def test_patients_are_read_from_the_names_of_files_in_the_folders_of_classes(tmp_path):
    for label in ("NORMAL", "PNEUMONIA"):
        for number in range(12):
            name = f"{label[0]}{number // 2}_{number}.png"
            write_png(tmp_path / "set" / label / name, radiograph(64, 100 * len(label) + number))
    data = RadiographData(str(tmp_path / "work"), images=str(tmp_path / "set"), size=96)
    data.setup("fit")
    owners = {side: {one.image.patient for one in found} for side, found in data.sides.items()}
    assert set.union(*owners.values()) == {f"{c}{n}" for c in "NP" for n in range(6)}
    assert sum(map(len, owners.values())) == 12


def test_a_ct_slice_and_a_lateral_view_among_the_radiographs_are_refused(tmp_path, capsys):
    folder = write_radiographs(tmp_path / "set")
    series.write(tmp_path / "ct", series.a_scan((12, 40, 56)))
    slice_file = sorted((tmp_path / "ct").iterdir())[0]
    slice_file.rename(folder / "slice.dcm")
    table = (folder / "images.csv").read_text()
    (folder / "images.csv").write_text(table + "slice.dcm,x,Normal\n")
    assert train(folder, tmp_path / "work") == 2
    assert "expected a radiograph, got a slice of a CT" in capsys.readouterr().err
    write_dicom(folder / "slice.dcm", radiograph(64), bits=8, ViewPosition="LL")
    assert train(folder, tmp_path / "work") == 2
    assert "expected a frontal radiograph" in capsys.readouterr().err


def test_a_run_without_radiographs_is_one_clear_line(tmp_path, capsys):
    arguments = ["train", "xray_vgg16", "classifier", "--work", str(tmp_path / "work"), *SMALL]
    assert main(arguments) == 2
    assert "expected --data.images FOLDER with labelled radiographs" in capsys.readouterr().err


def test_copies_of_one_radiograph_with_two_labels_are_refused(tmp_path, capsys):
    folder = write_radiographs(tmp_path / "set")
    write_png(folder / "p1_0.png", radiograph(120, 0, ill=True))
    assert train(folder, tmp_path / "work") == 2
    assert "expected one label for a picture, got" in capsys.readouterr().err


def test_a_radiograph_teaches_no_system_of_slices(tmp_path, capsys):
    folder = write_radiographs(tmp_path / "set", classes=("Covid-19", "Normal"))
    write_dicom(folder / "p0_0.png", radiograph(64), bits=8)
    arguments = ["train", "resnet50_slices", "classifier", "--work", str(tmp_path / "work")]
    arguments += [f"--data.images={folder}", "--model.pretrained=", "--device=cpu"]
    assert main([*arguments, "--model.backbone=efficientnet_lite0", "--data.size=64"]) == 2
    assert "expected a slice of a CT, got a radiograph" in capsys.readouterr().err
