"""Files that are no network of ours: each is refused by its name, in one line that says why."""

import numpy as np
import pytest

from covidctnet.errors import WeightsError
from covidctnet.systems.covidctnet import keras_file
from covidctnet.systems.covidctnet.keras_import import import_keras
from covidctnet.workers.isolate import ChildError
from tests.systems.covidctnet.test_keras_import import (
    a_classifier,
    a_config,
    a_denoiser,
    at_home,
    named,
    write_legacy,
    write_newer,
)

h5py = pytest.importorskip("h5py")
__all__ = ["at_home"]


def refusal(path, **asked):
    with pytest.raises(WeightsError) as caught:
        import_keras(path, **asked)
    line = str(caught.value)
    # One line, of this file, and nothing of where it lies.
    assert path.name in line and "\n" not in line and str(path.parent) not in line
    assert path.parent.name not in line
    return line


@pytest.fixture
def layers():
    return list(named(a_denoiser()))


@pytest.fixture
def good(tmp_path, layers):
    return write_legacy(tmp_path / "w.h5", layers)


def test_what_is_no_hdf5_of_keras_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("no weights here")
    assert "cannot be read as HDF5" in refusal(tmp_path / "text.h5")
    assert "is no file" in refusal(tmp_path / "absent.h5")
    (tmp_path / "folder.h5").mkdir()
    assert "is no file" in refusal(tmp_path / "folder.h5")
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file["mine/kernel:0"] = np.zeros(1)
    assert "holds no layers with weights" in refusal(tmp_path / "empty.h5")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(good, kept):
    blob = good.read_bytes()
    good.write_bytes(blob[: int(len(blob) * kept)])
    assert "cannot be read as HDF5" in refusal(good)


def test_a_missing_layer_is_refused(tmp_path, layers):
    for number, (name, kind, _) in enumerate(layers):
        rest = layers[:number] + layers[number + 1 :]
        line = refusal(write_legacy(tmp_path / "w.h5", rest))
        assert "as in a BCDU-Net" in line or kind == "conv_lstm2d", name


def test_convlstms_that_read_both_ways_are_refused(tmp_path, layers):
    both = [(n, k, [*a, *a]) if k == "conv_lstm2d" else (n, k, a) for n, k, a in layers]
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name for name, *_ in both]
        for name, _, arrays in both:
            file.create_group(name).attrs["weight_names"] = [str(i) for i in range(len(arrays))]
            for number, array in enumerate(arrays):
                file[name][str(number)] = array
    assert "which no layer of a BCDU-Net" in refusal(path)


def test_layers_of_two_networks_in_one_file_are_refused(tmp_path, layers):
    both = layers + list(named(a_classifier()))
    line = refusal(write_legacy(tmp_path / "w.h5", both), size=34, depth=66)
    assert "expected 10 Conv3D, 2 Dense as in a 3D CNN" in line


def test_another_network_is_refused(tmp_path, layers):
    plain = [layer for layer in layers if layer[1] == "conv2d"]
    line = refusal(write_legacy(tmp_path / "w.h5", plain))
    assert "holds 16 Conv2D, expected a BCDU-Net" in line


def test_a_layer_that_none_of_our_networks_has_is_refused(tmp_path, layers):
    strange = [*layers, ("embedding", "dense", [np.zeros((2, 3, 4)), np.zeros(4)])]
    line = refusal(write_legacy(tmp_path / "w.h5", strange))
    assert "'embedding' holds arrays of (2, 3, 4), (4,)" in line


def swapped(layers, one, other):
    layers[one], layers[other] = layers[other], layers[one]


@pytest.mark.parametrize("number", [0, 3, 8, 10])
def test_a_transposed_kernel_is_refused(tmp_path, layers, number):
    name, kind, arrays = layers[number]
    layers[number] = (name, kind, [np.moveaxis(arrays[0], (0, 1), (-1, -2)), *arrays[1:]])
    write_legacy(tmp_path / "w.h5", layers)
    line = refusal(tmp_path / "w.h5")
    assert "holds an array of" in line or "BCDU-Net" in line


def test_layers_in_another_order_are_refused(tmp_path, layers):
    swapped(layers, 2, 5)
    line = refusal(write_legacy(tmp_path / "w.h5", layers))
    assert "Conv2D 'conv2d_5' holds an array of (3, 3, 8, 8), expected (3, 3, 2, 4)" in line


def test_an_odd_width_is_refused(tmp_path, layers):
    name, kind, _ = layers[0]
    layers[0] = (name, kind, [np.zeros((3, 3, 1, 3)), np.zeros(3)])
    line = refusal(write_legacy(tmp_path / "w.h5", layers))
    assert "starts with 3 filters, expected an even count" in line


def test_numbers_that_training_broke_are_refused(tmp_path, layers):
    layers[0][2][0][0, 0, 0, 0] = np.nan
    assert "impossible numbers" in refusal(write_legacy(tmp_path / "w.h5", layers))
    layers[0][2][0][0, 0, 0, 0] = 1
    next(arrays for _, kind, arrays in layers if "norm" in kind)[3][0] = -1
    assert "impossible numbers" in refusal(write_legacy(tmp_path / "w.h5", layers))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"go_backwards": False},
            "has go_backwards 'False', expected True: ConvLSTMs read",
        ),
        ({"return_sequences": True}, "has return_sequences 'True', expected False"),
        ({"activation": "relu"}, "has activation 'relu', expected 'tanh'"),
        (
            {"recurrent_activation": "relu"},
            "has ConvLSTM gates of 'relu', expected hard_sigmoid or sigmoid",
        ),
    ],
)
def test_a_model_that_computes_something_else_is_refused(tmp_path, layers, settings, message):
    config = a_config(a_denoiser(), **settings)
    path = write_legacy(tmp_path / "w.h5", layers, group="model_weights", config=config)
    assert message in refusal(path)


def test_hard_sigmoid_of_keras_3_is_another_function_and_refused(tmp_path, layers):
    config = a_config(a_denoiser(), recurrent_activation="hard_sigmoid")
    path = write_legacy(
        tmp_path / "w.h5", layers, keras="3.1.0", group="model_weights", config=config
    )
    line = refusal(path)
    assert "has ConvLSTM gates of 'hard_sigmoid', expected sigmoid; hard_sigmoid is that of" in line


def test_unknown_gates_are_refused(good):
    with pytest.raises(WeightsError, match="gates must be one of sigmoid, hard_sigmoid, got 'tanh"):
        import_keras(good, gates="tanh")


def test_keras_1_is_refused(tmp_path, layers):
    assert "is of Keras 1" in refusal(write_legacy(tmp_path / "w.h5", layers, keras="1.2.2"))


def test_a_classifier_of_another_depth_size_or_class_count_is_refused(tmp_path):
    layers = list(named(a_classifier()))
    path = write_legacy(tmp_path / "w.h5", layers)
    assert "expected 1568 for 66 slices of 240 x 240" in refusal(path, depth=66, size=240)
    assert "does not tell how large its slices were" in refusal(path, depth=66)
    assert "expected 48 for 98 slices of 34 x 34" in refusal(path, depth=98, size=34)
    assert "depth and size must be at least 34" in refusal(path, depth=3, size=34)
    layers[-1] = ("dense_1", "dense", [np.zeros((5, 2)), np.zeros(2)])
    line = refusal(write_legacy(path, layers), depth=66, size=34)
    assert "tells 2 classes apart, expected Control, Covid-19, CAP in this order" in line


@pytest.mark.parametrize("config", ["{", "[" * 100_000, '{"config": 3}', "{}"])
def test_a_broken_config_is_refused(good, config):
    with h5py.File(good, "a") as file:
        file.attrs["model_config"] = config
    assert "cannot be read as HDF5 of Keras" in refusal(good)


def test_links_to_other_files_are_not_followed(good, tmp_path):
    other = tmp_path / "other.h5"
    other.write_bytes(good.read_bytes())
    place = "conv2d/conv2d/kernel:0"
    for link in (h5py.ExternalLink(other.name, place), h5py.SoftLink("/conv2d_1/conv2d_1/bias:0")):
        with h5py.File(good, "a") as file:
            del file[place]
            file[place] = link
        assert f"itself does not hold '{place}', expected a whole file" in refusal(good)


def test_numbers_kept_in_other_files_are_not_read(good, tmp_path):
    (tmp_path / "raw").write_bytes(bytes(8))
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "raw"), "x", (2,))
    for make in (
        lambda f, place: f.create_dataset(place, (2,), "f4", external=str(tmp_path / "raw")),
        lambda f, place: f.create_virtual_dataset(place, layout),
        lambda f, place: f.create_dataset(place, data=[1, 2]),
        lambda f, place: f.create_dataset(place, (0,), "f4"),
        lambda f, place: f.create_group(place),
    ):
        with h5py.File(good, "a") as file:
            del file["conv2d/conv2d/bias:0"]
            make(file, "conv2d/conv2d/bias:0")
        assert "expected an array of floating-point numbers in the file itself" in refusal(good)


@pytest.mark.parametrize("chunks", [None, (1 << 26, 8)])
def test_an_array_of_terabytes_is_not_decoded(good, chunks):
    with h5py.File(good, "a") as file:
        del file["conv2d/conv2d/kernel:0"]
        shape = (1 << 20, 1 << 20) if chunks is None else (2, 2)
        unlimited = chunks and (None, None)
        file.create_dataset(
            "conv2d/conv2d/kernel:0", shape, "f4", chunks=chunks, maxshape=unlimited
        )
    assert "holds more than 1024 MiB" in refusal(good)


def test_many_layers_that_share_one_array_count_every_time(good, monkeypatch):
    monkeypatch.setattr(keras_file, "MAX_BYTES", 1 << 20)
    with h5py.File(good, "a") as file:
        file.attrs["layer_names"] = ["conv2d_7"] * 200
    assert "holds more than 1 MiB" in refusal(good)


def test_groups_that_hold_themselves_are_not_followed(tmp_path, layers):
    path = write_newer(tmp_path / "w.h5", layers)
    with h5py.File(path, "a") as file:
        for number in range(40):
            file[f"layers/again{number}"] = file["layers"]
    assert import_keras(path, gates="sigmoid").encoder1[0].out_channels == 2


def test_a_name_from_the_file_is_shown_short_and_in_one_line(tmp_path, layers):
    name = "evil\n" + "x" * 500
    strange = [*layers, (name, "dense", [np.zeros((2, 3, 4)), np.zeros(4)])]
    assert len(refusal(write_legacy(tmp_path / "w.h5", strange))) < 300


class TestElsewhere:
    @pytest.fixture(autouse=True)
    def at_home(self):
        """Nothing is replaced: the file is read in another process, as always."""

    def test_a_refusal_comes_back(self, good):
        good.write_bytes(good.read_bytes()[:1000])
        assert "cannot be read as HDF5 of Keras" in refusal(good)

    @pytest.mark.parametrize("what", ["CRASHED", "TIMED_OUT"])
    def test_a_reader_that_crashes_or_hangs_is_a_refusal(self, good, monkeypatch, what):
        def ask(self, request, *, files_bytes):
            raise ChildError(what, "of the child")

        monkeypatch.setattr("covidctnet.workers.isolate.Child.ask", ask)
        assert f"cannot be read as HDF5 ({what})" in refusal(good)
