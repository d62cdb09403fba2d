import csv
import json
import shutil

import numpy as np
import pytest
from pydicom import dcmread

from covidctnet.cohort.archive import read_cohort
from covidctnet.cohort.splits import Splits, SplitSettings, studies_of_split
from covidctnet.errors import CohortError, UsageError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.run.evaluate import Unseen, evaluate_data, evaluate_work
from covidctnet.run.prepare import prepare
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.volume import PAINTED_INTO, Source
from tests.small import (
    PREPROCESSING,
    flat_card,
    put_card,
    tiny_weights,
    with_masks,
    write_chest,
    write_cohort,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return CovidCTNet.load(
        tiny_weights(tmp_path_factory.mktemp("weights") / "tiny"), device="cpu", precision="32"
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("archive"))


def prepared(archive, work, **changes):
    settings = PreprocessSettings(**{**PREPROCESSING, **changes})
    prepare(archive, work, settings=settings, split=SplitSettings(), workers=1)
    return work


def test_a_labelled_folder_is_scored_with_n_and_interval(archive, model, tmp_path):
    table = evaluate_data(archive, model, tmp_path / "out").table
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert figures["overall"]["accuracy"]["n"] == 16
    assert (
        figures["overall"]["accuracy"]["low"]
        <= figures["overall"]["accuracy"]["value"]
        <= figures["overall"]["accuracy"]["high"]
    )
    assert sum(map(sum, figures["confusion"]["rows"])) == 16
    assert "synthetic patients (phantoms) only" in table
    assert (tmp_path / "out" / "evaluation.md").read_text() == table + "\n"
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["truth"] == row["label"] for row in rows)
    assert figures["overall"]["accuracy"]["value"] == pytest.approx(right / 16)


def test_several_folders_are_told_apart_by_site_and_by_how_they_were_scanned(model, tmp_path):
    for site in ("here", "there"):
        root = tmp_path / site
        rows = ["study,patient,label,site"]
        for label in ("Control", "Covid-19", "CAP"):
            write_chest(root / label, f"{site} {label}", sick=label != "Control")
            rows.append(f"{label},{label} {site},{label},{site}")
        (root / "cohort.csv").write_text("\n".join(rows) + "\n")
    evaluate_data([tmp_path / "here", tmp_path / "there"], model, tmp_path / "out")
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        answers = list(csv.DictReader(file))
    assert sorted(row["site"] for row in answers) == ["here"] * 3 + ["there"] * 3
    assert {row["trait_slice_mm"] for row in answers} == {"6"}
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    sites = {s["value"]: s["accuracy"]["n"] for s in figures["strata"] if s["trait"] == "site"}
    assert sites == {"here": 3, "there": 3}
    page = (tmp_path / "out" / "index.html").read_text()
    assert str(tmp_path) not in page
    assert "Research use only. Not a medical device." in page


@pytest.fixture
def thresholded(tmp_path):
    """A model that counts every voxel with a positive residual as lesion."""
    folder = tiny_weights(tmp_path / "thresholded")
    card = flat_card(folder)
    put_card(folder, card | {"lesion_volume": {"threshold": 0.0}})
    return CovidCTNet.load(folder, device="cpu", precision="32")


def test_lesions_are_compared_with_the_masks_that_there_are(thresholded, tmp_path, caplog):
    lesions = np.zeros((25, 50, 60), np.uint8)
    lesions[8:14, 20:32, 10:20] = 1
    data = with_masks(tmp_path / "data", {"sick": lesions, "well": np.zeros_like(lesions)})
    evaluate_data(data, thresholded, tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())["localisation"]
    assert set(figures) == {"dice", "voxel_auc", "sensitivity", "precision"}
    assert figures["voxel_auc"]["n"] == 1  # the healthy one has no lesions to find
    assert "Found and true lesions" in (tmp_path / "out" / "index.html").read_text()
    assert not caplog.records


def test_a_mask_that_is_none_costs_a_warning_and_no_answer(thresholded, tmp_path, caplog):
    data = with_masks(tmp_path / "data", {"sick": np.full((25, 50, 60), 9, np.uint8)})
    done = evaluate_data(data, thresholded, tmp_path / "out")
    assert (done.answered, done.failed) == (2, 0)
    (record,) = caplog.records
    assert "expected whole numbers from 0 to 3 in a lesion mask" in record.getMessage()
    assert str(tmp_path) not in record.getMessage()


def test_studies_without_an_answer_are_counted_beside(archive, model, tmp_path):
    data = write_cohort(tmp_path / "data", controls=1, others=1)
    for file in list((data / "CAP" / "cap0").glob("*.dcm"))[3:5]:
        file.unlink()
    done = evaluate_data(data, model, tmp_path / "out")
    assert (done.answered, done.failed) == (2, 1)
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert figures["overall"]["accuracy"]["n"] == 2
    (failure,) = figures["failures"]
    assert failure["label"] == "CAP"
    assert "Without an answer: 1" in done.table
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        unanswered = [row for row in csv.DictReader(file) if row["code"]]
    assert [(r["study"], r["truth"], r["label"]) for r in unanswered] == [
        (failure["study"], "CAP", "")
    ]


def test_only_the_patients_held_back_are_scored(archive, model, tmp_path):
    work = prepared(archive, tmp_path / "work")
    evaluate_work(work, model, tmp_path / "out")
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    splits = json.loads((work / "splits.json").read_text())
    held_back = [s["study"] for s in splits["studies"] if s["split"] == "test"]
    assert figures["overall"]["accuracy"]["n"] == len(held_back)
    text = (tmp_path / "out" / "predictions.csv").read_text()
    assert all(study in text for study in held_back)


def test_a_refused_study_that_is_held_back_is_counted_with_label_site_and_split(
    archive, model, tmp_path
):
    data = shutil.copytree(archive, tmp_path / "data")
    broken = write_chest(data / "CAP" / "broken", "broken")
    for file in list(broken.glob("*.dcm"))[5:7]:
        file.unlink()
    rows = ["study,patient,label,site,split"]
    for entry in read_cohort(data):
        split = {"broken": "test"}.get(entry.patient, "")
        rows.append(f"{entry.path.as_posix()},{entry.patient},{entry.label.title},here,{split}")
    (data / "cohort.csv").write_text("\n".join(rows))
    work = prepared(data, tmp_path / "work")
    done = evaluate_work(work, model, tmp_path / "out")
    assert (done.answered, done.failed) == (3, 1)
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (failure,) = figures["failures"]
    assert failure == {
        "study": Splits.load(work / "splits.json").refused[0].study,
        "code": "SLICE_GAP",
        "label": "CAP",
        "site": "here",
        "split": "test",
    }
    assert figures["split"] == "test"
    worst, plain = figures["worst_case"]["accuracy"], figures["overall"]["accuracy"]
    assert (worst["n"], plain["n"]) == (4, 3)
    assert worst["value"] == pytest.approx(plain["value"] * 3 / 4)
    assert [(s["step"], s["studies"], s["left_out"]) for s in figures["flow"]] == [
        ("Cohort", 17, {"to train the denoiser": 3, "to choose a denoiser": 1,
                        "to train": 6, "to choose a checkpoint": 3}),
        ("To be answered", 4, {"SLICE_GAP": 1}),
        ("Preprocessed", 3, {}),
        ("With an answer", 3, {}),
    ]  # fmt: skip
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Flow of studies: Cohort 17, To be answered 4, Preprocessed 3" in page
    assert "Worst case: every missing answer wrong" in page
    assert "Patients were told apart by the column patient of cohort.csv" in page
    assert "The DICOM PatientID of 17 of 17 studies" in done.table
    assert figures["patients_told_apart"]["with_id"] == 17
    failures = (tmp_path / "out" / "tables" / "failures.csv").read_text().splitlines()
    assert failures == [
        "study,code,truth,site,split",
        f"{failure['study']},SLICE_GAP,CAP,here,test",
    ]


def test_one_person_as_two_patients_is_told_in_an_evaluation(model, tmp_path, caplog):
    data = write_cohort(tmp_path / "data", controls=2, others=2)
    for file in (data / "CAP" / "cap1").glob("*.dcm"):
        header = dcmread(file)
        header.PatientID = "cap0"
        header.save_as(file)
    evaluate_data(data, model, tmp_path / "out")
    assert "1 persons, by their PatientID, are under several patients" in caplog.text
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert figures["patients_told_apart"]["shared"] == 1
    assert (
        "1 PatientID is under more than one patient"
        in (tmp_path / "out" / "index.html").read_text()
    )


def test_a_held_back_study_that_went_missing_is_told(archive, model, tmp_path):
    work = prepared(archive, tmp_path / "work")
    study, *_ = Splits.load(work / "splits.json").studies("test")
    (work / "preprocessed" / f"{study}.json").unlink()
    with pytest.raises(UsageError, match=f"1 of 3 studies .*{study}.*Run preprocess again"):
        evaluate_work(work, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_evaluation_writes_the_same_files(archive, model, tmp_path):
    work = prepared(archive, tmp_path / "work")
    steps = []
    for out in ("first", "second"):
        evaluate_work(
            work, model, tmp_path / out, progress=lambda n, total: steps.append((n, total))
        )
    first, second = (
        {
            p.relative_to(tmp_path / out): p.read_bytes()
            for p in (tmp_path / out).rglob("*.*")
            # Records tell how long each took.
            if p.parent.name != "answers"
        }
        for out in ("first", "second")
    )
    assert first == second
    assert {"index.html", "model-card.md", "predictions.csv"} <= {p.name for p in first}
    assert steps == [(1, 3), (2, 3), (3, 3)] * 2


def test_a_folder_preprocessed_otherwise_is_refused(archive, model, tmp_path):
    work = prepared(archive, tmp_path / "work", size=48)
    with pytest.raises(UsageError, match="preprocessed otherwise"):
        evaluate_work(work, model, tmp_path / "out")


def taught(folder, **data):
    """Weights whose card tells so of what their classifier learned from."""
    tiny_weights(folder)
    card = flat_card(folder)
    card["training"] = {"classifier": {"data": data}}
    put_card(folder, card)
    return CovidCTNet.load(folder, device="cpu", precision="32")


def test_a_scan_that_taught_the_weights_is_not_evaluated(archive, tmp_path):
    work = prepared(archive, tmp_path / "work")
    [stored, *_] = studies_of_split(work, "test")
    weights = taught(tmp_path / "weights", seen=f"{'0' * 12} {stored.source.digest[:12]}")
    reason = f"study {stored.id} is one that the classifier of these weights learned from"
    with pytest.raises(CohortError, match=reason):
        evaluate_work(work, weights, tmp_path / "out")
    with pytest.raises(CohortError, match=reason):
        evaluate_data(archive, weights, tmp_path / "out", key=work)


@pytest.mark.parametrize(("stage", "refused"), [("classifier", True), ("denoiser", False)])
def test_lungs_that_taught_the_classifier_are_not_evaluated_with_other_lesions(stage, refused):
    unseen = Unseen({"training": {stage: {"data": {"seen": "ab" * 6}}}})
    painted = Source("0" * 12, "cd" * 32, "nifti", notes=(f"{PAINTED_INTO}{'ab' * 6}",))
    if not refused:
        unseen.check(painted)
        return
    with pytest.raises(CohortError, match="painted into lungs that the classifier"):
        unseen.check(painted)


def test_weights_of_another_division_are_not_evaluated_on_this_one(archive, tmp_path):
    work = prepared(archive, tmp_path / "work")
    other = taught(tmp_path / "weights", splits_digest="0" * 12)
    with pytest.raises(UsageError, match="another division of patients"):
        evaluate_work(work, other, tmp_path / "out")
    same = taught(tmp_path / "same", splits_digest=Splits.load(work / "splits.json").digest)
    assert evaluate_work(work, same, tmp_path / "out").answered == 3


def test_one_scan_under_two_studies_is_not_counted_twice(model, tmp_path):
    data = tmp_path / "data"
    write_chest(data / "Control" / "one", "one")
    write_chest(data / "CAP" / "two", "two", sick=True)
    write_chest(data / "Covid-19" / "three", "one", name="three")
    with pytest.raises(CohortError, match="are the same scan"):
        evaluate_data(data, model, tmp_path / "out")


def test_nothing_answered_is_refused_with_the_first_reason(model, tmp_path):
    for label in ("Control", "Covid-19", "CAP"):
        folder = write_chest(tmp_path / "data" / label / label, label)
        for file in list(folder.glob("*.dcm"))[3:5]:
            file.unlink()
    with pytest.raises(CohortError, match="none of 3 studies got an answer"):
        evaluate_data(tmp_path / "data", model, tmp_path / "out")
