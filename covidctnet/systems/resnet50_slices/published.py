"""What the paper of the Vienna ResNet-50 reports.

Source: Javor et al. 2020, Eur J Radiol 133:109402.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from covidctnet.published import PublishedFigures

__all__ = ["OPERATING_POINTS", "PUBLISHED", "read_at"]

_SOURCE = "Javor et al. 2020, Eur J Radiol 133:109402"

# Probability of Covid-19 above which a slice counts as positive, by the paper's names. Both were
# chosen on validation slices.
OPERATING_POINTS: Mapping[str, float] = MappingProxyType({"rule-in": 0.4, "rule-out": 0.0006})

PUBLISHED: tuple[PublishedFigures, ...] = (
    PublishedFigures.of_matrix(
        "validation, most probable class",
        _SOURCE,
        "slice",
        sensitivity=(544, 592),
        specificity=(682, 706),
        figures=MappingProxyType({"auc": 0.986, "auc_low": 0.978, "auc_high": 0.992}),
        note="Slices of the folder that chose the operating points; patients are not known.",
    ),
    PublishedFigures.of_matrix(
        "test, rule-in (also most probable class)",
        _SOURCE,
        "slice",
        sensitivity=(38, 45),
        specificity=(42, 45),
        figures=MappingProxyType({"auc": 0.956, "auc_low": 0.890, "auc_high": 0.988}),
        note="Very similar cases were excluded.",
    ),
    PublishedFigures.of_matrix(
        "test, rule-out",
        _SOURCE,
        "slice",
        sensitivity=(45, 45),
        specificity=(27, 45),
        reconstructed=True,
    ),
    PublishedFigures.of_matrix(
        "test, radiologist 1",
        _SOURCE,
        "slice",
        sensitivity=(37, 45),
        specificity=(41, 45),
        figures=MappingProxyType({"auc": 0.867}),
        reconstructed=True,
    ),
    PublishedFigures.of_matrix(
        "test, radiologist 2",
        _SOURCE,
        "slice",
        sensitivity=(36, 45),
        specificity=(44, 45),
        figures=MappingProxyType({"auc": 0.889}),
        reconstructed=True,
    ),
)


def read_at(probability: float) -> Mapping[str, bool]:
    """Whether a probability of Covid-19 is positive, at each of the published operating points."""
    return {name: probability > limit for name, limit in OPERATING_POINTS.items()}
