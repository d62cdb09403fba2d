"""Whether a header says that contrast medium was given: sites write it in many places."""

from __future__ import annotations

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset

from covidctnet.io.dicom.contrast_words import names_agent, says_contrast
from covidctnet.io.dicom.values import items, raw, tag_of, text

__all__ = ["CONTRAST_KEYWORDS", "has_contrast"]

# Free words about the series, the nearest to the images first; then those about the whole study,
# which may tell of another series.
_OF_SERIES = (
    "SeriesDescription",
    "ProtocolName",
    "ImageComments",
    "AcquisitionProtocolDescription",
    "AcquisitionComments",
    "PerformedProcedureStepDescription",
)
_OF_STUDY = ("StudyDescription", "RequestedProcedureDescription", "StudyComments")
# Anything in these is said of an agent that was given.
_AGENT = ("ContrastBolusAgent", "ContrastBolusRoute", "ContrastBolusIngredient")
_AMOUNTS = (
    "ContrastBolusVolume",
    "ContrastBolusTotalDose",
    "ContrastFlowRate",
    "ContrastBolusIngredientConcentration",
)
_SEQUENCES = ("ContrastBolusAgentSequence", "ContrastBolusAdministrationRouteSequence")
CONTRAST_KEYWORDS = (
    "SpecificCharacterSet",
    *_OF_SERIES,
    *_OF_STUDY,
    *_AGENT,
    *_AMOUNTS,
    *_SEQUENCES,
)


def has_contrast(data: Dataset) -> bool:
    """Whether any element of a header tells of contrast medium.

    Args:
        data: With the elements of `CONTRAST_KEYWORDS`.
    """
    if any(names_agent(_words(data, keyword)) for keyword in _AGENT):
        return True
    if any(_is_amount(text(data, keyword)) for keyword in _AMOUNTS):
        return True
    if any(_is_agent(item) for keyword in _SEQUENCES for item in items(data, keyword)):
        return True
    for keywords in (_OF_SERIES, _OF_STUDY):
        said = [says_contrast(_words(data, keyword)) for keyword in keywords]
        if True in said:
            return True
        if False in said:
            return False
    return False


def _is_agent(item: Dataset) -> bool:
    """Whether an item of a sequence is an agent, or a way to give one."""
    meaning = _words(item, "CodeMeaning")
    return names_agent(meaning) if meaning else len(item) > 0


def _words(data: Dataset, keyword: str) -> str:
    """Words in any alphabet: in UTF-8, in what the header names, or in that of western Europe."""
    found = raw(data, keyword)
    encodings = ["utf-8", python_encoding.get(_alphabet(data), "latin-1")]
    # Alphabets that are named by escape sequences consist of ASCII.
    for encoding in encodings[::-1] if b"\x1b" in found else encodings:
        try:
            return found.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    return found.decode("latin-1")


def _alphabet(data: Dataset) -> str:
    """What SpecificCharacterSet names; the last of several is the one beyond ASCII."""
    item = data.get_item(tag_of("SpecificCharacterSet"))
    value = "" if item is None else item.value
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="replace")
    # The parser converts this element alone.
    names = value.split("\\") if isinstance(value, str) else list(value or [""])
    return str(names[-1]).strip(" \0")


def _is_amount(words: str) -> bool:
    try:
        return float(words.split("\\")[0]) > 0
    except ValueError:
        return False
