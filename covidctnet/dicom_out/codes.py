"""Concepts of results: SNOMED CT and DICOM where they have one, else a scheme of this package."""

from __future__ import annotations

import re
from types import MappingProxyType

from highdicom.sr import CodedConcept

from covidctnet.classes import Label

__all__ = [
    "ABNORMAL",
    "ANATOMY",
    "CT_OF_CHEST",
    "LATERALITY",
    "LEFT_OPEN",
    "LESION",
    "LESION_SHARE",
    "LUNG",
    "LUNG_VOLUME",
    "MILLILITRE",
    "MOST_PROBABLE",
    "NOTICE",
    "NO_UNIT",
    "OOD",
    "PERCENT",
    "RADIOGRAPH_OF_CHEST",
    "REGION",
    "RESERVATION",
    "SCHEME",
    "SCHEME_NAME",
    "SCORE",
    "SPATIAL",
    "STATUS",
    "USE",
    "VOLUME",
    "ZONES",
    "class_code",
    "private",
    "probability_of",
]

SCHEME = "99COVIDCTNET"
SCHEME_NAME = "Private codes of covidctnet, research software"
_MAX_CODE, _MAX_MEANING = 16, 64


def _sct(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, "SCT", meaning)


def private(value: str, meaning: str) -> CodedConcept:
    """A concept of the scheme of this package.

    Args:
        value: Of the code; letters, digits and underscores are kept.
        meaning: For people; cut to what the standard allows.
    """
    code = re.sub(r"[^A-Z0-9_]", "_", value.upper())[:_MAX_CODE]
    return CodedConcept(code, SCHEME, meaning[:_MAX_MEANING])


COVID19 = _sct("840539006", "Disease caused by SARS-CoV-2")
PNEUMONIA = _sct("233604007", "Pneumonia")
CAP = _sct("385093006", "Community acquired pneumonia")
NORMAL = _sct("17621005", "Normal")
LUNG = _sct("39607008", "Lung structure")
LESION = _sct("52988006", "Lesion")
ANATOMY = _sct("123037004", "Anatomical structure")
ABNORMAL = _sct("49755003", "Morphologically abnormal structure")
SPATIAL = _sct("309825002", "Spatial and relational concept")
VOLUME = _sct("118565006", "Volume")
LATERALITY = MappingProxyType({"right": _sct("24028007", "Right"), "left": _sct("7771000", "Left")})
ZONES = MappingProxyType(
    {
        "upper": _sct("281392002", "Upper zone of lung"),
        "middle": _sct("281393007", "Middle zone of lung"),
        "lower": _sct("281394001", "Lower zone of lung"),
    }
)
CT_OF_CHEST = _sct("169069000", "CT of chest")
RADIOGRAPH_OF_CHEST = _sct("399208008", "Plain chest X-ray")

MILLILITRE = CodedConcept("ml", "UCUM", "milliliter")
PERCENT = CodedConcept("%", "UCUM", "percent")
NO_UNIT = CodedConcept("1", "UCUM", "no units")

MOST_PROBABLE = private("CLASS", "Most probable class")
LEFT_OPEN = private("PREDICTION_SET", "Class left open by the prediction set")
STATUS = private("STATUS", "Status of the answer")
RESERVATION = private("FLAG", "Flag of the scan or of the answer")
OOD = private("OOD_SCORE", "Distance from the training data over its limit")
LESION_SHARE = private("LESION_SHARE", "Lesion volume over lung volume")
LUNG_VOLUME = private("LUNG_INNER", "Lung volume without its rim")
SCORE = private("SCORE", "Score of a region")
REGION = private("REGION", "Region that speaks for a class")
USE = private("USE", "Intended use")
NOTICE = private("RESEARCH_ONLY", "Research use only. Not a medical device.")

_CLASSES = MappingProxyType(
    {
        "covid19": COVID19,
        "cap": CAP,
        "pneumonia": PNEUMONIA,
        "control": NORMAL,
        "normal": NORMAL,
    }
)


def class_code(label: Label) -> CodedConcept:
    """The concept of a class; ``Non-Covid`` and others that mean several things have a private one.

    Args:
        label: Of any system.
    """
    return _CLASSES.get(label.key) or private(label.key, label.title)


def probability_of(label: Label) -> CodedConcept:
    """The concept of a class's probability.

    Args:
        label: Of any system.
    """
    return private(f"P_{label.key}", f"Probability of {label.title}")
