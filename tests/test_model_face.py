"""What a model takes beside a volume, and what it says of itself once it was changed."""

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import covidctnet
from covidctnet.errors import StudyError, UsageError
from covidctnet.evidence import Panels
from covidctnet.preprocess import PreprocessSettings, check_extent, preprocess
from covidctnet.run.evaluate import evaluate_data
from covidctnet.systems.covidctnet.networks import CNN3D
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.trust.calibration import Calibration
from covidctnet.weights.state import state_digest, state_stamp
from tests.small import ARCHITECTURE, calibrated_weights, tiny_weights, write_chest, write_cohort
from tests.volumes import a_chest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return calibrated_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture
def model(folder):
    return CovidCTNet.load(folder, device="cpu", precision="32")


@pytest.fixture(scope="module")
def chest():
    return a_chest((25, 50, 60), 6.0)[0]


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "path"])
def test_a_model_reads_a_folder_itself(model, tmp_path, kind):
    path = write_chest(tmp_path / "scan", "one")
    answer = model(kind(path))
    expected = model(covidctnet.read_volume(path))
    assert answer.probabilities == expected.probabilities
    assert answer.study == expected.study


def test_a_folder_of_several_studies_is_refused_with_what_to_call(model, tmp_path):
    for name in ("one", "two"):
        write_chest(tmp_path / name, name)
    with pytest.raises(UsageError, match="find_studies and read_study"):
        model(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="NOT_CT"):
        model(tmp_path / "empty")


@pytest.mark.parametrize("call", ["model", "prepare", "preprocess"])
def test_an_array_is_refused_with_what_to_call_instead(model, chest, call):
    calls = {"model": model, "prepare": model.prepare, "preprocess": covidctnet.preprocess}
    with pytest.raises(UsageError, match=r"expected a Volume, got ndarray.*Volume\.from_array"):
        calls[call](np.array(chest))


def test_preprocess_of_the_package_is_the_function_and_still_the_module(chest):
    settings = PreprocessSettings(spacing_mm=4.0, size=40)
    called = covidctnet.preprocess(chest, settings)
    assert np.array_equal(called.array, preprocess(chest, settings).array)
    assert covidctnet.preprocess.check_extent is check_extent


def test_preprocess_is_there_without_an_import_of_its_own_and_without_torch():
    code = "import sys, covidctnet; assert callable(covidctnet.preprocess); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def another_classifier():
    torch.manual_seed(7)
    return CNN3D(**ARCHITECTURE["classifier"]).eval()


def fill(network):
    with torch.no_grad():
        next(network.parameters()).add_(1.0)


CHANGES = {
    "classifier": lambda model: setattr(model, "classifier", another_classifier()),
    "denoiser": lambda model: setattr(model, "denoiser", torch.nn.Identity()),
    "ood_detector": lambda model: setattr(model, "ood_detector", None),
    "segmenter": lambda model: setattr(model, "segmenter", torch.nn.Identity()),
    "calibration": lambda model: setattr(model, "calibration", None),
    "settings": lambda model: setattr(model, "settings", replace(model.settings, low_hu=-900.0)),
    "written": lambda model: fill(model.denoiser),
    "loaded": lambda model: model.classifier.load_state_dict(
        {k: v + 1 for k, v in model.classifier.state_dict().items()}
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_provenance_changes_with_every_part_that_was_replaced_or_written_to(model, change):
    before = model.weights_digest
    assert before == model.weights.digest
    assert "changed_after_loading" not in model.provenance
    CHANGES[change](model)
    part = {"written": "denoiser", "loaded": "classifier"}.get(change, change)
    assert model.provenance["changed_after_loading"] == [part]
    assert model.weights_digest == model.provenance["weights_digest"] != before
    assert len(model.weights_digest) == 12


def test_two_different_networks_in_the_place_of_one_have_different_provenance(model):
    model.classifier = another_classifier()
    first = model.weights_digest
    assert model.weights_digest == first
    fill(model.classifier)
    assert model.weights_digest != first


def test_an_answer_carries_the_digest_of_the_network_that_gave_it(model, chest):
    model.classifier = another_classifier()
    answer = model(chest)
    assert answer.weights == model.weights_digest != model.weights.digest


def test_a_network_replaced_by_its_equal_keeps_the_provenance(model):
    before = model.weights_digest
    model.classifier = copy.deepcopy(model.classifier)
    state = {k: v.clone() for k, v in model.denoiser.state_dict().items()}
    model.denoiser.load_state_dict(state)
    assert model.weights_digest == before


def test_answering_writes_nothing_into_the_networks(model, chest):
    before = [state_stamp(network) for network in (model.denoiser, model.classifier)]
    model(chest, keep="slices")
    assert [state_stamp(network) for network in (model.denoiser, model.classifier)] == before
    assert model.weights_digest == model.weights.digest


def test_an_evaluation_names_the_changed_network(folder, tmp_path):
    model = CovidCTNet.load(folder, device="cpu", precision="32")
    model.classifier = another_classifier()
    data = write_cohort(tmp_path / "data", controls=1, others=1)
    evaluate_data(data, model, tmp_path / "out")
    for name in ("evaluation.json", "index.html", "model-card.md"):
        text = (tmp_path / "out" / name).read_text()
        assert model.weights_digest in text
        assert model.weights.digest not in text.replace(model.weights_digest, "")


def test_the_digest_of_a_network_tells_layers_weights_and_types_apart():
    networks = [torch.nn.Linear(2, 2), torch.nn.Conv1d(2, 2, 1), torch.nn.ReLU(), torch.nn.Tanh()]
    networks += [torch.nn.Linear(2, 2).to(torch.bfloat16)]
    digests = [state_digest(network) for network in [*networks, None, "text"]]
    assert len(set(digests)) == len(digests)


def test_a_model_of_uncalibrated_weights_knows_its_parts_too(tmp_path):
    model = CovidCTNet.load(tiny_weights(tmp_path / "tiny"), device="cpu", precision="32")
    assert (model.weights_digest, model.calibration) == (model.weights.digest, None)
    model.calibration = Calibration.from_card(
        {"temperature": 2.0, "sets": {"coverage": 0.9, "threshold": 0.3, "n": 40}}
    )
    assert model.provenance["changed_after_loading"] == ["calibration"]


def test_answers_of_a_model_can_be_pickled_with_all_that_was_kept(model, chest):
    answer = model(chest, keep="volumes")
    again = pickle.loads(pickle.dumps(answer))
    assert again == answer
    panels = again.find(Panels)
    assert np.array_equal(panels["residual"], answer.find(Panels)["residual"])
    assert not panels["residual"].flags.writeable
    assert "data:image/webp" in again._repr_html_()
