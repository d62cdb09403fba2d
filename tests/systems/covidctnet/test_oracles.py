"""Networks that Keras built, filled at random and ran: the same file, the same input, our answer.

The layout of Keras 2's ``.weights.h5`` does not tell which Keras wrote it, so its gates are given.
"""

import numpy as np
import pytest
import torch

from covidctnet.errors import WeightsError
from covidctnet.systems.covidctnet.keras_import import import_keras
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet

pytest.importorskip("h5py")

CLOSE = 1e-5
D3 = [f"bcdunet_base4_48.{layout}" for layout in ("hdf5", "model.h5", "weights.h5")]
D1 = ["bcdunet_d1_base4_48.hdf5"]
CNN = [f"cnn3d_base1_50x48x48.{layout}" for layout in ("model.h5", "weights.h5")]


def channels_first(array):
    return torch.from_numpy(array).movedim(-1, 1)


def channels_last(maps):
    return maps.detach().movedim(1, -1).numpy()


def the_oracle(oracles, file):
    return np.load(oracles / f"{file.partition('.')[0]}.npz")


def denoiser(oracles, file):
    return import_keras(oracles / file, gates="hard_sigmoid")


def test_no_oracle_is_left_out(oracles):
    there = {file.name for file in oracles.iterdir() if file.suffix != ".npz"}
    assert there == {*D3, *D1, *CNN}


@pytest.mark.parametrize("file", D3 + D1)
def test_a_denoiser_answers_as_keras_did(oracles, file):
    oracle, network = the_oracle(oracles, file), denoiser(oracles, file)
    assert isinstance(network, BCDUNet) and not network.training
    assert (network.dense3 is not None) == (file in D3)
    assert network.decoder1.forward_lstm is None
    with torch.no_grad():
        output = network(channels_first(oracle["input"]))
    assert np.abs(channels_last(output) - oracle["output"]).max() < CLOSE


@pytest.mark.parametrize("file", D3)
def test_the_convlstms_hold_the_states_that_keras_held(oracles, file):
    oracle, network, seen = the_oracle(oracles, file), denoiser(oracles, file), {}
    for name, decoder in (("clstm6", network.decoder3), ("clstm8", network.decoder1)):
        decoder.backward_lstm.register_forward_hook(
            lambda module, given, out, name=name: seen.update({name: out})
        )
    network(channels_first(oracle["input"]))
    for name, state in seen.items():
        assert np.abs(channels_last(state) - oracle[name]).max() < CLOSE, name
    assert len(seen) == 2


@pytest.mark.parametrize("file", CNN)
def test_a_classifier_answers_as_keras_did(oracles, file):
    oracle, network = the_oracle(oracles, file), import_keras(oracles / file, size=48)
    assert isinstance(network, CNN3D) and not network.training
    with torch.no_grad():
        probabilities = network(channels_first(oracle["input"])).softmax(dim=1)
    assert np.abs(probabilities.numpy() - oracle["output"]).max() < CLOSE


@pytest.mark.parametrize("file", ["bcdunet_base4_48.hdf5", "bcdunet_base4_48.model.h5", *D1])
def test_the_gates_of_keras_2_are_found_without_being_asked_for(oracles, file):
    assert import_keras(oracles / file).decoder2.backward_lstm.gates == "hard_sigmoid"


def test_a_file_that_tells_no_keras_wants_to_be_told_the_gates(oracles):
    with pytest.raises(WeightsError, match=r"does not say whether .* Say gates hard_sigmoid"):
        import_keras(oracles / "bcdunet_base4_48.weights.h5")


def test_a_classifier_whose_size_is_not_given_is_refused(oracles):
    file = oracles / "cnn3d_base1_50x48x48.model.h5"
    assert import_keras(file, size=48).input_shape == (1, 50, 48, 48)
    with pytest.raises(WeightsError, match=r"not tell how large its slices were\. Give the size"):
        import_keras(file)


def test_the_other_gates_answer_very_differently(oracles):
    oracle = the_oracle(oracles, D3[0])
    network = import_keras(oracles / D3[0], gates="sigmoid")
    output = network(channels_first(oracle["input"]))
    assert np.abs(channels_last(output) - oracle["output"]).max() > 0.2
