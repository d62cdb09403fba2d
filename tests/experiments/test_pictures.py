"""The picture of the stages follows the weights."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from covidctnet.classes import CHEST_CT
from covidctnet.weights import load_weights
from pipelines.experiments.pictures import make
from pipelines.experiments.pictures.stages import (
    draw_stages,
    fullest_slice,
    show_phantoms,
    trained_with,
)
from tests.small import tiny_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights") / "w")


def test_the_stages_show_what_the_weights_do(weights):
    loaded = load_weights(weights)
    shown = show_phantoms(loaded, matrix=64, spacing_mm=12.0)
    assert [one.label for one in shown] == list(CHEST_CT)
    for one in shown:
        assert not np.array_equal(one.image, one.noisy)
        # Dense opacities blur the border of the lungs by two voxels.
        beyond = ~ndimage.binary_dilation(one.lungs, np.ones((5, 5)))
        assert np.abs(one.noisy - one.image)[beyond].max() == 0
        assert one.denoised.shape == one.image.shape
    picture = Image.open(io.BytesIO(draw_stages(shown)))
    assert 900 < picture.width < 1400


@pytest.mark.parametrize(
    ("noise", "lobes"), [({"cores": 0.3}, 0.0), ({"cores": 0.3, "lobes": 0.7}, 0.7), (None, 0.25)]
)
def test_the_noise_shown_is_that_of_the_card(weights, noise, lobes):
    loaded = load_weights(weights)
    if noise is not None:
        config = {"denoiser": {"config": {"model": {"noise": noise}}}}
        loaded = replace(loaded, card={**loaded.card, "training": config})
    recipe = trained_with(loaded)
    assert (recipe.lobes, recipe.share) == (lobes, 1.0)
    assert noise is None or recipe.cores == 0.3


class APhantom:
    def __init__(self, lungs, lesions):
        self.lungs, self.lesions = np.array(lungs, bool), np.array(lesions)


def test_the_slice_shown_has_lesions_and_is_no_sliver():
    lungs = np.zeros((3, 10, 10), bool)
    lungs[0, :2], lungs[1:, :9] = True, True
    lesions = np.zeros((3, 10, 10), int)
    lesions[0, :2], lesions[2, :1] = 1, 2
    assert fullest_slice(APhantom(lungs, lesions)) == 2
    assert fullest_slice(APhantom(lungs, 0 * lesions)) == 1


def test_one_command_draws_them_all(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(
        make, "show_phantoms", lambda loaded: show_phantoms(loaded, matrix=64, spacing_mm=12.0)
    )
    (weights / "curves").mkdir()
    (weights / "curves" / "denoiser.csv").write_text("step,train_loss,val_loss\n0,1,\n9,.5,.6\n")
    assert make.main(["--weights", str(weights), "--output", str(tmp_path / "p")]) == 0
    names = sorted(path.name for path in (tmp_path / "p").iterdir())
    assert names == ["curves.svg", "stages.png"]
