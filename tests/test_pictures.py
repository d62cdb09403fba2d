"""The pictures of the networks follow the modules, and that of the stages the weights."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from covidctnet.models import CNN3D, BCDUNet
from covidctnet.results import Label
from covidctnet.weights import load_weights
from pipelines.pictures import make
from pipelines.pictures.networks import draw_bcdunet, draw_cnn3d
from pipelines.pictures.stages import draw_stages, fullest_slice, show_phantoms, trained_with
from tests.small import tiny_weights


def count(network):
    return f"{sum(p.numel() for p in network.parameters()):,} parameters"


def ids(text):
    return set(re.findall(r'<g id="([^"]+)"', text))


@pytest.mark.parametrize("base", [2, 6])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_u_is_drawn_as_deep_wide_and_directed_as_the_module_is(base, depth, bidirectional):
    network = BCDUNet(base=base, depth=depth, bidirectional=bidirectional)
    text = draw_bcdunet(network, size=48)
    assert count(network) in text
    assert f"{8 * base} channels, 6 × 6" in text
    assert any("dense3" in name for name in ids(text)) == (depth == 3)
    assert len([name for name in ids(text) if "lstm" in name]) == (6 if bidirectional else 3)


@pytest.mark.parametrize(("depth", "size", "base"), [(34, 48, 1), (50, 64, 2)])
def test_the_row_is_drawn_with_the_shapes_the_module_gives(depth, size, base):
    network = CNN3D(depth=depth, size=size, base=base)
    text = draw_cnn3d(network)
    assert count(network) in text
    assert f"{depth} × {size} × {size}" in text
    assert f"{16 * base} channels" in text
    assert all(label.title in text for label in Label)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tiny_weights(tmp_path_factory.mktemp("weights") / "w")


def test_the_stages_show_what_the_weights_do(weights):
    loaded = load_weights(weights)
    shown = show_phantoms(loaded, matrix=64, spacing_mm=12.0)
    assert [one.label for one in shown] == list(Label)
    for one in shown:
        assert not np.array_equal(one.given, one.noisy)
        # Dense opacities blur the border of the lungs by two voxels.
        beyond = ~ndimage.binary_dilation(one.lungs, np.ones((5, 5)))
        assert np.abs(one.noisy - one.given)[beyond].max() == 0
        assert one.denoised.shape == one.given.shape
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
    found = sorted(path.name for path in (tmp_path / "p").iterdir())
    assert found == ["bcdunet.svg", "cnn3d.svg", "curves.svg", "stages.png"]
