"""Contrast medium is told in many words, and so is a scan without it."""

import pytest

from covidctnet.io.dicom.contrast import says_contrast

WITH = (
    "w/Contrast", "CHEST W CONTRAST", "WITH IV CONTRAST", "CT CHEST W/ CON", "post contrast", "C+",
    "CT THORAX +C", "CE", "CECT chest", "Thorax mit KM", "Thx KM", "m. KM", "Thorax_KM_venoes",
    "CTPA", "CT Angio", "ARTERIAL PHASE", "portal venous", "enhanced", "CT TORACE CON MDC",
    "avec injection", "THORAX INJECTE", "con contraste", "com contraste", "LUNG 1.0 I+", "inj+",
    "CHEST_WITH_CONTRAST_2.0",
)  # fmt: skip
WITHOUT = (
    "WITHOUT CONTRAST", "W/O CONTRAST", "wo contrast", "NON CONTRAST", "Noncontrast", "native",
    "thorax nativ", "CHEST C-", "sin contraste", "sem contraste", "senza mdc", "sans injection",
    "non injecte", "ohne KM", "o. KM", "unenhanced", "pre contrast", "Contrast: None",
    "chest_wo_iv_contrast",
)  # fmt: skip
NEITHER = ("Thorax 1.0 B30f", "CHEST ROUTINE", "HRCT", "Topogram", "IVC filter follow-up", "i+1")


@pytest.mark.parametrize("words", WITH)
def test_words_for_a_scan_with_contrast_medium_are_known(words):
    assert says_contrast(words) is True


@pytest.mark.parametrize("words", WITHOUT)
def test_words_for_a_scan_without_contrast_medium_are_known(words):
    assert says_contrast(words) is False


@pytest.mark.parametrize("words", NEITHER)
def test_words_for_something_else_say_nothing(words):
    assert says_contrast(words) is None


def test_a_comment_of_blanks_is_looked_at_in_no_time_of_its_own():
    # Before, ten thousand blanks took ten seconds: the square of their number.
    words = "no" + " " * 200_000 + "x"
    assert says_contrast(words) is None
    assert says_contrast("with" + " " * 500 + "contrast") is True
