"""Whether a header says that contrast medium was given: sites write it in many places."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from covidctnet.io.dicom.values import items, raw, text

__all__ = ["CONTRAST_KEYWORDS", "has_contrast", "names_agent", "says_contrast"]

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

# What sites write for no agent: words for nothing, and agents that stay out of the vessels.
_NOTHING = re.compile(
    r"\W*(?:no|none|non|n|nil|null|nihil|without|w\W?o|ohne|sans|senza|sin|sem|zonder|bez|utan|uten|"
    r"uden|0+|n\W?a|unknown|unspecified|undefined|false|nativ[eo]?|natif|plain|keine?s?|nein|nei|nej|"
    r"ingen|inget|geen|nessun[oa]?|ningun[oa]|nenhuma?|aucune?|nincs|yok|brak|n[aã]o|нет|без|无|無|なし|"
    r"(?:none?|not|never|no\s+agent|nothing)\s+(?:given|used|applied|applicable|administered|injected|"
    r"available|specified|known|done)|no\s+agent|oral(?:ly|e|es)?|p\W?o|per\s+os|rectal|enteral)?\W*",
    re.IGNORECASE,
)
_AGENTS = (
    r"omnipaque|visipaque|isovue|iopamiro|iopamidol|ultravist|iopromide?|iomeron|iomeprol|optiray|"
    r"ioversol|oxilan|imeron|xenetix|iobitridol|iohexol|iodixanol|accupaque|solutrast"
)
_WITHOUT_WORD = (
    r"w\s?/?\s?o|without|no|non|not|ohne|o|sans|senza|sin|sem|zonder|bez|utan|uten|uden|fara|ilman|"
    r"pre|before|vor|без|s/"
)
_MEDIUM = (
    r"contrast\w*|contraste|contrasto|cont|con|km|kl|mdc|kontrast\w*|контраст\w*|varjoaine\w*|iv|"
    r"enhanc\w*|inj\w*|c"
)
# Both in one examination: this series may be either.
_BOTH = re.compile(
    r"\b(?:with|w)\s*/?\s*(?:&|and|\+|,|/)?\s*(?:without|w\s?/?\s?o)\b"
    r"|\b(?:without|w/?o)\s*(?:&|and|\+|,|/)\s*(?:with|w)\b(?!\s*/?\s*o\b)"
    r"|\b(?:pre|ohne|sans|senza|sin|sem)\s*(?:&|and|\+|/|und|et|e|y)\s*(?:post|mit|avec|con|com)\b",
    re.IGNORECASE,
)
# Contrast medium that is drunk shows in no vessel; with another way beside it the words count.
_ORAL = re.compile(
    r"(?<![&+/]\s)(?<!and\s)(?<!und\s)\b(?:oral\w*|per\sos|p\.?o\.?|rectal\w*)\s+"
    r"(?:contrast\w*|kontrast\w*|km|mdc)\b",
    re.IGNORECASE,
)
# Words for a scan without, and for one with contrast medium.
_WITHOUT = re.compile(
    r"\b(?:" + _WITHOUT_WORD + r")[\s.-]{0,4}(?:i\.?v\.?|the)?[\s.-]{0,4}(?:" + _MEDIUM + r")\b"
    r"|\b(?:w\s?/?\s?o|without|ohne|senza|sans|sem|sin)\s*(?:$|[,;)])"
    r"|\b[ck]ontrast\w*\s*(?:agent|medium|media)?\s*[:=]\s*(?:no|none|n|nein|nil)\b"
    r"|\bnoncon\w*|\bn[ao]?tive\b|\bnativ\w*|\bnat[ií]v\w*|\bunenhanced\b|\bncct\b|\bnect\b|\bplain\b"
    r"|\bblanco\b|\bkontrasts[ıi]z\b|нативн\w*|平扫|平掃|単純|非造影|造影なし"
    r"|(?<!\w)c-(?!\w)|(?<!\w)-c(?!\w)|(?<!\w)(?:i|iv|inj)\s?-(?!\w)|\bpre[\s_-]?c\b|\bs/c\b",
    re.IGNORECASE,
)
_WITH = re.compile(
    r"contrast|kontrast|контраст|varjoaine|增强|增強|造影|조영"
    r"|\b(?:mit|with|w/?|w\.)[\s.-]{0,4}(?:i\.?v\.?|km|con|cont|c/?m?)(?!\w)|\b(?:km|mdc)\b"
    r"|(?<=\s)w/?\s*$|\bc/c\b"
    r"|\binject[eé]?\b|\binjection\b|\b(?:i|iv|inj)\s?\+(?!\w)|\bp\.\s?i\.|\b\d+\s?s(?:ec)?\s+pi\b"
    r"|\bpost\s+\d+\s?s(?:ec)?\b|(?<!\w)c\+|\+\s?c(?!\w)|\bc[\s_-]?e(?:[\s_-]?ct|ct)?\b|\bcect\b"
    r"|\bpost[\s_-]?(?:con\w*|c)\b|\benhanced\b|\benhancement\b"
    r"|\bangio\b|\bangio[\s-]?(?:ct|tc|tac|tdm|scan\w*|tomo\w*)\b|\bangiogra\w*"
    r"|\bctp?a\b|\bct-p?a\b(?![/&+])|\bct\spa\b(?!\s*(?:and|&|/|\+|lat|view))"
    r"|\bp\.?e\.?\s+(?:protocol|prot|study)\b|\bpulm\w*\s+embol\w*|\bembol\w+\s+pol?mona\w*"
    r"|\bembolie\s+pulm\w*|\blungenembol\w*"
    r"|\barterial\b|\barteriell\w*|\bart[eé]riel\w*|\barteriosa\b|\bvenous\b(?!\s+blood)|\bven[oö]s\b"
    r"|(?<!patient\s)(?<!web\s)\bportal\b(?!\s*(?:upload|import|export|web))|\bpv\s?phase\b"
    r"|\b(?:" + _AGENTS + r")\b",
    re.IGNORECASE,
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


# Comments may hold ten thousand characters; what tells of contrast stands at their beginning.
LONGEST = 1000


def says_contrast(words: str) -> bool | None:
    """Whether a description tells of contrast medium; None when it says nothing of it.

    Args:
        words: As a site writes them, such as ``CT CHEST W/CONTRAST`` or ``Thorax nativ``.
    """
    # Runs of spaces would cost their square, and no description is longer.
    words = " ".join(words[:LONGEST].replace("_", " ").split())
    if _BOTH.search(words):
        return True
    words = _ORAL.sub(" ", words)
    rest = _WITHOUT.sub(" ", words)
    if _WITH.search(rest):
        return True
    return False if rest != words else None


def names_agent(words: str) -> bool:
    """Whether what stands in an element for the agent, or its route, is one.

    Args:
        words: As a site writes them, such as ``Omnipaque 350``, or ``NO CONTRAST``.
    """
    words = words[:LONGEST]
    return not _NOTHING.fullmatch(words) and says_contrast(words) is not False


def _is_agent(item: Dataset) -> bool:
    """Whether an item of a sequence is an agent, or a way to give one."""
    meaning = _words(item, "CodeMeaning")
    return names_agent(meaning) if meaning else len(item) > 0


def _words(data: Dataset, keyword: str) -> str:
    """Words in any alphabet: in UTF-8, or in that of the west of Europe."""
    found = raw(data, keyword)
    try:
        return found.decode()
    except UnicodeDecodeError:
        return found.decode("latin-1")


def _is_amount(words: str) -> bool:
    try:
        return float(words.split("\\")[0]) > 0
    except ValueError:
        return False
