"""The order of the demo: what it calls, with a command in its place that only takes notes."""

import re
import subprocess
from pathlib import Path

import pytest

from covidctnet.commands import COMMANDS

SCRIPT = Path(__file__).resolve().parents[1] / "pipelines" / "demo" / "run.sh"
# Writes its arguments to standard output, and the folders that the script moves.
FAKE = """#!/usr/bin/env bash
set -eu
echo "CALL $*"
if [ "$1" = phantom ]; then
    for label in Control Covid-19 CAP; do mkdir -p "$3/$label/one"; done
fi
"""

if not SCRIPT.is_file():
    pytest.skip("the demo is not here", allow_module_level=True)


@pytest.fixture
def printed(tmp_path):
    fake = tmp_path / "covidctnet"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", SCRIPT, fake, "runs/demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def position(lines, words):
    """The first line that holds some words."""
    return next(number for number, line in enumerate(lines) if words in line)


def test_the_demo_shows_a_page_of_the_shipped_weights_before_it_trains(printed, tmp_path):
    page = position(printed, f"open {tmp_path}/runs/demo/results-compact/index.html")
    calls = [line.split()[1:] for line in printed[:page] if line.startswith("CALL ")]
    assert [call[0] for call in calls] == ["phantom", "classify"]
    # The shipped weights are those that are taken when none are named.
    assert "--weights" not in calls[1]
    assert page < position(printed, "CALL preprocess") < position(printed, "CALL train-denoiser")


def test_the_demo_leaves_no_table_of_scans_that_it_moved(printed, tmp_path):
    assert (tmp_path / "runs/demo/inbox/one").is_dir()
    assert not (tmp_path / "runs/demo/new").exists()


def test_the_demo_says_that_it_trains_before_it_does(printed):
    announced = position(printed, "trains two toy networks on phantoms")
    assert announced < position(printed, "CALL phantom -o runs/demo/c")


def test_the_demo_promises_no_time_that_nobody_measured():
    assert not re.search(r"about \w+ (minutes|seconds|hours)", SCRIPT.read_text())


def test_the_demo_calls_phantoms_by_their_name(printed):
    for line in printed:
        if line.startswith("== ") and ("draw" in line or "cohort" in line or "classify" in line):
            assert "phantom" in line or "classify them" in line


def test_the_demo_calls_only_commands_that_there_are(printed):
    calls = {line.split()[1] for line in printed if line.startswith("CALL ")}
    assert calls <= set(COMMANDS)
    assert {"train-denoiser", "train-classifier", "evaluate"} <= calls
