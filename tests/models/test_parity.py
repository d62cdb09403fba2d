"""Every stored Keras network, found, built by its own weights alone, and asked again."""

import shutil

import numpy as np
import pytest
import torch

from covidctnet.errors import WeightsError
from covidctnet.keras_import import load_classifier, load_denoiser
from covidctnet.models import ConvLSTMPair

h5py = pytest.importorskip("h5py")

CLOSE = 1e-5
CONVLSTMS = {"clstm6": "decoder3", "clstm8": "decoder1"}


def channels_first(array):
    return torch.from_numpy(array).movedim(-1, 1)


def channels_last(maps):
    return maps.movedim(1, -1).numpy()


def weights_of(oracles, name):
    files = [file for file in sorted(oracles.glob(f"{name}.*")) if file.suffix != ".npz"]
    assert files
    return files


@pytest.mark.parametrize(
    ("name", "depth", "layouts"), [("bcdunet_base4_48", 3, 3), ("bcdunet_d1_base4_48", 1, 1)]
)
def test_a_denoiser_built_from_any_layout_answers_as_keras_did(oracles, name, depth, layouts):
    oracle = np.load(oracles / f"{name}.npz")
    files = weights_of(oracles, name)
    assert len(files) == layouts
    for file in files:
        network = load_denoiser(file)
        assert (network.dense3 is not None) == (depth == 3) and not network.training
        with torch.no_grad():
            output = network(channels_first(oracle["input"]))
        assert np.abs(channels_last(output) - oracle["output"]).max() < CLOSE, file.name


@pytest.mark.parametrize(("stored", "decoder"), CONVLSTMS.items())
def test_the_convlstms_hold_the_states_that_keras_held(oracles, stored, decoder):
    oracle = np.load(oracles / "bcdunet_base4_48.npz")
    for file in weights_of(oracles, "bcdunet_base4_48"):
        network, seen = load_denoiser(file), []
        cell = getattr(network, decoder).backward_lstm
        cell.register_forward_hook(lambda m, given, out, seen=seen: seen.append(out))
        with torch.no_grad():
            network(channels_first(oracle["input"]))
        assert np.abs(channels_last(seen[0]) - oracle[stored]).max() < CLOSE, file.name


def test_a_classifier_built_from_any_layout_answers_as_keras_did(oracles):
    oracle = np.load(oracles / "cnn3d_base1_50x48x48.npz")
    files = weights_of(oracles, "cnn3d_base1_50x48x48")
    assert len(files) == 2
    for file in files:
        network = load_classifier(file, depth=50, size=48)
        with torch.no_grad():
            probabilities = network(channels_first(oracle["input"])).softmax(dim=1)
        assert np.abs(probabilities.numpy() - oracle["output"]).max() < CLOSE, file.name


def test_gates_are_those_of_keras_2_unless_asked_otherwise(oracles):
    file = oracles / "bcdunet_d1_base4_48.hdf5"
    for asked, gates in (({}, "hard_sigmoid"), ({"gates": "sigmoid"}, "sigmoid")):
        network = load_denoiser(file, **asked)
        assert {m.gates for m in network.modules() if isinstance(m, ConvLSTMPair)} == {gates}


def test_the_moments_of_a_saved_optimiser_are_not_taken_for_weights(oracles, tmp_path):
    plain = oracles / "bcdunet_base4_48.model.h5"
    trained = tmp_path / "trained.h5"
    shutil.copyfile(plain, trained)
    trained.chmod(0o600)
    with h5py.File(trained, "a") as file:
        moment = "optimizer_weights/Adam/m/conv2d/kernel:0"
        if moment in file:
            del file[moment]
        file[moment] = np.full((3, 3, 1, 4), 7, np.float32)
    before, after = load_denoiser(plain).state_dict(), load_denoiser(trained).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_file_of_the_other_network_is_refused(oracles):
    with pytest.raises(WeightsError, match=r"holds 0 conv2d layers, wanted 16 \(D1\) or 20 \(D3\)"):
        load_denoiser(oracles / "cnn3d_base1_50x48x48.model.h5")
    with pytest.raises(WeightsError, match="holds no dense layer 0 with a bias"):
        load_classifier(oracles / "bcdunet_base4_48.hdf5")


def test_a_denoiser_of_odd_width_is_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for number in range(16):
            file[f"conv2d_{number}/kernel:0"] = np.zeros((3, 3, 1, 3), np.float32)
            file[f"conv2d_{number}/bias:0"] = np.zeros(3, np.float32)
    with pytest.raises(WeightsError, match="starts with 3 filters, wanted an even count"):
        load_denoiser(tmp_path / "w.h5")


@pytest.mark.parametrize("size", [240, 80])
def test_a_classifier_of_another_size_is_refused(oracles, size):
    with pytest.raises(WeightsError, match=r"depth and size|does not fit the network: classify\.0"):
        load_classifier(oracles / "cnn3d_base1_50x48x48.model.h5", size=size)
