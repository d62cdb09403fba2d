from dataclasses import replace

import numpy as np
import pytest
import torch

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.store import Store
from covidctnet.errors import StudyError, UsageError
from covidctnet.evidence import Heatmap, LesionVolume, Mask, Panels
from covidctnet.preprocess import preprocess
from covidctnet.systems.covidctnet.denoise import residual_volume
from covidctnet.systems.covidctnet.networks import CNN3D
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.trust.appearance import FEATURES, describe_appearance
from covidctnet.weights import save_weights
from tests.small import DEPTH, SIZE, calibrated_weights, flat_card, put_card, tiny_weights
from tests.volumes import a_chest, a_volume


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return CovidCTNet.load(
        tiny_weights(tmp_path_factory.mktemp("weights") / "tiny"), device="cpu", precision="32"
    )


@pytest.fixture(scope="module")
def chest():
    volume, _ = a_chest((25, 50, 60), 6.0)
    return volume


def test_the_answer_is_the_stages_one_after_another(model, chest):
    unit = preprocess(chest, model.settings)
    residual = residual_volume(unit, model.denoiser, model.residual).volume
    with torch.inference_mode():
        logits = model.classifier(torch.from_numpy(residual.array.copy())[None, None])
    expected = torch.softmax(logits[0], dim=0).tolist()
    prediction = model(chest)
    assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=1e-6)
    assert prediction.label is max(CHEST_CT, key=lambda label: expected[label])
    assert prediction.weights == model.weights_digest


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A model whose card asks for the residual as nobody does by default."""
    folder = tiny_weights(tmp_path_factory.mktemp("weights") / "published")
    card = flat_card(folder)
    card["residual"] = {"depth_resize": "antialiased", "signed": False}
    card["preprocessing"] |= {"interpolation": "cubic", "above_window": "air", "resize": "gaussian"}
    put_card(folder, card)
    return CovidCTNet.load(folder, device="cpu", precision="32")


def test_the_card_says_how_scans_and_residuals_are_made(published, model, chest):
    settings = ResidualSettings("antialiased", signed=False, depth=DEPTH)
    unit = preprocess(chest, published.settings)
    residual = residual_volume(unit, published.denoiser, settings).volume
    with torch.inference_mode():
        logits = published.classifier(torch.from_numpy(residual.array.copy())[None, None])
    prediction = published(chest)
    expected = torch.softmax(logits[0], dim=0).tolist()
    assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=1e-6)
    assert prediction.notes[-4:] == residual.steps
    assert "cubic" in residual.steps[0]
    assert "absolute value" in residual.steps[-1]
    assert "absolute value" not in model(chest).notes[-1]


def test_a_picture_shows_the_denoised_slice_where_the_residual_lost_its_sign(published, chest):
    images = published(chest, keep="slices").find(Panels)
    difference = np.abs(images["input"] - images["denoised"])
    # Less where neighbours of opposite sign cancelled in what is shown, never more.
    assert (difference <= images["residual"] + 1e-6).all()
    assert (images["input"] < images["denoised"]).any()


@pytest.fixture(scope="module")
def of_cts(tmp_path_factory):
    """A model whose classifier sees the CT alone."""
    folder = tiny_weights(tmp_path_factory.mktemp("weights") / "cts")
    card = flat_card(folder)
    card["residual"] = {"depth_resize": "linear", "signed": True, "classifier_input": "ct"}
    put_card(folder, card)
    return CovidCTNet.load(folder, device="cpu", precision="32")


def test_a_classifier_of_cts_denoises_for_pictures_only(of_cts, chest):
    ran = []
    watch = of_cts.denoiser.register_forward_pre_hook(lambda *_: ran.append(True))
    blind = of_cts(chest)
    assert not ran
    seen = of_cts(chest, keep="slices")
    watch.remove()
    assert ran
    assert seen.probabilities == blind.probabilities
    assert seen.notes == blind.notes
    assert blind.notes[-1].startswith("CT brought from ")
    assert not any("residual" in note for note in blind.notes)
    assert np.abs(seen.find(Panels)["residual"]).max() > 0
    assert list(blind.seconds) == ["preprocess", "gate", "denoise", "classify"]


def test_a_classifier_of_both_tells_both(model, chest, tmp_path):
    torch.manual_seed(0)
    card = dict(model.weights.card)
    architecture = {**card["architecture"]["classifier"], "channels": 2}
    card["architecture"] = {**card["architecture"], "classifier": architecture}
    card["residual"] = {"depth_resize": "linear", "signed": True, "classifier_input": "both"}
    networks = {"denoiser": model.weights.denoiser(), "classifier": CNN3D(**architecture)}
    save_weights(tmp_path / "both", networks, card=card)
    prediction = CovidCTNet.load(tmp_path / "both", device="cpu")(chest)
    assert prediction.notes[:-1] == model(chest).notes
    assert prediction.notes[-1].startswith("CT brought from ")
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_a_preprocessed_volume_gets_the_same_answer(model, chest):
    assert model(preprocess(chest, model.settings)).probabilities == model(chest).probabilities


def test_a_stored_volume_gets_nearly_the_same_answer(model, chest, tmp_path):
    unit = preprocess(chest, model.settings)
    stored = Store(tmp_path).put(unit, content_key="c", settings={}, settings_digest="s")
    wanted = list(model(chest).probabilities.values())
    assert list(model(stored.volume()).probabilities.values()) == pytest.approx(wanted, abs=1e-3)


def test_asking_twice_gets_the_same_answer(model, chest):
    assert model(chest).probabilities == model(chest).probabilities


def test_every_stage_tells_its_seconds(model, chest):
    seconds = model(chest).seconds
    assert list(seconds) == ["preprocess", "gate", "denoise", "classify"]
    assert min(seconds.values()) >= 0


def test_pictures_are_the_slices_with_the_largest_residual_in_the_lungs(model, chest):
    images = model(chest, keep="slices").find(Panels)
    for kind in ("input", "denoised", "residual"):
        assert images[kind].shape == (3, SIZE, SIZE)
    assert np.allclose(images["input"] - images["denoised"], images["residual"], atol=1e-6)
    assert images.heights_mm == tuple(sorted(images.heights_mm))
    assert model(chest).find(Panels) is None


def test_what_is_no_chest_is_refused(model):
    head = a_volume(array=np.full((30, 50, 60), 40, dtype=np.int16), spacing=(5.0, 5.0, 5.0))
    with pytest.raises(StudyError, match=r"NOT_CHEST.*Give a CT of the whole chest"):
        model(head)


@pytest.mark.parametrize("hu", [-1000, 0])
def test_a_scan_of_nothing_is_refused(model, hu):
    empty = a_volume(array=np.full((30, 50, 60), hu, dtype=np.int16), spacing=(5.0, 5.0, 5.0))
    with pytest.raises(StudyError, match="NOT_CHEST") as error:
        model(empty)
    assert error.value.study == empty.source.study


def test_the_answer_carries_the_readers_flags_and_those_of_the_gate(model, chest):
    half = chest.then("cut", chest.array[:16], source=replace(chest.source, flags=("lossy",)))
    prediction = model(half)
    assert prediction.flags == ("lossy", "lungs_cut")
    assert prediction.status == "flagged"
    assert model(chest).flags == ()


def test_a_residual_is_no_scan(model, chest):
    with pytest.raises(StudyError, match="WRONG_UNITS"):
        model(chest.then("subtracted", chest.array, units="residual", window_hu=(0, 1)))


def test_another_size_is_refused_by_name(model, chest):
    other = preprocess(chest, model.settings)
    with pytest.raises(StudyError, match="WRONG_SIZE"):
        model(other.then("cropped", other.array[:, :32, :32]))


def test_a_missing_device_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UsageError, match="cuda:7"):
        CovidCTNet.load(tiny_weights(tmp_path / "tiny"), device="cuda:7")


def test_cuda_without_cuda_is_wrong_usage(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match=r"'cuda' is not on this machine.*--device auto"):
        CovidCTNet.load(tiny_weights(tmp_path / "tiny"), device="cuda")


def test_the_provenance_names_weights_and_settings(model):
    told = model.provenance
    assert told["weights_digest"] == model.weights_digest
    assert told["card"]["preprocessing"]["size"] == SIZE
    assert model.residual.depth == DEPTH
    assert "only ever seen synthetic patients (phantoms)" in model.caveat


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A model whose card has everything that is fitted once the classifier is there."""
    folder = calibrated_weights(tmp_path_factory.mktemp("weights") / "calibrated")
    return CovidCTNet.load(folder, device="cpu", precision="32")


def test_the_temperature_softens_and_keeps_the_label(calibrated, model, chest):
    hard, soft = model(chest), calibrated(chest)
    roots = np.sqrt(list(hard.probabilities.values()))
    assert list(soft.probabilities.values()) == pytest.approx(roots / roots.sum(), abs=1e-5)
    assert soft.label is hard.label
    assert soft.weights != hard.weights


def test_labels_above_the_threshold_are_left_open(calibrated, chest):
    answer = calibrated(chest)
    likely = {label for label, p in answer.probabilities.items() if p >= 0.3}
    assert set(answer.prediction_set) == likely | {answer.label}
    assert (answer.status == "abstained") == (len(answer.prediction_set) > 1)


def test_a_scan_beyond_the_limit_is_flagged(calibrated, model, chest):
    answer = calibrated(chest)
    assert answer.ood_score > 1
    assert "out_of_distribution" in answer.flags
    assert [note for note in answer.notes if note.startswith("out of distribution, most")]
    assert model(chest).ood_score is None


def test_a_scan_like_the_others_is_not_flagged_and_what_moved_is_named(calibrated, chest):
    unit, lungs = calibrated.prepare(chest)[:2]
    detector = calibrated.ood_detector
    kept = {name: buffer.clone() for name, buffer in detector.state_dict().items()}
    looks = describe_appearance(unit, lungs)
    detector.whitening.copy_(1e-7 * torch.eye(len(FEATURES)))
    try:
        detector.means.copy_(torch.from_numpy(looks))
        answer = calibrated(chest)
        assert answer.ood_score < 1 and "out_of_distribution" not in answer.flags
        assert not [note for note in answer.notes if note.startswith("out of dist")]
        detector.means[:, FEATURES.index("noise")] += 100
        answer = calibrated(chest)
        assert answer.ood_score == pytest.approx(10, rel=1e-2)
        assert "out of distribution, most of all by: noise" in answer.notes
    finally:
        detector.load_state_dict(kept)


def test_the_lesion_volume_is_that_of_the_residual_and_the_picture_outlines_it(calibrated, chest):
    answer = calibrated(chest, keep="slices")
    lesions, panels = answer.find(LesionVolume), answer.find(Panels)
    assert len(lesions.regions) == 6
    assert lesions == calibrated(chest).find(LesionVolume)
    assert panels.outline.shape == panels["input"].shape
    assert answer.find(Heatmap).values.shape == panels["input"].shape
    assert not panels.outline[panels["residual"] <= 0].any()


def test_all_slices_hold_those_of_the_picture_and_the_mask_of_the_lesions(calibrated, chest):
    few, whole = (calibrated(chest, keep=keep) for keep in ("slices", "volumes"))
    assert few.find(Mask) is None
    for kind in (Panels, Heatmap):
        held = whole.find(kind)
        assert held.at(held.chosen) == few.find(kind)
    mask, lesions = whole.find(Mask), whole.find(LesionVolume)
    assert mask.found.sum() * mask.voxel_ml == pytest.approx(lesions.lesion_ml)
    assert mask.searched.sum() * mask.voxel_ml == pytest.approx(lesions.lung_ml)
    assert (mask.score[mask.found] > lesions.threshold).all()
    volume = whole.find(Panels).volume("residual", whole.study)
    assert volume.units == "residual" and volume.window_hu == calibrated.settings.window_hu
    with pytest.raises(UsageError, match="expected images of all slices"):
        few.find(Panels).volume("residual", few.study)
