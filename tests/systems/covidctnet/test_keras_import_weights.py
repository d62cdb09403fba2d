"""From two Keras files to a folder that classifies."""

import hashlib
import json
from functools import cache

import pytest
import torch

from covidctnet.commands import COMMANDS
from covidctnet.commands.parser import run_command
from covidctnet.errors import UsageError, WeightsError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.keras_file import read_keras
from covidctnet.systems.covidctnet.keras_import import import_weights
from covidctnet.systems.covidctnet.networks import CNN3D
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.weights import verify_weights
from covidctnet.weights.shipped import presets_root
from tests.small import flat_card
from tests.systems.covidctnet.test_keras_import import (
    a_denoiser,
    assert_same,
    named,
    scrambled,
    write_legacy,
)

pytest.importorskip("h5py")


@pytest.fixture
def preset(tmp_path, monkeypatch):
    """A preset of 128 x 128 slices called upstream, whatever the shipped one says today."""
    folder = tmp_path / "presets" / "upstream"
    folder.mkdir(parents=True)
    (folder / "preprocess.yaml").write_text("settings: {size: 128, spacing_mm: 2.0}\n")
    monkeypatch.setattr(
        "covidctnet.systems.covidctnet.keras_import.presets_root", lambda: folder.parent
    )
    return folder


# Every reading starts a process; what is read is not changed.
_read_once = cache(read_keras)


@pytest.fixture(autouse=True)
def each_file_is_read_once(monkeypatch):
    monkeypatch.setattr("covidctnet.systems.covidctnet.keras_import.read_keras", _read_once)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras")
    networks = a_denoiser(), scrambled(CNN3D(50, 128, base=1, dense=4))
    paths = [folder / "bcdu.h5", folder / "cnn.hdf5"]
    for path, network in zip(paths, networks, strict=True):
        write_legacy(path, named(network))
    return *networks, *paths


def test_the_command_makes_a_folder_that_can_be_loaded(tmp_path, capsys, preset, files):
    denoiser, classifier, bcdu, cnn = files
    folder = tmp_path / "weights" / "mine"
    arguments = ["import-keras", "--denoiser", str(bcdu), "--classifier", str(cnn)]
    assert run_command("weights", COMMANDS["weights"], [*arguments, "-o", str(folder)]) == 0
    weights = verify_weights(folder)
    assert capsys.readouterr().out == f"mine  {weights.digest}  imported from Keras\n"
    model = CovidCTNet.load(folder, device="cpu", precision="32")
    assert_same(denoiser, weights.denoiser())
    assert_same(classifier, model.classifier)
    assert model.settings == PreprocessSettings(size=128, spacing_mm=2.0)
    assert not model.caveat
    card = flat_card(folder)
    assert card["metrics"] == {}
    for kind, path in (("denoiser", bcdu), ("classifier", cnn)):
        told = card["training"][kind]
        assert told["command"] == "imported from Keras"
        assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(tmp_path) not in json.dumps(card) and "bcdu.h5" not in json.dumps(card)


def test_gates_reach_the_denoiser(tmp_path, preset, files):
    _, _, bcdu, cnn = files
    made = import_weights(bcdu, cnn, tmp_path / "mine", gates="sigmoid")
    assert made.card["architecture"]["denoiser"]["gates"] == "sigmoid"


def test_what_a_preset_does_to_residuals_goes_with_it(tmp_path, preset, files):
    _, _, bcdu, cnn = files
    training = preset / "train-classifier.yaml"
    training.write_text("data: {depth: 50, depth_resize: antialiased}\n")
    made = import_weights(bcdu, cnn, tmp_path / "mine")
    assert made.card["residual"] == {"depth_resize": "antialiased", "signed": True}


def test_a_preset_of_two_channels_is_refused_for_a_published_classifier(tmp_path, preset, files):
    _, _, bcdu, cnn = files
    (preset / "train-classifier.yaml").write_text("data: {classifier_input: both}\n")
    with pytest.raises(WeightsError, match=r"'upstream' gives the classifier 2 channels.*--preset"):
        import_weights(bcdu, cnn, tmp_path / "mine")
    (preset / "train-classifier.yaml").write_text("data: {classifier_input: ct}\n")
    made = import_weights(bcdu, cnn, tmp_path / "mine")
    assert made.card["residual"]["classifier_input"] == "ct"


def test_a_folder_of_weights_is_not_written_over(tmp_path, preset, files):
    _, _, bcdu, cnn = files
    import_weights(bcdu, cnn, tmp_path / "mine")
    before = (tmp_path / "mine" / "card.json").read_bytes()
    with pytest.raises(WeightsError, match="'mine' holds weights already"):
        import_weights(bcdu, cnn, tmp_path / "mine", gates="sigmoid")
    assert (tmp_path / "mine" / "card.json").read_bytes() == before


def test_files_given_for_each_other_are_refused(tmp_path, preset, files):
    _, _, bcdu, cnn = files
    with pytest.raises(WeightsError, match=r"cnn\.hdf5 holds 10 Conv3D, 2 Dense.* a BCDU-Net"):
        import_weights(cnn, bcdu, tmp_path / "mine")
    with pytest.raises(WeightsError, match=r"bcdu\.h5 holds .* expected 10 Conv3D, 2 Dense"):
        import_weights(bcdu, bcdu, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_preset_of_other_slices_or_none_is_refused(tmp_path, preset, files):
    _, _, bcdu, cnn = files
    (preset / "preprocess.yaml").write_text("settings: {size: 240}\n")
    with pytest.raises(WeightsError, match=r"expected 784 for 50 slices of 240 x 240.*--preset"):
        import_weights(bcdu, cnn, tmp_path / "mine")
    with pytest.raises(WeightsError, match="unknown preset 'mine', expected one of upstream"):
        import_weights(bcdu, cnn, tmp_path / "mine", preset="mine")


def test_every_shipped_preset_tells_its_preprocessing(tmp_path, files):
    _, _, bcdu, _ = files
    presets = [file.parent.name for file in presets_root().glob("*/preprocess.yaml")]
    assert {"paper", "compact"} <= set(presets)
    for preset in presets:
        # Far enough to have built the settings: the classifier is missing, or two channels are.
        with pytest.raises(WeightsError, match=r"expected 10 Conv3D|classifier 2 channels"):
            import_weights(bcdu, bcdu, tmp_path / "mine", preset=preset)


@pytest.mark.parametrize(
    "arguments",
    [
        ["import-keras"],
        ["import-keras", "--denoiser", "a.h5", "-o", "mine"],
        ["import-keras", "names", "--denoiser", "a", "--classifier", "b", "-o", "c"],
        ["import-keras", "--denoiser", "absent.h5", "--classifier", "absent.h5", "-o", "c"],
        ["list", "--denoiser", "a.h5"],
        ["verify", "--gates", "sigmoid"],
    ],
)
def test_half_a_command_is_wrong_usage(arguments):
    with pytest.raises(
        UsageError,
        match=r"expected weights import-keras --denoiser|takes names only|does not exist",
    ):
        run_command("weights", COMMANDS["weights"], arguments)


def test_the_imported_denoiser_answers_as_before(tmp_path, preset, files):
    denoiser, _, bcdu, cnn = files
    x = torch.rand(1, 1, 16, 16)
    made = import_weights(bcdu, cnn, tmp_path / "mine")
    assert torch.equal(denoiser(x), made.denoiser()(x))
