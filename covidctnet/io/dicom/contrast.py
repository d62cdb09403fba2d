"""Whether a header says that contrast medium was given: sites write it in many places."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from covidctnet.io.dicom.values import items, tag_of, text

__all__ = ["CONTRAST_KEYWORDS", "has_contrast", "says_contrast"]

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
CONTRAST_KEYWORDS = (*_OF_SERIES, *_OF_STUDY, *_AGENT, *_AMOUNTS, *_SEQUENCES)

_NOTHING = re.compile(
    r"(?:no|none|non|n|nil|null|without|w/o|ohne|sans|0|-|n/?a|unknown|false)?\.?"
)
_AGENTS = (
    r"omnipaque|visipaque|isovue|iopamiro|iopamidol|ultravist|iopromide?|iomeron|iomeprol|optiray|"
    r"ioversol|oxilan|imeron|xenetix|iobitridol|iohexol|iodixanol|accupaque|solutrast"
)
# Words for a scan without, and for one with contrast medium.
_WITHOUT = re.compile(
    r"\b(?:w/?o|without|no|non|not|ohne|o|sans|senza|sin|sem|pre|before|vor)[\s.-]*(?:i\.?v\.?|the)?"
    r"[\s.-]*(?:contrast\w*|contraste|contrasto|cont|con|km|mdc|kontrast\w*|iv|enhanc\w*|inj\w*|c)\b"
    r"|\b[ck]ontrast\w*\s*(?:agent|medium|media)?\s*[:=]\s*(?:no|none|n|nein|nil)\b"
    r"|\bnoncon\w*|\bn[ao]?tive\b|\bnativ\w*|\bunenhanced\b|\bncct\b|\bplain\b|(?<!\w)c-(?!\w)"
    r"|(?<!\w)-c(?!\w)|\bpre[\s_-]?c\b",
    re.IGNORECASE,
)
_WITH = re.compile(
    r"contrast|kontrast|\b(?:mit|with|w/?|w\.)[\s.-]*(?:i\.?v\.?|km|con|cont|c)\b|\b(?:km|mdc)\b"
    r"|\binject[eé]?\b|\binjection\b|\b(?:i|iv|inj)\s?\+(?!\w)"
    r"|(?<!\w)c\+|\+\s?c(?!\w)|\bc[\s_-]?e(?:[\s_-]?ct|ct)?\b|\bcect\b|\bpost[\s_-]?(?:con\w*|c)\b"
    r"|\benhanced\b|\benhancement\b|\bangio\w*|\bct[\s_-]?p?a\b|\bctpa\b|\barteri\w+|\bvenous\b"
    r"|\bven[oö]s\b|\bportal\b|\bpv\s?phase\b|\b(?:" + _AGENTS + r")\b",
    re.IGNORECASE,
)


def has_contrast(data: Dataset) -> bool:
    """Whether any element of a header tells of contrast medium.

    Args:
        data: With the elements of `CONTRAST_KEYWORDS`.
    """
    if any(not _NOTHING.fullmatch(text(data, keyword).lower()) for keyword in _AGENT):
        return True
    if any(_is_amount(text(data, keyword)) for keyword in _AMOUNTS):
        return True
    if any(tag_of(keyword) in data and items(data, keyword) for keyword in _SEQUENCES):
        return True
    for keywords in (_OF_SERIES, _OF_STUDY):
        said = [says_contrast(text(data, keyword)) for keyword in keywords]
        if True in said:
            return True
        if False in said:
            return False
    return False


# Comments may hold ten thousand characters; what tells of contrast stands at their beginning.
LONGEST = 1000


def says_contrast(words: str) -> bool | None:
    """Whether a description tells of contrast medium; None when it says nothing of it.

    Args:
        words: As a site writes them, such as ``CT CHEST W/CONTRAST`` or ``Thorax nativ``.
    """
    # Runs of spaces would cost their square, and no description is longer.
    words = " ".join(words[:LONGEST].replace("_", " ").split())
    rest = _WITHOUT.sub(" ", words)
    if _WITH.search(rest):
        return True
    return False if rest != words else None


def _is_amount(words: str) -> bool:
    try:
        return float(words.split("\\")[0]) > 0
    except ValueError:
        return False
