"""What a card of CovidCTNet must say, and which of it decides an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from covidctnet.classes import CHEST_CT
from covidctnet.errors import UsageError, WeightsError
from covidctnet.preprocess import PreprocessSettings
from covidctnet.systems.covidctnet.residual import ResidualSettings
from covidctnet.trust.appearance import FEATURES, VERSION
from covidctnet.trust.calibration import Calibration
from covidctnet.weights.thresholds import OPERATING_POINTS, thresholds_of

__all__ = ["CALIBRATED", "FITTED", "SEGMENTATION", "check_card", "compare_channels", "deciding"]

# How the network ``lungs`` takes part in inference; without it, a denoiser may start from it.
SEGMENTATION = "segmentation"
# Entries of a card that are fitted once the classifier is there; each may be missing.
CALIBRATED = ("calibration", "out_of_distribution", "lesion_volume")
# The same, and what is fitted then but decides no answer.
FITTED = (*CALIBRATED, OPERATING_POINTS)
# What a card must say of its parts; a default in its place would be a guess. Except for what came
# later: cards that do not name it are older than any other choice.
_DECIDING: Mapping[str, set[str]] = {
    "preprocessing": set(PreprocessSettings().deciding()),
    "residual": set(ResidualSettings().deciding()),
    "denoiser": {"base", "depth", "bidirectional", "gates"},
    "lungs": {"base", "depth", "bidirectional", "gates"},
    "classifier": {"base", "depth", "size"},
    "out_of_distribution": {"features", "classes"},
}


def check_card(label: str, card: Mapping[str, Any]) -> None:
    """Refuse a card that these networks cannot be run by.

    Args:
        label: Name of the weights.
        card: Its settings besides what every card has.

    Raises:
        WeightsError: If something is missing, impossible, or contradicts the rest.
    """
    if card["classes"] != list(CHEST_CT.titles):
        raise WeightsError(
            f"weights {label!r} tell {card['classes']} apart, expected {list(CHEST_CT.titles)} in "
            "this order. Train the classifier again with this package."
        )
    if not isinstance(card.get("preprocessing"), dict):
        raise WeightsError(
            f"the card of weights {label!r} lacks preprocessing. Copy the folder again."
        )
    architecture = card["architecture"]
    parts = {**architecture, **{k: card[k] for k in ("preprocessing", "residual") if k in card}}
    for what, names in _DECIDING.items():
        held = parts.get(what, dict.fromkeys(names))
        if not isinstance(held, dict) or names - held.keys():
            raise WeightsError(
                f"the card of weights {label!r} lacks some of {', '.join(sorted(names))} of its "
                f"{what}. Copy the folder again."
            )
    try:
        PreprocessSettings(**card["preprocessing"])
        ResidualSettings.of_card(card)
    except (TypeError, UsageError) as error:
        raise WeightsError(
            f"the card of weights {label!r} has impossible preprocessing or residual ({error}). "
            "Copy the folder again."
        ) from None
    size, shrink = card["preprocessing"]["size"], card.get("residual", {}).get("shrink", 1)
    reads = architecture.get("classifier", {}).get("size", size / shrink)
    if reads * shrink != size or not isinstance(card["synthetic_only"], bool):
        raise WeightsError(
            f"the card of weights {label!r} contradicts itself: slices of "
            f"{size}, shrunk {shrink} times, for a classifier of {reads}, synthetic_only "
            f"{card['synthetic_only']!r}. Copy the folder again."
        )
    compare_channels(label, card, hint="Copy the folder again.")
    segmentation = card.get(SEGMENTATION)
    if segmentation not in (None, "coarse") or (
        segmentation and card["preprocessing"].get("field") != "lungs"
    ):
        raise WeightsError(
            f"the card of weights {label!r} has an impossible segmentation: expected 'coarse' and "
            f"scans cropped to the lungs, got {segmentation!r:.80}. Copy the folder again."
        )
    _check_calibrated(label, card)


def deciding(card: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a card that decide an answer, by name."""
    out: dict[str, Any] = {}
    if "residual" in card:
        out["residual"] = ResidualSettings.of_card(card).deciding()
    out["preprocessing"] = PreprocessSettings(**card["preprocessing"]).deciding()
    return out | {name: card[name] for name in (*CALIBRATED, SEGMENTATION) if name in card}


def _check_calibrated(label: str, card: Mapping[str, Any]) -> None:
    """Refuse a card whose fitted entries are not what we write."""
    try:
        if "calibration" in card:
            Calibration.from_card(card["calibration"])
        thresholds_of(card)
        for entry, name in (("out_of_distribution", "limit"), ("lesion_volume", "threshold")):
            if entry in card and not 0 <= float(card[entry][name]) < math.inf:
                raise ValueError(f"{name} {card[entry][name]}")
        if ("out_of_distribution" in card) != ("out_of_distribution" in card["architecture"]):
            raise ValueError("detector without its network, or the other way round")
        if "out_of_distribution" in card:
            _check_detector(label, card)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise WeightsError(
            f"the card of weights {label!r} has an impossible calibration "
            f"({type(error).__name__}: {error}). Copy the folder again."
        ) from None


def _check_detector(label: str, card: Mapping[str, Any]) -> None:
    """Refuse a distance between numbers that mean something else today."""
    entry, width = (
        card["out_of_distribution"],
        card["architecture"]["out_of_distribution"]["features"],
    )
    if float(entry["limit"]) == 0:
        raise ValueError("limit 0 of the detector")
    if (entry.get("version"), width) != (VERSION, len(FEATURES)):
        raise WeightsError(
            f"weights {label!r} describe a scan by {width} numbers (version "
            f"{entry.get('version')}), this program by {len(FEATURES)} (version {VERSION}). Train "
            "the classifier again, or use the program that they were trained with."
        )


def compare_channels(label: str, card: Mapping[str, Any], *, hint: str) -> None:
    """Refuse a card whose classifier reads more or fewer channels than it is given."""
    settings = ResidualSettings.of_card(card)
    classifier = card["architecture"].get("classifier")
    if classifier is not None and classifier.get("channels", 1) != settings.channels:
        raise WeightsError(
            f"the card of weights {label!r} contradicts itself: classifier_input "
            f"{settings.classifier_input} has {settings.channels} channels, its classifier reads "
            f"{classifier.get('channels', 1)}. {hint}"
        )
