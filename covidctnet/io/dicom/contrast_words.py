"""What a description says of contrast medium, in the words of many sites.

The words are brought to one spelling and read from left to right: words for the medium, and words
that negate. A negation covers the next few words, or those before it where it stands behind them
("contrast not given"). So no phrase has to be listed.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["LONGEST", "names_agent", "says_contrast"]

# Comments may hold ten thousand characters; what tells of contrast stands at their beginning.
LONGEST = 1000
# A negation reaches so many words forward ("without administration of a contrast medium"), and
# so many back ("contrast medium was not given").
REACH = 5
REACH_BACK = 4


def _words(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(part for line in alternatives for part in line.split()))


# Signs and short forms, each written as a word that the vocabulary below knows.
_SPELLINGS = tuple(
    (re.compile(pattern), f" {word} ")
    for pattern, word in (
        (r"非造影|造影なし|造影無し|平扫|平掃|単純|비조영", "native"),
        (r"增强|增強|造影|조영", "contrast"),
        (r"\bnon?[ -]?ionic\w*", "ionic"),
        (r"\bn/a\b", "na"),
        (r"\bper os\b", "oral"),
        (r"\bh ?2 ?o\b|\bna ?cl\b", "water"),
        (r"\bde-?identif\w*", "removed"),
        # Before the dots of abbreviations go: "5 cm" is a length, "c.m." never is.
        (r"\bc\.m\b\.?|\bc/m\b", "contrast"),
        (r"\bpost \d+ ?s(?:ec\w*)?\b|\b\d+ ?s(?:ec\w*)? (?:delay\w*|p\.? ?i\b)", "contrast"),
        (r"\bdelay\w*:? ?\d+ ?s(?:ec\w*)?\b", "contrast"),
        (r"\bct[ -]pa\b(?! ?(?:and|&|/|\+|lat|view))", "ctpa"),
        (r"\bct-a\b(?![/&+])", "cta"),
        (r"\+ ?/ ?-", "with & without"),
        (r"(?<!\w)(?:c|i|km|ce|(?:iv|inj) ?)\(?\+\)?(?!\w)|\+ ?c(?!\w)", "contrast"),
        (r"(?<!\w)(?:c|i|km|ce|(?:iv|inj) ?)\(?-\)?(?!\w)|(?<!\w)-c(?!\w)", "native"),
        (r"\bw ?[/.-]? ?o(?:u?t)?\b", "without"),
        (r"\bw ?/", "with"),
        # Of "s/ contraste" and "m/kontrast"; not of "s/p", the state after something.
        (r"\b[su]/(?!p\b)", "without"),
        (r"\b[cm]/", "with"),
    )
)
_DOTTED = re.compile(r"(?<!\w)\w(?:\.\w){1,3}\b\.?")
_INNER_CAPITAL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-Z])")
_TOKEN = re.compile(r"[^\W\d]+|\d+|[,;.:=()/&+]")

_AND = _words("& and und et e y en i og och oder or ve ja")
_WITHOUT = _words("without ohne sans senza sin sem zonder bez utan uten uden ilman fara без")
_BEFORE = _words("pre before vor avant prima antes fore")
_WITH = _words("with w mit avec con com met med")
_AFTER = _words("post after nach apres dopo despues depois apos pos efter etter")
# Letters that stand for "without" where a word for the medium follows at once.
_WITHOUT_LETTER = _words("o s u")
_NOT = _words(
    "no not non none never nil null nothing nicht nein kein[es]*[mr]? pas aucune? nao niet geen",
    "nei nej ikke inte ej ingen intet inget ei nie hayir nessun[oa]? ningun[oa]? nenhuma? нет не",
    "brak",
)
# Negations that only follow what they negate.
_BEHIND = _words(
    "yok verilme\\w* kullanilma\\w* yapilma\\w* olmadan nelkul nincs frei free negatif negative",
)
# With one of these a negation is said of the words before it.
_GIVEN = _words(
    "given used applied administ\\w* performed done inject\\w* indicated needed required",
    "verabreicht gegeben verwendet appliziert realise\\w* utilis\\w* effectue\\w*",
    "somministrat[oa] utilizzat[oa] eseguit[oa] aplicad[oa] usad[oa] utilizad[oa] realizad[oa]",
    "toegediend gegeven gebruikt gitt givet givit brukt anvendt podano",
)
_NATIVE = _words(
    "nativ\\w* natief nat(?:iivi)? plain unenh\\w* nc ncct nect ncect blanco basale smdc",
    "simples? non?(?:con|enh|inj)\\w* unkontrast\\w* pre(?:con|kontrast)\\w* нативн\\w*",
    "(?:iv)?[ck]ontrast(?:siz|frei|fri|los|loos|less)\\w*",
)
_MEDIUM = _words(
    "(?:iv|post)?[ck]ontr(?:as[tz]\\w*)? контраст\\w* varjoaine\\w* km ivkm c?mdc cmc pdc civ",
    "cntra?st\\w* cte ivcon postcon postc ce cect enh",
    "enhanc\\w* inj inject\\w* injekt\\w* iniezione kl omnipaque",
    "omni visipaque isovue iopam\\w* jopam\\w* ultravist iopromide? iomeron imeron iomeprol",
    "optiray ioversol oxilan xenetix iobitridol iohexol iodixanol accupaque solutrast",
)
_PHASE = _words(
    "arterial arteriel\\w* arterios[ao] art venous \\w{0,8}venos[aeo]?s? venoes\\w* veneus\\w*",
    "veineux ven pv portal portale portoven\\w* delayed cta ctpa \\w{0,20}angio",
    "angio(?:ct|tc|tac|tdm) anjiy?o \\w{0,20}angio(?:gra|scan|tomo)\\w*",
)
_VEIN = _words("iv ev intraven\\w* endoven\\w*")
# Words for the medium only where "with" or a negation stands at once before them.
_SHORT = _words("c con cont cm dye iod\\w* jod\\w* yod\\w*")
# Reasons for an examination that is made with contrast medium, unless the words say otherwise.
_REASON = _words("pe emb \\w{0,20}embol\\w* tep lae aorta")
# Medium that shows in no vessel, or none at all.
_ORAL = _words(
    "oral\\w* peroral\\w* po rectal\\w* enteral water wasser eau agua acqua aqua vatten saline",
    "barium gastrogra\\w* air",
)
# The contrast of an image.
_BEFORE_IMAGE = _words("high hi low lo edge image noise tissue detail")
_BEHIND_IMAGE = _words("window\\w* resolution detect\\w* phantom ratio scale setting\\w* to")
# What else may be meant: stage IV, a patient portal, venous blood.
_ELSE_BEFORE = {"iv": _words("stage grade? stadium type typ"), "portal": _words("patient web")}
_ELSE_BEHIND = {
    "portal": _words("upload import export web"),
    "venous": _words("blood"),
    "art": _words("work therap\\w*"),
    "iv": _words("drug\\w* abus\\w*"),
}
_REMOVED = _words("removed redacted masked deleted anon\\w*")
# What an element for the agent holds where none is known.
_NOTHING = _words(
    "n na nan nihil native applicable available unknown unspecified undefined specified known",
    "recorded info information data empty blank missing other false unbekannt angabe inconnu",
    "desconocid[oa] sconosciut[oa] onbekend okand ukjent bilinmiyor hidden default test any and",
    "ml cc mg ka s 0+ x+",
)


# All slices of a series say the same.
@lru_cache(maxsize=64)
def says_contrast(words: str) -> bool | None:
    """Whether a description tells of contrast medium; None when it says nothing of it.

    Args:
        words: As a site writes them, such as ``CT CHEST W/CONTRAST`` or ``Thorax nativ``.
    """
    said = set(_senses(_tokens(words)))
    if "yes" in said:
        return True
    if "no" in said:
        return False
    return True if "reason" in said else None


@lru_cache(maxsize=64)
def names_agent(words: str) -> bool:
    """Whether what stands in an element for the agent, or its route, is one.

    Args:
        words: As a site writes them, such as ``Omnipaque 350``, or ``NO CONTRAST``.
    """
    tokens = _tokens(words)
    senses = _senses(tokens)
    if "yes" in senses:
        return True
    if "no" in senses or any(_is(t, _NOT, _WITHOUT, _BEHIND, _ORAL, _REMOVED) for t in tokens):
        return False
    return any(t[0].isalnum() and not _is(t, _NOTHING) for t in tokens)


def _tokens(words: str) -> list[str]:
    """Words in one spelling; what ends a phrase is ``,``, what joins two is ``&``."""
    # Runs of spaces would cost their square, and no description is longer.
    words = " ".join(_INNER_CAPITAL.sub(" ", words[:LONGEST].replace("_", " ")).split())
    letters = unicodedata.normalize("NFD", words.casefold().replace("ø", "o").replace("ı", "i"))
    words = unicodedata.normalize(
        "NFC", "".join(c for c in letters if not unicodedata.combining(c))
    )
    for pattern, word in _SPELLINGS:
        words = pattern.sub(word, words)
    words = _DOTTED.sub(lambda found: found[0].replace(".", ""), words)
    tokens: list[str] = []
    for token in _TOKEN.findall(words):
        if token in "&/+":
            tokens.append("&")
        elif token in ":=(":
            tokens.append(":")
        elif token != ".":
            tokens.append(token if token.isalnum() else ",")
        elif tokens and len(tokens[-1]) > REACH:
            tokens.append(",")  # Behind a shorter word it marks an abbreviation.
    return tokens


def _senses(tokens: list[str]) -> list[str]:
    """What each word says: "yes", "no", "oral", "reason", or nothing."""
    senses = [_sense(tokens, i) for i in range(len(tokens))]
    for i, token in enumerate(tokens):
        follows = _near(tokens, i, 1)
        ends = follows in ("", ",")
        if _is(token, _WITHOUT, _BEFORE):
            if _is_joined(tokens, i):
                senses[i] = "yes" if _is(token, _WITHOUT) else ""
            else:
                senses[i] = "no" if ends and _is(token, _WITHOUT) else ""
                _negate(senses, _ahead(tokens, i))
        elif _is(token, _NOT) or (token in ("n", "0") and _near(tokens, i, -1) == ":" and ends):
            is_given = _is(follows, _GIVEN)
            _negate(senses, _ahead(tokens, i, passes_with=is_given))
            if is_given or ends:
                _negate(senses, _back(tokens, i))
        elif _is(token, _BEHIND):
            _negate(senses, _back(tokens, i))
        elif _is(token, _WITHOUT_LETTER) and not _near(tokens, i, -1).isdigit():
            _negate(senses, range(i + 1, min(i + 2 + _is(follows, _VEIN), len(tokens))))
    if tokens and tokens[-1] in ("with", "w"):
        senses[-1] = "yes"
    return senses


def _is_joined(tokens: list[str], i: int) -> bool:
    """Whether a word for "without" stands together with one for "with": both were scanned."""
    for step in (1, -1):
        at = i + step
        while _is(_near(tokens, at, 0), _AND):
            at += step
        other = _near(tokens, at, 0)
        # At once beside "without", "con" is the medium: "WO CON".
        if _is(other, _WITH, _AFTER) and (other != "con" or at != i + step):
            return True
    return False


def _sense(tokens: list[str], i: int) -> str:
    """What a word says where no other negates it."""
    token, before, behind = tokens[i], _near(tokens, i, -1), _near(tokens, i, 1)
    if _is(token, _NATIVE):
        return "no"
    if token in _ELSE_BEFORE and _is(before, _ELSE_BEFORE[token]):
        return ""
    if token in _ELSE_BEHIND and _is(behind, _ELSE_BEHIND[token]):
        return ""
    if _is(token, _MEDIUM):
        if _is(before, _BEFORE_IMAGE) or _is(behind, _BEHIND_IMAGE):
            return ""
        return "oral" if _is(before, _ORAL) or _is(behind, _ORAL) else "yes"
    if _is(token, _PHASE, _VEIN):
        return "yes"
    if _is(token, _SHORT):
        if _is(before, _ORAL):
            return "oral"
        return "yes" if _is(before, _WITH, _AFTER) else "short"
    return "reason" if _is(token, _REASON) else ""


def _ahead(tokens: list[str], i: int, *, passes_with: bool = False) -> range:
    """The words that a negation covers."""
    end = i + 1
    while end < min(i + 1 + REACH, len(tokens)) and tokens[end] != ",":
        if _is(tokens[end], _WITH) and tokens[end] != "con" and not passes_with:
            break
        # "Without contrast and contrast": what is joined to the medium is covered no more.
        if end > i + 1 and _is(tokens[end], _AND) and _is(tokens[end - 1], _MEDIUM):
            break
        end += 1
    return range(i + 1, end)


def _back(tokens: list[str], i: int) -> range:
    """The words before a negation that it may be said of."""
    start = i
    while start > max(0, i - REACH_BACK) and tokens[start - 1] != ",":
        start -= 1
    return range(start, i)


def _negate(senses: list[str], covered: range) -> None:
    for j in covered:
        if senses[j] == "reason":
            senses[j] = ""
        # A short form is the medium only at once behind the negation, or behind the vein.
        elif senses[j] == "yes" or (
            senses[j] == "short" and (j in (covered[0], covered[-1]) or senses[j - 1] == "no")
        ):
            senses[j] = "no"


def _near(tokens: list[str], i: int, by: int) -> str:
    return tokens[i + by] if 0 <= i + by < len(tokens) else ""


def _is(token: str, *kinds: re.Pattern[str]) -> bool:
    return any(kind.fullmatch(token) for kind in kinds)
