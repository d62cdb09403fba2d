"""The presets are what they say: widths, directions, gates, sizes of the papers."""

from dataclasses import asdict

import pytest
import yaml

from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.weights.shipped import presets_root
from pipelines.strangers.run import settings_of

PRESETS = sorted(p.parent.name for p in presets_root().glob("*/preprocess.yaml"))
NETWORK = ("base", "depth", "bidirectional", "gates")


def told(preset, verb):
    return yaml.safe_load((presets_root() / preset / f"{verb}.yaml").read_text(encoding="utf-8"))


def denoiser(preset):
    model = told(preset, "train-denoiser")["model"]
    return BCDUNet(**{k: model[k] for k in NETWORK if k in model})


def classifier(preset):
    data, model = (told(preset, "train-classifier")[k] for k in ("data", "model"))
    size = told(preset, "preprocess")["settings"]["size"]
    return CNN3D(depth=data["depth"], size=size, base=model["base"])


def count(network):
    """As Keras counts: with the moving means and variances of batch norms."""
    moving = [b for name, b in network.named_buffers() if "running" in name]
    return sum(t.numel() for t in (*network.parameters(), *moving))


def test_the_five_presets_are_there():
    assert PRESETS == ["compact", "demo", "paper", "upstream", "wide"]


def test_upstream_has_the_networks_of_the_published_code():
    network = denoiser("upstream")
    assert count(network) == 5_167_365
    assert count(classifier("upstream")) == 920_715
    lstm = network.decoder1.backward_lstm
    assert lstm.gates == "hard_sigmoid"
    assert network.decoder1.forward_lstm is None


def test_upstream_preprocesses_as_the_published_code():
    assert PreprocessSettings(**told("upstream", "preprocess")["settings"]) == PreprocessSettings(
        size=128, pad_square=False, interpolation="cubic", above_window="air", resize="gaussian"
    )
    data = told("upstream", "train-classifier")["data"]
    assert ResidualSettings(data["depth_resize"], data["signed"]) == ResidualSettings("antialiased")


def test_paper_has_the_sizes_of_the_paper():
    network = denoiser("paper")
    assert network.encoder1[0].out_channels == 64
    assert network.dense3 is not None
    assert network.decoder1.forward_lstm is not None
    assert count(classifier("paper")) == 1_084_555
    assert PreprocessSettings(**told("paper", "preprocess")["settings"]) == PreprocessSettings()


def test_compact_is_a_quarter_as_wide_on_the_lungs_alone():
    assert denoiser("compact").encoder1[0].out_channels == 16
    settings = PreprocessSettings(**told("compact", "preprocess")["settings"])
    assert settings == PreprocessSettings(field="lungs")
    assert cross_fitted("compact").residual.within == "lungs"


def cross_fitted(preset):
    return settings_of(presets_root() / preset / "cross-fit.yaml")


@pytest.mark.parametrize("preset", ["compact", "wide"])
def test_the_classifier_reads_what_the_examples_are_made_for(preset):
    """The flags of cross-fit win over this file; it must not say otherwise."""
    data, settings = told(preset, "train-classifier")["data"], cross_fitted(preset)
    assert data["precision"] == settings.precision
    named = {k: data[k] for k in asdict(settings.residual)}
    assert ResidualSettings(**named) == settings.residual


def test_wide_is_compact_with_the_width_of_the_paper():
    for stage in ("preprocess", "train-lungs", "train-classifier"):
        assert told("wide", stage) == told("compact", stage)
    assert told("wide", "cross-fit") == {**told("compact", "cross-fit"), "networks": "wide"}
    wide, compact = (told(preset, "train-denoiser") for preset in ("wide", "compact"))
    assert wide["model"].pop("base") == 64
    compact["model"].pop("base")
    assert wide == compact


@pytest.mark.parametrize("preset", ["demo", "paper", "upstream"])
def test_lungs_are_trained_with_the_denoisers_own_network_and_size(preset):
    lungs, cleaner = (told(preset, f"train-{stage}")["model"] for stage in ("lungs", "denoiser"))
    defaults = {"depth": 3, "bidirectional": True, "gates": "sigmoid"}
    assert {k: ({**defaults, **lungs})[k] for k in NETWORK} == {
        k: ({**defaults, **cleaner})[k] for k in NETWORK
    }
    assert (
        told(preset, "train-lungs")["data"]["size"]
        == told(preset, "preprocess")["settings"]["size"]
    )
