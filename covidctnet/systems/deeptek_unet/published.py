"""What DeepTek's paper reports.

Source: arXiv:2006.13212. Counts are the only ones that give the printed rates, but for the slice
sensitivity: no count of 266 rounds to the printed .963, and 256 comes nearest.
"""

from __future__ import annotations

from types import MappingProxyType

from covidctnet.published import PublishedFigures

__all__ = ["PUBLISHED"]

_SOURCE = "arXiv:2006.13212"

PUBLISHED: tuple[PublishedFigures, ...] = (
    PublishedFigures.of_matrix(
        "slices",
        _SOURCE,
        "slice",
        sensitivity=(256, 266),
        specificity=(996, 1064),
        figures=MappingProxyType({"dice_on_positives": 0.561, "sensitivity_printed": 0.963}),
        note="Whether slices of one patient are in training and test is not said.",
        reconstructed=True,
    ),
    PublishedFigures.of_matrix(
        "scans",
        _SOURCE,
        "scan",
        sensitivity=(27, 28),
        specificity=(99, 112),
        figures=MappingProxyType({"f1": 0.794, "ppv_printed": 0.675}),
        note="At least 15 positive slices in a row.",
        reconstructed=True,
    ),
)
