"""Contrast medium is told in many words, and so is a scan without it."""

import io

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from covidctnet.io import read_volume
from covidctnet.io.dicom import contrast_words
from covidctnet.io.dicom.contrast import has_contrast
from covidctnet.io.dicom.contrast_words import names_agent, says_contrast
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
    "CT CHEST W CONTRAST", "CT CHEST W/CONTRAST", "CT CHEST WITH IV CONTRAST", "CHEST CTA",
    "CT ANGIO CHEST", "PE CHEST", "CT CHEST PE", "CAP W", "CT C/A/P W CON", "Thorax KM",
    "TC TORACE CMDC", "TC TORACE con mdc", "TC TORAX CON CTE", "Thorax+C", "Chest C+ 1.0",
    "TDM THORAX AVEC INJECTION", "TAP injecté", "CHEST POST CONTRAST", "CT CHEST W AND WO",
    "Chest W/WO", "Thx art.", "CT Thorax c.m.", "CT thorax m KM", "Angio TDM", "Th-Abd pv",
    "PORTAL VENOUS", "AORTA", "CHEST/ABD/PEL W", "CT THORAX/ABDOMEN W CONTRAST",
    "CT PULMONARY ANGIOGRAM", "CT CHEST PULMONARY EMBOLUS", "IV CONTRAST",
    "Contrast: Omnipaque 300", "CT CHEST IV", "TK THORAX MED KONTRAST", "CT thorax met contrast",
    "CT Thorax met iv contrast", "TC torace c/mdc", "TAC TORAX CON CONTRASTE IV",
    "TC DE TORAX COM CONTRASTE", "TOMO TORAX CONTRASTADA", "CT CHEST ENHANCED", "CHEST W IV CON",
    "CHEST WITH IV", "CE-CT THORAX", "CT PE", "R/O PE W CON", "PULM EMB", "ART PHASE",
    "DELAYED PHASE", "PORT VEN", "CT CHEST W/CM", "POST IV CONTRAST", "CONTRAST GIVEN",
    "contrast-enhanced chest CT", "CT Thorax mit Kontrastmittel", "Thorax KM i.v.", "Thx/Abd ven.",
    "Pulmonalisangio", "Thorax nach KM", "Thorax+KM", "KM-CT Thorax", "Lungenarterienembolie",
    "TDM TAP avec produit de contraste", "TAP IV+", "Angioscanner thoracique", "Thorax avec PDC",
    "Temps artériel", "après injection", "AngioTDM pulmonaire", "TDM thorax avec IV",
    "TC TORACE CON MEZZO DI CONTRASTO", "TC torace con m.d.c.", "fase arteriosa", "fase venosa",
    "angioTC polmonare", "senza e con mdc", "TC torace dopo mdc ev", "TC TORAX C/CIV",
    "TC TORAX CON CIV", "ANGIO TAC", "AngioTC pulmonar", "TORAX CONTRASTADO", "PROTOCOLO TEP",
    "TC TORAX CON Y SIN CONTRASTE", "TORAX C/ CONTRASTE EV", "ANGIOTC TORAX", "pós-contraste",
    "CT thorax CM iv", "longembolie", "Thorax veneus", "CT thorax met contrastmiddel",
    "DT thorax med kontrastmedel", "CT Thorax m/kontrast", "efter kontrast", "lungemboli",
    "keuhkoembolia", "varjoaineella", "Kontrastlı toraks BT", "TORAKS BT IV KONTRASTLI",
    "Pulmoner anjiyo BT", "KT klatki piersiowej z kontrastem", "CHEST C+ IV",
    "CT THORAX WITH CONTRAST MATERIAL", "Chest, Abdomen w/ IV contrast",
    "CT CHEST W IV CONTRAST ONLY", "CHEST CTPA 1mm", "ANGIO THORAX",
    "CT THORAX-ABDOMEN MIT KM PORTALVENÖS", "Thorax KM 3.0 B31f", "Thorax_art",
    "Thorax mit KM i.v.", "TDM thoraco-abdomino-pelvienne avec injection de produit de contraste",
    "SCANNER THORAX INJECTE", "THORAX C+ 2MM", "TC TORACE E ADDOME CON MDC",
    "TC torace-addome con e senza mdc", "TAC TORACICO CON CONTRASTE", "TC TORAX CONTRASTE IV",
    "TOMOGRAFIA DE TORAX COM CONTRASTE", "TC TORAX C/CONTRASTE", "CT-thorax met contrast iv",
    "CT thorax/abdomen portoveneus", "CT Thorax med intravenøs kontrast", "DT Thorax, kontrast iv",
    "Toraks BT (Kontrastlı)", "Kontrastlı Toraks BT Anjiografi", "PULMONARY CTA",
    "CT CHEST WITH & WITHOUT CONTRAST", "CHEST PRE AND POST CONTRAST", "Contrast: Yes",
    "IV contrast: Omnipaque 350 100 mL", "enhanced chest", "CT PULMONARY EMBOLISM PROTOCOL",
    "NC + CE chest", "CT CHEST W CON, NO ORAL", "CT thorax - IV contrast, no oral contrast",
    "Thorax spätvenös", "LUNG C+ PORTAL", "胸部CT平扫+增强", "КТ ОГК с контрастом",
    "Tomografía tórax contrastada",
    "CT Angiogram Chest", "CT Chest W IV Contrast (PE)", "CHEST-ABD-PELVIS W", "Chest CT w/con",
    "IV+ chest", "Thorax+Abdomen KM", "Thorax/Abdomen KM ven", "CT-Thorax mit KM i.v. 80 ml",
    "CT Pulmonalisangiographie", "LE-Ausschluss mit KM", "TDM TAP injectée", "TDM thorax IV+",
    "Angioscanner des artères pulmonaires", "TC torace con contrasto", "TC torace c.mdc",
    "Angio-TC torace", "TC torace ed addome senza e con mdc", "TAC de tórax con contraste ev",
    "AngioTAC de arterias pulmonares", "TC Tórax com contraste EV", "AngioTC de tórax (TEP)",
    "CT thorax c+", "CTA pulmonalis", "CT Thorax / Abdomen m. kontr.", "DT thorax m kontrast",
    "BT Toraks kontrastlı", "CT Chest with and without IV contrast", "Thorax Lunge KM 1.0 I70f",
    "CT CHST W CNTRST", "CHEST W CNTRAST", "ENH CHEST", "CHEST ENH", "delay 60s", "Delayed: 70 sec",
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
    "CT CHEST WO CONTRAST", "CT CHEST W/O CONTRAST", "CT CHEST WITHOUT IV CONTRAST",
    "CT CHEST W/O", "CT CHEST WO", "CHEST WO", "CT CHEST NON-CONTRAST", "CT CHEST NONCON",
    "CT CHEST NO IV CONTRAST", "Thorax nativ", "Thorax ohne KM", "TC TORACE SMDC",
    "TC TORACE senza mdc", "TC TORACE s/mdc", "TORAX SIMPLE", "TDM THORAX SANS INJECTION",
    "TAP sans inj", "CT LUNG SCREENING WO", "Chest -C", "CT THORAX WITHOUT CONTRAST 3D",
    "CT CHEST WITHOUT", "CT CHEST W/O DYE", "Thorax blanco", "CT THORAX ZONDER CONTRAST",
    "without and no contrast", "CT CHEST WO IV CON", "CT CHEST W/O IVCON", "CT CHEST W O CONTRAST",
    "CT CHEST_WO_CONTRAST", "CTChestWithoutContrast", "WO CON CT CHEST", "CT CHEST WO CONT",
    "CT CHEST WOUT CONTRAST", "CHEST (NO CONTRAST)", "NO CONTRAST GIVEN",
    "TC DE TORAX SEM CONTRASTE", "TAC TORAX SIN CONTRASTE", "Chest routine: contrast none",
    "without i.v. contrast medium", "without intravenous contrast", "no intravenous contrast",
    "ohne i.v. Kontrastmittel", "without any contrast", "w/o IV and oral contrast",
    "no contrast material", "CT CHEST WO CONTRAST PE FOLLOW UP", "CT WITHOUT IODINATED CONTRAST",
    "CT chest unenhanced", "THORAX NAT.", "Nativ-CT Thorax", "sans produit de contraste",
    "senza mezzo di contrasto", "sin medio de contraste", "without the use of contrast",
    "not contrast-enhanced", "CONTRAST NOT GIVEN", "CONTRAST: NOT USED",
    "IV contrast was not administered", "CT CHEST W/OUT CONTRAST",
    "CT CHEST WITHOUT IODINATED CONTRAST MEDIA", "Non-enhanced CT", "NCCT CHEST", "CHEST NO IV",
    "contrast was not used", "no contrast media was given", "CT CHEST W-O CON",
    "non-contrast-enhanced", "No intravenous contrast material was administered",
    "CT not performed with contrast", "Thorax ohne Kontrast", "CT Thorax o.KM", "Thorax KM-frei",
    "kein KM", "ohne intravenöse Kontrastmittelgabe", "Kontrastmittel nicht verabreicht",
    "Thorax nat. 1.0", "vor KM-Gabe", "TDM thorax non injecté", "Thorax sans IV",
    "sans produit de contraste iodé", "pas d'injection", "avant injection", "Thorax sans PDC",
    "sans administration de produit de contraste", "TC TORACE SENZA M.D.C.", "TC torace s. mdc",
    "TC torace basale", "senza somministrazione di mezzo di contrasto", "mdc non somministrato",
    "TC TORAX SIN CIV", "sin contraste endovenoso", "S/CTE", "no contrastado",
    "sin administración de contraste", "TC tórax sem meio de contraste", "não contrastado",
    "pré-contraste", "contraste não administrado", "zonder iv contrast", "geen contrast",
    "Contrast: geen", "zonder i.v. contrastmiddel", "CT thorax uden iv kontrast",
    "uten intravenøs kontrast", "u/kontrast", "ilman varjoainetta", "DT thorax utan iv kontrast",
    "ei varjoainetta", "kontrast: nej", "ikke gitt kontrast", "Kontrastsız BT",
    "kontrast verilmedi", "kontrast madde verilmeden", "KONTRAST YOK", "bez podania kontrastu",
    "kontrasztanyag nélkül", "CT CHEST WO IV CONTRAST", "CT CHEST W/O CONTRAST LOW DOSE",
    "CT LUNG CANCER SCREENING WITHOUT CONTRAST", "Chest wo", "CT Thorax plain",
    "Noncontrast chest CT", "CHEST (WITHOUT)", "CT CHEST NC", "CT CHEST W/O IV OR ORAL CONTRAST",
    "IV contrast: none", "No contrast was used", "unenhanced low-dose CT",
    "contrast not indicated", "Contrast medium: no", "CT-Thorax nativ low dose",
    "Thorax ohne i.v. KM", "Thorax ohne KM-Gabe", "Kontrastmittel: keines", "Kontrastmittel nein",
    "ohne Verwendung von Kontrastmittel",
    "scanner thoracique sans injection de produit de contraste", "sans IV",
    "TDM thorax non injectée", "TDM thorax sans contraste iodé", "TC torace senza contrasto",
    "TC TORACE SENZA MDC (HR)", "senza iniezione di mdc", "mdc: no", "TAC TORACICO SIN CONTRASTE",
    "TC tórax s/contraste", "TC TORAX SIN C", "sin medio de contraste iv",
    "no se administró contraste", "TC TORAX SEM CONTRASTE EV", "sem uso de contraste",
    "CT thorax zonder contrastmiddel", "geen iv contrast toegediend", "CT Thorax uten iv kontrast",
    "CT thorax u. kontrast", "DT thorax utan kontrast iv", "HRCT uden kontrast",
    "TT keuhkot natiivi", "Toraks BT (kontrastsız)", "IV kontrast verilmeden",
    "IV kontrast kullanılmamıştır", "КТ без контрастирования", "胸部CT平扫", "CT KLP bez kontrastu",
    "mellkas CT natív", "CT hrudníku bez KL",
    "CT chest w/o con", "CT CHEST WO/IV CONTRAST", "CHEST LOW DOSE NON CON",
    "Non IV contrast chest", "CT CHEST W/O CONTRAST HIGH RES",
    "contrast not administered due to renal failure", "Unenhanced CT of the thorax",
    "CT Chest -- no contrast", "Thorax nativ Lunge", "CT Thorax ohne KM i.v.",
    "keine KM-Applikation", "TDM thorax sans injection IV", "scanner thoracique non injecté",
    "sans inj.", "TC torace s.m.d.c.", "TC torace senza m.d.c. HRCT",
    "TC senza somministrazione di mdc ev", "TC tórax sin cte", "TACAR sin contraste",
    "TC de torax sem contraste iodado", "CT-thorax zonder i.v. contrast", "CT Thorax u. kontr.",
    "BT Toraks kontrastsız", "HRCT u/ kontrast", "thorax native", "Thorax low dose plain",
    "CT ohne Kontrast", "CT CHST W/O CNTRST", "NON ENH CHEST", "UNENH CHEST",
)  # fmt: skip
NEITHER = ("Thorax 1.0 B30f", "CHEST ROUTINE", "HRCT", "Topogram", "IVC filter follow-up", "i+1",
    "Angiology dept", "Angiologie", "angiosarcoma", "Portal upload", "patient portal", "CT A/P",
    "CT P.A. and lateral", "CT PA and lateral", "arteriosclerosis", "coronary artery calcium",
    "CHEST WITH ORAL CONTRAST", "venous blood taken", "Window W 1500", "", "sinus and chest",
    "High contrast lung", "Low contrast detectability", "edge enhancement", "MDCT CHEST",
    "nodule 5 cm", "C-spine", "PEDS CHEST", "POST COVID", "post-op", "PORT-A-CATH",
    "calcium score", "sin fiebre", "paciente com covid", "TC torax con protocolo covid",
    "Thorax mit Abdomen", "no comment", "Stage IV lung cancer", "without sedation",
    "CONVOLUTION B70", "CT C/A/P", "CHEST S/P LOBECTOMY", "Lung 1.25 contiguous", "ARTEFACT",
    "no pneumonia seen", "Thorax 5.0 Br36", "LUNG W/O GAP", "CHEST WO FILTER", "LUNG NODULE F/U",
    "Chest without arms", "Chest 1.0 C", "CT CHEST HIGH-CONTRAST KERNEL", "tissue contrast",
    "Series 4 - CON", "PENIS", "Peds", "venogram", "COMPARE WITH PRIOR", "no prior",
    "Recon 3: Lung", "CM 5", "NOTES", "Pre-op", "Follow-up after COVID", "Sin comentarios",
    "Con hallazgos", "CT CHEST HIGH RESOLUTION", "HRCT LUNG", "LDCT",
    "CT CHEST LOW DOSE SCREENING", "LUNG CONTRAST WINDOW",
    "CT Chest Low Dose", "Lung Cancer Screening LDCT", "COVID-19", "Thorax Routine",
    "Topogram 0.6", "HRCT insp", "HRCT exp", "Chest 2.0 Bf42", "MPR cor", "Lung 1.5 Qr59",
    "CT CHEST HI RES", "Dose Report", "TORACE HR", "Tórax AR", "CT Thorax expiratie",
    "Thorax supine", "PRONE", "ABDOMEN/PELVIS", "CT CHEST CARDIAC SCORE", "biopsy",
    "IV DRUG USER", "IV drug abuse", "ART THERAPY",
)  # fmt: skip
AGENTS = ("agent", "Omnipaque 350", "IV", "contrast", "ISOVUE", "C", "100 ml Ultravist", "yes",
    "IV & ORAL", "APPLIED", "Visipaque 320 IV",
    "CE", "100 CC", "IODINE", "CONTRAST", "Y", "IV+ORAL", "C.E.", "80ml", "Jod", "NONIONIC IV",
    "Iomeron400", "Omni 350", "non ionic", "Iodine", "Intravenous route", "80 cc", "Ja", "Oui",
    "JOPAMIRON", "CM", "IV 100ml", "Iohexol 300 mg/mL", "IODINATED CONTRAST", "350",
    "Non-ionic contrast", "CONTRAST USED", "Omnipaque and water", "ev", "Isovue-370",
    "OMNIPAQUE 300 100ML", "IV contrast", "iopromid", "Contrast agent", "GADAVIST",
    "Ultravist-300 IV & oral", "Yes, 80 ml", "C+", "75cc Optiray", "KM i.v.", "Imeron 350",
    "Omnipaque 240", "IV BOLUS", "Iopamiro 370", "Ultravist", "KM", "ISOVUE 300 INJ",
)  # fmt: skip
NO_AGENTS = ("", "NO CONTRAST", "WITHOUT", "None given", "keine", "N/A", "NOT GIVEN",
    "No IV contrast", "& none", "ORAL", "NONE ", "no", "nil", "w/o", "NATIVE", "nativ", "ohne KM",
    "sin contraste",
    "aucun", "nessuno", "geen", "0", "-", "non injecté", "unenhanced", "без контраста", "平扫",
    "Not applicable", "none.", "per os",
    "NO CM", "NON CE", "SMDC", "WATER", "CONTRAST NOT GIVEN", "saline", "barium oral", "no contr",
    "s/c", "(none)", "Nihil", "NaN", "no info", "OTHER", "ANONYMIZED", "XXXX", "water",
    "NaCl 0.9%", "Barium sulfate oral", "Gastrografin", "H2O", "Wasser", "eau", "agua", "acqua",
    "none administered", "REDACTED", "de-identified", "<removed>", "***", "???", "not recorded",
    "missing", "unbekannt", "inconnu", "desconocido", "onbekend", "bilinmiyor", "yok", "0 ml",
    "keine Angabe", "k.A.", "CM not used", "Anonymous", "xxx", "oral", "Oral contrast", "ANON",
    "EMPTY", "not known", "air", "No agent used", "None.", "No contrast administered", "PLAIN",
    "Unenhanced", "n.a.", "not specified", "ORAL ONLY", "oral contrast only",
    "No IV contrast, oral only", "-----", "0.0", "Brak", "Sin contraste", "nessun mdc", "ohne",
    "SANS", "Non", "tap water", "Air", "NORMAL SALINE", "test", "DELETED", "No value entered",
    "not entered",
    "none", "No Contrast", "W/O", "Water PO", "oral barium", "NO IV", "not given", "NIL", "n/a",
    "ANONYMIZED_VALUE",
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
    "piece",
    [" ", "& ", "without & ", "a.", "n", "1", "-", "no ", "( ", "embo", "aB", "(+", "c(", "w ",
     "iv ", "\u0301", "post 1 s", "_", "W/", "contrast no "],
)  # fmt: skip
def test_words_that_repeat_for_ever_cost_no_more_than_their_length(monkeypatch, piece):
    # The square of 20,000 letters would take a minute.
    monkeypatch.setattr(contrast_words, "LONGEST", 20_000)
    words = piece * (20_000 // len(piece))
    assert says_contrast(words + "x") in (True, False, None)
    assert names_agent(words + "x") in (True, False)


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


@pytest.mark.parametrize(
    "alphabet, encoding, words, is_contrast",
    [
        ("GB18030", "gb18030", "胸部增强", True),
        ("GB18030", "gb18030", "胸部平扫", False),
        ("GBK", "gbk", "胸部增强", True),
        ("\\ISO 2022 IR 87", "iso2022_jp", "造影", True),
        ("\\ISO 2022 IR 149", "euc_kr", "조영", True),
        ("ISO_IR 144", "iso8859_5", "с контрастом", True),
        ("ISO_IR 192", "utf-8", "胸部增强", True),
        ("ISO_IR 100", "utf-8", "胸部增强", True),
        ("ISO_IR 100", "latin-1", "injecté", True),
    ],
)
def test_words_are_read_in_the_alphabet_that_the_header_names(
    alphabet, encoding, words, is_contrast
):
    ds = Dataset()
    ds.add_new("SpecificCharacterSet", "LO", alphabet)
    ds.add_new("SeriesDescription", "UN", words.encode(encoding))
    assert has_contrast(reread(ds)) == is_contrast


def reread(ds):
    """A data set as it comes from a file: values in bytes."""
    held = io.BytesIO()
    dcmwrite(held, ds, implicit_vr=False, little_endian=True)
    held.seek(0)
    return dcmread(held, force=True)
