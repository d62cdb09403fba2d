"""From an export and a spreadsheet to a paper: the script of `make road`, and its export."""

import csv
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from covidctnet.cli import main
from covidctnet.cohort.archive import read_cohort
from covidctnet.commands import COMMANDS
from covidctnet.phantom import CohortPlan, write_cohort
from pipelines.road.export import export

SCRIPT = Path(__file__).resolve().parents[1] / "pipelines" / "road" / "run.sh"

# Writes its arguments to standard output, as a shell reads them.
FAKE = "#!/usr/bin/env bash\nprintf CALL; printf ' %q' \"$@\"; echo\n"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("road") / "phantoms"
    plan = CohortPlan(
        {"Control": 3, "Covid-19": 3, "CAP": 3}, seed=5, scanners=("amber", "fjord"), matrix=24,
        spacing_mm=16.0,
    )  # fmt: skip
    write_cohort(folder, plan, workers=1)
    return folder


def test_an_export_with_its_spreadsheet_becomes_the_cohort_it_was_made_of(phantoms, tmp_path):
    count = export(phantoms, tmp_path, external="fjord")
    assert count == len(list((tmp_path / "export").iterdir()))
    table, target = tmp_path / "labels.xlsx", tmp_path / "cohort.csv"
    told = ["cohort", str(tmp_path / "export"), "--table", str(table), "-o", str(target)]
    assert main([*told, "--map", "Pneumonia=CAP"]) == 0
    with (phantoms / "cohort.csv").open(newline="") as file:
        drawn = sorted((row["label"], row["site"]) for row in csv.DictReader(file))
    hospital = {"amber": "Hospital A", "fjord": "Hospital B"}
    found = read_cohort(target)
    assert sorted((one.label.title, one.site) for one in found) == [
        (label, hospital[site]) for label, site in drawn
    ]
    assert all((one.split == "external") == (one.site == "Hospital B") for one in found)
    with (tmp_path / "readers.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3 * len(found)


def test_a_site_that_nobody_was_scanned_at_is_one_line(phantoms, tmp_path):
    with pytest.raises(SystemExit, match="expected --external to be one of amber, fjord, got 'x'"):
        export(phantoms, tmp_path, external="x")


def test_the_script_calls_commands_with_options_that_they_have(tmp_path, capsys):
    command = tmp_path / "covidctnet"
    command.write_text(FAKE)
    command.chmod(0o755)
    done = subprocess.run(
        ["bash", SCRIPT, command, shutil.which("true"), tmp_path / "runs"],
        capture_output=True, text=True, check=False, env={**os.environ, "SHAPE": "--matrix 24"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    calls = [shlex.split(line)[1:] for line in done.stdout.splitlines() if line[:4] == "CALL"]
    names = ["phantom", "cohort", "preprocess", "train-denoiser", "train-classifier"]
    assert [call[0] for call in calls] == [*names, "evaluate", "compare", "paper", "paper"]
    assert {call[0] for call in calls} <= set(COMMANDS)
    for call in calls:
        assert main([*call, "--print_config"]) == 0, call
    assert "mean nothing" in SCRIPT.read_text()
