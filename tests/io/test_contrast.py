"""Contrast medium is told in many words, and so is a scan without it."""

import io

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from covidctnet.io import read_volume
from covidctnet.io.dicom.contrast import has_contrast, names_agent, says_contrast
from tests.io import series

WITH = (
    "w/Contrast", "CHEST W CONTRAST", "WITH IV CONTRAST", "CT CHEST W/ CON", "post contrast", "C+",
    "CT THORAX +C", "CE", "CECT chest", "Thorax mit KM", "Thx KM", "m. KM", "Thorax_KM_venoes",
    "CTPA", "CT Angio", "ARTERIAL PHASE", "portal venous", "enhanced", "CT TORACE CON MDC",
    "avec injection", "THORAX INJECTE", "con contraste", "com contraste", "LUNG 1.0 I+", "inj+",
    "CHEST_WITH_CONTRAST_2.0", "CT Chest w/ & w/o", "W/WO", "chest WO/W",
    "CT CHEST W AND WO CONTRAST", "without and with contrast", "CT CHEST W", "TORAX C/C",
    "Thorax C/ CONTRASTE", "PE PROTOCOL",
    "PULMONARY EMBOLISM", "arterielle Phase", "post 70 sec", "60s p.i.", "KM i.v.", "CHEST W C/M",
    "IV and oral contrast", "injecté", "venös", "胸部增强", "胸部造影", "с контрастом",
    "met contrast", "angio-scanner", "CT angiography", "Thorax portal", "CT-A", "z kontrastem",
)  # fmt: skip
WITHOUT = (
    "WITHOUT CONTRAST", "W/O CONTRAST", "wo contrast", "NON CONTRAST", "Noncontrast", "native",
    "thorax nativ", "CHEST C-", "sin contraste", "sem contraste", "senza mdc", "sans injection",
    "non injecte", "ohne KM", "o. KM", "unenhanced", "pre contrast", "Contrast: None",
    "chest_wo_iv_contrast", "CHEST W/O", "CT THORAX WITHOUT", "LUNG W O", "NATIVE", "TORAX S/C",
    "torax s/ contraste", "NECT", "CHEST WITHOUT IV AND WITH ORAL", "no contrast agent used",
    "WITHOUT IV, WITH ORAL CONTRAST", "zonder contrast", "bez kontrastu", "utan kontrast",
    "без контраста", "胸部平扫", "単純CT", "blanco", "LUNG 1.0 I-", "Low dose, non-contrast",
    "kontrastsız", "natív",
)  # fmt: skip
NEITHER = ("Thorax 1.0 B30f", "CHEST ROUTINE", "HRCT", "Topogram", "IVC filter follow-up", "i+1",
    "Angiology dept", "Angiologie", "angiosarcoma", "Portal upload", "patient portal", "CT A/P",
    "CT P.A. and lateral", "CT PA and lateral", "arteriosclerosis", "coronary artery calcium",
    "CHEST WITH ORAL CONTRAST", "venous blood taken", "Window W 1500", "", "sinus and chest",
)  # fmt: skip
AGENTS = ("agent", "Omnipaque 350", "IV", "contrast", "ISOVUE", "C", "100 ml Ultravist", "yes",
    "IV & ORAL", "APPLIED", "Visipaque 320 IV",
)  # fmt: skip
NO_AGENTS = ("", "NO CONTRAST", "WITHOUT", "None given", "keine", "N/A", "NOT GIVEN",
    "No IV contrast", "& none", "ORAL", "NONE ", "no", "nil", "w/o", "NATIVE", "nativ", "ohne KM",
    "sin contraste",
    "aucun", "nessuno", "geen", "0", "-", "non injecté", "unenhanced", "без контраста", "平扫",
    "Not applicable", "none.", "per os",
)  # fmt: skip


@pytest.mark.parametrize("words", WITH)
def test_words_for_a_scan_with_contrast_medium_are_known(words):
    assert says_contrast(words) is True


@pytest.mark.parametrize("words", WITHOUT)
def test_words_for_a_scan_without_contrast_medium_are_known(words):
    assert says_contrast(words) is False


@pytest.mark.parametrize("words", NEITHER)
def test_words_for_something_else_say_nothing(words):
    assert says_contrast(words) is None


@pytest.mark.parametrize("words", AGENTS)
def test_an_agent_that_is_named_is_one(words):
    assert names_agent(words)


@pytest.mark.parametrize("words", NO_AGENTS)
def test_words_for_no_agent_name_none(words):
    # Before, "NO CONTRAST" as the agent was taken for an agent.
    assert not names_agent(words)


def test_a_comment_of_blanks_is_looked_at_in_no_time_of_its_own():
    # Before, ten thousand blanks took ten seconds: the square of their number.
    words = "no" + " " * 200_000 + "x"
    assert says_contrast(words) is None
    assert says_contrast("with" + " " * 500 + "contrast") is True


@pytest.mark.parametrize(
    ("agent", "description", "is_flagged"),
    [
        ("NO CONTRAST", "CHEST", False),
        ("none", "CHEST W CONTRAST", True),
        ("", "Torax sin contraste", False),
        ("Iomeron", "Thorax nativ", True),
    ],
)
def test_a_scan_is_flagged_by_its_agent_and_its_descriptions(
    tmp_path, agent, description, is_flagged
):
    def change(ds, index):
        ds.ContrastBolusAgent, ds.SeriesDescription = agent, description

    series.write(tmp_path, change=change)
    assert ("contrast" in read_volume(tmp_path).source.flags) == is_flagged


def test_a_code_for_no_agent_is_none_and_an_item_without_words_is_one():
    item = Dataset()
    item.CodeMeaning = "No contrast"
    ds = Dataset()
    ds.ContrastBolusAgentSequence = Items([item])
    assert not has_contrast(reread(ds))
    item.CodeMeaning = "Iohexol"
    assert has_contrast(reread(ds))
    ds.ContrastBolusAgentSequence = Items([Dataset()])
    assert not has_contrast(reread(ds))


def reread(ds):
    """A data set as it comes from a file: values in bytes."""
    held = io.BytesIO()
    dcmwrite(held, ds, implicit_vr=False, little_endian=True)
    held.seek(0)
    return dcmread(held, force=True)
