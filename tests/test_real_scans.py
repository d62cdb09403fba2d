"""The evaluation of denoisers on real scans, on made-up ones; and the figures slice by slice."""

import csv

import numpy as np
import pytest

from covidctnet import Source, Volume, read_volume
from pipelines.real import denoiser
from pipelines.real.slices import ILL_FROM, blocked_auc, score_slices
from tests.small import tiny_weights, write_chest


def a_unit(array):
    return Volume(array, np.eye(4), "unit", Source("s"), (), (-1000.0, 400.0))


def rng():
    return np.random.default_rng(0)


@pytest.fixture
def slices():
    """Three slices of dark lung in a bright body; the second holds a denser patch."""
    lungs = np.zeros((3, 40, 40), dtype=bool)
    lungs[:, 5:35, 5:35] = True
    clean = np.where(lungs, 0.1, 0.8).astype(np.float32)
    noisy = clean.copy()
    noisy[1, 10:20, 10:20] += 0.4
    return noisy, clean, lungs


def test_a_patch_that_was_taken_away_is_what_its_slice_scores(slices):
    noisy, clean, lungs = slices
    scores = score_slices(a_unit(noisy), clean, lungs, voxel_mm2=2.5)
    # The rim of three voxels is left out: 24 x 24 remain, and the whole patch lies in them.
    assert scores.voxels.tolist() == [576, 576, 576]
    assert scores.residual_share.tolist() == pytest.approx([0, 100 / 576, 0])
    assert scores.residual_mm2.tolist() == pytest.approx([0, 250, 0])
    assert scores.residual_mean.tolist() == pytest.approx([0, 0.4 * 100 / 576, 0])
    assert scores.density_share.tolist() == pytest.approx([0, 100 / 576, 0])
    assert scores.whole("residual_share") == pytest.approx(100 / 1728)


def test_what_was_added_or_lies_outside_the_lungs_scores_nothing(slices):
    noisy, clean, lungs = slices
    assert score_slices(a_unit(clean), noisy, lungs).residual_mean.max() == 0
    outside = noisy + np.where(lungs, 0, 0.15).astype(np.float32)
    assert np.allclose(
        score_slices(a_unit(outside), clean, lungs).residual_mean,
        score_slices(a_unit(noisy), clean, lungs).residual_mean,
    )


def test_the_threshold_is_the_one_told(slices):
    _, clean, lungs = slices
    for excess, share in ((-1e-3, 0.0), (1e-3, 1.0)):
        scores = score_slices(a_unit(clean + np.float32(ILL_FROM + excess)), clean, lungs)
        assert np.allclose(scores.residual_share, share)


def test_slices_without_lungs_score_zero(slices):
    noisy, clean, lungs = slices
    scores = score_slices(a_unit(noisy), clean, lungs & False)
    assert not scores.residual_share.any()
    assert scores.whole("residual_mean") == 0


def test_blocks_of_alike_neighbours_widen_the_interval():
    positive = np.repeat([False, True, False, True], 40)
    smooth = np.repeat(rng().normal(0, 1, 16), 10) + positive
    alone = blocked_auc(positive, smooth, block=1, rng=rng())
    blocks = blocked_auc(positive, smooth, block=10, rng=rng())
    assert alone.value == blocks.value
    assert blocks.high - blocks.low > 1.5 * (alone.high - alone.low)
    assert blocks.low <= blocks.value <= blocks.high


def test_intervals_of_independent_slices_cover_the_truth_about_as_often_as_they_say():
    """AUC of normal scores one standard deviation apart is 0.760."""
    draw = rng()
    positive = np.arange(120) % 2 == 0
    inside = 0
    for _ in range(60):
        estimate = blocked_auc(positive, draw.normal(0, 1, 120) + positive, block=1, rng=draw)
        inside += estimate.low <= 0.760 <= estimate.high
    assert inside >= 51  # binomial of 60 and 0.95: fewer happens once in 500 times


def test_one_kind_of_slices_gives_no_figure():
    scores = np.arange(9.0)
    assert "not estimable" in str(blocked_auc(scores > 99, scores, block=3, rng=rng()))
    assert "interval not estimable" in str(blocked_auc(scores > 7, scores, block=3, rng=rng()))


@pytest.mark.parametrize("wrong", [{"block": 0}, {"positive": np.ones((2, 2), bool)}])
def test_what_makes_no_sense_is_refused(wrong):
    arguments = {"positive": np.ones(4, bool), "scores": np.ones(4), "block": 2, **wrong}
    with pytest.raises(ValueError, match="expected two arrays of one shape"):
        blocked_auc(arguments["positive"], arguments["scores"], block=arguments["block"], rng=rng())


@pytest.fixture
def scans(tmp_path):
    """Two scans; radiologists marked slices of the first."""
    for name in ("p1", "p2"):
        write_chest(tmp_path / "scans" / "CAP" / name, name, sick=name == "p1")
    volume = read_volume(tmp_path / "scans" / "CAP" / "p1")
    heights = [(volume.affine @ [k, 0, 0, 1])[2] for k in range(25)]
    rows = [{"z_mm": z, "infection": int(8 <= k < 14)} for k, z in enumerate(heights)]
    with (tmp_path / "scans" / "p1_slice_labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["z_mm", "infection"])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "scans"


def test_the_judge_compares_the_residual_with_the_marked_slices(scans, tmp_path, capsys):
    weights, page = tiny_weights(tmp_path / "w"), tmp_path / "real.md"
    assert denoiser.main([str(scans), "--weights", str(weights), "--output", str(page)]) == 0
    text = capsys.readouterr().out
    assert page.read_text() == text
    first, second = (x for x in text.splitlines() if x.startswith("| CAP/") and " | w |" not in x)
    assert "6 of 25" in first
    # Density alone sees the patch of -500 HU that the chest was given.
    assert float(first.split("|")[6].split()[0]) == pytest.approx(1.0)
    assert "no labels" in second
    lines = [line for line in text.splitlines() if line.startswith("| CAP/p1 | w |")]
    assert sum(float(cell) for cell in lines[0].split("|")[3:6]) == pytest.approx(1, abs=0.002)


def test_labels_that_lie_elsewhere_are_refused(scans, tmp_path, capsys):
    table = scans / "p1_slice_labels.csv"
    table.write_text("z_mm,infection\n900,1\n906,0\n")
    assert denoiser.main([str(scans), "--weights", str(tiny_weights(tmp_path / "w"))]) == 2
    assert "a labelled slice lies" in capsys.readouterr().err


def test_a_folder_without_scans_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    weights = str(tiny_weights(tmp_path / "w"))
    assert denoiser.main([str(tmp_path / "empty"), "--weights", weights]) == 2
    assert "no DICOM folder below" in capsys.readouterr().err
