"""The table of how unlike groups of scans are."""

import re

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.phantom import SCANNERS, make_phantom
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.trust.appearance import FEATURES
from pipelines.experiments.out_of_distribution import run
from tests.io.series import an_affine, write
from tests.small import SPACING, calibrated_weights, tiny_weights, write_chest
from tests.volumes import a_chest


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(calibrated_weights(tmp_path_factory.mktemp("weights") / "calibrated"))


def test_a_scan_that_the_gate_refuses_gets_a_score_too(weights, tmp_path, capsys):
    write_chest(tmp_path / "chests" / "one", "1")
    chest, lungs = a_chest((25, 50, 60), 6.0)
    block = np.where(lungs, np.int16(40), chest.array)
    block += np.random.default_rng(0).integers(0, 30, block.shape, dtype=np.int16)
    write(tmp_path / "blocks" / "one", block, affine=an_affine(SPACING), patient="2")
    page = tmp_path / "out-of-distribution.md"
    groups = [f"chests={tmp_path / 'chests'}", f"blocks={tmp_path / 'blocks'}"]
    assert run.main([*groups, "--weights", weights, "--output", str(page)]) == 0
    printed = capsys.readouterr().out
    assert page.read_text() == printed
    # The limit of these weights is tiny: everything is above it.
    row = re.search(
        r"\| chests \| 1 \|  \| [\d.]+ \|.*\| 1\.00 \(0\.21-1\.00\) \| (.+) \(1\) \|", printed
    )
    assert row and row[1] in FEATURES
    assert re.search(r"\| blocks \| 1 \| 1 \| [\d.]+ \|", printed)


def test_parts_of_the_scans_are_groups_of_their_own(weights, tmp_path, capsys):
    write_chest(tmp_path / "one", "1")
    parts = ["--parts", "bellies=0:0.3", "necks=0.8:1"]
    assert run.main([f"chests={tmp_path}", *parts, "--weights", weights]) == 0
    printed = capsys.readouterr().out
    assert "| chests | 1 |  |" in printed
    assert "| chests: bellies | 1 | 1 |" in printed
    assert "| chests: necks | 1 | 1 |" in printed
    assert run.main([f"chests={tmp_path}", "--parts", "x=1:0", "--weights", weights]) == 2
    assert "NAME=FIRST:LAST" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["ood_score", "distance"])
def test_what_an_evaluation_scored_comes_by_site(weights, tmp_path, capsys, column):
    table = tmp_path / "predictions.csv"
    table.write_text(f"study,{column},site\na,0.5,amber\nb,1.5,amber\nc,,amber\nd,0.25,birch\n")
    assert run.main(["--predictions", f"phantoms={table}", "--weights", weights]) == 0
    printed = capsys.readouterr().out
    assert "| phantoms, amber | 2 |  | 1.00 | 0.50 to 1.50 | 0.50 (0.09-0.91) |" in printed
    assert "| phantoms, birch | 1 |  | 0.25 |" in printed


@pytest.mark.parametrize("group", ["nowhere", "a=/nowhere"])
def test_a_group_that_is_not_there_is_refused(weights, group, capsys):
    assert run.main([group, "--weights", weights]) == 2
    assert "NAME=PATH" in capsys.readouterr().err


def test_weights_that_cannot_tell_are_refused(tmp_path, capsys):
    assert run.main(["--weights", str(tiny_weights(tmp_path / "tiny"))]) == 2
    assert "expected weights with an out-of-distribution detector" in capsys.readouterr().err


def test_the_shipped_weights_flag_half_a_phantom_chest_that_the_gate_lets_pass():
    model = CovidCTNet.load("compact", device="cpu")
    scanner = SCANNERS["birch"]
    whole = make_phantom(CHEST_CT.COVID19, 3, scanner=scanner, matrix=128, spacing_mm=4.0).volume
    half = whole.then("cut", whole.array[: len(whole.array) // 2])
    ordinary, cut = model.prepare(whole), model.prepare(half)
    assert ordinary.ood.score < 1 < cut.ood.score
    assert "out_of_distribution" not in ordinary.flags and "out_of_distribution" in cut.flags
    assert cut.ood.feature == "length of the lungs"
