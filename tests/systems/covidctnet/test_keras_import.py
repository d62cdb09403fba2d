"""Networks of ours written the way Keras writes its own, in its layouts, and read back."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from covidctnet.errors import WeightsError
from covidctnet.systems.covidctnet import keras_file
from covidctnet.systems.covidctnet.keras_import import import_keras
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet

h5py = pytest.importorskip("h5py")


@pytest.fixture(autouse=True)
def at_home(monkeypatch):
    """Reading in this process: starting another takes longer than all the rest."""
    monkeypatch.setattr(keras_file, "_elsewhere", lambda path: keras_file.work(str(path)))


CELL = ("kernel", "recurrent_kernel", "bias")
NAMES = {
    "conv2d": CELL[::2],
    "conv2d_transpose": CELL[::2],
    "conv3d": CELL[::2],
    "dense": CELL[::2],
    "conv_lstm2d": CELL,
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}


def scrambled(network):
    """The network with a number of its own in every place, moving averages included."""
    generator = torch.Generator().manual_seed(1)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return network.eval()


def a_denoiser(depth=1, gates="hard_sigmoid"):
    return scrambled(BCDUNet(2, depth, bidirectional=False, gates=gates))


def a_classifier():
    return scrambled(CNN3D(66, 34, base=1, dense=5))


def channels_last(weight):
    return np.moveaxis(weight.detach().numpy(), (0, 1), (-1, -2))


def keras_layers(network):
    """(Kind, arrays) of every layer with weights, in the order that data meet them."""
    if isinstance(network, CNN3D):
        for layer in network.features:
            if isinstance(layer, torch.nn.Conv3d):
                yield "conv3d", [channels_last(layer.weight), layer.bias.detach().numpy()]
        first, last = network.classify[0], network.classify[3]
        grid = first.weight.detach().reshape(first.out_features, -1, *network.grid)
        kernel = grid.movedim(1, -1).reshape(first.out_features, -1)
        for matrix, layer in ((kernel, first), (last.weight, last)):
            yield "dense", [matrix.detach().numpy().T, layer.bias.detach().numpy()]
        return
    for name, part in network.named_children():
        is_decoder = name.startswith("decoder")
        if is_decoder:
            # Keras has (row, column, out, in), torch (in, out, row, column).
            yield "conv2d_transpose", [channels_last(part.up.weight), part.up.bias.detach().numpy()]
            norm = part.norm
            rest = [norm.weight, norm.bias, norm.running_mean, norm.running_var]
            yield "batch_normalization", [tensor.detach().numpy() for tensor in rest]
            cell = part.backward_lstm
            kernels = [channels_last(cell.input.weight), channels_last(cell.recurrent.weight)]
            yield "conv_lstm2d", [*kernels, cell.input.bias.detach().numpy()]
        for layer in part.convs if is_decoder else part.children():
            if isinstance(layer, torch.nn.Conv2d):
                yield "conv2d", [channels_last(layer.weight), layer.bias.detach().numpy()]


def named(network, rename=str, first=0):
    """Keras' own names, counted by kind from `first` on; `rename` turns them into others."""
    seen = {}
    for kind, arrays in keras_layers(network):
        number = seen[kind] = seen.get(kind, first - 1) + 1
        yield rename(f"{kind}_{number}" if number else kind), kind, arrays


def write_legacy(path, layers, *, keras="2.4.0", group=None, config=None, encode=str.encode):
    layers = list(layers)
    with h5py.File(path, "w") as file:
        holder = file.create_group(group) if group else file
        holder.attrs["keras_version"] = encode(keras)
        holder.attrs["layer_names"] = [encode(n) for n in ["input_1", *(n for n, *_ in layers)]]
        holder.create_group("input_1").attrs["weight_names"] = []
        for name, kind, arrays in layers:
            places = [f"{name}/{leaf}:0" for leaf in NAMES[kind]]
            holder.create_group(name).attrs["weight_names"] = [encode(p) for p in places]
            for place, array in zip(places, arrays, strict=True):
                holder[name][place] = array
            # Moments of an optimiser have the shapes and names of the weights.
            file[f"optimizer_weights/adam/{name}/kernel:0"] = np.full(arrays[0].shape, 7.0)
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
    return path


def write_newer(path, layers):
    with h5py.File(path, "w") as file:
        for name, kind, arrays in layers:
            inside = "cell/" if kind == "conv_lstm2d" else ""
            for number, array in enumerate(arrays):
                file[f"layers/{name}/{inside}vars/{number}"] = array
        file["optimizer/vars/0"] = np.full((3, 3, 1, 2), 7.0)
    return path


def a_config(network, **settings):
    """The settings of a whole model that weights do not tell."""
    layers = [{"class_name": "Conv2D", "name": n, "config": {}} for n, *_ in named(network)]
    for layer in layers:
        if layer["name"].startswith("conv_lstm2d"):
            layer["config"] = settings
    return {"class_name": "Functional", "config": {"layers": layers}}


def assert_same(ours, theirs):
    assert type(ours) is type(theirs) and not theirs.training
    own, came = ours.state_dict(), theirs.state_dict()
    assert own.keys() == came.keys()
    assert all(torch.equal(own[name], came[name]) for name in own)


@pytest.mark.parametrize(
    "rename", [str, lambda n: n.replace("lstm2d", "lst_m2d"), lambda n: n[::-1], "my {}".format]
)
@pytest.mark.parametrize("group", [None, "model_weights"])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_legacy_denoiser_comes_back_under_any_names(tmp_path, depth, group, rename):
    network = a_denoiser(depth)
    layers = named(network, lambda name: str(rename(name)), first=7)
    write_legacy(tmp_path / "w.h5", layers, group=group)
    read = import_keras(tmp_path / "w.h5")
    assert_same(network, read)
    assert read.decoder1.backward_lstm.gates == "hard_sigmoid"
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(x), read(x))


@pytest.mark.parametrize("depth", [1, 3])
def test_a_newer_denoiser_comes_back(tmp_path, depth):
    network = a_denoiser(depth, "sigmoid")
    layers = named(network, first=8)
    write_newer(tmp_path / "w.weights.h5", layers)
    read = import_keras(tmp_path / "w.weights.h5", gates="sigmoid")
    assert_same(network, read)
    assert torch.equal(network(torch.ones(1, 1, 8, 8)), read(torch.ones(1, 1, 8, 8)))


def test_a_classifier_comes_back_and_reads_the_flattened_features_alike(tmp_path):
    network = a_classifier()
    write_legacy(tmp_path / "a.h5", named(network, first=3), encode=str)
    write_newer(tmp_path / "b.weights.h5", named(network, first=3))
    for file in ("a.h5", "b.weights.h5"):
        assert_same(network, import_keras(tmp_path / file, depth=66, size=34))


@pytest.mark.parametrize("name", ["mine", "layer_of_conv2d_5", "dense_5", "conv2d_5a"])
def test_a_newer_layer_under_a_name_that_gives_no_order_is_refused(tmp_path, name):
    layers = named(a_denoiser(), lambda n: n.replace("conv2d_5", name))
    write_newer(tmp_path / "w.h5", layers)
    with pytest.raises(WeightsError, match=f"calls a Conv2D layer '{name}', expected Keras' own"):
        import_keras(tmp_path / "w.h5", gates="sigmoid")


def test_an_unknown_container_of_layers_is_refused(tmp_path):
    path = write_newer(tmp_path / "w.h5", named(a_denoiser()))
    with h5py.File(path, "a") as file:
        file.move("layers", "_layer_checkpoint_dependencies")
    with pytest.raises(
        WeightsError, match=r"holds no layers with weights\. Give a file that Keras"
    ):
        import_keras(path)


@pytest.mark.parametrize(("size", "grid"), [(240, 7), (128, 3)])
def test_the_published_sizes_come_back_when_they_are_given(tmp_path, size, grid):
    network = scrambled(CNN3D(50, size, base=1, dense=2))
    assert network.grid == (1, grid, grid)
    write_legacy(tmp_path / "w.h5", named(network))
    read = import_keras(tmp_path / "w.h5", size=size)
    assert_same(network, read)
    assert read.input_shape == network.input_shape


def test_gates_are_those_of_the_keras_that_wrote_the_file_unless_asked_otherwise(tmp_path):
    network = a_denoiser(gates="sigmoid")
    write_legacy(tmp_path / "2.h5", named(network), keras="2.2.4-tf")
    write_legacy(tmp_path / "3.h5", named(network), keras="3.5.0")
    for file, asked, found in (
        ("2.h5", {}, "hard_sigmoid"),
        ("2.h5", {"gates": "sigmoid"}, "sigmoid"),
        ("3.h5", {}, "sigmoid"),
    ):
        assert import_keras(tmp_path / file, **asked).decoder1.backward_lstm.gates == found


def test_gates_that_a_whole_model_tells_win_over_its_keras(tmp_path):
    network = a_denoiser()
    gates = {"class_name": "function", "config": "sigmoid"}
    config = a_config(network, recurrent_activation=gates, go_backwards=True)
    path = tmp_path / "w.h5"
    write_legacy(path, named(network), group="model_weights", config=config)
    assert import_keras(path).decoder1.backward_lstm.gates == "sigmoid"
    with pytest.raises(WeightsError, match="has ConvLSTM gates of 'sigmoid', expected hard_sigm"):
        import_keras(path, gates="hard_sigmoid")


def test_a_transposed_kernel_is_not_flipped(tmp_path):
    network = a_denoiser()
    kernel = next(arrays[0] for kind, arrays in keras_layers(network) if "transpose" in kind)
    rows = kernel[:, :, 0, 0]  # (row, column) of the first output and input
    write_legacy(tmp_path / "w.h5", named(network))
    weight = import_keras(tmp_path / "w.h5").decoder3.up.weight[:1, :1]
    out = F.conv_transpose2d(torch.ones(1, 1, 1, 1), weight, stride=2)
    assert np.array_equal(out[0, 0].detach().numpy(), rows)


def test_without_h5py_the_extra_to_install_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"pip install 'covidctnet\[keras\]'"):
        import_keras(tmp_path / "w.h5")
