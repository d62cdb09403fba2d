"""The picture of the learning curves tells what the tables tell."""

import re

import numpy as np
import pytest

from pipelines.experiments.pictures.curves import draw_curves, read_curves


@pytest.fixture
def folder(tmp_path):
    rows = ["epoch,step,train_loss,val_loss"]
    rows += [f"0,{step},{1 / (1 + step)}," for step in range(0, 1000, 10)]
    rows += ["0,999,,0.05"]
    (tmp_path / "denoiser.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_steps_and_losses_are_those_of_the_table(folder):
    curves = read_curves(folder)
    assert list(curves) == ["denoiser"]
    steps, losses = curves["denoiser"]["val_loss"]
    assert (steps.tolist(), losses.tolist()) == ([999.0], [0.05])
    steps, losses = curves["denoiser"]["train_loss"]
    assert steps.tolist() == list(range(0, 1000, 10))
    assert (np.diff(losses) < 0).all()


def test_a_falling_loss_falls_in_the_picture(folder):
    text = draw_curves(read_curves(folder), "Curves")
    path = max(re.findall(r'd="M([^"]+)"', text), key=len)
    heights = [float(point.split()[1]) for point in path.split(" L")]
    assert heights == sorted(heights)
    assert "Curves" in text
    assert "steps of the denoiser" in text
