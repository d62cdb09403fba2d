import math

import numpy as np
import pytest
import torch

from covidctnet.classes import CHEST_CT
from covidctnet.cohort.store import Store
from covidctnet.errors import WeightsError
from covidctnet.systems.covidctnet.lesion_volume import inner_lungs
from covidctnet.systems.covidctnet.predictor import CovidCTNet
from covidctnet.systems.covidctnet.residual import DepthPlan
from covidctnet.systems.covidctnet.training.calibrate import (
    _lesion_threshold,
    appearances,
    calibrate,
    describe,
    fit_detector,
    ood_limit,
)
from covidctnet.systems.covidctnet.training.data import ResidualData
from covidctnet.trust.appearance import describe_appearance
from covidctnet.weights import load_weights, save_weights
from covidctnet.weights.thresholds import thresholds_of
from tests.little_work import fill
from tests.small import ARCHITECTURE, DEPTH, flat_card, put_card, tiny_weights
from tests.volumes import a_chest


@pytest.fixture
def data(little_work):
    """Residuals of an untrained denoiser."""
    return residuals(little_work)


def residuals(work):
    tiny_weights(work / "weights")
    told = flat_card(work / "weights")
    told["preprocessing"] |= {"spacing_mm": 1.0}
    put_card(work / "weights", told)
    made = ResidualData(work, depth=DEPTH, device="cpu")
    made.prepare_data()
    made.setup("fit")
    return made


FINE = np.full(6, 1e-9)


def clusters(n, seed=0, width=6):
    """Features around three means, alike in spread and correlated."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=n)
    mixing = np.random.default_rng(99).normal(size=(width, width))
    return 5 * np.eye(3, width)[truth] + rng.normal(size=(n, width)) @ mixing, truth


def distances(detector, features):
    with torch.inference_mode():
        return detector(torch.from_numpy(features).float()).numpy()


def test_what_was_fitted_stands_in_the_card_and_answers(data, tmp_path):
    classifier = data.weights.classifier()
    fitted = calibrate(classifier, data)
    # Five validation patients and more: everything can be fitted but where the split is small.
    assert {"calibration", "lesion_volume"} <= fitted.card.keys()
    card = {k: data.weights.card[k] for k in ("preprocessing", "synthetic_only")}
    card |= fitted.card
    card["architecture"] = {**ARCHITECTURE, **fitted.architecture}
    networks = {"denoiser": data.weights.denoiser(), "classifier": classifier}
    made = save_weights(tmp_path / "made", {**networks, **fitted.networks}, card=card)
    assert made.calibration.to_card() == fitted.card["calibration"]
    assert made.digest != data.weights.digest
    model = CovidCTNet(made, device="cpu")
    prediction = model(data.work.studies("val")[0].volume())
    assert prediction.prediction_set
    assert prediction.label in prediction.prediction_set


def test_operating_points_are_those_of_the_probabilities_that_are_answered(tmp_path):
    work = fill(tmp_path / "work", patients=dict.fromkeys(CHEST_CT, 12))
    data = residuals(work)
    fitted = calibrate(data.weights.classifier(), data)
    card = {k: data.weights.card[k] for k in ("preprocessing", "synthetic_only")}
    card |= fitted.card | {"architecture": {**ARCHITECTURE, **fitted.architecture}}
    networks = {"denoiser": data.weights.denoiser(), "classifier": data.weights.classifier()}
    made = save_weights(tmp_path / "made", {**networks, **fitted.networks}, card=card)
    points = thresholds_of(made.card)
    model = CovidCTNet(made, device="cpu")
    val = data.work.studies("val")
    told = np.array([model(s.volume()).probabilities[CHEST_CT.COVID19] for s in val])
    ill = np.array([s.label is CHEST_CT.COVID19 for s in val])
    assert not (told[~ill] > points["rule-in"] + 2e-3).any()
    assert (told[ill] > points["rule-out"] - 2e-3).all()
    entry = made.card["operating_points"]
    assert (entry["positives"], entry["negatives"]) == (ill.sum(), (~ill).sum())
    # What decides no answer is no part of the digest, so weights keep it with points or without.
    bare = {k: v for k, v in card.items() if k != "operating_points"}
    same = save_weights(tmp_path / "bare", {**networks, **fitted.networks}, card=bare)
    assert same.digest == made.digest


def test_a_card_with_impossible_operating_points_is_refused(data, tmp_path):
    told = flat_card(data.work.path / "weights")
    told["operating_points"] = {"balanced": 2.0}
    put_card(data.work.path / "weights", told)
    with pytest.raises(WeightsError, match="impossible calibration"):
        load_weights(data.work.path / "weights")


def test_inference_sees_what_was_calibrated_on(data):
    found = describe(data.weights.classifier(), data, "val")
    model = CovidCTNet(data.weights, device="cpu")
    for study, row in zip(data.work.studies("val"), found.probabilities, strict=True):
        said = model(study.volume()).probabilities
        # The store keeps residuals in 16 bits.
        assert [said[label] for label in CHEST_CT] == pytest.approx(row.tolist(), abs=2e-3)


def test_enough_patients_get_a_detector_that_answers_for_scans_in_hu(tmp_path):
    work = fill(tmp_path / "work", patients=dict.fromkeys(CHEST_CT, 40))
    data = residuals(work)
    fitted = calibrate(data.weights.classifier(), data)
    card = {k: data.weights.card[k] for k in ("preprocessing", "synthetic_only")}
    card |= fitted.card | {"architecture": {**ARCHITECTURE, **fitted.architecture}}
    networks = {"denoiser": data.weights.denoiser(), "classifier": data.weights.classifier()}
    made = save_weights(tmp_path / "made", {**networks, **fitted.networks}, card=card)
    model = CovidCTNet(made, device="cpu")
    val = data.work.studies("val")
    assert made.card["out_of_distribution"]["scans"] == len(val) >= 8
    found = [model.score_appearance(study.volume(), study.lungs) for study in val]
    expected = distances(fitted.networks["out_of_distribution"], appearances(data, "val").features)
    assert [one.score * made.ood_limit for one in found] == pytest.approx(expected.tolist())
    assert max(one.score for one in found) < 1.5
    study = val[0]
    shorter = study.volume().then("cut", study.volume().array[:8])
    strange = model.score_appearance(shorter, study.lungs[:8])
    assert strange.score > 1
    assert strange.feature.startswith(("length", "cross-section", "lung volume"))


def test_the_store_keeps_what_a_scan_looks_like(tmp_path):
    volume, _ = a_chest((50, 50, 60), 6.0)
    model = CovidCTNet.load(tiny_weights(tmp_path / "tiny"), device="cpu")
    unit, lungs = model.prepare(volume)[:2]
    stored = Store(tmp_path / "store").put(
        unit,
        lungs=lungs,
        content_key="a",
        settings={},
        settings_digest="b",
        label=CHEST_CT.CONTROL,
    )
    looks = (
        describe_appearance(*pair) for pair in ((unit, lungs), (stored.volume(), stored.lungs))
    )
    one, other = looks
    assert other == pytest.approx(one, abs=0.1)


def test_one_in_a_hundred_further_scans_exceeds_the_limit():
    rng = np.random.default_rng(0)
    exceeded = []
    for _ in range(4000):
        drawn = np.exp(rng.normal(1.0, 0.3, size=21))
        exceeded.append(drawn[20] > ood_limit(drawn[:20]))
    assert 0.004 < np.mean(exceeded) < 0.016


def test_many_patients_alike_do_not_widen_the_limit():
    rng = np.random.default_rng(0)
    ill = np.exp(rng.normal(1.0, 0.3, size=40))
    alike = np.exp(rng.normal(-4.0, 0.1, size=20))
    alone, both = ood_limit(ill), ood_limit(np.concatenate([ill, alike]))
    assert 0.5 * alone < both < 1.5 * alone


def test_few_scans_tell_no_limit():
    assert math.isnan(ood_limit(np.arange(1.0, 8.0)))
    assert math.isnan(ood_limit(np.ones(20)))


def test_what_lies_off_the_clusters_is_farther_than_any_of_them():
    features, truth = clusters(300)
    detector = fit_detector(features, truth, FINE)
    further, _ = clusters(200, seed=1)
    limit = ood_limit(distances(detector, further))
    assert (distances(detector, further) > limit).mean() < 0.04
    strange = further + 40 * np.eye(6)[5]
    assert (distances(detector, strange) > limit).all()


def test_the_distance_does_not_depend_on_the_units_of_the_features():
    features, truth = clusters(3000)
    scaled = features * [7.0, 1e-3, 1.0, 50.0, 0.2, 1e3]
    a, b = (distances(fit_detector(x, truth, FINE), x) for x in (features, scaled))
    assert b == pytest.approx(a, rel=1e-3)


def test_a_feature_that_never_moves_and_a_missing_class_do_no_harm():
    features, truth = clusters(60)
    # Not a number that a mean gives back exactly.
    features[:, 2] = np.log(360)
    kept = truth != 2
    grain = np.full(6, 0.01)
    detector = fit_detector(features[kept], truth[kept], grain)
    assert detector.means.shape == (2, 6)
    before = distances(detector, features[kept])
    features[:, 2] += 0.02
    assert distances(detector, features[kept]) == pytest.approx(np.hypot(before, 2), rel=0.3)


def test_a_hundredth_of_the_controls_lungs_lies_above_the_threshold(data):
    # Absolute: what an untrained denoiser leaves is negative throughout.
    data = ResidualData(data.work.path, depth=DEPTH, device="cpu", signed=False)
    data.prepare_data()
    data.setup("fit")
    threshold = calibrate(data.weights.classifier(), data).card["lesion_volume"]["threshold"]
    kept = {study.id: study for study in data.store.index()}
    shares = []
    for split in ("train", "val"):
        for study in data.work.studies(split):
            if study.label is not CHEST_CT.CONTROL:
                continue
            residual = kept[study.id].volume()
            centres = DepthPlan.linear(study.shape[0], DEPTH).centres
            lungs = study.lungs[np.round(centres).astype(int)]
            inner = inner_lungs(lungs, residual.spacing)
            shares.append((residual.array[inner] > threshold).mean())
    assert np.mean(shares) == pytest.approx(0.01, abs=0.003)


def test_the_lungs_come_with_the_residual_and_are_found_again_in_older_folders(data):
    # Absolute: what an untrained denoiser leaves is negative throughout.
    data = ResidualData(data.work.path, depth=DEPTH, device="cpu", signed=False)
    data.prepare_data()
    kept = data.store.index()
    for study in kept:
        source = Store(data.work.preprocessed).get(study.id)
        wanted = data.settings.plan(source.shape[0]).mask(source.lungs)
        assert np.array_equal(study.lungs, wanted)
    before = _lesion_threshold(data)
    for study in kept:
        data.store.put_like(study, study.volume())
    assert not any(study.has_lungs for study in data.store.index())
    assert _lesion_threshold(data) == before
    assert before["lesion_volume"]["threshold"] > 0


def test_weights_of_another_time_go_without(data):
    weights = load_weights(data.work.weights)
    assert weights.calibration is None
    assert weights.ood_detector() is None
    assert weights.lesion_threshold is None
    assert math.isinf(weights.ood_limit)
