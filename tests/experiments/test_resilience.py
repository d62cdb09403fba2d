"""No fault costs an answer; and what costs one is noticed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from covidctnet.report import Results
from covidctnet.run.classify import classify_into
from pipelines.experiments.resilience.faults import FAULTS, write_scan
from pipelines.experiments.resilience.program import StandIn
from pipelines.experiments.resilience.run import render
from pipelines.experiments.resilience.toll import Toll, table_of

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
def test_no_fault_costs_an_answer():
    """The short form; `make resilience` tries each fault more often."""
    command = [sys.executable, "-m", "pipelines.experiments.resilience.run", "--short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^\| (.+) \| (\d+) \| 0 \| 0 \| 0 \| 0 \|$", done.stdout, re.M)
    assert len(rows) == len(FAULTS)
    tried = {name.partition(" (")[0]: int(times) for name, times in rows}
    assert all(times > 0 for name, times in tried.items() if name != "disk full")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Results of three scans, and what is right."""
    root = tmp_path_factory.mktemp("toll")
    for number in range(3):
        write_scan(root / "inbox" / f"{number}.nii", number)
    classify_into(Results(root / "results"), root / "inbox", StandIn(), limits=None)
    return root / "results", dict(table_of(root / "results"))


@pytest.fixture
def results(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "results")


def costs(toll):
    return toll.lost, toll.doubled, toll.wrong


def test_an_undisturbed_run_costs_nothing(finished, results):
    toll = Toll("none")
    toll.judge(results, finished[1])
    assert costs(toll) == (0, 0, 0)
    assert toll.is_clean
    assert len(finished[1]) == 3


def rewrite(path, change):
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("change", "cost"),
    [
        (lambda lines: lines[:-1], (1, 0, 0)),
        (lambda lines: [*lines, lines[-1]], (0, 1, 0)),
        (lambda lines: [line.replace(",0.", ",0.9", 1) for line in lines], (0, 0, 3)),
    ],
    ids=["lost", "doubled", "wrong"],
)
def test_what_is_wrong_with_a_table_is_counted(finished, results, change, cost):
    rewrite(results / "results.csv", change)
    toll = Toll("planted")
    toll.judge(results, finished[1])
    assert costs(toll) == cost
    assert not toll.is_clean


def test_a_record_that_is_torn_or_gone_is_counted(finished, results):
    first, second, _ = sorted((results / "studies").glob("*.json"))
    first.write_text(first.read_text()[:40])
    second.unlink()
    toll = Toll("planted")
    toll.judge_records(results, finished[1], finished[1])
    assert costs(toll) == (2, 0, 1)


def test_an_end_that_was_not_promised_is_counted():
    toll = Toll("planted", tried=2)
    toll.ended(0, (0, 3))
    assert toll.is_clean
    toll.ended(None, (0, 3))
    assert not toll.is_clean
    assert "| planted | 2 | 0 | 0 | 0 | 1 |" in render([toll], 0)
