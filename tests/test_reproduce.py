"""A system that reads slices on phantoms, from nothing to one page, by the script of `make`."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from covidctnet.cli import main
from covidctnet.commands import COMMANDS
from covidctnet.registry import find_system
from covidctnet.weights import load_weights

SCRIPT = Path(__file__).resolve().parents[1] / "pipelines" / "reproduce" / "slices.sh"
# Writes its arguments to standard output, as a shell reads them.
FAKE = "#!/usr/bin/env bash\nprintf CALL; printf ' %q' \"$@\"; echo\n"
SYSTEMS = ("resnet50_slices", "deeptek_unet")
# Five patients of each class, two steps of training on slices of 64 x 64.
SHORT = {
    "PATIENTS": "5",
    "HELD_BACK": "1",
    "SHAPE": "--matrix 96 --spacing-mm 10",
    "SLICES": "2",
    "EVERY": "8",
    "FLAGS": "--model.pretrained= --trainer.max_epochs=1 --trainer.limit_train_batches=2 "
    "--data.batch_size=4 --data.size=64 --device=cpu",
}

if not SCRIPT.is_file():
    pytest.skip("the pipelines are not here", allow_module_level=True)


def run(command, folder, system, **more):
    return subprocess.run(
        ["bash", SCRIPT, command, folder, system],
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def fake(tmp_path):
    command = tmp_path / "covidctnet"
    command.write_text(FAKE)
    command.chmod(0o755)
    return command


@pytest.mark.parametrize("system", SYSTEMS)
def test_it_says_what_it_does_before_it_does_it(system, fake, tmp_path):
    done = run(fake, tmp_path / "runs", system)
    assert done.returncode == 0, done.stderr
    said, _, rest = done.stdout.partition("CALL")
    assert system in said and "All are phantoms" in said and "nothing about patients" in said
    calls = [line.split()[:3] for line in f"CALL{rest}".splitlines() if line.startswith("CALL")]
    assert [call[1] for call in calls] == ["phantom"] * 3 + ["train", "classify", "evaluate"]
    assert {call[1] for call in calls} <= set(COMMANDS)
    (stage,) = re.findall(rf"CALL train {system} (\w+) --preset tiny", rest)
    assert stage in {one.name for one in find_system(system).stages}
    assert rest.rstrip().splitlines()[-3].split() == [
        "The",
        "page",
        str(tmp_path / "runs/report/index.html"),
    ]


def test_an_unknown_system_is_one_line(fake, tmp_path):
    done = run(fake, tmp_path / "runs", "nonesuch")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "expected resnet50_slices or deeptek_unet as system, got 'nonesuch'\n"


def test_two_steps_on_phantoms_end_in_one_page_for_each_system(fake, tmp_path):
    """The commands that the script calls, one after the other in this process."""
    for system in SYSTEMS:
        runs = tmp_path / system
        if system != SYSTEMS[0]:  # the same phantoms: drawing them is what takes the time
            for name in ("phantoms", "held-back"):
                shutil.copytree(tmp_path / SYSTEMS[0] / name, runs / name)
        done = run(fake, runs, system, **SHORT)
        assert done.returncode == 0, done.stderr
        for line in done.stdout.splitlines():
            if line.startswith("CALL "):
                assert main(shlex.split(line)[1:]) == 0, line
        page = (runs / "report" / "index.html").read_text()
        # Three classes, two groups of scanners, one patient each.
        assert "6 studies with an answer" in page and "Beside the published system" in page
        # The U-Net draws lesions, which are compared with the truth of the phantoms.
        assert ("Dice" in page) == (system == "deeptek_unet")
        assert load_weights(runs / "work" / "weights").card["synthetic_only"]
