"""The table of folds: the network, its controls, the shortcut baseline, another set."""

import math
from dataclasses import replace

import numpy as np
import pytest

from covidctnet.evaluation.intervals import Estimate
from covidctnet.slicewise.operating import OperatingPoints
from covidctnet.systems.resnet50_slices.settings import SliceSettings
from covidctnet.systems.xray_vgg16.settings import RadiographSettings
from pipelines.experiments.slices import folds
from tests.picture_set import write_pictures
from tests.radiograph.pictures import write_radiographs


class Bright:
    """A network whose score is the brightest part of a slice: the spot of `write_pictures`."""

    def __init__(self, **settings):
        self.settings = SliceSettings(size=32, **settings)

    def scores(self, pictures):
        blocks = pictures.reshape(len(pictures), 8, 4, 8, 4).mean((2, 4)).max((1, 2)) / 255
        return np.stack([1 - blocks, blocks], 1)


@pytest.fixture
def trained(monkeypatch):
    """What was trained, in place of training."""
    asked = []

    def train_fold(given, variant, fold, flags):
        asked.append((variant.name, fold, *flags))
        points = OperatingPoints(0.45, 0.6, 0.3, 2, 2)
        return Bright(points=points, lungs_blacked_out=variant is folds.TRAINED_BLACK)

    monkeypatch.setattr(folds, "train_fold", train_fold)
    return asked


def page_of(tmp_path, *flags, **how):
    folder = write_pictures(tmp_path / "one", patients=20, **how)
    page = tmp_path / "page.md"
    arguments = [str(folder), "--work", str(tmp_path / "work"), "--output", str(page)]
    assert folds.main([*arguments, *flags]) == 0
    return page.read_text()


def rows(page):
    cells = (line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|"))
    return {tuple(cell[:3]): cell[3] for cell in cells if len(cell) == 4}


def test_the_page_has_the_network_its_controls_and_the_baseline(trained, tmp_path):
    page = page_of(tmp_path, "--from-scratch", "--lungs-blacked-out", "--train-blacked-out")
    assert page.startswith(("The network does not beat", "The network's AUC is above"))
    found = rows(page)
    names = {name for name, _, _ in found}
    assert {folds.NETWORK, folds.SHORTCUT, folds.TESTED_BLACK} <= names
    assert {folds.FROM_SCRATCH.name, folds.TRAINED_BLACK.name} <= names
    for name in (folds.FROM_SCRATCH.name, folds.SHORTCUT, folds.TESTED_BLACK):
        assert (f"network - {name}", "slice", "auc") in found
    assert len(trained) == 3 * 5


def test_figures_are_by_slice_at_both_published_points_and_by_patient(trained, tmp_path):
    found = rows(page_of(tmp_path))
    assert float(found[folds.NETWORK, "slice", "auc"].split()[0]) > 0.95
    assert "n=40" in found[folds.NETWORK, "slice", "auc"]
    assert "n=20" in found[folds.NETWORK, "patient", "auc"]
    for point in ("rule-in (0.4)", "rule-out (0.0006)"):
        assert (folds.NETWORK, "slice", f"sensitivity at {point}") in found
    assert found[folds.NETWORK, "slice", "sensitivity at rule-out (0.0006)"].startswith("1.000")


def test_without_patients_there_is_no_figure_by_patient(trained, tmp_path):
    units = {unit for _, unit, _ in rows(page_of(tmp_path, "--patients-unknown"))}
    assert "patient" not in units and "slice" in units


def test_further_flags_go_to_the_training(trained, tmp_path):
    page_of(tmp_path, "--trainer.max_epochs=1")
    assert {entry[2:] for entry in trained} == {("--trainer.max_epochs=1",)}


@pytest.mark.parametrize(
    ("gained", "said"),
    [
        (Estimate(0.1, 0.02, 0.2, 40), "The network's AUC is above that of the shortcut baseline"),
        (Estimate(0.1, -0.01, 0.2, 40), "The network does not beat the shortcut baseline"),
        (Estimate(-0.1, -0.2, -0.01, 40), "The network does not beat the shortcut baseline"),
        (Estimate(0.1, math.nan, math.nan, 40), "The network does not beat the shortcut baseline"),
    ],
)
def test_the_first_line_says_whether_the_baseline_is_beaten(gained, said):
    assert folds.verdict(gained).startswith(said)


def test_another_set_is_scored_without_copies_of_training_pictures(trained, tmp_path):
    other = write_pictures(tmp_path / "other", patients=24)  # the first 20 are those of `one`
    page = page_of(tmp_path, "--across", str(other))
    assert "tested on 8 pictures of other; 40 copies of training pictures left out" in page
    found = rows(page)
    assert float(found["network, mean of 5", "slice", "auc"].split()[0]) > 0.9
    assert "n=8" in found["network, mean of 5", "slice", "auc"]


def test_black_lungs_take_away_what_the_network_reads(trained, tmp_path, monkeypatch):
    settings = replace(Bright().settings, lungs_blacked_out=True)
    grey = np.full((60, 60), 230, np.uint8)
    grey[15:45, 8:26] = grey[15:45, 34:52] = 30
    grey[20:24, 12:18] = 160
    assert settings.picture(grey)[9:23, 6:26].max() == 0
    assert replace(settings, lungs_blacked_out=False).picture(grey)[11, 8] > 100


def test_the_confusion_matrix_is_by_patient_with_shares_of_its_rows(trained, tmp_path):
    page = page_of(tmp_path)
    assert "| true, by patient | called Non-Covid | called Covid-19 |" in page
    (line,) = [line for line in page.splitlines() if line.startswith("| Covid-19 |")]
    counts = [int(cell.split()[0]) for cell in line.strip("| ").split(" | ")[1:]]
    assert sum(counts) == 10 and f"({counts[1] / 10:.1%})" in line


def test_radiographs_are_scored_in_folds_by_their_own_classes(monkeypatch, tmp_path):
    folder = write_radiographs(tmp_path / "set", patients=12, size=64)

    class Ill:
        settings = RadiographSettings(size=32)

        def scores(self, pictures):
            spot = pictures[:, 17:22, 7:12].mean((1, 2)) / 255
            return np.stack([1 - spot, spot], 1)

    monkeypatch.setattr(folds, "train_fold", lambda given, variant, fold, flags: Ill())
    page = tmp_path / "page.md"
    arguments = [str(folder), "--work", str(tmp_path / "work"), "--output", str(page)]
    assert folds.main([*arguments, "--system", "xray_vgg16", "--folds", "3"]) == 0
    found = rows(page.read_text())
    assert float(found[folds.NETWORK, "radiograph", "auc"].split()[0]) > 0.9
    assert "called Pneumonia" in page.read_text() and "24 radiographs of 12" in page.read_text()
