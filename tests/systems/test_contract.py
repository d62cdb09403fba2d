"""What every system does, whichever it is; and a toy that no other file knows of."""

import csv
import json
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import covidctnet
from covidctnet import registry
from covidctnet.cli import main
from covidctnet.cohort.archive import read_cohort
from covidctnet.cohort.splits import Splits
from covidctnet.cohort.store import Store
from covidctnet.dicom_out.segments import for_a_picture
from covidctnet.errors import CohortError, WeightsError
from covidctnet.evaluation.intervals import auc
from covidctnet.evidence import Mask, evidence_from
from covidctnet.io import read_study
from covidctnet.radiograph.find import find_radiographs
from covidctnet.radiograph.read import read_radiograph
from covidctnet.registry import find_system, system_names
from covidctnet.report.evidence import draw_picture
from covidctnet.run.evaluate import evaluate_data
from covidctnet.slicewise.aggregate import patient_scores
from covidctnet.training.images import Division
from covidctnet.weights import load_weights, save_weights
from tests.dicom_out.checks import dciodvfy_errors, program
from tests.little_work import little_work
from tests.picture_set import write_pictures
from tests.radiograph.pictures import radiograph, write_dicom, write_png, write_radiographs
from tests.small import calibrated_weights, with_masks, write_chest, write_cohort
from tests.systems.toy import CLASSES

__all__ = ["little_work"]


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """The toy, announced as another package would."""
    point = EntryPoint("toy", "tests.systems.toy:SYSTEM", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])


@pytest.fixture
def trained(little_work):
    """Weights of the toy after two steps."""
    arguments = ["train", "toy", "net", "--work", str(little_work), "--trainer.max_epochs=1"]
    assert main([*arguments, "--trainer.limit_train_batches=2", "--device", "cpu"]) == 0
    return little_work / "weights"


# Flags that make two steps of a system's last stage small.
SMALL = {
    "resnet50_slices": [
        "--model.backbone=efficientnet_lite0",
        "--model.pretrained=",
        "--data.size=64",
        "--data.slices=2",
        "--data.batch_size=4",
    ],
    "deeppneumonia": [
        "--model.backbone=efficientnet_lite0",
        "--model.pretrained=",
        "--model.size=160",
        "--data.size=64",
        "--data.slices=3",
        "--data.batch_size=2",
    ],
    "deeptek_unet": [
        "--model.encoder=efficientnet_lite0",
        "--data.size=64",
        "--data.batch_size=4",
    ],
    "xray_vgg16": [
        "--model.network=efficientnet_lite0",
        "--model.pretrained=",
        "--data.size=96",
        "--data.batch_size=4",
    ],
}


# What each system has to put into the geometry of its source.
NIFTI = {
    "toy": {"lesions.nii.gz"},
    "covidctnet": {"lungs.nii.gz", "lesions.nii.gz", "residual.nii.gz"},
    "deeptek_unet": {"lesions.nii.gz"},
    "deeppneumonia": {"regions.nii.gz"},
}


def weights_of(system, tmp_path, request):
    if system == "toy":
        return request.getfixturevalue("trained")
    if system == "covidctnet":
        return calibrated_weights(tmp_path / system)
    work = request.getfixturevalue("little_work")
    arguments = ["train", system, find_system(system).stages[-1].name, "--work", str(work)]
    if system == "deeptek_unet":
        folder = write_pictures(tmp_path / "pictures", masks=True)
        arguments += ["--data.images", str(folder)]
    if find_system(system).modality == "radiograph":
        arguments += ["--data.images", str(write_radiographs(tmp_path / "radiographs"))]
    steps = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--device=cpu"]
    assert main([*arguments, *SMALL[system], *steps]) == 0
    return work / "weights"


def read_input(system, tmp_path):
    """A scan, or a radiograph, as it was read."""
    if system.modality == "radiograph":
        write_png(tmp_path / "radiograph" / "a.png", radiograph())
        return read_radiograph(*find_radiographs(tmp_path / "radiograph"))
    (entry, *_) = read_cohort(write_cohort(tmp_path / "archive", 2, 1))
    return read_study(entry.study)


@pytest.mark.parametrize("name", ["covidctnet", "toy", *SMALL])
def test_every_system_is_found_loads_answers_twice_alike_and_keeps_its_card(
    name, tmp_path, request
):
    assert name in system_names()
    system = find_system(name)
    folder = weights_of(name, tmp_path, request)
    model = covidctnet.load(folder, device="cpu", precision="32")
    assert model.info.system == name
    assert model.info.classes == system.classes
    assert model.info.modality == system.modality
    volume = read_input(system, tmp_path)
    one, two = (model(model.prepare(volume)) for _ in range(2))
    assert one.probabilities == two.probabilities
    assert one.classes == system.classes
    assert one.weights == model.info.digest
    voxels = [(e, name) for e in one.evidence for name in getattr(e, "VOXELS", ())]
    assert one.evidence and all(getattr(e, name) is None for e, name in voxels)
    few, whole = (model(model.prepare(volume), keep=keep) for keep in ("slices", "volumes"))
    assert few.probabilities == whole.probabilities == one.probabilities
    assert (
        draw_picture(few.evidence).content
        == draw_picture(e for e in whole.evidence if type(e) in map(type, few.evidence)).content
    )
    if (mask := whole.find(Mask)) is not None:
        assert mask.slices == tuple(range(len(mask.slices)))
    assert all(evidence_from(e.to_dict()) == e for e in one.evidence)
    assert "data:image/webp" in few._repr_html_()
    weights = load_weights(folder)
    networks = {kind: weights.network(kind) for kind in weights.card["architecture"]}
    again = save_weights(tmp_path / "copy", networks, card=weights.card)
    assert again.digest == weights.digest
    assert again.card.get("training") == weights.card.get("training")
    # What a record keeps is the same with and without files of all voxels.
    kinds = {type(one) for one in few.evidence}
    assert [e for e in for_a_picture(whole.evidence) if type(e) in kinds] == [*few.evidence]
    check_outputs(name, folder, tmp_path)


def check_outputs(name, weights, tmp_path):
    """Its answer to a scan or a radiograph in DICOM has DICOM and NIfTI beside it."""
    if find_system(name).modality == "radiograph":
        path = write_dicom(tmp_path / "xray.dcm", radiograph())
    else:
        path = write_chest(tmp_path / "scan", "one", sick=True)
    out = tmp_path / "outputs"
    options = ["-o", str(out), "--device=cpu", "--dicom", "--nifti"]
    assert main(["classify", str(path), "--weights", str(weights), *options]) == 0
    (study,) = json.loads((out / "results.json").read_text())["studies"]
    written = study["outputs"]
    dicom, nifti = ({Path(n).name for n in written[kind]["files"]} for kind in ("dicom", "nifti"))
    assert {"sr.dcm", "picture.dcm"} <= dicom <= {"sr.dcm", "picture.dcm", "seg.dcm"}
    assert nifti <= NIFTI.get(name, set())
    if name == "covidctnet":
        assert "seg.dcm" in dicom and nifti == NIFTI[name]
    if program("dciodvfy"):
        assert not [e for file in out.glob("dicom/*/*") for e in dciodvfy_errors(file)]


def test_a_toy_is_trained_classifies_and_reports_without_an_edit_elsewhere(trained, tmp_path):
    archive = write_cohort(tmp_path / "archive", 2, 1)
    out = tmp_path / "results"
    assert main(["classify", str(archive), "--weights", str(trained), "-o", str(out)]) == 0
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"classified"}
    assert {"p_control", "p_ill"} <= rows[0].keys() and "p_cap" not in rows[0]
    page = (out / "index.html").read_text()
    assert ">Ill<" in page and "Ill or Control" in page and "CAP" not in page
    assert "slices for ill" in page and "attention" in page
    assert "Residual" not in page and "Affected" not in page


def test_a_toy_of_two_classes_is_evaluated_on_patients_of_three(trained, tmp_path):
    archive = write_cohort(tmp_path / "archive", 2, 1)
    out = tmp_path / "evaluation"
    arguments = ["evaluate", "--data", str(archive), "--weights", str(trained), "-o", str(out)]
    assert main(arguments) == 0
    found = json.loads((out / "evaluation.json").read_text())
    assert found["classes"] == list(CLASSES.titles)
    assert set(found["by_label"]) == {"Control", "Ill"}
    assert np.shape(found["confusion"]["rows"]) == (2, 2)
    assert "Ill" in (out / "index.html").read_text()


def test_a_toy_is_compared_with_masks_of_lesions(trained, tmp_path):
    lesions = np.zeros((25, 50, 60), np.uint8)
    lesions[8:14, 20:32, 10:20] = 1
    data = with_masks(tmp_path / "data", {"sick": lesions, "well": np.zeros_like(lesions)})
    evaluate_data(data, covidctnet.load(trained), tmp_path / "out", limits=None)
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["localisation"]
    assert found["dice"]["n"] == found["voxel_auc"]["n"] == 1
    assert 0 < found["dice"]["value"] < 1


def write_two_classes(archive, numbers):
    """An archive of Ill and Control patients, as the toy names them, with its table."""
    rows = ["study,patient,label"]
    for label in CLASSES.titles:
        for number in numbers:
            name = f"{label}{number}"
            write_chest(archive / name, name, sick=label == "Ill")
            rows.append(f"{name},{name},{label}")
    (archive / "cohort.csv").write_text("\n".join(rows) + "\n")
    return archive


@pytest.fixture
def two_classes(tmp_path):
    return write_two_classes(tmp_path / "two", range(4))


def test_a_cohort_of_two_classes_is_preprocessed_split_trained_and_evaluated(
    two_classes, tmp_path, capsys
):
    work = str(tmp_path / "work")
    small = ["--settings.size", "48", "--workers", "1", "--split.test", "0.25"]
    assert main(["preprocess", str(two_classes), "--work", work, *small]) == 2
    assert "unknown label 'Ill'; known labels are Control, Covid-19" in capsys.readouterr().err
    assert main(["preprocess", str(two_classes), "--work", work, "--system", "toy", *small]) == 0
    splits = Splits.load(Path(work) / "splits.json")
    assert splits.classes == CLASSES
    counts = {n: by_label for n, by_label in splits.counts().items() if any(by_label.values())}
    # No denoiser: every Control teaches, chooses or tests.
    assert set(counts) == {"train", "val", "test"}
    assert sum(by_label["Control"] for by_label in counts.values()) == 4
    assert sum(by_label["Ill"] for by_label in counts.values()) == 4
    # A second run finds the classes in the work folder.
    assert main(["preprocess", str(two_classes), "--work", work, *small]) == 0
    assert Splits.load(Path(work) / "splits.json").digest == splits.digest
    assert {s.label.title for s in Store(Path(work) / "preprocessed").index()} == {"Control", "Ill"}
    assert main(["split", work, "--scheme", "kfold", "--folds", "2"]) == 0
    fold = Splits.load(Path(work) / "folds" / "0" / "splits.json")
    assert fold.classes == CLASSES and "denoiser_train" not in fold.assignment.values()
    steps = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--device=cpu"]
    assert main(["train", "toy", "net", "--work", work, *steps]) == 0
    unseen = write_two_classes(tmp_path / "unseen", [9])
    out = tmp_path / "out"
    weights = str(Path(work) / "weights")
    assert main(["evaluate", "--data", str(unseen), "--weights", weights, "-o", str(out)]) == 0
    figures = json.loads((out / "evaluation.json").read_text())
    assert figures["answered"] == {"Control": 1, "Ill": 1}


def test_a_system_learns_from_no_work_folder_of_other_classes(two_classes, tmp_path, capsys):
    work = str(tmp_path / "work")
    arguments = ["preprocess", str(two_classes), "--settings.size", "48", "--workers", "1"]
    assert main([*arguments, "--work", work, "--system", "toy"]) == 0
    assert main(["train-denoiser", "--work", work]) == 2
    printed = capsys.readouterr().err
    assert "expected a work folder of Covid-19, CAP or Control, as covidctnet tells them" in printed
    assert main([*arguments, "--work", work, "--system", "covidctnet"]) == 2
    assert "got Covid-19, CAP or Control. Choose another work folder" in capsys.readouterr().err


def test_patients_that_taught_a_toy_are_refused(trained, tmp_path):
    archive = write_cohort(tmp_path / "archive", 2, 1)
    card = json.loads((trained / "card.json").read_text())
    (entry, *_) = read_cohort(archive)
    card["training"]["net"]["data"]["seen"] = read_study(entry.study).source.mark
    (trained / "card.json").write_text(json.dumps(card))
    with pytest.raises(CohortError, match="is one that the net of these weights learned from"):
        evaluate_data(archive, covidctnet.load(trained), tmp_path / "out", limits=None)


def test_the_card_of_a_toy_names_all_whom_it_has_seen(trained, little_work):
    card = load_weights(trained).card
    taught = set(card["training"]["net"]["data"]["seen"].split())
    marks = {s.source.mark for s in Store(little_work / "preprocessed").index()}
    assert taught and taught <= marks


def test_weights_of_a_system_that_is_gone_are_refused_in_one_line(trained, monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    with pytest.raises(WeightsError, match="no system named 'toy'") as caught:
        covidctnet.load(trained)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_trained_is_told_before_lightning_comes(capsys):
    assert main(["train", "toy"]) == 2
    assert "expected covidctnet train SYSTEM STAGE" in capsys.readouterr().err
    assert main(["train", "toy", "x", "--work", "w"]) == 2
    assert "the system toy has no stage 'x'; its stages: net" in capsys.readouterr().err
    assert main(["train", "nonesuch", "x", "--work", "w"]) == 2
    assert "no system named 'nonesuch'" in capsys.readouterr().err


def test_a_broken_system_hides_no_other_from_the_help(monkeypatch, capsys):
    broken = EntryPoint("broken", "no_such_module:SYSTEM", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    assert main(["train", "--help"]) == 0
    told = capsys.readouterr().out
    assert "covidctnet denoiser" in told
    assert "the system broken cannot be imported (ModuleNotFoundError" in told


def alike_pictures(root, rng, normal, patients=60, slices=3):
    """Slices of a patient are alike; labels, with a mask of the lesion, are drawn by patient."""
    (root / "masks").mkdir(parents=True)
    lines = ["file,patient,label,mask"]
    for patient, ill in enumerate(rng.permutation(np.arange(patients) % 2)):
        texture = rng.integers(0, 200, (32, 32))
        for number in range(slices):
            name = f"p{patient}_{number}.png"
            grey = texture + rng.integers(0, 50, texture.shape)
            Image.fromarray(grey.astype(np.uint8)).save(root / name)
            mask = np.zeros(texture.shape, np.uint8)
            mask[8:24, 8:24] = 255 * ill
            Image.fromarray(mask).save(root / "masks" / name)
            label = (normal, "Covid-19")[ill]
            lines.append(f"{name},p{patient},{label},masks/{name}")
    (root / "images.csv").write_text("\n".join(lines) + "\n")
    return root


def remembered(train, test):
    """The label of the training slice that is most alike, for each test slice."""
    known = np.stack([one.pixels().ravel() for one in train]).astype(float)
    labels = [bool(one.labels().any()) or int(one.image.label) == 1 for one in train]
    asked = np.stack([one.pixels().ravel() for one in test]).astype(float)
    apart = ((known[None] - asked[:, None]) ** 2).sum(axis=2)
    return np.array(labels, float)[apart.argmin(axis=1)]


@pytest.mark.parametrize("name", SMALL)
def test_a_model_that_saw_random_labels_scores_about_one_half_by_patient(name, tmp_path):
    normal = find_system(name).classes.normal
    folder = alike_pictures(tmp_path / "set", np.random.default_rng(0), normal)
    recipe = find_system(name).stages[-1].recipe()
    patients, scores, truth, slices = [], [], [], []
    for fold in range(3):
        division = Division(folds=3, fold=fold)
        data = recipe.data(str(tmp_path / "work"), images=str(folder), division=division)
        data.setup("fit")
        test = data.sides["test"]
        patients += [one.image.patient for one in test]
        scores += remembered(data.taught(), test).tolist()
        truth += [int(one.image.label) == 1 for one in test]
        slices += test
    by_patient = patient_scores(patients, scores)
    ill = patient_scores(patients, truth)
    values, positive = np.array(list(by_patient.values())), np.array(list(ill.values())) > 0
    assert len(by_patient) == 60
    # Three standard errors of the AUC of 30 patients against 30.
    assert abs(auc(positive, values) - 0.5) < 0.23
    # The same model, where slices of each patient are on both sides.
    leaked = remembered(slices[1::2], slices[::2])
    assert auc(np.array(truth[::2]), leaked) > 0.95
