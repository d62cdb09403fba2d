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
from covidctnet.weights import import_keras as from_weights

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
    "bidirectional": (*(f"f/{n}" for n in CELL), *(f"b/{n}" for n in CELL)),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
INSIDE = {
    "conv_lstm2d": ["cell"] * 3,
    "bidirectional": ["forward_layer/cell"] * 3 + ["backward_layer/cell"] * 3,
}


def scrambled(network):
    """The network with a number of its own in every place, moving averages included."""
    generator = torch.Generator().manual_seed(1)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator))
    return network.eval()


def a_denoiser(depth=1, both_ways=False, gates="hard_sigmoid"):
    return scrambled(BCDUNet(2, depth, bidirectional=both_ways, gates=gates))


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
            ways = [way for way in (part.forward_lstm, part.backward_lstm) if way is not None]
            cells = []
            for way in ways:
                kernels = [channels_last(way.input.weight), channels_last(way.recurrent.weight)]
                cells += [*kernels, way.input.bias.detach().numpy()]
            yield ("bidirectional" if len(ways) == 2 else "conv_lstm2d"), cells
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


def write_newer(path, layers, *, container="layers", told=False):
    with h5py.File(path, "w") as file:
        for name, kind, arrays in layers:
            inside = INSIDE.get(kind, [""] * len(arrays))
            for number, (part, array) in enumerate(zip(inside, arrays, strict=True)):
                place = "/".join(filter(None, [container, name, *part.split("/"), "vars"]))
                group = file.require_group(place)
                group[str(number - inside.index(part))] = array
                if told:
                    group.attrs["name"] = name
        file["optimizer/vars/0"] = np.full((3, 3, 1, 2), 7.0)
    return path


def a_config(network, **settings):
    """The settings of a whole model that weights do not tell."""
    layers = [{"class_name": "Conv2D", "name": n, "config": {}} for n, *_ in named(network)]
    for layer in layers:
        if layer["name"].startswith(("conv_lstm2d", "bidirectional")):
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
@pytest.mark.parametrize(("depth", "both_ways"), [(1, False), (1, True), (3, False), (3, True)])
def test_a_legacy_denoiser_comes_back_under_any_names(tmp_path, depth, both_ways, group, rename):
    network = a_denoiser(depth, both_ways)
    layers = named(network, lambda name: str(rename(name)), first=7)
    write_legacy(tmp_path / "w.h5", layers, group=group)
    read = import_keras(tmp_path / "w.h5")
    assert_same(network, read)
    assert read.decoder1.backward_lstm.gates == "hard_sigmoid"
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(x), read(x))


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
@pytest.mark.parametrize(("depth", "both_ways"), [(1, False), (3, True)])
def test_a_newer_denoiser_comes_back(tmp_path, depth, both_ways, container):
    network = a_denoiser(depth, both_ways, "sigmoid")
    layers = named(network, first=8)
    write_newer(tmp_path / "w.weights.h5", layers, container=container)
    read = import_keras(tmp_path / "w.weights.h5", gates="sigmoid")
    assert_same(network, read)
    assert torch.equal(network(torch.ones(1, 1, 8, 8)), read(torch.ones(1, 1, 8, 8)))


def test_a_classifier_comes_back_and_reads_the_flattened_features_alike(tmp_path):
    network = a_classifier()
    write_legacy(tmp_path / "a.h5", named(network, first=3), encode=str)
    write_newer(tmp_path / "b.weights.h5", named(network, first=3))
    for file in ("a.h5", "b.weights.h5"):
        assert_same(network, import_keras(tmp_path / file, depth=66, size=34))
        assert_same(network, from_weights(tmp_path / file, depth=66, size=34))


def test_ten_follows_nine_in_the_newer_layout_and_two_names_are_no_order(tmp_path):
    network = a_denoiser()
    write_newer(tmp_path / "a.h5", named(network, lambda n: f"layer_of_{n}"))
    assert_same(network, import_keras(tmp_path / "a.h5", gates="sigmoid"))
    write_newer(tmp_path / "b.h5", named(network, lambda n: n.replace("conv2d_5", "mine")))
    with pytest.raises(WeightsError, match="its Conv2D layers 'conv2d and mine', expected one"):
        import_keras(tmp_path / "b.h5", gates="sigmoid")


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
    write_newer(tmp_path / "told.h5", named(network), told=True)
    for file, asked, found in (
        ("2.h5", {}, "hard_sigmoid"),
        ("2.h5", {"gates": "sigmoid"}, "sigmoid"),
        ("3.h5", {}, "sigmoid"),
        ("told.h5", {}, "sigmoid"),
    ):
        assert import_keras(tmp_path / file, **asked).decoder1.backward_lstm.gates == found


@pytest.mark.parametrize("wrapped", [False, True])
def test_gates_that_a_whole_model_tells_win_over_its_keras(tmp_path, wrapped):
    network = a_denoiser(both_ways=wrapped)
    said = {"recurrent_activation": {"class_name": "function", "config": "sigmoid"}}
    said["go_backwards"] = not wrapped
    told = {"layer": {"config": said}} if wrapped else said
    path = tmp_path / "w.h5"
    write_legacy(path, named(network), group="model_weights", config=a_config(network, **told))
    assert import_keras(path).decoder1.backward_lstm.gates == "sigmoid"
    with pytest.raises(WeightsError, match="trained with sigmoid gates, hard_sigmoid were asked"):
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
