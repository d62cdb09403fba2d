"""What an image of CT storage says to be when it is no slice of HU: a localizer, a projection."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydicom.dataset import Dataset

from covidctnet.io.dicom.values import items, text

__all__ = ["LOCALIZER_TYPES", "PICTURES", "derivation_words", "picture_kind"]

LOCALIZER_TYPES = frozenset({"LOCALIZER", "SCOUT"})
PICTURES = ("localizer", "projection or screen, by its image type or description")
# ImageType values of CT storage that is no stack of HU slices, whatever else is said.
_PICTURE_TYPES = frozenset(
    {
        "SCREEN SAVE",
        "PROJECTION IMAGE",
        "MIP",
        "MAX_IP",
        "MIN_IP",
        "MINIP",
        "VOLREN",
        "VRT",
        "DOSE_INFO",
        "MONITORING",
    }
)
# What was made of other images, unless the image is an original: then what it was acquired for.
_USE_TYPES = frozenset({"3D", "PERFUSION"})
# As a word among others ("CT_SOM5 MIP", "MIP THIN"), of images that are no axial originals.
_PROJECTION = (
    r"T?MIPS?|MAXIPS?|MINM?IPS?|M(?:AX|IN)(?:IMUM)?[\W_]+(?:IPS?|MIPS?|INTENSITY.*)|VOLREN|VRTS?|"
    r"VOLUME[\W_]+RENDER\w*|SURFACE[\W_]+RENDER\w*|CURVED[\W_]+\w*|CPR"
)
_PROJECTION_WORD = re.compile(rf"(?<![A-Z0-9])(?:{_PROJECTION})(?![A-Z0-9])")
_PROJECTION_TYPE = re.compile(
    rf"(?<![A-Z0-9])(?:{_PROJECTION}|MAXIMUM|MINIMUM|VR|CURVED|SUBTRACT\w*|STD[\W_]*DEV\w*)(?![A-Z0-9])"
)
# How frames of an enhanced CT were calculated from others, where HU do not remain: values of its
# fourth type, and techniques. Source: DICOM PS3.3, C.8.16.1.4 and C.8.16.2.1.
_CALCULATED = frozenset(
    {
        "ADDITION",
        "DIVISION",
        "MASKED",
        "MAXIMUM",
        "MINIMUM",
        "MULTIPLICATION",
        "QUANTITY",
        "STD_DEVIATION",
        "SUBTRACTION",
    }
)
_TECHNIQUES = frozenset(
    {"MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER", "CURVED_MPR", "DISTORTED"}
)
# Of DerivationCodeSequence. Source: DICOM PS3.16, CID 7203.
_DERIVATION_CODES = {
    "113062": "SUBTRACTION",
    "113073": "CURVED_MPR",
    "113074": "VOLUME_RENDER",
    "113075": "SURFACE_RENDER",
    "113078": "MAX_IP",
    "113079": "MIN_IP",
}


def picture_kind(
    image_type: tuple[str, ...],
    *,
    is_enhanced: bool = False,
    derivation: Iterable[str] = (),
    description: str = "",
) -> str:
    """What an image of CT storage says to be when it is no slice of HU.

    Args:
        image_type: ORIGINAL, PRIMARY, AXIAL and the like.
        is_enhanced: Whether its file is an enhanced CT.
        derivation: From `derivation_words`.
        description: Of its series; it speaks of derived images only.

    Returns:
        One of `PICTURES`, or nothing.
    """
    types = set(image_type)
    if types & LOCALIZER_TYPES:
        return PICTURES[0]
    is_original = image_type[:1] == ("ORIGINAL",)
    # In an enhanced CT the third value is what the scan was made for.
    is_slice = is_original and ("AXIAL" in image_type[:3] or is_enhanced)
    if is_slice:
        types -= _USE_TYPES
    is_picture = bool(types & (_PICTURE_TYPES | _USE_TYPES))
    is_picture |= bool((_CALCULATED | _TECHNIQUES) & set(derivation))
    is_picture |= is_enhanced and bool(_CALCULATED & set(image_type[3:]))
    is_picture |= not is_slice and any(map(_PROJECTION_TYPE.search, image_type[2:]))
    is_derived = image_type[:1] == ("DERIVED",)
    is_picture |= is_derived and bool(_PROJECTION_WORD.search(description.upper()))
    return PICTURES[1] if is_picture else ""


def derivation_words(*sources: Dataset) -> tuple[str, ...]:
    """How an image was calculated, by its header and the items that describe it.

    Args:
        sources: Any of the data set, the item of the frame's type and that of its derivation.
    """
    words: list[str] = []
    for source in sources:
        words += (
            text(source, keyword).upper()
            for keyword in ("VolumeBasedCalculationTechnique", "VolumetricProperties")
        )
        codes = (text(item, "CodeValue") for item in items(source, "DerivationCodeSequence"))
        words += (_DERIVATION_CODES[code] for code in codes if code in _DERIVATION_CODES)
    return tuple(words)
