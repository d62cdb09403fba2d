import csv
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.errors import StorageError, UsageError
from covidctnet.report import Results, columns
from covidctnet.writer import WRITER_FILES
from tests.report.answers import AStudy, an_info, answer, images, refusal

FILES = {"results.csv", "results.json", "index.html", "studies"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def results(folder):
    made = Results(folder)
    made.start(an_info())
    return made


def table(folder):
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


def names(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_the_files_are_there_before_the_first_answer(results, folder):
    assert {path.name for path in folder.iterdir()} - WRITER_FILES == FILES
    assert (folder / "results.csv").read_text() == ",".join(columns(CHEST_CT)) + "\n"
    assert json.loads((folder / "results.json").read_text())["studies"] == []


def test_nothing_is_made_before_the_start(folder):
    Results(folder)
    assert not folder.exists()


def test_asking_before_the_start_is_our_own_mistake(folder):
    with pytest.raises(ValueError, match="start"):
        Results(folder).answer(AStudy())


def test_the_json_file_tells_everything(results, folder):
    with results:
        results.add(AStudy(), answer(flags=("lossy",), notes=("was read",)), seconds={"read": 0.5})
        results.add(AStudy(id="b"), refusal("b"))
    data = json.loads((folder / "results.json").read_text())
    assert data["counts"] == {
        "classified": 0,
        "flagged": 1,
        "abstained": 0,
        "refused": 1,
        "failed": 0,
    }
    assert "Research use only" in data["notice"]
    first, second = data["studies"]
    assert first["probabilities"] == {"control": 0.2, "covid19": 0.7, "cap": 0.1}
    assert (first["flags"], first["notes"]) == (["lossy"], ["was read"])
    assert (first["label"], first["seconds"]) == ("Covid-19", {"read": 0.5})
    assert second["label"] is None
    assert data["runs"][first["run"]]["model"]["weights"] == "compact"


def test_a_second_run_knows_the_first_one_s_answers(results, folder):
    with results:
        results.add(AStudy(), answer(evidence=images()))
        results.add(AStudy(id="b"), refusal("b"))
    before = table(folder)
    again = Results(folder)
    again.start(an_info())
    assert again.answer(AStudy()) == results.records[0]
    assert again.answer(AStudy(id="b")).status == "refused"
    assert again.answer(AStudy(id="c")) is None
    assert table(folder) == before


@pytest.mark.parametrize("why", ["failed", "files"])
def test_a_study_is_asked_again_when_its_answer_does_not_stand(results, folder, why, tmp_path):
    study = AStudy()
    failed = refusal(message="the program failed", status="failed")
    with results:
        results.add(study, failed if why == "failed" else answer())
    again = Results(folder)
    again.start(an_info())
    if why == "files":
        study = AStudy(files=(tmp_path / "new.dcm",))
    assert again.answer(study) is None


def test_a_study_asked_again_keeps_its_row_and_its_old_picture_goes(results, folder):
    brighter = images(images=tuple(2 * image for image in images()[0].images))
    with results:
        results.add(AStudy(), answer(evidence=images()))
        results.add(AStudy(id="b"), answer("b"))
        results.add(AStudy(), answer(evidence=brighter))
    assert [row["study"] for row in table(folder)] == [AStudy().id, "b"]
    assert len(list((folder / "studies").glob("*.webp"))) == 1


def test_tables_are_made_anew_now_and_then_and_at_the_end(folder):
    now = [0.0]
    results = Results(folder, clock=lambda: now[0])
    results.start(an_info())
    with results:
        results.add(AStudy(id="a"), answer("a"))
        assert table(folder) == []
        now[0] += 60
        results.add(AStudy(id="b"), answer("b"))
        assert len(table(folder)) == 2
        results.add(AStudy(id="c"), answer("c"))
        assert len(table(folder)) == 2
    assert len(table(folder)) == 3


def test_an_error_on_the_way_leaves_the_tables_up_to_date(results, folder):
    with pytest.raises(KeyboardInterrupt), results:
        results.add(AStudy(), answer())
        raise KeyboardInterrupt
    assert len(table(folder)) == 1


def test_a_full_disk_keeps_the_old_answers_and_no_half_one(results, folder, monkeypatch):
    with results:
        results.add(AStudy(id="a"), answer("a"))
    before = names(folder)
    with monkeypatch.context() as patch:
        patch.setattr("covidctnet.files.os.replace", full_disk)
        with pytest.raises(StorageError, match="No space left") as caught, results:
            results.add(AStudy(id="b"), answer("b", evidence=images()))
    assert caught.value.exit_code == 1
    assert names(folder) == before
    assert [row["study"] for row in table(folder)] == ["a"]


def test_no_picture_is_left_without_its_record(results, folder, monkeypatch):
    real, calls = os.replace, []

    def full_for_the_second(source, target):
        calls.append(target)
        return full_disk() if len(calls) == 2 else real(source, target)

    monkeypatch.setattr("covidctnet.files.os.replace", full_for_the_second)
    with pytest.raises(StorageError):
        results.add(AStudy(), answer(evidence=images()))
    assert not list((folder / "studies").iterdir())


def test_a_table_that_cannot_be_replaced_now_does_not_stop_the_run(folder, monkeypatch, caplog):
    now = [0.0]
    results = Results(folder, clock=lambda: now[0])
    results.start(an_info())
    real = os.replace

    def locked(source, target):
        if target.name == "results.csv":
            raise OSError(errno.EACCES, "Permission denied")
        return real(source, target)

    with results:
        now[0] += 60
        with monkeypatch.context() as patch:
            patch.setattr("covidctnet.files.os.replace", locked)
            results.add(AStudy(), answer())
        assert "Permission denied" in caplog.text
    assert len(table(folder)) == 1


def test_a_disk_that_is_full_from_the_start_is_no_wrong_usage(folder, monkeypatch):
    results = Results(folder)
    monkeypatch.setattr(Path, "mkdir", full_disk)
    with pytest.raises(StorageError, match=r"No space left.*Make room"):
        results.start(an_info())


@pytest.mark.parametrize(("where", "words"), [("file", "a file of that name"), ("below", "Not a")])
def test_a_file_in_the_folder_s_place_is_refused(tmp_path, where, words):
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" if where == "file" else tmp_path / "file" / "below"
    with pytest.raises(UsageError, match=words):
        Results(path).start(an_info())
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["thesis.tex", "results.json", "results.csv", "studies/x.txt"])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(folder, name):
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("{}")
    with pytest.raises(UsageError, match="other entries"):
        Results(folder)
    assert names(folder) == {Path(name).name}


def test_an_empty_folder_with_what_a_system_leaves_there_is_taken(folder):
    folder.mkdir()
    (folder / ".DS_Store").touch()
    Results(folder).start(an_info())
    assert (folder / "results.csv").is_file()


@pytest.mark.parametrize("there", [(), ("results.csv",), (".results.csv.0123abcd.unfinished",)])
def test_a_run_killed_before_its_first_answer_is_taken_up(folder, there):
    (folder / "studies").mkdir(parents=True)
    for name in there:
        (folder / name).write_text("study")
    Results(folder).start(an_info())
    assert {path.name for path in folder.iterdir()} - WRITER_FILES == FILES


def test_a_record_that_is_none_is_asked_again(results, folder):
    with results:
        results.add(AStudy(), answer())
    (folder / "studies" / f"{AStudy().id}.json").write_text('{"study": "a75')
    again = Results(folder)
    again.start(an_info())
    assert again.answer(AStudy()) is None


def test_tables_come_back_from_the_records(results, folder):
    with results:
        results.add(AStudy(), answer(evidence=images()))
    before = table(folder)
    for name in ("results.csv", "results.json", "index.html"):
        (folder / name).unlink()
    Results(folder).start(an_info())
    assert table(folder) == before
    assert "data:image/webp" in (folder / "index.html").read_text()


def test_a_picture_that_cannot_be_drawn_costs_the_picture_only(results, caplog, monkeypatch):
    def broken(evidence):
        raise ValueError("no ink")

    monkeypatch.setattr("covidctnet.report.evidence.draw", lambda evidence: broken(evidence))
    record = results.add(AStudy(), answer(evidence=images()))
    assert (record.picture, record.status) == ("", "classified")
    assert "no picture" in caplog.text


KILLED = """
import os, signal, sys
from covidctnet.report import Results
from tests.report.answers import an_info, AStudy, answer, images

real = os.replace
def killed(source, target):
    if target.name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(source, target)

with Results(sys.argv[1]) as results:
    results.start(an_info())
    results.add(AStudy(id="a"), answer("a"))
    os.replace = killed
    results.add(AStudy(id="b"), answer("b", evidence=images()))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
@pytest.mark.parametrize("at", ["b.json", "results.csv"])
def test_a_killed_run_leaves_whole_files_and_is_continued(folder, at):
    command = [sys.executable, "-c", KILLED, str(folder), at]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    for record in (folder / "studies").glob("*.json"):
        json.loads(record.read_text())
    json.loads((folder / "results.json").read_text())
    again = Results(folder)
    with again:
        again.start(an_info())
        assert again.answer(AStudy(id="a")) is not None
        assert (again.answer(AStudy(id="b")) is None) == (at == "b.json")
    assert not [name for name in names(folder) if "unfinished" in name]
