"""Answers that were made elsewhere: read, refused, and evaluated as ours are."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT, Classes, Label
from covidctnet.cli import main
from covidctnet.cohort.key_table import read_key_table
from covidctnet.cohort.members import Member, Refused
from covidctnet.cohort.pseudonyms import FORMER, PRIVATE
from covidctnet.cohort.splits import Splits
from covidctnet.errors import CohortError, UsageError
from covidctnet.evaluation.assess import assess
from covidctnet.evaluation.output import as_plain
from covidctnet.evaluation.predictions import read_predictions
from covidctnet.evaluation.sheets import predictions_table
from covidctnet.files import table_text
from covidctnet.results import Prediction
from covidctnet.run import answers_file
from covidctnet.run.elsewhere import evaluate_predictions, read_answers
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import simulated

pytestmark = pytest.mark.usefixtures(few_draws.__name__)

HEAD = "study,patient,truth,p_control,p_covid19,p_cap"
ROWS = [
    "a,ann,Control,0.7,0.2,0.1",
    "b,bob,Covid-19,0.1,0.8,0.1",
    "c,cat,CAP,0.3,0.3,0.4",
    "d,dan,cap,0.6,0.2,0.2",
]


def table(folder, *rows, head=HEAD, name="answers.csv"):
    file = folder / name
    file.write_text("\n".join([head, *rows]) + "\n")
    return file


def lines(folder, *rows):
    file = folder / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def as_line(row):
    study, patient, truth, *values = row.split(",")
    keys = ("control", "covid19", "cap")
    probabilities = dict(zip(keys, map(float, values), strict=True))
    return {"study": study, "patient": patient, "truth": truth, "probabilities": probabilities}


@pytest.mark.parametrize("kind", ["table", "lines"])
def test_a_table_and_json_lines_are_read_alike(tmp_path, kind):
    make = {
        "table": lambda: table(tmp_path, *ROWS),
        "lines": lambda: lines(tmp_path, *map(as_line, ROWS)),
    }
    answers = read_answers(make[kind]())
    assert [a.truth for a in answers] == [
        CHEST_CT.CONTROL,
        CHEST_CT.COVID19,
        CHEST_CT.CAP,
        CHEST_CT.CAP,
    ]
    assert answers[1].probabilities == {
        CHEST_CT.CONTROL: 0.1,
        CHEST_CT.COVID19: 0.8,
        CHEST_CT.CAP: 0.1,
    }
    assert [a.study for a in answers] == [FORMER.patient(name) for name in "abcd"]


def test_answers_as_dicts_of_ours_are_read_with_the_truth_beside(tmp_path):
    cases = simulated(6, failures=0)
    rows = [{**c.outcome.to_dict(), "truth": c.truth.title} for c in cases]
    answers = read_answers(lines(tmp_path, *rows))
    assert [a.study for a in answers] == [c.study for c in cases]
    for answer, case in zip(answers, cases, strict=True):
        for label in CHEST_CT:
            assert answer.probabilities[label] == pytest.approx(case.outcome.probabilities[label])


def test_our_own_answers_evaluated_again_have_the_same_figures(tmp_path):
    cases = simulated(24, failures=2, rich=False)
    first = as_plain(assess(cases, rng=np.random.default_rng(0)))
    file = tmp_path / "predictions.csv"
    file.write_text(table_text(predictions_table(cases)))
    done = evaluate_predictions(file, tmp_path / "out")
    assert (done.answered, done.failed) == (24, 2)
    again = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert {f["code"] for f in again["failures"]} == {"SLICE_GAP"}
    for group in ("overall", "covid19_against_rest", "by_label"):
        assert_close(again[group], json.loads(json.dumps(first[group])))
    # And what was written can be evaluated once more.
    third = evaluate_predictions(tmp_path / "out" / "predictions.csv", tmp_path / "third")
    assert third.answered == 24


def assert_close(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        if isinstance(value, dict):
            assert_close(value, second[name])
        else:
            # Six digits are written; a tie may turn.
            assert value == pytest.approx(second[name], abs=1e-3), name


def test_answers_made_elsewhere_get_the_same_page_and_tables_but_no_model_card(tmp_path):
    done = evaluate_predictions(table(tmp_path, *ROWS), tmp_path / "out")
    names = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {"index.html", "evaluation.json", "evaluation.md", "predictions.csv"} <= names
    assert {"roc.csv", "figures.csv", "confusion.csv"} <= names
    assert not [name for name in names if name.startswith("model-card")]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Answers of" in page
    assert "have seen" not in page
    assert "model-card" not in page
    for text in (page, done.table):
        assert "Whether their model learned from these patients" in text
    data = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert data["overall"]["accuracy"]["value"] == 0.75


def test_no_id_of_the_file_and_no_path_is_written_anywhere(tmp_path):
    rows = [row.replace(",ann,", ",DOE^JANE,") for row in ROWS]
    rows[0] = rows[0].replace("a,", "/archive/doe_jane.nii.gz,", 1)
    evaluate_predictions(table(tmp_path, *rows), tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.*"):
        if path.parent.name == PRIVATE:
            continue
        text = path.read_text().lower()
        assert "jane" not in text
        assert str(tmp_path) not in text
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert all(re.fullmatch("s[0-9a-f]{12}", row["study"]) for row in written)
    assert all(re.fullmatch("p[0-9a-f]{12}", row["patient"]) for row in written)
    rows = read_key_table(tmp_path / "out")
    assert rows.keys() == {row["study"] for row in written}
    assert "/archive/doe_jane.nii.gz" in {row.given_id for row in rows.values()}
    assert "DOE^JANE" in {row.archive_patient for row in rows.values()}


def test_two_files_of_answers_under_two_keys_are_compared_by_their_key_tables(tmp_path, capsys):
    for out in ("one", "two"):
        evaluate_predictions(table(tmp_path, *ROWS), tmp_path / out)
    files = [tmp_path / out / "predictions.csv" for out in ("one", "two")]
    assert read_predictions(files[0]).studies != read_predictions(files[1]).studies
    assert main(["compare", *map(str, files)]) == 0
    assert "4 patients answered by both" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "two" / PRIVATE)
    assert main(["compare", *map(str, files)]) == 2
    assert "--key FOLDER" in capsys.readouterr().err
    # The same key, the same ids.
    evaluate_predictions(table(tmp_path, *ROWS), tmp_path / "three", key=tmp_path / "one")
    third = read_predictions(tmp_path / "three" / "predictions.csv")
    assert third.studies == read_predictions(files[0]).studies


def test_several_studies_of_one_patient_are_drawn_together(tmp_path):
    rows = [row.replace(",dan,", ",cat,") for row in ROWS]
    evaluate_predictions(table(tmp_path, *rows), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["patients"] == 3


def test_a_study_without_probabilities_counts_as_failed(tmp_path):
    done = evaluate_predictions(table(tmp_path, *ROWS, "e,eve,CAP,,,"), tmp_path / "out")
    assert (done.answered, done.failed) == (4, 1)
    (failure,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())["failures"]
    assert failure["code"] == "NO_ANSWER"


@pytest.mark.parametrize(
    ("rows", "head", "message"),
    [
        (ROWS[:1] + ROWS[:1], HEAD, "names study .* more than once"),
        (ROWS, HEAD.replace("p_cap", "cap"), "lacks the columns p_cap"),
        (ROWS, HEAD.replace("study", "id"), "lacks the columns study"),
        (ROWS, HEAD.replace("p_cap", "p_flu"), "unknown label 'flu'"),
        (ROWS, HEAD.replace("p_cap", "p_Covid-19"), "two columns for covid19"),
        (ROWS, HEAD.replace("truth", "label"), "its true label in truth, got nothing"),
        (["a,ann,flu,0.7,0.2,0.1"], HEAD, "unknown label 'flu'"),
        (["a,ann,CAP,7.0,2.0,1.0"], HEAD, "Give probabilities, not scores"),
        (["a,ann,CAP,0.7,0.2,0.2"], HEAD, "with the sum 1, got Control 0.7, Covid-19 0.2, CAP 0.2"),
        (["a,ann,CAP,0.7,0.3,"], HEAD, "got something else"),
        (["a,ann,CAP,0.7,nan,0.3"], HEAD, "Give probabilities"),
        (["a,ann,CAP,one,0,0"], HEAD, "got something else"),
        ([",ann,CAP,1,0,0"], HEAD, "a row without a study"),
        ([], HEAD, "holds no study"),
        (["a,ann,CAP,1,0,0"], "", "lacks the columns"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_what_was_expected(tmp_path, rows, head, message):
    with pytest.raises(CohortError, match=message) as caught:
        evaluate_predictions(table(tmp_path, *rows, head=head), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]\n", "line 1: expected a JSON object"),
        ('\n{"study": \n', "line 2: expected a JSON object"),
        ("[" * 100_000 + "\n", "line 1: expected a JSON object"),
        ('{"study": "a", "truth": "CAP", "probabilities": [1, 0, 0]}\n', "got something else"),
        ('{"study": "a", "truth": "CAP", "probabilities": {"cap": 1}}\n', "got CAP 1"),
        ('{"truth": "CAP"}\n', "a row without a study"),
    ],
)
def test_lines_that_are_wrong_are_refused_with_their_number_or_study(tmp_path, text, message):
    file = tmp_path / "answers.jsonl"
    file.write_text(text)
    with pytest.raises(CohortError, match=message):
        read_answers(file)


def test_a_file_that_is_none_is_wrong_usage(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"no file gone\.csv"):
        read_answers(tmp_path / "gone.csv")
    with pytest.raises(UsageError, match=r"as \.csv or \.jsonl, got 'answers\.xlsx'"):
        read_answers(table(tmp_path, name="answers.xlsx"))
    (tmp_path / "latin.csv").write_bytes(b"study\n\xe9\n")
    with pytest.raises(CohortError, match="UTF-8"):
        read_answers(tmp_path / "latin.csv")
    monkeypatch.setattr(answers_file, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="expected at most 10"):
        read_answers(table(tmp_path, *ROWS))


@pytest.fixture
def work(tmp_path):
    """Two studies of the split test, one of train, as `preprocess` writes them down."""
    members = [
        Member("a" * 12, "1" * 12, CHEST_CT.CONTROL, "test", "amber"),
        Member("b" * 12, "2" * 12, CHEST_CT.CAP, "test", "birch"),
        Member("c" * 12, "3" * 12, CHEST_CT.CAP, "train", "amber"),
    ]
    (tmp_path / "work").mkdir()
    Splits(tuple(members)).save(tmp_path / "work" / "splits.json")
    return tmp_path / "work"


def held_back(tmp_path, *studies, truth=""):
    rows = [f"{study * 12},{truth},0.2,0.3,0.5" for study in studies]
    return table(tmp_path, *rows, head="study,truth,p_control,p_covid19,p_cap")


def test_a_work_folder_gives_truth_patients_and_sites(work, tmp_path):
    done = evaluate_predictions(held_back(tmp_path, "b", "a"), tmp_path / "out", work=work)
    assert (done.answered, done.failed) == (2, 0)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = {row["study"]: row for row in csv.DictReader(file)}
    assert rows["a" * 12]["truth"] == "Control"
    assert (rows["b" * 12]["patient"], rows["b" * 12]["site"]) == ("2" * 12, "birch")
    assert "All studies are of the split test" in done.table


def test_a_study_that_a_model_may_have_learned_from_is_refused_as_a_leak(work, tmp_path):
    with pytest.raises(CohortError, match=r"study c+ is in the split train, expected test.*leak"):
        evaluate_predictions(held_back(tmp_path, "a", "b", "c"), tmp_path / "out", work=work)
    row = "a,ann,CAP,train,0.2,0.3,0.5"
    file = table(tmp_path, row, head="study,patient,truth,split,p_control,p_covid19,p_cap")
    with pytest.raises(CohortError, match=r"in the split train, expected test.*leak"):
        evaluate_predictions(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_held_back_study_without_an_answer_counts_as_failed(work, tmp_path):
    done = evaluate_predictions(held_back(tmp_path, "a"), tmp_path / "out", work=work)
    assert (done.answered, done.failed) == (1, 1)


def test_a_work_folder_that_contradicts_the_file_is_refused(work, tmp_path):
    with pytest.raises(CohortError, match="is not in the work folder"):
        evaluate_predictions(held_back(tmp_path, "f"), tmp_path / "out", work=work)
    with pytest.raises(CohortError, match="is Covid-19 in the file and Control in the work"):
        evaluate_predictions(held_back(tmp_path, "a", truth="Covid-19"), tmp_path / "o", work=work)
    for split, message in (("val", "is empty"), ("exam", "expected a split of")):
        with pytest.raises(UsageError, match=message):
            evaluate_predictions(held_back(tmp_path, "a"), tmp_path / "o", work=work, split=split)


def test_the_command_evaluates_answers_made_elsewhere(tmp_path, capsys):
    file = table(tmp_path, *ROWS)
    assert main(["evaluate", "--predictions", str(file), "-o", str(tmp_path / "out")]) == 0
    assert "Answers `answers`" in capsys.readouterr().out
    assert (tmp_path / "out" / "index.html").is_file()
    table(tmp_path, *ROWS, "e,eve,CAP,,,")
    assert main(["evaluate", "--predictions", str(file), "-o", str(tmp_path / "out")]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "got none"),
        (("--predictions", "FILE", "--data", "."), "leave --data out"),
        (("--data", ".", "--work", "."), "got both --data and --work"),
        (("--predictions", "gone.csv"), "does not exist"),
    ],
)
def test_the_command_says_which_inputs_go_together(tmp_path, capsys, arguments, message):
    file = table(tmp_path, *ROWS)
    words = [str(file) if a == "FILE" else a for a in arguments]
    assert main(["evaluate", *words, "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_probabilities_cut_to_three_digits_are_taken_and_sum_to_one(tmp_path):
    (answer,) = read_answers(table(tmp_path, "a,ann,CAP,0.333,0.333,0.333"))
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-12)
    assert isinstance(Prediction("s", answer.probabilities).label, Label)


TWO = [
    "a,ann,Control,0.7,0.3",
    "b,bob,Ill,0.1,0.9",
    "c,cat,Ill,0.6,0.4",
    "d,dan,Control,0.8,0.2",
]
TWO_HEAD = "study,patient,truth,p_control,p_ill"


def test_answers_of_two_classes_are_evaluated_compared_and_read_beside_readers(tmp_path, capsys):
    two = Classes(("Control", "Ill"), normal="Control")
    file = table(tmp_path, *TWO, head=TWO_HEAD)
    evaluated = tmp_path / "evaluation"
    arguments = ["evaluate", "--predictions", str(file), "-o", str(evaluated)]
    assert main([*arguments, "--classes", "Control, Ill"]) == 0
    found = json.loads((evaluated / "evaluation.json").read_text())
    assert found["overall"]["accuracy"]["value"] == 0.75
    readers = tmp_path / "readers.csv"
    studies = read_predictions(evaluated / "predictions.csv", two).studies
    readers.write_text("study,reader,label\n" + "".join(f"{s},x,ill\n" for s in studies))
    written = str(evaluated / "predictions.csv")
    capsys.readouterr()
    arguments = ["compare", written, written, "--readers", str(readers)]
    assert main([*arguments, "--classes", "Control, Ill"]) == 0
    out = capsys.readouterr().out
    assert "accuracy, all classes" in out
    assert "sensitivity, Ill" in out
    assert "Covid-19" not in out


def test_answers_of_other_classes_than_named_are_refused(tmp_path, capsys):
    file = table(tmp_path, *TWO, head=TWO_HEAD)
    assert main(["evaluate", "--predictions", str(file), "-o", str(tmp_path / "out")]) == 2
    assert "unknown label 'ill'; known labels are Control, Covid-19, CAP" in capsys.readouterr().err


@pytest.mark.parametrize("classes", ["Control", "Control,,Ill", "Ill, ill"])
def test_classes_that_are_none_are_refused(tmp_path, classes, capsys):
    file = table(tmp_path, *TWO, head=TWO_HEAD)
    arguments = ["evaluate", "--predictions", str(file), "-o", str(tmp_path / "out")]
    assert main([*arguments, "--classes", classes]) == 2
    assert "expected two classes or more" in capsys.readouterr().err


def test_a_work_folder_names_the_classes_of_answers_to_its_patients(tmp_path):
    two = Classes(("Control", "Ill"), normal="Control")
    work = tmp_path / "work"
    work.mkdir()
    members = [
        Member(FORMER.patient(row[0]), row[0], two.parse(row.split(",")[2]), split="test")
        for row in TWO
    ]
    Splits(tuple(members), 0, None, classes=two).save(work / "splits.json")
    file = table(tmp_path, *TWO, head=TWO_HEAD)
    assert (
        "Ill against the rest: sensitivity"
        in evaluate_predictions(file, tmp_path / "out", work=work).table
    )
    with pytest.raises(UsageError, match="Leave --classes out"):
        evaluate_predictions(file, tmp_path / "other", work=work, classes=CHEST_CT)


def external_table(folder, answered=True):
    head = "study,patient,truth,split,p_control,p_covid19,p_cap"
    rows = []
    for k, truth in enumerate(["Control", "Covid-19", "CAP"] * 4):
        split = "external" if k >= 9 else "test"
        told = "0.2,0.3,0.5" if answered or split == "test" else ",,"
        rows.append(f"s{k},p{k},{truth},{split},{told}")
    return table(folder, *rows, head=head)


def test_an_external_test_without_any_answer_costs_no_report_and_does_not_vanish(tmp_path):
    out = tmp_path / "out"
    done = evaluate_predictions(external_table(tmp_path, answered=False), out)
    assert (done.answered, done.failed) == (9, 3)
    assert "The external test is not estimable: none of its 3 studies" in done.table
    with (out / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "external"]
    assert [row["code"] for row in rows] == ["NO_ANSWER"] * 3
    assert "external test has no answer to any of 3" in (out / "reviewers.html").read_text()


def test_an_evaluation_without_an_external_test_leaves_none_of_before(tmp_path):
    out = tmp_path / "out"
    evaluate_predictions(external_table(tmp_path), out)
    assert (out / "external" / "index.html").is_file()
    assert "has not been checked" in (out / "index.html").read_text()
    (out / "external" / "notes.txt").write_text("of the author")
    evaluate_predictions(table(tmp_path, *ROWS), out)
    assert [p.name for p in (out / "external").iterdir()] == ["notes.txt"]
    assert not (out / "tables" / "external.csv").exists()
    assert (out / "tables" / "figures.csv").is_file()


def test_refused_studies_of_an_external_test_count_as_failed(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    members = (
        Member("a" * 12, "1" * 12, CHEST_CT.CONTROL, "test", "amber"),
        Member("b" * 12, "2" * 12, CHEST_CT.CAP, "external", "birch"),
    )
    refused = (Refused("e" * 12, "5" * 12, CHEST_CT.CAP, "TOO_FEW_SLICES", "external", "birch"),)
    replace(Splits(members), refused=refused).save(work / "splits.json")
    done = evaluate_predictions(held_back(tmp_path, "a", "b"), tmp_path / "out", work=work)
    assert (done.answered, done.failed) == (2, 1)
    failures = (tmp_path / "out" / "external" / "tables" / "failures.csv").read_text()
    assert "TOO_FEW_SLICES" in failures


def test_a_study_that_is_wrong_is_named_by_its_line(tmp_path):
    """Its id is made with a key that nobody keeps when the file is refused."""
    good = "first,ann,CAP,0.2,0.3,0.5"
    for bad, told in (
        ("second,bob,flu,0.2,0.3,0.5", "line 3, study"),
        ("second,bob,CAP,7,2,1", "line 3, study"),
        ("second,bob,,0.2,0.3,0.5", "line 3, study"),
        ("first,ann,CAP,0.2,0.3,0.5", "line 3, names study .* more than once, line 2 has it"),
        (",bob,CAP,0.2,0.3,0.5", "line 3, is a row without a study"),
    ):
        with pytest.raises(CohortError, match=rf"answers\.csv, {told}"):
            evaluate_predictions(table(tmp_path, good, bad), tmp_path / "out")
