import hashlib
import json
import os
from dataclasses import asdict, replace

import pytest
import torch

from covidctnet.classes import CHEST_CT
from covidctnet.errors import WeightsError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet import weights as ours
from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.systems.covidctnet.system import SYSTEM
from covidctnet.weights import bundle as module
from covidctnet.weights import card as card_module
from covidctnet.weights import list_weights, load_weights, save_weights, verify_weights
from covidctnet.weights.model_card import weights_model_card
from covidctnet.weights.shipped import weights_root
from tests.small import calibrated_weights, flat_card, put_card, tiny_weights

ARCHITECTURE = {
    "denoiser": {"base": 2, "depth": 1, "bidirectional": True, "gates": "sigmoid"},
    "classifier": {"base": 1, "depth": 34, "size": 40},
}


def networks():
    torch.manual_seed(0)
    return BCDUNet(**ARCHITECTURE["denoiser"]), CNN3D(**ARCHITECTURE["classifier"])


def a_card(**changes):
    return {
        "architecture": ARCHITECTURE,
        "preprocessing": asdict(PreprocessSettings(size=40)),
        "synthetic_only": True,
        **changes,
    }


@pytest.fixture
def folder(tmp_path):
    denoiser, classifier = networks()
    save_weights(tmp_path / "mine", {"denoiser": denoiser, "classifier": classifier}, card=a_card())
    return tmp_path / "mine"


def edit(folder, **changes):
    card = flat_card(folder)
    put_card(folder, {**card, **changes})


def test_saved_networks_come_back_bit_for_bit(folder):
    denoiser, classifier = networks()
    weights = verify_weights(folder)
    for saved, loaded in ((denoiser, weights.denoiser()), (classifier, weights.classifier())):
        assert not loaded.training
        for key, tensor in saved.state_dict().items():
            assert torch.equal(tensor.float(), loaded.state_dict()[key].float()), key
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(denoiser.eval()(x), weights.denoiser()(x))


def test_one_flipped_bit_is_noticed(folder):
    file = folder / "denoiser.safetensors"
    blob = bytearray(file.read_bytes())
    blob[-1] ^= 1
    file.write_bytes(blob)
    with pytest.raises(
        WeightsError, match=r"is not what its card vouches for.*Copy the folder again"
    ):
        load_weights(folder)


def test_the_digest_follows_weights_and_settings_but_not_remarks(folder):
    before = load_weights(folder).digest
    edit(folder, metrics={"accuracy": 0.5})
    assert load_weights(folder).digest == before
    edit(folder, preprocessing=asdict(PreprocessSettings(size=40, spacing_mm=2.0)))
    assert load_weights(folder).digest != before


PAPER = {
    "spacing_mm": 1.0,
    "low_hu": -1000.0,
    "high_hu": 400.0,
    "size": 40,
    "pad_square": True,
}


def digest_of_before(card):
    """How weights were named when a card told five settings and no residual."""
    deciding = {key: card[key] for key in ("architecture", "preprocessing", "classes")}
    deciding["files"] = {file: entry["sha256"] for file, entry in card["files"].items()}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:12]


def test_cards_from_before_the_published_ways_load_and_keep_their_digest(folder):
    edit(folder, preprocessing=PAPER)
    old = load_weights(folder)
    assert old.digest == digest_of_before(old.card)
    # Said or left out, the paper's way is the same way.
    edit(folder, preprocessing=asdict(PreprocessSettings(size=40)))
    assert load_weights(folder).digest == old.digest
    edit(folder, preprocessing={**PAPER, "above_window": "air"})
    assert load_weights(folder).digest != old.digest


def test_shipped_weights_from_before_keep_their_digest():
    for weights in list_weights():
        if len(weights.card["preprocessing"]) == len(PAPER) and "residual" not in weights.card:
            assert weights.digest == digest_of_before(weights.card)


@pytest.mark.parametrize("name", sorted(PAPER))
def test_a_card_that_lacks_an_old_setting_is_refused(folder, name):
    edit(folder, preprocessing={k: v for k, v in PAPER.items() if k != name})
    with pytest.raises(WeightsError, match=f"lacks some of .*{name}.* preprocessing"):
        load_weights(folder)


def test_the_digest_follows_the_residual_once_the_card_tells_it(folder):
    digests = {load_weights(folder).digest}
    for way in ("linear", "antialiased"):
        for signed in (True, False):
            edit(folder, residual={"depth_resize": way, "signed": signed})
            digests.add(load_weights(folder).digest)
    assert len(digests) == 5


def test_the_residual_of_a_card_is_saved_with_it(tmp_path):
    denoiser, classifier = networks()
    card = a_card(residual={"depth_resize": "antialiased", "signed": False})
    saved = save_weights(
        tmp_path / "w", {"denoiser": denoiser, "classifier": classifier}, card=card
    )
    assert saved.card["residual"] == card["residual"]


def test_a_denoiser_alone_can_be_saved_and_says_what_is_missing(tmp_path):
    card = a_card(architecture={"denoiser": ARCHITECTURE["denoiser"]})
    save_weights(tmp_path / "half", {"denoiser": networks()[0]}, card=card)
    weights = load_weights(tmp_path / "half")
    assert weights.denoiser()
    with pytest.raises(WeightsError, match=r"hold denoiser, expected .* classifier\. Train"):
        weights.classifier()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"card_version": 99}, "version 99, this package reads 1 to 2"),
        ({"classes": ["CAP", "Control", "Covid-19"]}, "in this order"),
        ({"files": {"evil.pkl": {"sha256": ""}}}, "one known file a network"),
        ({"files": {"../x.safetensors": {"sha256": ""}}}, "one known file a network"),
        ({"files": {}}, "files none"),
        ({"architecture": {"oracle": {}}, "files": {}}, "one known file a network"),
        (
            {"files": {"denoiser.safetensors": {}, "classifier.safetensors": {}}},
            "lacks the SHA-256",
        ),
        ({"architecture": []}, "expected mappings"),
        ({"preprocessing": "none"}, "lacks preprocessing"),
        ({"preprocessing": asdict(PreprocessSettings(size=48))}, "contradicts itself"),
        ({"synthetic_only": "no"}, "expected true or false for synthetic_only"),
        (
            {"system": "nonesuch"},
            "no system named 'nonesuch'; the systems are .*covid",
        ),
        ({"system": 3}, "lacks a system"),
        ({"classes": ["Control", "Control"]}, "impossible classes"),
        ({"classes": "Control"}, "expected a list of class names"),
        ({"normal": "None"}, "impossible classes"),
        ({"preprocessing": {}}, "lacks some of .* preprocessing"),
        ({"preprocessing": asdict(PreprocessSettings()) | {"size": 41}}, "impossible prepro"),
        ({"preprocessing": asdict(PreprocessSettings()) | {"colour": 1}}, "impossible prepro"),
        ({"preprocessing": PAPER | {"resize": "sinc"}}, "impossible prepro.*triangle or gaussian"),
        ({"preprocessing": PAPER | {"interpolation": None}}, "impossible prepro"),
        ({"residual": None}, "lacks some of depth_resize, signed of its residual"),
        ({"residual": {"signed": True}}, "lacks some of depth_resize, signed of its residual"),
        ({"residual": {"depth_resize": "cubic", "signed": True}}, "impossible .*residual"),
        ({"residual": {"depth_resize": "linear", "signed": "no"}}, "impossible .*residual"),
        (
            {"residual": {"depth_resize": "linear", "signed": True, "classifier_input": "mri"}},
            "impossible .*residual.*residual, ct or both",
        ),
        (
            {"residual": {"depth_resize": "linear", "signed": True, "classifier_input": "both"}},
            "contradicts itself: classifier_input both has 2 channels, its classifier reads 1",
        ),
        (
            {"residual": {"depth_resize": "linear", "signed": True, "colour": 1}},
            "impossible .*residual",
        ),
        (
            {"architecture": {**ARCHITECTURE, "classifier": {"base": 1, "size": 40}}},
            "lacks some of .* classifier",
        ),
    ],
)
def test_a_card_that_is_not_ours_is_refused(folder, changes, message):
    edit(folder, **changes)
    with pytest.raises(WeightsError, match=message):
        load_weights(folder)


def test_weights_of_another_architecture_are_refused(folder):
    card = flat_card(folder)
    card["architecture"]["denoiser"]["base"] = 4
    put_card(folder, card)
    with pytest.raises(WeightsError, match="not the architecture its card names"):
        verify_weights(folder)


@pytest.mark.parametrize("changes", [{"base": "wide"}, {"depth": 2}, {"colour": "red"}])
def test_an_architecture_that_cannot_be_built_is_refused(folder, changes):
    denoiser = {**ARCHITECTURE["denoiser"], **changes}
    edit(folder, architecture={**ARCHITECTURE, "denoiser": denoiser})
    with pytest.raises(WeightsError, match="not the architecture its card names"):
        load_weights(folder).denoiser()


def test_a_card_that_its_networks_contradict_is_never_written(tmp_path):
    denoiser, classifier = networks()
    wider = {**ARCHITECTURE, "classifier": {**ARCHITECTURE["classifier"], "base": 2}}
    with pytest.raises(WeightsError, match="classifier is not the architecture"):
        save_weights(
            tmp_path / "w",
            {"denoiser": denoiser, "classifier": classifier},
            card=a_card(architecture=wider),
        )
    with pytest.raises(WeightsError, match="describes denoiser, classifier, the networks given"):
        save_weights(tmp_path / "w", {"denoiser": denoiser}, card=a_card())
    assert not (tmp_path / "w").exists()


def test_saving_a_denoiser_alone_takes_the_old_classifier_away(folder):
    card = a_card(architecture={"denoiser": ARCHITECTURE["denoiser"]})
    save_weights(folder, {"denoiser": networks()[0]}, card=card)
    assert sorted(p.name for p in folder.iterdir()) == [
        "card.json",
        "denoiser.safetensors",
        "model-card.md",
    ]


def test_a_write_that_was_cut_off_between_two_files_is_noticed(folder):
    card = (folder / "card.json").read_text()
    torch.manual_seed(1)
    other = BCDUNet(**ARCHITECTURE["denoiser"])
    save_weights(folder, {"denoiser": other, "classifier": networks()[1]}, card=a_card())
    (folder / "card.json").write_text(card)
    with pytest.raises(WeightsError, match="is not what its card vouches for"):
        load_weights(folder)


def test_a_missing_file_or_card_is_refused(folder):
    (folder / "classifier.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lack a readable classifier\.safetensors"):
        load_weights(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(WeightsError, match=r"no readable card\.json"):
        load_weights(folder)
    (folder / "card.json").write_text("[]")
    with pytest.raises(WeightsError, match="lacks card_version"):
        load_weights(folder)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(WeightsError, match="no weights 'nonesuch': neither shipped"):
        load_weights("nonesuch")


def test_a_full_disk_leaves_the_old_weights_whole(folder, monkeypatch):
    from pathlib import Path

    before = load_weights(folder).digest
    real = Path.write_bytes

    def full(self, blob):
        if "classifier" in self.name:
            raise OSError(28, "No space left on device")
        return real(self, blob)

    monkeypatch.setattr(Path, "write_bytes", full)
    denoiser, classifier = BCDUNet(2, 1), networks()[1]
    with pytest.raises(OSError, match="No space left"):
        save_weights(folder, {"denoiser": denoiser, "classifier": classifier}, card=a_card())
    assert load_weights(folder).digest == before
    assert sorted(p.name for p in folder.iterdir()) == [
        "card.json",
        "classifier.safetensors",
        "denoiser.safetensors",
        "model-card.md",
    ]


def test_every_shipped_set_of_weights_is_whole():
    for weights in list_weights():
        verified = verify_weights(weights.name)
        assert {"denoiser", "classifier"} <= set(verified.card["architecture"])


def save_two_channels(folder, which):
    classifier = {**ARCHITECTURE["classifier"], "channels": 2}
    card = a_card(
        architecture={**ARCHITECTURE, "classifier": classifier},
        residual={"depth_resize": "linear", "signed": True, "classifier_input": which},
    )
    both = {"denoiser": networks()[0], "classifier": CNN3D(**classifier)}
    return save_weights(folder, both, card=card)


def test_a_classifier_of_residual_and_ct_comes_back_with_two_channels(tmp_path):
    weights = save_two_channels(tmp_path / "w", "both")
    assert verify_weights(tmp_path / "w").digest == weights.digest
    assert weights.classifier().input_shape == (2, 34, 40, 40)
    assert weights.card["residual"]["classifier_input"] == "both"


@pytest.mark.parametrize("which", ["residual", "ct"])
def test_two_channels_for_one_input_are_refused_before_anything_is_written(tmp_path, which):
    with pytest.raises(WeightsError, match=rf"itself: .* {which} has 1 channels, .* reads 2"):
        save_two_channels(tmp_path / "w", which)
    assert not (tmp_path / "w").exists()


def test_cards_from_before_the_choice_of_input_load_and_keep_their_digest(folder):
    residual = {"depth_resize": "antialiased", "signed": False}
    edit(folder, residual=residual)
    old = load_weights(folder)
    # As these digests were made when a card told two settings of the residual.
    named = {key: old.card[key] for key in ("architecture", "classes", "residual")}
    named["preprocessing"] = PAPER
    named["files"] = {file: entry["sha256"] for file, entry in old.card["files"].items()}
    text = json.dumps(named, sort_keys=True).encode()
    assert old.digest == hashlib.sha256(text).hexdigest()[:12]
    # Said or left out, the paper's input is the same input.
    edit(folder, residual={**residual, "classifier_input": "residual"})
    assert load_weights(folder).digest == old.digest
    edit(folder, residual={**residual, "classifier_input": "ct"})
    assert load_weights(folder).digest != old.digest


PHANTOMS, PAINTED = "synthetic patients (phantoms)", "real lungs with painted lesions"


@pytest.mark.parametrize(
    ("denoiser", "classifier", "seen", "warned"),
    [
        ({PHANTOMS: 5}, {PHANTOMS: 9}, f"{PHANTOMS} only", "only ever seen synthetic patients"),
        (
            {PHANTOMS: 5, "patients": 6},
            {PHANTOMS: 9, PAINTED: 4},
            f"real Controls, {PHANTOMS}, {PAINTED}",
            "no real patient with Covid-19 or pneumonia",
        ),
        ({"patients": 6}, {"patients": 9}, "real Controls, patients", ""),
        ({}, {}, "what the card does not describe", ""),
    ],
)
def test_weights_say_what_they_have_seen_and_warn_of_what_they_have_not(
    tmp_path, denoiser, classifier, seen, warned
):
    stages = {"denoiser": denoiser, "classifier": classifier}
    training = {stage: {"data": {"studies_by_kind": kinds}} for stage, kinds in stages.items()}
    card = a_card(training=training, synthetic_only=denoiser.keys() == {PHANTOMS})
    both = dict(zip(("denoiser", "classifier"), networks(), strict=True))
    weights = save_weights(tmp_path / "w", both, card=card)
    assert weights.trained_on == seen
    assert warned in weights.caveat
    assert bool(warned) == bool(weights.caveat)


@pytest.mark.parametrize(
    "entry",
    [
        {"calibration": {"temperature": 1.2}},
        {"calibration": {"temperature": -3, "sets": {"coverage": 0.9, "threshold": 0.2, "n": 9}}},
        {"calibration": "warm"},
        {"lesion_volume": {"threshold": -0.1}},
        {"lesion_volume": {"threshold": "much"}},
        {"out_of_distribution": {"limit": 3.0}},
    ],
)
def test_an_impossible_calibration_is_refused(tmp_path, entry):
    folder = tiny_weights(tmp_path / "tiny")
    card = flat_card(folder)
    put_card(folder, card | entry)
    with pytest.raises(WeightsError, match="impossible calibration"):
        load_weights(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 0}, "version 0"),
        ({"version": None}, "Train the classifier again"),
        ({"limit": 0.0}, "limit 0"),
    ],
)
def test_a_detector_of_other_numbers_is_refused(tmp_path, change, said):
    folder = calibrated_weights(tmp_path / "calibrated")
    assert load_weights(folder).ood_detector() is not None
    card = flat_card(folder)
    card["out_of_distribution"] |= change
    put_card(folder, card)
    with pytest.raises(WeightsError, match=said):
        load_weights(folder)


def test_what_the_weights_started_from_had_seen_is_seen(tmp_path):
    kinds = {"start: denoiser": "patients", "denoiser": PHANTOMS, "classifier": PAINTED}
    training = {stage: {"data": {"studies_by_kind": {kind: 1}}} for stage, kind in kinds.items()}
    both = dict(zip(("denoiser", "classifier"), networks(), strict=True))
    card = a_card(training=training, synthetic_only=False)
    assert (
        save_weights(tmp_path, both, card=card).trained_on
        == f"real Controls, {PHANTOMS}, {PAINTED}"
    )


def test_every_network_that_can_be_built_may_stand_in_a_card():
    assert ours._NETWORKS.keys() == SYSTEM.networks


# The network looks at whole scans: a card of scans that are not cropped cannot ask for it.
@pytest.mark.parametrize("wrong", [{"shrink": 2}, [], "fine", {}, 1, "coarse"])
def test_an_impossible_segmentation_is_refused_in_one_line(tmp_path, wrong):
    folder = tiny_weights(tmp_path / "w")
    card = flat_card(folder)
    put_card(folder, {**card, "segmentation": wrong})
    with pytest.raises(WeightsError, match="impossible segmentation") as caught:
        load_weights(folder)
    assert "\n" not in str(caught.value)


def test_a_card_that_asks_for_a_lung_network_must_have_one(tmp_path):
    folder = tiny_weights(tmp_path / "w")
    card = flat_card(folder)
    card["preprocessing"]["field"] = "lungs"
    put_card(folder, {**card, "segmentation": "coarse"})
    with pytest.raises(WeightsError, match="network named lungs"):
        load_weights(folder).segmenter()


def test_a_card_has_an_envelope_of_every_system_and_settings_of_its_own(folder):
    card = json.loads((folder / "card.json").read_text())
    assert card["card_version"] == 2
    assert card["system"] == "covidctnet"
    assert card["classes"] == {"titles": ["Control", "Covid-19", "CAP"], "normal": "Control"}
    assert card["settings"].keys() == {"preprocessing"}
    assert load_weights(folder).classes is CHEST_CT


def test_settings_that_name_the_envelope_again_are_refused(folder):
    card = json.loads((folder / "card.json").read_text())
    card["settings"]["files"] = {}
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match="names files twice"):
        load_weights(folder)


def test_a_card_of_version_1_is_the_same_weights(folder):
    flat = flat_card(folder)
    new = load_weights(folder)
    old = {k: v for k, v in flat.items() if k not in ("system", "normal")}
    (folder / "card.json").write_text(json.dumps({**old, "card_version": 1}))
    again = load_weights(folder)
    assert again.digest == new.digest
    assert again.card.keys() == new.card.keys()
    assert again.classes is CHEST_CT


def test_weights_of_another_system_are_told_apart(folder, monkeypatch):
    other = replace(SYSTEM, name="other", weights=lambda: module.Weights)
    monkeypatch.setattr(module, "find_system", lambda name: other if name == "other" else SYSTEM)
    monkeypatch.setattr(card_module, "find_system", lambda name: other)
    put_card(folder, {**flat_card(folder), "system": "other"})
    assert load_weights(folder).card["system"] == "other"
    with pytest.raises(WeightsError, match="expected weights of the system covidctnet, got 'mine'"):
        ours.load_weights(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_when_they_are_loaded(tmp_path, value):
    denoiser, classifier = networks()
    with torch.no_grad():
        next(iter(classifier.parameters())).view(-1)[3] = value
    both = {"denoiser": denoiser, "classifier": classifier}
    save_weights(tmp_path / "mine", both, card=a_card())
    with pytest.raises(WeightsError, match="expected finite numbers") as caught:
        verify_weights(tmp_path / "mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"card_version": NaN}'])
def test_a_card_that_is_no_json_of_ours_is_one_line(folder, text):
    (folder / "card.json").write_text(text)
    with pytest.raises(WeightsError, match="no readable card") as caught:
        load_weights(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_card_without_end_is_not_read_to_its_end(folder, monkeypatch):
    monkeypatch.setattr(card_module, "_MAX_BYTES", 1000)
    (folder / "card.json").write_text(json.dumps({"card_version": 2, "more": "x" * 2000}))
    with pytest.raises(WeightsError, match="no readable card"):
        load_weights(folder)


def named_in_the_preprocessing(folder, name, text):
    """A card as it was, with another text for one number."""
    file = folder / "card.json"
    card = json.loads(file.read_text())
    card["settings"]["preprocessing"][name] = "HERE"
    file.write_text(json.dumps(card).replace('"HERE"', text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("size", "800000000"),
        ("low_hu", "-1e999"),  # which JSON reads as infinity
        ("high_hu", "1e999"),
        ("high_hu", "1e30"),
        ("spacing_mm", "1e-9"),
    ],
)
def test_a_card_with_absurd_settings_is_refused_in_one_line(folder, name, text):
    named_in_the_preprocessing(folder, name, text)
    with pytest.raises(WeightsError, match=name) as caught:
        load_weights(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("name", ["card.json", "denoiser.safetensors"])
def test_a_pipe_in_a_folder_of_weights_is_refused_at_once(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(WeightsError, match="FileNotFoundError"):
        load_weights(folder)


def test_the_model_card_travels_with_the_weights_and_tells_what_the_card_does(tmp_path):
    folder = tiny_weights(tmp_path / "tiny")
    text = (folder / "model-card.md").read_text()
    assert load_weights(folder).digest in text
    assert "Licence: not stated." in text
    assert "synthetic patients (phantoms)" in text
    assert "None was chosen." in text


def test_shipped_weights_have_their_model_card():
    for shipped in list_weights():
        file = weights_root() / shipped.name / "model-card.md"
        told = weights_model_card(shipped.card, digest=shipped.digest, caveat=shipped.caveat)
        assert file.read_text() == told
        assert shipped.caveat in told
        assert "Licence: Apache-2.0." in file.read_text()


def test_a_missing_model_card_hinders_no_answer(tmp_path):
    folder = tiny_weights(tmp_path / "tiny")
    (folder / "model-card.md").unlink()
    assert load_weights(folder).digest
