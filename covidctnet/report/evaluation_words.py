"""What is said with every evaluation, whatever its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["INTENDED_USE", "LIMITS", "NOTICE", "NOT_FOR", "trait_words"]

NOTICE = "Research use only. Not a medical device."

INTENDED_USE = (
    "Research on computer reading of chest CT: to repeat, compare, improve the CovidCTNet chain.",
    "Chest CT of adults with or without contrast: DICOM, NIfTI, MHA or NRRD, in Hounsfield units.",
    "An answer a study: Control, Covid-19 or CAP (community-acquired pneumonia).",
)

NOT_FOR = (
    "Diagnosis, triage, treatment, or anything else that touches a patient.",
    "Children, projection radiographs, other organs.",
    "Other diseases: heart failure, cancer, tuberculosis or fibrosis are put under one of the "
    "three labels as well.",
    "Claims about a hospital, a scanner or a group of patients that was not evaluated.",
)

LIMITS = (
    (
        "Small numbers",
        "An interval tells how far chance alone may go. Small groups have wide ones, and where "
        "there are too few patients the report says “not estimable” and gives no number.",
    ),
    (
        "These patients only",
        "Systems of this kind, good on scans of their own hospitals, often did little better than "
        "chance on those of others. Nothing here holds for patients, scanners and protocols unlike "
        "those evaluated.",
    ),
    (
        "Who is counted",
        "Studies without an answer, those refused when the cohort was preprocessed among them, are "
        "listed and count in the worst case only, in no other figure. If patients have "
        "several studies, the report says so above all, and which of its intervals are too narrow.",
    ),
    (
        "The truth",
        "Labels are taken from the archive as they are. A wrong label counts against the weights, "
        "or for them.",
    ),
    (
        "Many figures",
        "The report shows many figures and corrects none for their number: a few will look "
        "remarkable by chance.",
    ),
    (
        "The mix of patients",
        "PPV, NPV, accuracy, precision and calibration depend on how common each class is; "
        "elsewhere it is different.",
    ),
)

_TRAITS: Mapping[str, str] = MappingProxyType(
    {
        "age": "age, years",
        "slice_mm": "slice distance, mm",
        "noise_hu": "noise in soft tissue, HU",
        "kvp": "tube voltage, kV",
        "exposure_mas": "exposure, mAs",
    }
)


def trait_words(trait: str) -> str:
    """The name of a trait with its unit; an unknown one is spelled out as it is."""
    return _TRAITS.get(trait, trait.replace("_", " "))
