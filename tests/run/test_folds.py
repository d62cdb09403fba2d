"""Folds pooled to one report, and the folds that must not be; an external test apart."""

import csv
import json
import shutil
from dataclasses import replace

import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.cohort.divide import divide_in_folds
from covidctnet.cohort.pseudonyms import FORMER
from covidctnet.cohort.schemes import settings_of
from covidctnet.cohort.splits import Splits, SplitSettings
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.sheets import predictions_table
from covidctnet.evidence import LesionVolume
from covidctnet.files import table_text
from covidctnet.preprocess import PreprocessSettings
from covidctnet.results import Failure, Prediction
from covidctnet.run.evaluate import evaluate_data, evaluate_work
from covidctnet.run.folds import _titles, evaluate_folds, read_fold
from covidctnet.run.prepare import prepare
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from tests.evaluation.simulated import simulated
from tests.small import PREPROCESSING, tiny_weights, write_chest

LABELS = ("Control", "Covid-19", "CAP")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def model(weights):
    return CovidCTNet.load(weights, device="cpu", precision="32")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two sites; all of one class and of each site in both tests, three patients external."""
    root = tmp_path_factory.mktemp("archive")
    rows = ["study,patient,label,site,split,sex,age"]
    for label in LABELS:
        for n in range(8 if label == "Control" else 4):
            write_chest(root / label / f"{label}{n}", f"{label}{n}", sick=label != "Control")
            split = "external" if n == 0 else ""
            told = f"here,{split},{'FM'[n % 2]},{50 + n}"
            rows.append(f"{label}/{label}{n},{label}{n},{label},{told}")
    (root / "cohort.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def work(archive, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    settings = PreprocessSettings(**PREPROCESSING)
    prepare(archive, work, settings=settings, split=SplitSettings(test=0.3), workers=1)
    divide_in_folds(work, settings_of("kfold", folds=3), folds=3)
    return work


@pytest.fixture(scope="module")
def results(work, model, tmp_path_factory):
    """What evaluate writes for each fold."""
    out = tmp_path_factory.mktemp("results")
    for name in "012":
        evaluate_work(work / "folds" / name, model, out / name)
    return out


def figures(folder):
    return json.loads((folder / "evaluation.json").read_text())


def answered(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def no_load(folder):
    raise AssertionError("results are read, no weights are loaded")


def pooled(folders, output):
    return evaluate_folds(folders, output, load=no_load)


def test_nobody_is_drawn_into_the_external_test_and_nobody_leaves_it(work):
    external = set(Splits.load(work / "splits.json").studies("external"))
    assert len(external) == 3
    for name in "012":
        fold = Splits.load(work / "folds" / name / "splits.json")
        assert set(fold.studies("external")) == external


def test_the_external_test_is_apart_in_page_json_and_tables(work, model, tmp_path):
    evaluate_work(work, model, tmp_path)
    splits = Splits.load(work / "splits.json")
    inside, outside = answered(tmp_path), answered(tmp_path / "external")
    assert {row["study"] for row in inside} == set(splits.studies("test"))
    assert {row["study"] for row in outside} == set(splits.studies("external"))
    assert {row["split"] for row in outside} == {"external"}
    found = figures(tmp_path)
    assert found["overall"]["accuracy"]["n"] == len(inside)
    assert found["external"]["overall"]["accuracy"]["n"] == 3
    assert not found["is_external"]
    assert figures(tmp_path / "external")["is_external"]
    page = (tmp_path / "index.html").read_text()
    assert 'id="external"' in page
    assert "external/index.html" in page
    assert "This is an external test" in (tmp_path / "external" / "index.html").read_text()
    text = (tmp_path / "tables" / "external.csv").read_text()
    assert text.startswith("figure,internal,internal_low,internal_high,internal_n,external,")
    assert "External test: 3 studies of 3 patients" in (tmp_path / "evaluation.md").read_text()


def test_the_table_of_patients_has_all_splits_and_what_the_cohort_file_says(work, model, tmp_path):
    evaluate_work(work, model, tmp_path)
    by_split = figures(tmp_path)["patients_described"]["split"]
    assert by_split["groups"][0] == "train"
    assert {"val", "test", "external"} <= set(by_split["groups"])
    assert sum(by_split["patients"]) == 16
    traits = {line["trait"] for line in by_split["lines"]}
    assert {"age", "sex", "site", "label"} <= traits
    assert {"age", "sex"} <= {
        line["trait"] for line in figures(tmp_path)["patients_described"]["class"]["lines"]
    }
    assert (tmp_path / "tables" / "patients-by-split.csv").is_file()
    assert 'id="patients-by-split"' in (tmp_path / "index.html").read_text()


def test_an_external_test_alone_says_what_it_is(archive, model, tmp_path):
    rows = (archive / "cohort.csv").read_text().splitlines()
    only = [rows[0], *(row for row in rows if ",external," in row)]
    table = tmp_path / "external.csv"
    table.write_text("\n".join(only).replace("\nC", f"\n{archive}/C") + "\n")
    evaluate_data(table, model, tmp_path / "out")
    assert figures(tmp_path / "out")["is_external"]
    assert not (tmp_path / "out" / "external").exists()


def test_folds_are_one_report_over_all_patients(results, tmp_path):
    pooled([results / name for name in "012"], tmp_path)
    rows = answered(tmp_path)
    assert sorted(row["study"] for row in rows) == sorted(
        row["study"] for name in "012" for row in answered(results / name)
    )
    found = figures(tmp_path)
    right = sum(row["truth"] == row["label"] for row in rows)
    assert found["overall"]["accuracy"]["value"] == pytest.approx(right / len(rows))
    assert found["patients"] == len(rows)
    assert [fold["name"] for fold in found["folds"]] == ["0", "1", "2"]
    assert {row["trait_fold"] for row in rows} == {"0", "1", "2"}
    assert any("Pooled over 3 folds (0, 1, 2)" in note for note in found["notes"])
    assert any("External tests are not pooled" in note for note in found["notes"])
    lines = found["patients_described"]["class"]["lines"]
    # A fold has few values, all folds together many: they are numbers in all of them.
    assert [line["value"] for line in lines if line["trait"] == "noise_hu"] == [""]
    page = (tmp_path / "index.html").read_text()
    assert "model-card.md" not in page
    assert "Pooled over 3 folds" in page
    assert "Answers of the file" not in page


def test_what_a_table_tells_of_an_answer_is_read_back(tmp_path):
    cases = [replace(c, patient=f"{n:012x}") for n, c in enumerate(simulated(30))]
    (tmp_path / "predictions.csv").write_text(table_text(predictions_table(cases)))
    record = {"classes": list(CHEST_CT.titles), "weights": "w", "weights_digest": "d"}
    (tmp_path / "evaluation.json").write_text(json.dumps(record))
    fold = read_fold(tmp_path, "one")
    there = {case.study: case for case in fold.cases}
    assert len(there) == 33
    for case in cases:
        other = there.get(case.study) or there[FORMER.patient(case.study)]
        assert (other.truth, other.site, other.patient) == (case.truth, case.site, case.patient)
        if isinstance(case.outcome, Failure):
            assert other.outcome.code == case.outcome.code
            continue
        assert other.outcome.flags == case.outcome.flags
        assert other.outcome.prediction_set == case.outcome.prediction_set
        assert other.outcome.ood_score == pytest.approx(case.outcome.ood_score, rel=1e-4)
        shares = [one.outcome.find(LesionVolume).share for one in (case, other)]
        assert shares[0] == pytest.approx(shares[1], rel=1e-4)
        assert other.traits["noise_hu"] == pytest.approx(case.traits["noise_hu"], rel=1e-4)
        assert other.traits["kernel"] == case.traits["kernel"]


def test_sets_of_labels_are_read_as_tables_of_before_had_them():
    p = dict.fromkeys(CHEST_CT, 0.0) | {CHEST_CT.CAP: 1.0}
    answer = Prediction("s", p)
    for row in ({"set": "Covid-19 CAP"}, {"labels_left": "Covid-19; CAP"}):
        assert _titles(row, answer) == {"Covid-19", "CAP"}


def test_pooled_folds_may_be_compared_and_pooled_answers_are_read_again(results, tmp_path):
    pooled([results / name for name in "012"], tmp_path / "all")
    file = tmp_path / "all" / "predictions.csv"
    assert main(["evaluate", "--predictions", str(file), "-o", str(tmp_path / "again")]) == 0
    assert figures(tmp_path / "again")["overall"] == figures(tmp_path / "all")["overall"]


def test_work_folders_are_evaluated_with_their_own_weights(work, weights, results, tmp_path):
    folds = [work / "folds" / name for name in "012"]
    for fold in folds[:2]:
        shutil.copytree(weights, fold / "weights", dirs_exist_ok=True)
    arguments = ["evaluate", "--device", "cpu", "--precision", "32", "-o", str(tmp_path)]
    assert main([*arguments, "--folds", str(folds[0]), str(folds[1]), str(results / "2")]) == 0
    assert len(answered(tmp_path)) == sum(len(answered(results / name)) for name in "012")
    assert (tmp_path / "folds" / "0" / "index.html").is_file()
    with pytest.raises(UsageError, match=r"expected weights/ in the work folder '2'"):
        pooled([results / "0", folds[2]], tmp_path)


def changed(results, tmp_path, change):
    copy = tmp_path / "changed"
    shutil.copytree(results / "1", copy)
    record = figures(copy)
    change(record)
    (copy / "evaluation.json").write_text(json.dumps(record))
    return [results / "0", copy]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: r.update(classes=["Control", "Ill"]), "folds of one set of classes"),
        (
            lambda r: r["recipe"]["recipe"].update({"preprocessing.size": 41}),
            r"differ in preprocessing\.size",
        ),
        (lambda r: r.pop("weights"), "cannot be read"),
        (lambda r: r.update(recipe={"recipe": 3, "fitted": {}}), "cannot be read"),
    ],
)
def test_folds_that_were_made_otherwise_are_refused(results, tmp_path, change, why):
    folders = changed(results, tmp_path, change)
    if "classes" in why:
        lines = [f"{n:012x},{n:012x},{('Control', 'Ill')[n % 2]},0.5,0.5" for n in range(6)]
        text = "\n".join(["study,patient,truth,p_control,p_ill", *lines])
        (folders[1] / "predictions.csv").write_text(text + "\n")
    with pytest.raises(CohortError, match=why):
        pooled(folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_thresholds_that_differ_are_named(results, tmp_path):
    folders = changed(
        results, tmp_path, lambda r: r["recipe"]["fitted"].update({"calibration.temperature": 9})
    )
    pooled(folders, tmp_path / "out")
    assert any("calibration.temperature" in note for note in figures(tmp_path / "out")["notes"])


def test_folds_that_do_not_say_how_they_were_made_are_named(results, tmp_path):
    folders = changed(results, tmp_path, lambda r: r.update(recipe=None))
    pooled(folders, tmp_path / "out")
    assert any("1 of the folds do not say" in note for note in figures(tmp_path / "out")["notes"])


def test_a_study_or_a_patient_in_two_folds_is_refused(results, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(results / "0", copy)
    with pytest.raises(CohortError, match="expected every study in one fold"):
        pooled([results / "0", copy], tmp_path / "out")
    rows = answered(copy)
    for number, row in enumerate(rows):
        row["study"] = f"{number:012x}"
    with (copy / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(CohortError, match="expected every patient in one fold"):
        pooled([results / "0", copy], tmp_path / "out")


def test_what_is_no_fold_is_refused(results, tmp_path, capsys):
    with pytest.raises(UsageError, match="two folders or more, got 1"):
        pooled([results / "0"], tmp_path / "out")
    with pytest.raises(UsageError, match="got a folder twice"):
        pooled([results / "0", results / "0"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="'empty' is neither"):
        pooled([results / "0", tmp_path / "empty"], tmp_path / "out")
    assert main(["evaluate", "--folds", "a", "b", "--work", "c"]) == 2
    assert "expected --folds alone" in capsys.readouterr().err


def test_answers_made_elsewhere_to_external_patients_are_apart(work, results, tmp_path):
    rows = [*answered(results / "0"), *answered(results / "0" / "external")]
    file = tmp_path / "theirs.csv"
    head = ["study", "patient", "truth", "p_control", "p_covid19", "p_cap", "split"]
    lines = [",".join(row[name] for name in head) for row in rows]
    file.write_text("\n".join([",".join(head), *lines]) + "\n")
    fold = str(work / "folds" / "0")
    for number, extra in enumerate(([], ["--work", fold])):
        out = tmp_path / str(number)
        assert main(["evaluate", "--predictions", str(file), "-o", str(out), *extra]) == 0
        found = figures(out)
        assert found["overall"]["accuracy"]["n"] == len(rows) - 3
        assert found["external"]["overall"]["accuracy"]["n"] == 3
