"""Against networks that Keras built, filled at random and ran, and small cases by hand."""

import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from covidctnet.errors import WeightsError
from covidctnet.keras_import import (
    conv2d_transpose,
    dense_after_flatten,
    load_bcdunet,
    load_cnn3d,
    read_layers,
)
from covidctnet.models import CNN3D, BCDUNet

h5py = pytest.importorskip("h5py")

CLOSE = 1e-5


def keras_denoiser(path, depth):
    network = BCDUNet(4, depth, bidirectional=False, gates="hard_sigmoid")
    load_bcdunet(path, network)
    return network.eval()


def channels_last(maps):
    return maps.detach().movedim(1, -1).numpy()


def channels_first(array):
    return torch.from_numpy(array).movedim(-1, 1)


@pytest.mark.parametrize("layout", ["hdf5", "model.h5", "weights.h5"])
def test_bcdunet_d3_answers_as_keras_did_and_so_do_its_convlstms(oracles, layout):
    oracle = np.load(oracles / "bcdunet_base4_48.npz")
    network = keras_denoiser(oracles / f"bcdunet_base4_48.{layout}", 3)
    seen = {}
    for name, decoder in (("clstm6", network.decoder3), ("clstm8", network.decoder1)):
        decoder.backward_lstm.register_forward_hook(
            lambda m, given, out, name=name: seen.update({name: out})
        )
    output = network(channels_first(oracle["input"]))
    assert np.abs(channels_last(output) - oracle["output"]).max() < CLOSE
    for name in ("clstm6", "clstm8"):
        assert np.abs(channels_last(seen[name]) - oracle[name]).max() < CLOSE


def test_bcdunet_d1_answers_as_keras_did(oracles):
    oracle = np.load(oracles / "bcdunet_d1_base4_48.npz")
    network = keras_denoiser(oracles / "bcdunet_d1_base4_48.hdf5", 1)
    output = network(channels_first(oracle["input"]))
    assert np.abs(channels_last(output) - oracle["output"]).max() < CLOSE


def test_the_other_gates_answer_very_differently(oracles):
    oracle = np.load(oracles / "bcdunet_base4_48.npz")
    network = BCDUNet(4, 3, bidirectional=False, gates="sigmoid")
    load_bcdunet(oracles / "bcdunet_base4_48.hdf5", network)
    output = network.eval()(channels_first(oracle["input"]))
    assert np.abs(channels_last(output) - oracle["output"]).max() > 0.2


@pytest.mark.parametrize("layout", ["model.h5", "weights.h5"])
def test_cnn3d_answers_as_keras_did(oracles, layout):
    oracle = np.load(oracles / "cnn3d_base1_50x48x48.npz")
    network = CNN3D(50, 48, base=1, dense=4).eval()
    load_cnn3d(oracles / f"cnn3d_base1_50x48x48.{layout}", network)
    with torch.no_grad():
        probabilities = network(channels_first(oracle["input"])).softmax(dim=1)
    assert np.abs(probabilities.numpy() - oracle["output"]).max() < CLOSE


def test_a_transposed_kernel_is_not_flipped():
    kernel = np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1)
    out = F.conv_transpose2d(torch.ones(1, 1, 1, 1), conv2d_transpose(kernel), stride=2)
    assert out[0, 0].tolist() == [[0, 1], [2, 3]]


def test_a_dense_kernel_behind_a_flatten_reads_the_same_features():
    rng = np.random.default_rng(0)
    maps = rng.random((2, 1, 3, 4, 5), np.float32)  # channels last, five of them
    kernel = rng.random((60, 6), np.float32)
    expected = maps.reshape(2, 60) @ kernel
    flat = channels_first(maps).flatten(1).numpy()
    ours = flat @ dense_after_flatten(kernel, (1, 3, 4)).numpy().T
    assert np.allclose(ours, expected, atol=1e-5)


def test_a_dense_kernel_of_another_grid_is_refused():
    with pytest.raises(WeightsError, match="reads 60 features, wanted a multiple of the grid"):
        dense_after_flatten(np.zeros((60, 6), np.float32), (1, 7, 7))


def test_layers_are_ordered_by_number_not_by_letters(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for number in (9, 10, 11):
            file[f"conv2d_{number}/conv2d_{number}/kernel:0"] = np.full(1, number, np.float32)
    layers = read_layers(tmp_path / "w.h5")
    assert [float(layer["kernel"][0]) for layer in layers["conv2d"]] == [9, 10, 11]


def test_another_architecture_is_refused(oracles):
    with pytest.raises(WeightsError, match=r"holds 20 conv2d layers, wanted 16\. Give"):
        load_bcdunet(oracles / "bcdunet_base4_48.hdf5", BCDUNet(4, 1, bidirectional=False))
    with pytest.raises(WeightsError, match="does not fit the network"):
        load_bcdunet(oracles / "bcdunet_base4_48.hdf5", BCDUNet(8, 3, bidirectional=False))
    with pytest.raises(WeightsError, match=r"does not fit the network: .* is None, wanted"):
        load_bcdunet(oracles / "bcdunet_base4_48.hdf5", BCDUNet(4, 3, bidirectional=True))


def test_two_directional_weights_are_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["bidirectional/forward_conv_lstm2d/kernel:0"] = np.zeros(1, np.float32)
    with pytest.raises(WeightsError, match="two-directional ConvLSTMs"):
        read_layers(tmp_path / "w.h5")


def test_an_incomplete_layer_is_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for number in range(16):
            file[f"conv2d_{number}/kernel:0"] = np.zeros((3, 3, 1, 1), np.float32)
    with pytest.raises(WeightsError, match="conv2d layer 0 lacks bias"):
        load_bcdunet(tmp_path / "w.h5", BCDUNet(4, 1, bidirectional=False))


def test_a_file_that_is_no_hdf5_or_holds_no_layers_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("no weights here")
    with pytest.raises(WeightsError, match="cannot be read as HDF5"):
        read_layers(tmp_path / "text.h5")
    with pytest.raises(WeightsError, match="cannot be read as HDF5"):
        read_layers(tmp_path / "absent.h5")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["mine/kernel:0"] = np.zeros(1)
    with pytest.raises(WeightsError, match="holds no layers under the names"):
        read_layers(tmp_path / "empty.h5")


def test_without_h5py_the_extra_to_install_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(WeightsError, match=r"pip install 'covidctnet\[keras\]'"):
        read_layers(tmp_path / "w.h5")
