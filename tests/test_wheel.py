"""The wheel carries everything that a classification needs."""

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.results import ANSWERED
from tests.io.series import write
from tests.small import tiny_weights, write_chest

ROOT = Path(__file__).resolve().parents[1]
LEFT_BEHIND = shutil.ignore_patterns(
    ".*", "build", "dist", "runs", "results", "docs", "tests", "*.egg-info", "__pycache__"
)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The contents of the wheel, away from the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = shutil.copytree(ROOT, folder / "tree", ignore=LEFT_BEHIND)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, tree]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    shutil.rmtree(tree)
    return folder / "site"


def run(site, *arguments):
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from covidctnet.cli import main; "
    check = "import covidctnet; assert covidctnet.__file__.startswith(sys.path[0]); "
    command = [sys.executable, "-I", "-c", start + check + "sys.exit(main())", site, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=site.parent, env=environment
    )


def test_every_module_of_the_package_is_in_the_wheel(unpacked):
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "covidctnet").rglob("*.py")}
    packed = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*.py")}
    assert modules <= packed
    assert (unpacked / "covidctnet" / "py.typed").is_file()


def test_the_presets_travel_in_the_wheel(unpacked):
    done = run(unpacked, "preprocess", "nowhere", "-o", "work", "--preset", "paper")
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_presets_of_systems_travel_and_those_of_experiments_do_not(unpacked):
    presets = unpacked / "covidctnet" / "shipped_pipelines"
    assert (presets / "resnet50_slices" / "tiny" / "classifier.yaml").is_file()
    assert (presets / "deeptek_unet" / "paper" / "segmenter.yaml").is_file()
    assert not (presets / "experiments").exists()
    assert not (presets / "deploy").exists()


def test_the_viewer_of_scans_travels_with_its_licence(unpacked):
    report, page = unpacked / "covidctnet" / "report", unpacked / "covidctnet" / "serve" / "web"
    for name in ("niivue.umd.js", "niivue.LICENSE", "viewer.js"):
        assert (report / "viewer" / name).is_file()
    assert (report / "view.js").is_file() and (page / "static" / "page.js").is_file()


def test_the_shipped_weights_travel_in_the_wheel(unpacked):
    verified = run(unpacked, "weights", "verify")
    assert verified.returncode == 0, verified.stderr
    assert "compact" in verified.stdout


def test_the_wheel_classifies_a_folder(unpacked, tmp_path):
    write_chest(tmp_path / "inbox" / "scan", "phantom")
    # Small ones, as those shipped take long for the same proof: that all it needs is there.
    weights = tiny_weights(tmp_path / "tiny")
    output = tmp_path / "results"
    arguments = [str(tmp_path / "inbox"), "-o", str(output), "--weights", str(weights)]
    done = run(unpacked, "classify", *arguments)
    assert done.returncode == 0, done.stderr
    with (output / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["status"] in ANSWERED
    assert row["label"] in {label.title for label in CHEST_CT}
    assert "Research use only" in (output / "index.html").read_text()


def test_an_obsolete_backport_beside_the_installed_package_harms_no_reading(unpacked, tmp_path):
    (unpacked / "pathlib.py").write_text("from collections import Sequence\n")
    write(tmp_path / "scan")
    # As site-packages lie: behind Python's own library.
    start = "import sys; sys.path.append(sys.argv.pop(1)); from covidctnet.cli import main; "
    check = "import covidctnet; assert covidctnet.__file__.startswith(sys.path[-1]); "
    command = [sys.executable, "-I", "-c", start + check + "sys.exit(main())", str(unpacked)]
    done = subprocess.run(
        [*command, "inspect", str(tmp_path / "scan")], capture_output=True, text=True, check=False
    )
    (unpacked / "pathlib.py").unlink()
    assert "NOT_CHEST" in done.stdout, done.stderr  # read, and looked at
    assert "CRASHED" not in done.stdout
