"""What those who run the program for others see: log files, metrics, limits a study."""

import json
import logging
import re

import pytest

from covidctnet.cli import main
from covidctnet.commands.common import LEAST_MEMORY_MB, Network, StudyLimits
from covidctnet.errors import UsageError
from covidctnet.report import Results
from covidctnet.run.classify import classify_into
from covidctnet.run.metrics import Metrics
from covidctnet.workers.isolate import Limits
from tests.io.series import write
from tests.run.test_classify import Oracle

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) \S.*")

FIGURE = re.compile(r"# (HELP|TYPE) .+|covidctnet_\w+(\{\w+=\"\w+\"\})? \S+")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    root = tmp_path_factory.mktemp("operators") / "Doe_Jane"
    for name in ("one", "two"):
        write(root / name, study=name, patient=name)
    write(root / "gap", study="gap", patient="gap", skip=(5,))
    return root


@pytest.fixture
def run(scans, tmp_path, monkeypatch, capsys):
    """Classifies; returns the exit code and standard error."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.setattr(Network, "load", lambda self: Oracle())

    def run(*options):
        code = main(["classify", str(scans), "-o", str(tmp_path / "out"), *map(str, options)])
        return code, capsys.readouterr().err

    yield run
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("covidctnet").setLevel(logging.NOTSET)


def test_a_log_file_has_a_line_a_study_with_time_and_level(run, tmp_path):
    code, err = run("--log-file", tmp_path / "run.log")
    assert code == 3
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    studies = [line for line in lines if " study " in line]
    assert len(studies) == 3
    assert sum("INFO" in line and "classified in" in line for line in studies) == 2
    assert sum("WARNING" in line and line.endswith("refused: SLICE_GAP") for line in studies) == 1
    # A person at the terminal sees what has no answer.
    assert "SLICE_GAP" in err and "classified in" not in err
    assert "Doe" not in err + "".join(lines)


def test_a_log_in_json_has_study_status_and_code_of_every_line(run, tmp_path):
    run(f"--log-json={tmp_path / 'run.jsonl'}")
    told = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in told)
    studies = [line for line in told if "study" in line]
    assert sorted(line["status"] for line in studies) == ["classified", "classified", "refused"]
    (refused,) = [line for line in studies if line["status"] == "refused"]
    assert (refused["level"], refused["code"]) == ("WARNING", "SLICE_GAP")
    records = (tmp_path / "out" / "studies").glob("*.json")
    assert {line["study"] for line in studies} == {record.stem for record in records}


def test_runs_append_to_a_log_and_why_one_ended_is_in_it(run, tmp_path):
    run("--log-file", tmp_path / "run.log")
    before = (tmp_path / "run.log").read_text()
    code, _ = run("--log-file", tmp_path / "run.log", "--workers", "-1")
    assert code == 2
    after = (tmp_path / "run.log").read_text()
    assert after.startswith(before)
    assert "ERROR expected --workers of 0 or more" in after[len(before) :]


def test_a_log_file_that_cannot_be_opened_is_one_line(run, tmp_path):
    code, err = run("--log-file", tmp_path / "nowhere" / "run.log")
    assert code == 2
    assert "'run.log' cannot be opened" in err and str(tmp_path) not in err
    assert not (tmp_path / "out").exists()
    assert run("--log-file")[0] == run("--log-json", "--verbose")[0] == 2


def test_verbose_shows_details_of_this_package_and_none_of_libraries(run, monkeypatch):
    class Chatty(Oracle):
        def prepare(self, volume):
            logging.getLogger("somelibrary").debug("element of Doe^Jane")
            logging.getLogger("covidctnet.anything").debug("a detail")
            return volume

    monkeypatch.setattr(Network, "load", lambda self: Chatty())
    _, err = run("--verbose")
    assert "a detail" in err and "classified in" in err
    assert "Doe^Jane" not in err


def test_a_trace_in_a_log_file_has_places_and_not_what_the_error_says(run, tmp_path, monkeypatch):
    broken = Oracle({1: ZeroDivisionError("/inbox/Doe^Jane")}.get)
    monkeypatch.setattr(Network, "load", lambda self: broken)
    run("--verbose", "--log-file", tmp_path / "run.log", "--log-json", tmp_path / "run.jsonl")
    for name in ("run.log", "run.jsonl"):
        text = (tmp_path / name).read_text()
        assert "classify.py:" in text and "ZeroDivisionError" in text
        assert "Doe" not in text


def figures(file):
    lines = file.read_text().splitlines()
    assert all(FIGURE.fullmatch(line) for line in lines)
    return {k: float(v) for k, v in (x.rsplit(" ", 1) for x in lines if x[0] != "#")}


def test_metrics_count_studies_by_status_and_say_when_the_run_has_ended(run, tmp_path):
    run("--metrics-file", tmp_path / "run.prom")
    told = figures(tmp_path / "run.prom")
    assert told['covidctnet_studies{status="classified"}'] == 2
    assert told['covidctnet_studies{status="refused"}'] == 1
    assert told["covidctnet_studies_waiting"] == told["covidctnet_running"] == 0
    assert told['covidctnet_stage_seconds_total{stage="read"}'] > 0
    assert told["covidctnet_last_record_time_seconds"] >= told["covidctnet_start_time_seconds"]


def test_metrics_are_written_while_the_run_goes_on(scans, tmp_path):
    seen, now = [], [0.0]

    def look(number):
        now[0] += 60
        seen.append(figures(tmp_path / "run.prom"))

    metrics = Metrics(tmp_path / "run.prom", clock=lambda: now[0])
    results = Results(tmp_path / "out")
    classify_into(results, [scans], Oracle(look), limits=None, metrics=metrics)
    assert seen[0]["covidctnet_running"] == 1
    assert seen[0]["covidctnet_studies_waiting"] >= 2


def test_metrics_that_cannot_be_written_cost_no_answer(scans, tmp_path, caplog):
    metrics = Metrics(tmp_path / "nowhere" / "run.prom", clock=lambda: 0.0)
    counts = classify_into(
        Results(tmp_path / "out"), [scans], Oracle(), limits=None, metrics=metrics
    )
    metrics.ended()
    assert counts.by_status["classified"] == 2
    assert caplog.text.count("no metrics") == 1


def test_limits_a_study_are_those_of_the_options():
    assert StudyLimits().limits == Limits()
    limits = StudyLimits(timeout=20.0, max_memory=1000).limits
    assert limits.memory_mb == 1000
    assert limits.seconds_for(10**9) == 20.0


@pytest.mark.parametrize(
    "wrong", [{"timeout": -1.0}, {"timeout": float("nan")}, {"max_memory": -5}, {"max_memory": 9}]
)
def test_limits_that_nothing_could_keep_are_refused(wrong):
    with pytest.raises(UsageError, match="expected --"):
        _ = StudyLimits(**wrong).limits


def test_the_least_memory_is_enough_for_a_process_that_reads(scans, tmp_path):
    limits = Limits(memory_mb=LEAST_MEMORY_MB)
    counts = classify_into(Results(tmp_path / "out"), [scans / "one"], Oracle(), limits=limits)
    assert counts.by_status["classified"] == 1
