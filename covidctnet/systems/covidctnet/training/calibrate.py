"""What stands beside a finished classifier: how sure it may be, and what it has never seen."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import nn

from covidctnet.classes import CHEST_CT
from covidctnet.slicewise.operating import OperatingPoints
from covidctnet.systems.covidctnet.card import FITTED
from covidctnet.systems.covidctnet.lesion_volume import inner_lungs, lesion_threshold
from covidctnet.systems.covidctnet.networks import CNN3D
from covidctnet.systems.covidctnet.training.data import ResidualData
from covidctnet.systems.covidctnet.weights import CovidWeights, save_weights
from covidctnet.training.operating import points_of_patients
from covidctnet.trust.appearance import FEATURES, GRAIN, VERSION, describe_appearance
from covidctnet.trust.calibration import Calibration, soften
from covidctnet.trust.out_of_distribution import OutOfDistributionDetector
from covidctnet.weights.thresholds import OPERATING_POINTS

__all__ = [
    "Appearances",
    "Described",
    "Fitted",
    "add_calibration",
    "appearances",
    "calibrate",
    "describe",
    "fit_detector",
    "fit_over_scans",
    "ood_limit",
]

_LOG = logging.getLogger(__name__)
# One in a hundred valid scans may be called out of distribution.
FALSE_ALARMS = 0.01
# Of fewer, no spread can be estimated.
MIN_FOR_LIMIT = 8


class Described(NamedTuple):
    """What a classifier makes of the patients of a split.

    Attributes:
        truth: `Label` values, shape (n,).
        probabilities: Shape (n, label).
    """

    truth: np.ndarray
    probabilities: np.ndarray


class Appearances(NamedTuple):
    """What the scans of a split look like.

    Attributes:
        truth: `Label` values, shape (n,).
        features: `covidctnet.trust.appearance.FEATURES`, shape (n, 15).
    """

    truth: np.ndarray
    features: np.ndarray


class Fitted(NamedTuple):
    """What is written beside a classifier.

    Attributes:
        networks: By name: ``out_of_distribution``, or nothing.
        architecture: Of these, for the card.
        card: Further entries of the card: ``calibration``, ``out_of_distribution``,
            ``lesion_volume``, ``operating_points``, those that could be fitted.
    """

    networks: Mapping[str, nn.Module]
    architecture: Mapping[str, Mapping[str, int]]
    card: Mapping[str, Mapping[str, Any]]


def calibrate(classifier: CNN3D, data: ResidualData) -> Fitted:
    """Fit everything that stands beside a classifier, on the patients of its training.

    Temperature, prediction sets and the limit of the distance come from validation patients, the
    distance itself from training patients, the lesion threshold from the Controls of both.
    What these patients cannot tell is left out.

    Args:
        classifier: As it will be used.
        data: What it was trained with, set up.
    """
    val = describe(classifier, data, "val")
    card: dict[str, Mapping[str, Any]] = {}
    if len(np.unique(val.truth)) > 1:
        calibration = Calibration.fit(val.truth, val.probabilities)
        card["calibration"] = calibration.to_card()
        if points := _operating_points(val, calibration.temperature, data):
            card[OPERATING_POINTS] = points.to_card()
    networks: dict[str, nn.Module] = {}
    architecture: dict[str, Mapping[str, int]] = {}
    looks, further = (appearances(data, split) for split in ("train", "val"))
    if len(looks.truth) and len(further.truth) >= MIN_FOR_LIMIT:
        detector = fit_detector(looks.features, looks.truth)
        limit = ood_limit(_distances(detector, further.features))
        if math.isfinite(limit):
            networks["out_of_distribution"] = detector
            classes, features = detector.means.shape
            architecture["out_of_distribution"] = {"features": features, "classes": classes}
            fitted = {"limit": limit, "scans": len(further.truth), "version": VERSION}
            card["out_of_distribution"] = {**fitted, "features": list(FEATURES)}
    if data.settings.has_residual:
        card |= _lesion_threshold(data)
    for name in FITTED:
        if name not in card:
            _LOG.info("too few patients to fit the %s; the weights go without", name)
    return Fitted(networks, architecture, card)


def _operating_points(
    val: Described, temperature: float, data: ResidualData
) -> OperatingPoints | None:
    """Thresholds of the probability of Covid-19 as it is answered; patients have their mean."""
    target = int(CHEST_CT.target)
    owners = [study.patient for study in data.work.studies("val")]
    scores = soften(val.probabilities, temperature)[:, target]
    if len(owners) != len(scores):
        return None
    return points_of_patients(owners, val.truth.tolist(), scores, target)[0]


@torch.inference_mode()
def describe(classifier: CNN3D, data: ResidualData, split: str) -> Described:
    """Probabilities of the patients of a split, as inference gives them."""
    classifier.eval()
    pairs = data.splits[split]
    truth, probabilities = [], []
    for index in range(len(pairs)):  # type: ignore[arg-type]
        network_input, label = pairs[index]
        logits = classifier(network_input[None])
        truth.append(int(label))
        probabilities.append(torch.softmax(logits[0].double(), dim=0).numpy())
    return Described(np.array(truth), np.stack(probabilities))


def appearances(data: ResidualData, split: str) -> Appearances:
    """What the scans of a split look like; those without a lung mask are left out."""
    truth, features = [], []
    for study in data.work.studies(split):
        if study.lungs is None or study.label is None:
            continue
        features.append(describe_appearance(study.volume(), study.lungs))
        truth.append(int(study.label))
    return Appearances(np.array(truth, dtype=int), np.array(features).reshape(-1, len(FEATURES)))


def fit_detector(
    features: np.ndarray, truth: np.ndarray, grain: np.ndarray = GRAIN
) -> OutOfDistributionDetector:
    """The distance to the nearest class of training patients.

    Args:
        features: Shape (n, features).
        truth: `Label` values, shape (n,); labels that nobody has are left out.
        grain: Below which a difference means nothing, by feature, in its unit.

    Source: covariance shrunk as Ledoit and Wolf (2004), pooled within the classes.
    """
    from sklearn.covariance import LedoitWolf

    labels = [label for label in CHEST_CT if (truth == label).any()]
    means = np.stack([features[truth == label].mean(axis=0) for label in labels])
    within = features - means[np.searchsorted(labels, truth)]
    # Shrinking compares variances: the features must be in one unit for it. And one that never
    # moved must not make a world of a millimetre.
    unit = np.hypot(within.std(axis=0), grain)
    covariance = LedoitWolf(assume_centered=True).fit(within / unit).covariance_
    covariance += np.diag((grain / unit) ** 2)
    detector = OutOfDistributionDetector(features.shape[1], len(labels))
    detector.means.copy_(torch.from_numpy(means))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance)) / unit[:, None]
    detector.whitening.copy_(torch.from_numpy(whitening))
    return detector.eval()


def fit_over_scans(
    features: np.ndarray,
    truth: np.ndarray,
    scans: np.ndarray,
    plain: Mapping[str, np.ndarray],
) -> tuple[OutOfDistributionDetector, float]:
    """The distance and its limit where many examples were drawn from few scans.

    The limit comes from the scans as they are, each by a distance that was fitted on examples of
    the others: examples of one scan look alike.

    Args:
        features: Of the examples, shape (n, features).
        truth: `Label` values, shape (n,).
        scans: Scan that each example was drawn from, shape (n,).
        plain: Features of the scans as they are, shape (features,), by scan.

    Returns:
        The distance, fitted on all; the limit, NaN for fewer than eight scans.
    """
    distances = []
    for scan in np.unique(scans):
        others = scans != scan
        detector = fit_detector(features[others], truth[others])
        distances.append(float(_distances(detector, plain[scan][None])[0]))
    return fit_detector(features, truth), ood_limit(np.array(distances))


def add_calibration(
    weights: CovidWeights,
    folder: Path,
    card: Mapping[str, Mapping[str, Any]],
    detector: OutOfDistributionDetector,
    limit: float,
) -> None:
    """Write weights again with what was fitted after their training.

    Args:
        weights: As they are; earlier calibrations are replaced.
        folder: Where they go.
        card: Entries of `covidctnet.weights.card.CALIBRATED` but the distance.
        detector: Network of the distance.
        limit: Of it; the distance is left out where it is no number.
    """
    kept = {k: v for k, v in weights.card.items() if k not in FITTED}
    networks: dict[str, nn.Module] = {
        kind: weights.network(kind)
        for kind in kept["architecture"]
        if kind != "out_of_distribution"
    }
    architecture = {kind: kept["architecture"][kind] for kind in networks}
    changed = dict(card)
    if math.isfinite(limit):
        classes, features = detector.means.shape
        networks["out_of_distribution"] = detector
        architecture["out_of_distribution"] = {"features": features, "classes": classes}
        scans = card.get("lesion_volume", {}).get("patients")
        fitted = {"limit": limit, "scans": scans, "version": VERSION}
        changed["out_of_distribution"] = {**fitted, "features": list(FEATURES)}
    save_weights(folder, networks, card={**kept, **changed, "architecture": architecture})


def ood_limit(distances: np.ndarray) -> float:
    """The distance that one in a hundred further valid scans will exceed.

    Args:
        distances: Of valid scans that the distance was not fitted on, shape (n,).

    Returns:
        The upper 99 % prediction bound of a log-normal distribution whose upper half is that of the
        distances: a quantile of some thirty scans would not reach so far, and scans that hardly
        differ from those of the training, as copies of one patient do, must not widen it from
        below. NaN for fewer than eight.
    """
    logs = np.sort(np.log(distances[distances > 0]))
    middle = float(np.median(logs)) if len(logs) else math.nan
    above = logs[logs > middle] - middle
    if len(distances) < MIN_FOR_LIMIT or not len(above):
        return math.nan
    reach = stats.t.ppf(1 - FALSE_ALARMS, len(above)) * math.sqrt(1 + 1 / len(distances))
    return float(np.exp(middle + reach * math.sqrt((above**2).mean())))


@torch.inference_mode()
def _distances(detector: OutOfDistributionDetector, features: np.ndarray) -> np.ndarray:
    return np.asarray(detector(torch.from_numpy(features).float()).double().numpy())


def _lesion_threshold(data: ResidualData) -> dict[str, Mapping[str, Any]]:
    """The threshold that leaves a hundredth of the lungs of the Controls above it."""
    kept = {study.id: study for study in data.store.index()}
    controls = [
        study
        for split in ("train", "val")
        for study in data.work.studies(split)
        if study.label is CHEST_CT.CONTROL and study.lungs is not None
    ]
    if not controls:
        return {}

    def values(study):  # type: ignore[no-untyped-def]
        residual, lungs = kept[study.id].volume(), kept[study.id].lungs
        if lungs is None:  # made before the lungs came with the residual
            lungs = data.settings.plan(study.shape[0]).mask(study.lungs)
        return residual.array[inner_lungs(lungs, residual.spacing)]

    threshold = lesion_threshold(map(values, controls))
    return {"lesion_volume": {"threshold": threshold, "patients": len(controls)}}
