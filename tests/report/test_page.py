import re
from html.parser import HTMLParser

import pytest

from covidctnet.classes import CHEST_CT
from covidctnet.evidence import LesionVolume, Region, SliceScores
from covidctnet.report import Results
from covidctnet.volume import SYNTHETIC_NOTE
from tests.report.answers import AStudy, an_info, answer, images, refusal

SYNTHETIC = "only ever seen synthetic patients"


class Page(HTMLParser):
    """Every tag with its attributes; checks that tags close in their order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def page(tmp_path):
    """Writes results; returns the page's text."""

    def page(*outcomes, model=None):
        results = Results(tmp_path / "out")
        results.start(model or an_info())
        with results:
            for outcome in outcomes:
                results.add(AStudy(id=outcome.study), outcome)
        text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
        Page(text)
        return text

    return page


def rows(text):
    return re.findall(r'<tr class="study .*?</tr>', text, re.DOTALL)


def test_a_page_stands_alone_offline(page):
    text = page(answer(evidence=images()), refusal("b"))
    for tag, attributes in Page(text).tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name, "")
            assert not value or value.startswith(("data:image/webp;base64,", "#"))
    assert not re.search(r"https?:|url\(|@import", text)
    assert "default-src 'none'" in text


def test_research_use_only_is_the_first_thing_on_every_page(page):
    for text in (page(), page(answer())):
        words = (word.strip() for word in Page(text[text.index("<body>") : -8]).texts)
        assert next(filter(None, words)) == "Research use only. Not a medical device."


@pytest.mark.parametrize("synthetic", [True, False])
def test_weights_that_saw_synthetic_patients_only_are_told_at_the_top(page, synthetic):
    text = page(answer(), model=an_info(caveat=SYNTHETIC if synthetic else ""))
    assert (SYNTHETIC in text) == synthetic
    if synthetic:
        assert text.index(SYNTHETIC) < text.index('id="answers"')


def test_one_study_answered_by_synthetic_weights_is_enough_for_the_warning(tmp_path):
    first, second = an_info(caveat=SYNTHETIC), an_info(digest="ba9876543210")
    for study, model in (("a", first), ("b", second)):
        with Results(tmp_path / "out") as results:
            results.start(model)
            results.add(AStudy(id=study), answer(study))
    text = (tmp_path / "out" / "index.html").read_text()
    assert SYNTHETIC in text
    assert second.digest in text


def test_a_row_a_study_with_slices_label_and_a_bar_a_class(page):
    text = page(answer("a", evidence=images()), answer("b", 0.1, 0.1, 0.8))
    first, second = rows(text)
    assert 'src="data:image/webp;base64,' in first
    assert "z = −200, −190, −180 mm" in first
    assert re.findall(r"<dt>(.*?)</dt>", first) == ["Covid-19", "CAP", "Control"]
    assert re.findall(r"width:([\d.]+)%", first) == ["70.0", "10.0", "20.0"]
    assert "No picture was kept." in second
    assert '<div class="label cap">CAP</div>' in second


def test_failures_are_listed_by_study_with_their_reason(page):
    failed = refusal("c0ffee00c1d2", "the program failed with ValueError", status="failed")
    text = page(answer("a"), refusal("deadbeef0123"), failed)
    reasons = text[text.index('<h2 id="unanswered">') :]
    for words in ("deadbeef0123", "SLICE_GAP", "refused", "3 gaps in 212 slices"):
        assert words in reasons
    for words in ("c0ffee00c1d2", "failed", "ValueError"):
        assert words in reasons
    assert 'href="#unanswered">2 without an answer' in text
    assert len(rows(text)) == 1


def test_a_flag_is_told_in_words_and_an_unknown_one_as_it_is(page):
    (row,) = rows(page(answer(flags=("lungs_cut", "new_doubt"))))
    assert "Flagged" in row
    assert "The scan cuts off a part of the lungs." in row
    assert "New doubt." in row


def test_contrast_medium_is_told_without_being_a_doubt(page):
    text = page(answer(flags=("contrast",)))
    (row,) = rows(text)
    assert "The scan seems to be taken with contrast medium." in row
    assert "Flagged" not in row and "has-flags" not in row
    assert "flagged (0)" in text


@pytest.mark.parametrize(
    ("probabilities", "texts"),
    [
        ((0.9995, 0.0004, 0.0001), ["&lt; 0.1 %", "&lt; 0.1 %", "&gt; 99.9 %"]),
        ((0.0, 1.0, 0.0), ["&gt; 99.9 %", "&lt; 0.1 %", "&lt; 0.1 %"]),
        ((0.25, 0.25, 0.5), ["25.0 %", "50.0 %", "25.0 %"]),
    ],
)
def test_no_percentage_claims_certainty(page, probabilities, texts):
    assert re.findall(r'class="value">(.*?%)<', page(answer("a", *probabilities))) == texts


def test_no_path_name_or_date_is_on_the_page(page):
    text = page(
        answer("a", evidence=images(), notes=("/inbox/DOE_JANE_1961 was read",)),
        refusal("b", message="cannot read /inbox/DOE_JANE_1961"),
    )
    for private in ("inbox", "DOE", "JANE", "1961"):
        assert private not in text
    assert not re.search(r"20\d\d-\d\d-\d\d", text)


def test_words_from_outside_are_text_and_never_markup(page):
    text = page(
        refusal("<b>", message='<script>alert("1")</script>'), answer("<i>", flags=("<u>",))
    )
    assert "<script>" not in text
    assert not {"b", "i", "u"} & {tag for tag, _ in Page(text).tags}


def test_an_empty_page_says_so(page):
    text = page()
    assert "to 0 studies" in text
    assert not rows(text)
    assert 'id="unanswered"' not in text


def test_pictures_beyond_the_page_s_room_lie_beside_it(page, tmp_path, monkeypatch):
    monkeypatch.setattr("covidctnet.report.page.EMBEDDED_BYTES", 0)
    (row,) = rows(page(answer("a", evidence=images())))
    (source,) = re.findall(r'src="(.*?)"', row)
    assert (tmp_path / "out" / source).is_file()


def test_a_picture_that_is_gone_costs_the_picture_only(page, tmp_path):
    page(answer("a", evidence=images()))
    for picture in (tmp_path / "out" / "studies").glob("*.webp"):
        picture.unlink()
    first, second = rows(page(answer("b", evidence=images())))
    assert "No picture was kept." in first
    assert "data:image/webp" in second


def test_a_phantom_is_called_one_in_its_row(page):
    phantom, patient = rows(page(answer("a", notes=(SYNTHETIC_NOTE,)), answer("b")))
    assert "Synthetic patient (phantom)" in phantom
    assert "phantom" not in patient


def test_the_legend_has_the_window_of_the_pictures(page):
    text = page(answer("a", evidence=images(window_hu=(-900.0, 1100.0))))
    assert "1.0 = 2000 HU" in text and "≥ +500 HU" in text
    assert "−900 HU is black, 1100 HU white" in text
    assert "−1000 HU" not in text


def test_a_page_without_residuals_explains_none(page):
    text = page(answer("a", evidence=(SliceScores((0.2, 0.7), (-10.0, -5.0), "cap"),)))
    assert "Score of 2 slices for cap" in text and "<svg" in text
    for words in ("Residual", "Attention", "Affected lung"):
        assert words not in text


def test_an_abstention_shows_the_labels_that_are_left(page):
    open_set = (CHEST_CT.COVID19, CHEST_CT.CAP)
    (row,) = rows(page(answer(prediction_set=open_set)))
    assert "Covid-19 or CAP" in row
    assert "Abstained: no label alone is sure enough." in row


def test_the_lesion_volume_is_a_table_of_thirds(page):
    regions = tuple(
        Region(lung, third, 500.0, 25.0 if (lung, third) == ("left", "lower") else 0.0)
        for lung in ("right", "left")
        for third in ("upper", "middle", "lower")
    )
    text = page(answer(evidence=(LesionVolume(0.04, regions),)))
    assert "Affected: 0.8 % of the lungs, 25 of 3000 ml" in text
    assert "<td>0.0 %</td><td>5.0 %</td>" in text
