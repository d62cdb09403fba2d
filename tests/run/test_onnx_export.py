"""Networks as ONNX: the same numbers as torch, or no file."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from covidctnet import surroundings
from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.errors import UsageError, WeightsError
from covidctnet.registry import find_system
from covidctnet.run.onnx_export import TOLERANCE, export_weights
from covidctnet.weights import load_weights, save_weights
from tests.small import DEPTH, SIZE, calibrated_weights, tiny_weights

# Of every system that reads slices: kind of its network, architecture and settings, all small.
SLICES = {
    "resnet50_slices": ("classifier", {"backbone": "efficientnet_lite0"}, 64),
    "deeptek_unet": ("segmenter", {"encoder": "efficientnet_lite0"}, 72),
    "deeppneumonia": (
        "classifier",
        {"network": "drenet", "backbone": "efficientnet_lite0", "size": 160},
        200,
    ),
    "xray_vgg16": ("classifier", {"network": "vgg16_block2", "size": 96, "votes": 2}, 96),
}


def slice_weights(folder, name):
    """Weights of a system of slices whose network has learned nothing."""
    kind, architecture, size = SLICES[name]
    system = find_system(name)
    torch.manual_seed(0)
    settings = {"size": size}
    if name == "deeptek_unet":
        from covidctnet.systems.deeptek_unet.settings import MaskSettings

        settings = MaskSettings(size=size).to_card()
    card = {
        "system": name,
        "architecture": {kind: architecture},
        "settings": settings,
        "synthetic_only": True,
    }
    save_weights(folder, {kind: system.build(kind, architecture)}, card=card)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The networks of CovidCTNet, exported once: the first export loads the exporter."""
    root = tmp_path_factory.mktemp("export")
    weights = calibrated_weights(root / "weights")
    return weights, root / "onnx", export_weights(weights, root / "onnx")


def test_every_network_of_covidctnet_gives_the_numbers_of_torch(exported):
    weights, folder, made = exported
    assert {one.kind for one in made} == {"denoiser", "classifier", "out_of_distribution"}
    slices = torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    session = onnxruntime.InferenceSession(folder / "denoiser.onnx")
    (got,) = session.run(None, {"input": slices.numpy()})
    with torch.inference_mode():
        expected = load_weights(weights).network("denoiser")(slices).numpy()
    np.testing.assert_allclose(got, expected, atol=TOLERANCE)
    assert all(one.difference <= TOLERANCE for one in made)


def test_a_file_and_its_description_say_what_a_network_reads(exported):
    weights, folder, _ = exported
    model = onnx.load(folder / "classifier.onnx")
    held = {entry.key: entry.value for entry in model.metadata_props}
    digest = load_weights(weights).digest
    assert held["weights_digest"] == digest
    assert json.loads(held["classes"]) == list(CHEST_CT.titles)
    described = json.loads((folder / "export.json").read_text())
    assert described["weights_digest"] == digest
    assert described["networks"]["classifier"]["shape"] == [1, DEPTH, SIZE, SIZE]
    assert described["networks"]["classifier"]["gives"].startswith("logits of the classes")
    assert described["settings"]["calibration"]["temperature"] == 2.0


@pytest.mark.parametrize("name", SLICES)
def test_the_network_of_every_system_of_slices_gives_the_numbers_of_torch(name, tmp_path):
    (made,) = export_weights(slice_weights(tmp_path / "weights", name), tmp_path / "onnx")
    assert made.difference <= TOLERANCE
    assert (tmp_path / "onnx" / made.file).is_file()
    if name == "deeppneumonia":
        assert made.outputs == ("logits", "whole", "parts", "scores", "boxes")


def test_a_network_whose_numbers_differ_is_not_written(tmp_path, monkeypatch):
    class Wrong(onnxruntime.InferenceSession):
        def run(self, *rest):
            return [one + 1e-3 for one in super().run(*rest)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Wrong)
    weights = tiny_weights(tmp_path / "weights")
    with pytest.raises(WeightsError, match=r"expected denoiser .* got a difference of 1.0e-03"):
        export_weights(weights, tmp_path / "onnx", kinds=["denoiser"])
    assert not list((tmp_path / "onnx").iterdir())


def test_the_command_names_the_largest_difference(tmp_path, capsys):
    weights, out = tiny_weights(tmp_path / "weights"), tmp_path / "onnx"
    flags = ["--weights", str(weights), "--networks", "classifier", "-o", str(out)]
    assert main(["export", "onnx", *flags]) == 0
    printed = capsys.readouterr().out
    assert f"classifier.onnx  input batch x 1 x {DEPTH} x {SIZE} x {SIZE}" in printed
    assert "largest difference from torch" in printed
    assert sorted(file.name for file in out.iterdir()) == ["classifier.onnx", "export.json"]


def test_networks_that_the_weights_lack_are_refused_by_name(tmp_path):
    with pytest.raises(
        UsageError, match=r"expected networks of these weights, .*denoiser.*, got segmenter"
    ):
        export_weights(tiny_weights(tmp_path), tmp_path / "onnx", kinds=["segmenter"])


def test_a_missing_package_is_named_with_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(surroundings, "find_spec", lambda name: None if "runtime" in name else 1)
    with pytest.raises(UsageError, match=r"onnxruntime is missing. Run pip install .*\[export\]"):
        export_weights("compact", tmp_path / "onnx")
