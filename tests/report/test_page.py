import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

import covidctnet.report
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
    first, second = an_info(caveat=SYNTHETIC), an_info()
    for study, model in (("a", first), ("b", second)):
        with Results(tmp_path / "out") as results:
            results.start(model)
            results.add(AStudy(id=study), answer(study))
    text = (tmp_path / "out" / "index.html").read_text()
    assert SYNTHETIC in text


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


class Many:
    """Studies of two pages and a half: answers, an abstention and refusals."""

    def __init__(self, root):
        self.folder = root / "many"
        with Results(self.folder) as results:
            results.start(an_info())
            for number in range(230):
                results.add(AStudy(id=f"{number:012x}"), self.outcome(f"{number:012x}", number))
        self.first = (self.folder / "index.html").read_text(encoding="utf-8")
        self.pages = [self.first] + [
            (self.folder / "pages" / f"{number}.html").read_text(encoding="utf-8")
            for number in (2, 3)
        ]

    def outcome(self, study, number):
        if number % 10 == 9:
            return refusal(study, message="a gap </script> & more")
        return answer(study, evidence=images() if number in (0, 150) else ())


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return Many(tmp_path_factory.mktemp("many"))


def listed(text):
    return json.loads(text.partition('id="list-data">')[2].partition("</script>")[0])


def test_every_study_is_on_one_page_of_a_hundred_under_its_anchor(many):
    anchors = [re.findall(r'id="study-(.*?)"', page) for page in many.pages]
    assert [len(ids) for ids in anchors] == [100, 100, 30]
    assert len({study for ids in anchors for study in ids}) == 230
    where = {study: number for number, ids in enumerate(anchors, 1) for study in ids}
    assert {row[0]: row[6] for row in listed(many.first)} == where


def test_pages_are_whole_and_stand_under_the_notice_with_links_to_their_neighbours(many):
    for page in many.pages:
        Page(page.replace("<wbr>", ""))
        words = (word.strip() for word in Page(page[page.index("<body>") : -8]).texts)
        assert next(filter(None, words)) == "Research use only. Not a medical device."
    first, second, third = (re.findall(r'href="([^"#]+)', page) for page in many.pages)
    assert set(first) == {"pages/2.html", "pages/3.html"}
    assert set(second) == {"../index.html", "3.html"}
    assert set(third) == {"../index.html", "2.html"}
    for page in many.pages[1:]:
        assert "How to read" not in page
        assert "<script" not in page


def test_pictures_of_later_pages_lie_beside_them(many):
    (source,) = re.findall(r'<img src="(.*?)"', many.pages[1])
    assert (many.folder / "pages" / source).resolve().is_file()


def test_the_script_of_the_list_is_the_only_one_that_the_page_allows(many):
    (digest,) = re.findall(r"script-src 'sha256-(.*?)'", many.first)
    script = many.first.rpartition("<script>")[2].partition("</script>")[0]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == digest
    assert "</script>" not in json.dumps(listed(many.first))


def test_a_page_is_written_again_only_when_something_on_it_is_new(many, tmp_path):
    folder = shutil.copytree(many.folder, tmp_path / "again")
    with Results(folder) as results:
        results.start(an_info())
        before = {p.name: p.stat().st_mtime_ns for p in (folder / "pages").iterdir()}
        results.add(AStudy(id=f"{229:012x}"), refusal(f"{229:012x}", "other words"))
    after = {p.name: p.stat().st_mtime_ns for p in (folder / "pages").iterdir()}
    assert [name for name in sorted(before) if before[name] != after[name]] == ["3.html"]


def test_pages_that_are_no_longer_needed_go(many, tmp_path):
    folder = shutil.copytree(many.folder, tmp_path / "fewer")
    with Results(folder) as results:
        results.start(an_info())
        left = [record.study for record in results.records[:150]]
        assert results.leave_out_gone(left, [AStudy().path.parent]) == 80
    assert [path.name for path in (folder / "pages").iterdir()] == ["2.html"]


def test_a_hundred_studies_are_one_page_without_a_list_or_a_script(page):
    text = page(answer("a"), refusal("b"))
    assert "<script" not in text and "script-src" not in text and "<nav" not in text


LIST_TEST = """
const fs = require("fs"), vm = require("vm");
const [page, script] = [fs.readFileSync(process.argv[2], "utf8"), fs.readFileSync(process.argv[3])];
class Element {
  constructor(tag) { Object.assign(this, {tag, children: [], on: {}, value: "", textContent: ""}); }
  append(...more) { this.children.push(...more); }
  replaceChildren(...more) { this.children = more; }
  addEventListener(name, act) { this.on[name] = act; }
  removeAttribute() {}
}
const byId = {}, buttons = [0, 1, 2, 3, 4, 5].map(() => new Element("button"));
const data = page.split('id="list-data">')[1].split("</script>")[0];
const document = {
  getElementById: (id) => (byId[id] ??= new Element(id)),
  createElement: (tag) => new Element(tag),
  querySelectorAll: (what) =>
    (what.endsWith("button") ? buttons : buttons.map(() => new Element("th"))),
};
document.getElementById("list-data").textContent = data;
vm.runInNewContext(script, {document, JSON, Math, console});
const shown = () => byId["list-rows"].children.map((row) => [
  row.children[0].children[0].href, ...row.children.slice(1).map((cell) => cell.textContent)]);
const out = {start: shown(), where: byId["list-where"].textContent};
byId["list-after"].on.click(); byId["list-after"].on.click();
out.last = shown();
byId["list-search"].value = "SLICE_gap refused"; byId["list-search"].on.input();
out.search = shown();
byId["list-search"].value = "nothing like it"; byId["list-search"].on.input();
out.none = byId["list-where"].textContent;
byId["list-search"].value = ""; byId["list-status"].value = "refused";
byId["list-status"].on.change();
out.status = shown().length;
byId["list-status"].value = ""; byId["list-status"].on.change();
buttons[0].on.click(); buttons[0].on.click();
out.down = shown();
console.log(JSON.stringify(out));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no JavaScript engine on this machine")
def test_the_list_searches_filters_and_sorts(many, tmp_path):
    (tmp_path / "list.test.js").write_text(LIST_TEST)
    script = Path(covidctnet.report.__file__).with_name("list.js")
    command = ["node", tmp_path / "list.test.js", many.folder / "index.html", script]
    out = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (len(out["start"]), out["where"]) == (100, "1 to 100 of 230")
    assert out["start"][0] == ["#study-000000000000", "classified", "Covid-19", "70.0 %", "", "0.0"]
    assert len(out["last"]) == 30
    assert out["last"][-1] == [
        "pages/3.html#study-0000000000e5",
        *("refused", "", "", "SLICE_GAP", "0.0"),
    ]
    assert len(out["search"]) == out["status"] == 23
    assert out["none"] == "no study matches"
    assert out["down"][0][0] == "pages/3.html#study-0000000000e5"


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


def view_of_a(study="a75be42d5098"):
    return {"view": {"files": [f"view/{study}/volumes.js"], "code": "", "message": ""}}


class Viewed:
    """Two pages, each with a study whose scan can be looked at."""

    def __init__(self, folder):
        self.folder = folder
        with Results(folder) as results:
            results.start(an_info())
            for number in range(102):
                study = f"{number:012x}"
                has_view = number in (0, 101)
                results.add(
                    AStudy(id=study),
                    answer(study, evidence=images() if has_view else ()),
                    outputs=view_of_a(study) if has_view else {},
                )
        self.pages = [
            (folder / name).read_text(encoding="utf-8") for name in ("index.html", "pages/2.html")
        ]


@pytest.fixture(scope="module")
def viewed(tmp_path_factory):
    return Viewed(tmp_path_factory.mktemp("viewed"))


def test_a_scan_that_lies_beside_the_page_can_be_looked_at(viewed):
    for page, folder, study in zip(
        viewed.pages, (viewed.folder, viewed.folder / "pages"), (0, 101), strict=True
    ):
        Page(page)
        (button,) = (a for tag, a in Page(page).tags if tag == "button" and "data-volumes" in a)
        where = (folder / button["data-volumes"]).resolve()
        assert where == viewed.folder / f"view/{study:012x}/volumes.js"
        heights = [a["data-z"] for tag, a in Page(page).tags if "data-z" in a]
        assert heights == ["-200.0", "-190.0", "-180.0"]
        (viewer,) = re.findall(r'<main data-viewer="(.*?)">', page)
        assert (folder / viewer / "niivue.umd.js").is_file()
        assert (folder / viewer / "niivue.LICENSE").is_file()


def test_a_page_with_scans_runs_its_own_scripts_and_files_beside_it_alone(viewed):
    for page in viewed.pages:
        (sources,) = re.findall(r"script-src (.*?)\"", page)
        scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        digests = [
            base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            for script in scripts
        ]
        assert sources == " ".join([*(f"'sha256-{one}'" for one in digests), "'self'", "file:"])
        assert "unsafe" not in sources and "connect-src" not in page
        assert not re.search(r"https?:|url\(|@import", page)
    assert len(re.findall("<script>", viewed.pages[0])) == 2  # with the list of all studies


def test_pages_without_scans_have_no_viewer_beside_them(page, tmp_path):
    page(answer("a", evidence=images()))
    assert not (tmp_path / "out" / "viewer").exists()


def test_tables_within_a_row_keep_their_heads_where_the_page_is_narrow(page):
    text = page(answer())
    narrow = text[text.index("@media (max-width: 1100px)") :]
    assert not re.search(r"\.studies (thead|tbody|tr|td|th)", narrow)
