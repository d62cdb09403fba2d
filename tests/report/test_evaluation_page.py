import re

import numpy as np
import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.evaluation.assess import assess
from covidctnet.registry import find_system
from covidctnet.report.evaluation_page import render_evaluation
from covidctnet.report.provenance import provenance_of
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import simulated
from tests.report.answers import an_info
from tests.report.test_page import Page

pytestmark = pytest.mark.usefixtures(few_draws.__name__)
CAVEAT = "These weights have only ever seen <phantoms>."


def page(cases, *, known=frozenset({"amber"}), caveat=CAVEAT):
    found = assess(cases, rng=np.random.default_rng(0), known_sites=known)
    return render_evaluation(
        found, provenance=provenance_of(an_info()), caveat=caveat, seen="phantoms"
    ).decode()


def test_the_page_stands_alone_and_runs_nothing():
    text = page(simulated(24))
    assert not re.search(r"<(script|link|img|iframe)\b", text)
    assert not re.search(r"(?:src|href)=\"(?!#)", text)
    assert "default-src 'none'" in text
    assert Page(text).tags


def test_it_says_what_it_is_and_what_must_be_said_beside():
    text = page(simulated(24))
    assert "Research use only. Not a medical device." in text
    assert "These weights have only ever seen &lt;phantoms&gt;." in text
    assert "24 studies with an answer" in text
    assert "phantoms" in text


def test_failures_are_there_by_short_id():
    text = page(simulated(12, failures=2))
    assert "fa11ed000000" in text
    assert "SLICE_GAP" in text


def test_every_chart_tells_itself_to_who_cannot_see_it():
    text = page(simulated(24))
    labels = re.findall(r'<svg[^>]*aria-label="([^"]+)"', text)
    assert len(labels) >= 10
    assert any(label.startswith("ROC curve of Covid-19") for label in labels)
    assert any(label.startswith("Confusion matrix") for label in labels)


def test_the_paper_stands_beside_with_its_own_n():
    text = page(simulated(24))
    assert "CovidCTNet paper, hold-out" in text
    assert "n = 24" in text


def test_a_missing_class_and_a_single_patient_are_told_not_made_up():
    two = page(simulated(12, labels=(CHEST_CT.CONTROL, CHEST_CT.CAP), failures=0))
    assert "No study of Covid-19 has an answer" in two
    one = page(simulated(1, failures=0))
    assert "1 study with an answer" in one
    for text in (two, one):
        assert "not estimable" in text
        assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", text.lower())


def test_another_paper_stands_beside_with_intervals_of_its_counts():
    found = assess(simulated(24), rng=np.random.default_rng(0), known_sites=frozenset())
    published = find_system("deeptek_unet").published
    text = render_evaluation(found, provenance={}, caveat="", published=published).decode()
    beside = text[text.index("Beside the published system") : text.index("Each class against")]
    assert "These weights, on these cases" in beside and "arXiv:2006.13212: scans" in beside
    assert "0.823 to 0.994" in beside and "n = 28" in beside
    assert "radiologists" not in beside and "CovidCTNet paper" not in beside
