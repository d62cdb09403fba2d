import csv
import json

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.cohort.key_table import KeyRow, add_to_key_table
from covidctnet.errors import CohortError
from covidctnet.evaluation import intervals
from covidctnet.evaluation.reader_table import read_keys, read_readings
from covidctnet.run.paper import write_paper

STUDIES = [f"{k:012x}" for k in range(24)]
TRUTH = [("Control", "Covid-19", "CAP")[k % 3] for k in range(24)]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(intervals, "BOOTSTRAP_DRAWS", 60)


@pytest.fixture
def predictions(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["study,patient,truth,label,p_control,p_covid19,p_cap"]
    for study, truth in zip(STUDIES, TRUTH, strict=True):
        p = rng.dirichlet([4 if label.title == truth else 1 for label in CHEST_CT]).round(4)
        p[0] = 1 - p[1] - p[2]
        rows.append(f"{study},{study},{truth},,{p[0]:.4f},{p[1]:.4f},{p[2]:.4f}")
    path = tmp_path / "predictions.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def readers(folder, columns="study,reader,label", names=("Dr. A", "Dr. B"), ids=STUDIES):
    rows = [columns]
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        for study, truth in zip(ids, TRUTH, strict=True):
            label = truth if rng.random() < 0.7 else "Control"
            rows.append(f"{study},{name},{label}")
    path = folder / "readers.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("place", ["report", "report/external"])
def test_the_key_table_of_the_work_folder_around_an_evaluation_is_found(
    predictions, tmp_path, place, capsys
):
    table = readers(tmp_path, columns="accession,reader,label", ids=[f"A{k}" for k in range(24)])
    folder = tmp_path / "work" / place
    folder.mkdir(parents=True)
    predictions = predictions.rename(folder / "predictions.csv")
    flags = ["compare", str(predictions), "--readers", str(table)]
    foreign = [KeyRow(f"s{k}", "", "", "", "", "", "", f"A{k}", "") for k in range(24)]
    add_to_key_table(tmp_path / "work", foreign)
    assert main(flags) == 2
    assert "do-not-share/ of the work folder" in capsys.readouterr().err
    own = [KeyRow(s, "", "", "", "", "", "", f"A{k}", "") for k, s in enumerate(STUDIES)]
    add_to_key_table(tmp_path / "work", [row._replace(accession="") for row in foreign] + own)
    assert main(flags) == 0
    assert "| Dr. B |" in capsys.readouterr().out


def test_a_folder_has_page_tables_and_names_as_given(predictions, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--readers", str(readers(tmp_path)), "-o", str(out), "--name", "Reader study"]
    assert main(["compare", str(predictions), *flags]) == 0
    told = capsys.readouterr().out
    for words in ("| Dr. A |", "Cohen's kappa", "Fleiss' kappa", "Model minus mean of the readers"):
        assert words in told
    page = (out / "index.html").read_text()
    for words in ("Dr. A: sensitivity", "Reader study", "Research use only", "<svg"):
        assert words in page
    with (out / "tables" / "readers.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["reader"] for row in rows} == {"model", "Dr. A", "Dr. B"}
    assert {row["n"] for row in rows if row["figure"] == "accuracy"} == {"24"}
    plain = json.loads((out / "evaluation.json").read_text())
    assert [p["name"] for p in plain["readers"]["points"]] == ["Dr. A", "Dr. B"]


def test_readers_stand_in_the_roc_of_the_paper(predictions, tmp_path):
    out = tmp_path / "out"
    flags = ["--readers", str(readers(tmp_path)), "-o", str(out)]
    assert main(["compare", str(predictions), *flags]) == 0
    made = write_paper(out, tmp_path / "paper")
    assert made.figures == ("readers",)
    assert (tmp_path / "paper" / "figures" / "readers.pdf").read_bytes().startswith(b"%PDF")
    assert {"readers", "agreement", "comparisons"} <= set(made.tables)


def test_accessions_are_found_by_a_key_table(predictions, tmp_path, capsys):
    keys = tmp_path / "keys.csv"
    rows = [f"{study},ACC{k:04d},P{k // 2}" for k, study in enumerate(STUDIES)]
    keys.write_text("study,accession,patient\n" + "\n".join(rows) + "\n")
    ids = [f"ACC{k:04d}" for k in range(24)]
    table = readers(tmp_path, "accession,reader,label", ids=ids)
    flags = ["--readers", str(table), "--keys", str(keys)]
    assert main(["compare", str(predictions), *flags]) == 0
    assert "| Dr. A |" in capsys.readouterr().out
    assert main(["compare", str(predictions), "--readers", str(table)]) == 2
    assert "own ids with --keys TABLE" in capsys.readouterr().err


def test_the_key_table_beside_the_answers_is_found(predictions, tmp_path, capsys):
    (tmp_path / "do-not-share").mkdir()
    rows = [f"{study},ACC{k:04d}" for k, study in enumerate(STUDIES)]
    table = tmp_path / "do-not-share" / "do-not-share-key-table.csv"
    table.write_text("study,accession\n" + "\n".join(rows) + "\n")
    ids = [f"ACC{k:04d}" for k in range(24)]
    read = readers(tmp_path, "accession,reader,label", ids=ids)
    assert main(["compare", str(predictions), "--readers", str(read)]) == 0
    told = capsys.readouterr().out
    assert "| Dr. A |" in told
    assert "ACC0" not in told


def test_a_patient_of_two_studies_is_no_key(tmp_path):
    keys = tmp_path / "keys.csv"
    keys.write_text("study,patient\na,P1\nb,P1\n")
    assert read_keys(keys) == {"P1": None}
    table = tmp_path / "readers.csv"
    table.write_text("id,reader,label\nP1,x,CAP\n")
    words = "line 2: expected an id of one study, got one that stands for several"
    with pytest.raises(CohortError, match=words) as error:
        read_readings(table, studies=("a", "b"), keys=read_keys(keys))
    # A log keeps the message.
    assert "P1" not in str(error.value)


def test_own_ids_of_a_file_of_answers_are_known_again(tmp_path, capsys):
    """Answers made elsewhere have digests of their ids; readers write the ids themselves."""
    rows = ["study,truth,p_control,p_covid19,p_cap"]
    rows += [f"case {k},{truth},0.2,0.5,0.3" for k, truth in enumerate(TRUTH)]
    answers = tmp_path / "answers.csv"
    answers.write_text("\n".join(rows) + "\n")
    out = tmp_path / "evaluation"
    assert main(["evaluate", "--predictions", str(answers), "-o", str(out)]) == 0
    table = readers(tmp_path, ids=[f"case {k}" for k in range(24)])
    assert main(["compare", str(out / "predictions.csv"), "--readers", str(table)]) == 0
    assert "| Dr. B |" in capsys.readouterr().out


def test_all_mistakes_of_a_table_are_told_at_once_with_their_lines(tmp_path):
    table = tmp_path / "readers.csv"
    table.write_text(
        "study,reader,label,score\na,x,CAP,1\na,x,CAP,2\nb,x,Flu,\n,x,CAP,\nc,,CAP,\nd,x,CAP,high\n"
    )
    with pytest.raises(CohortError) as error:
        read_readings(table)
    told = str(error.value)
    for words in (
        "line 3: expected one label of a reader for a study, line 2 has one",
        "line 4: unknown label 'Flu'",
        "line 5: expected an id",
        "line 6: no reader",
        "line 7: expected a number as score, got 'high'",
    ):
        assert words in told


def test_a_condition_is_named_in_every_row_or_in_none(tmp_path):
    table = tmp_path / "readers.csv"
    table.write_text("study,reader,condition,label\na,x,alone,CAP\nb,x,,CAP\n")
    with pytest.raises(CohortError, match="name it in every row"):
        read_readings(table)


def conditions(folder, cases=24, scores=True):
    rows = ["study,reader,condition,label,score"]
    for name in ("A", "B", "C"):
        for condition, skill in (("with the model", 0.95), ("alone", 0.6)):
            rng = np.random.default_rng([ord(name), len(condition)])
            for study, truth in list(zip(STUDIES, TRUTH, strict=True))[:cases]:
                right = rng.random() < skill
                label = truth if right else ("CAP" if truth == "Covid-19" else "Covid-19")
                score = int(50 * (label == "Covid-19") + 50 * rng.random()) if scores else ""
                rows.append(f"{study},{name},{condition},{label},{score}")
    path = folder / "readers.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("scores", [True, False])
def test_two_conditions_are_compared_over_readers_and_cases(predictions, tmp_path, capsys, scores):
    table = conditions(tmp_path, scores=scores)
    out = tmp_path / "out"
    assert main(["compare", str(predictions), "--readers", str(table), "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert "mean of 3 readers on 24 cases" in told
    assert "(Obuchowski-Rockette)" in told
    with (out / "tables" / "comparisons.csv").open(newline="") as file:
        rows = {row["comparison"]: row for row in csv.DictReader(file)}
    gap = rows["with the model - alone"]
    assert (
        0
        < float(gap["value"])
        == pytest.approx(
            float(rows["with the model"]["value"]) - float(rows["alone"]["value"]), abs=1e-5
        )
    )
    assert "Condition: alone" in told


def test_readers_who_read_half_are_said_and_too_few_cases_are_not_compared(
    predictions, tmp_path, capsys
):
    table = conditions(tmp_path, cases=4)
    assert main(["compare", str(predictions), "--readers", str(table)]) == 0
    told = capsys.readouterr().out
    assert "| 20 |" in told  # cases skipped
    assert "model, on the cases of A" in told
    assert "not estimable: of 4 cases that all of them read in both conditions, 1 are Covid" in told


def test_a_folder_without_readers_is_wrong_usage(predictions, capsys):
    assert main(["compare", str(predictions), str(predictions), "-o", "out"]) == 2
    assert "expected --readers FILE with -o FOLDER" in capsys.readouterr().err
