"""The ablation: its grid, its flags, its measures and its table."""

import numpy as np
import pytest
import yaml

from covidctnet.classes import CHEST_CT
from covidctnet.errors import UsageError
from pipelines.experiments.ablation import run, table
from tests.small import SIZE, tiny_weights
from tests.volumes import a_chest

GRID = yaml.safe_load(run.GRID.read_text())


def test_every_row_changes_the_base_and_two_rows_never_say_the_same():
    earlier = []
    for name, row in GRID["rows"].items():
        settings = [
            run._merged(GRID[stage], row.get(stage, {})) for stage in ("denoiser", "classifier")
        ]
        flags = (run._flags(settings[0]), run._flags(settings[1]), row.get("from_lungs", False))
        assert flags not in earlier, name
        earlier.append(flags)


def test_rows_that_share_a_denoiser_come_behind_it_and_leave_it_alone():
    names = list(GRID["rows"])
    for name, row in GRID["rows"].items():
        if "like" in row:
            assert names.index(row["like"]) < names.index(name)
            assert "denoiser" not in row


def test_every_row_has_a_folder_of_its_own():
    assert len({run._slug(name) for name in GRID["rows"]}) == len(GRID["rows"])


def test_nested_settings_become_flags():
    settings = {"data": {"batch_size": 8}, "model": {"noise": {"kind": "field"}, "augment": True}}
    assert run._flags(settings) == [
        "--data.batch_size=8",
        "--model.noise.kind=field",
        "--model.augment=true",
    ]


@pytest.fixture
def unseen(tmp_path):
    """Two patients a class as network input, the ill ones with a patch."""
    for label in CHEST_CT:
        for number in range(2):
            volume, lungs = a_chest((48, SIZE, SIZE), 6.0)
            unit = np.clip((volume.array + 1000) / 1400, 0, 1)
            ill = np.zeros_like(lungs)
            if label is not CHEST_CT.CONTROL:
                ill[12:30, 16:24, 6:14] = True
                ill &= lungs
            np.savez(
                tmp_path / f"{label.key}-{number:02d}.npz",
                unit=np.where(ill, 0.5, unit).astype(np.float16),
                affine=volume.affine,
                lungs=lungs,
                ill=ill,
            )
    return tmp_path


def test_the_measures_are_those_of_the_truth(unseen, tmp_path, monkeypatch):
    weights = tiny_weights(tmp_path / "weights")
    # A denoiser that knows healthy lungs: what is left is the patch and nothing else.
    monkeypatch.setattr(
        run, "denoise_slices", lambda _, slices: np.where(slices == 0.5, 0.1, slices - 1e-3)
    )
    measures = run.measure(weights, unseen)
    assert measures["contrast"] == pytest.approx(400, rel=0.05)
    assert measures["slice_auc"] == measures["voxel_auc"] == 1.0
    assert measures["patients"] == 6
    assert 0 <= measures["auc"] <= 1


def a_result(row, seed, value):
    return {"row": row, "seed": seed, "patients": 6, **dict.fromkeys(table.FIGURES, value)}


def test_finalists_are_told_with_an_interval_over_seeds_and_the_others_without():
    grid = {**GRID, "rows": {"base": {"finalist": True}, "other": {}, "never": {}}}
    results = [{"row": "base", "seed": s, "refused": True} for s in (5, 6)]
    results += [a_result("base", s, 0.8 + 0.01 * s) for s in range(3)]
    results.append(a_result("other", 0, 0.5))
    curves = [{"row": "base", "seed": s, "step": 200, "loss": 0.1} for s in range(3)]
    text = table.render(results, grid, curves)
    # Mean 0.81, standard error 0.00577, t of two degrees of freedom 4.303.
    assert "| base | 3 | 2 | 0.810 (0.785 to 0.835)" in text
    assert "| other | 1 |  | 0.500 | 0.500 | 0.500 | 0.500 |" in text
    assert "| never | 0 |  | not run | not run | not run | not run |" in text
    assert "| base | 0.1000 (0.1000 to 0.1000) |" in text


def test_a_run_that_is_there_is_not_run_again(tmp_path, monkeypatch):
    grid = {**GRID, "rows": {"base": {"finalist": True}}, "seeds": [0, 1], "finalist_runs": 2}
    trained = []
    monkeypatch.setattr(run, "_cohorts", lambda folder, grid: folder / "work")
    monkeypatch.setattr(
        run, "_train", lambda home, *rest: (home.mkdir(parents=True), trained.append(home.name))
    )
    monkeypatch.setattr(run, "measure", lambda weights, unseen: dict.fromkeys(table.FIGURES, 0.5))
    first = list(run.ablation(tmp_path, grid))
    assert trained == ["base-0", "base-1"]
    assert list(run.ablation(tmp_path, grid)) == first
    assert len(trained) == 2


def test_results_of_another_recipe_are_not_taken_for_those_of_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_cohorts", lambda folder, grid: folder / "work")
    monkeypatch.setattr(run, "_train", lambda home, *rest: home.mkdir(parents=True))
    monkeypatch.setattr(run, "measure", lambda weights, unseen: dict.fromkeys(table.FIGURES, 0.5))
    grid = {**GRID, "rows": {"base": {}, "other": {"from_lungs": True}}, "seeds": [0]}
    list(run.ablation(tmp_path, grid))
    changed = {**grid, "denoiser": {**GRID["denoiser"], "trainer": {"max_epochs": 1}}}
    with pytest.raises(UsageError, match=r"another recipe.*runs/base-0"):
        list(run.ablation(tmp_path, changed))
    # Another row of the grid changes nothing for this one.
    list(run.ablation(tmp_path, {**grid, "rows": {**grid["rows"], "new": {}}}))


def test_a_refused_start_is_kept_and_the_next_seed_is_tried(tmp_path, monkeypatch):
    rows = {"base": {}, "kin": {"like": "base"}}
    grid = {**GRID, "rows": rows, "seeds": [0, 1, 2], "finalist_runs": 2}
    trained = []

    def train(home, *rest):
        home.mkdir(parents=True)
        trained.append(home.name)
        if home.name == "base-0":
            raise run._RefusedError("a dead start")

    monkeypatch.setattr(run, "_cohorts", lambda folder, grid: folder / "work")
    monkeypatch.setattr(run, "_train", train)
    monkeypatch.setattr(run, "measure", lambda weights, unseen: dict.fromkeys(table.FIGURES, 0.5))
    results = list(run.ablation(tmp_path, grid))
    assert trained == ["base-0", "base-1", "kin-1"]
    assert [r.get("refused", False) for r in results] == [True, False, False]
    assert list(run.ablation(tmp_path, grid)) == results
    assert len(trained) == 3
