"""The static page in a real browser, opened from the disk: narrow, on paper, with its viewer."""

import base64
import re

import pytest

from covidctnet.evidence import LesionVolume, Region
from covidctnet.io import read_study
from covidctnet.io.discover import find_studies
from covidctnet.report import Results
from covidctnet.run.classify import classify_into
from tests.browser import WHY_NOT, beyond, open_browser, resize, wait
from tests.dicom_out.answers import INFO, an_answer
from tests.io import series
from tests.report.answers import AStudy, an_info, answer, images

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
POISON = "<img src=x onerror=document.title='run'>"


class Seer:
    """Answers at once, with seeded evidence."""

    info = INFO

    def prepare(self, volume):
        return volume

    def __call__(self, volume, *, keep="numbers"):
        return an_answer(volume)


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")

    def name(data, index):
        data.StudyDescription = data.SeriesDescription = POISON
        data.PatientName = "<script>document.title^run</script>"

    series.write(folder / "scans" / "one", change=name)
    classify_into(
        Results(folder / "out"),
        [folder / "scans"],
        Seer(),
        outputs=("nifti", "view"),
        limits=None,
    )
    return folder / "out"


def test_the_scan_is_shown_from_the_disk_at_the_height_that_was_asked_for(browser, results):
    resize(browser, 1300)
    browser.get((results / "index.html").as_uri())
    height = browser.find_element("css selector", "button.height")
    asked = float(height.get_attribute("data-z"))
    height.click()
    status = "return document.querySelector('.viewer [role=status]')?.textContent || ''"
    shown = wait(lambda: re.match(r"z = (-?\d+) mm.*HU", browser.execute_script(status)))
    (study,) = find_studies(results.parent / "scans")
    spacing = read_study(study).spacing[0]
    drawn = "return document.querySelector('.viewer').dataset.volumes"
    assert (
        wait(lambda: browser.execute_script(drawn)) == "5"
    )  # scan, lungs, lesions, regions, residual
    # The nearest voxel of the copy.
    wait(lambda: abs(float(re.match(r"z = (-?\d+)", browser.execute_script(status))[1]) - asked)
         <= spacing / 2 + 1)  # fmt: skip
    assert shown
    for width in (1000, 390, 1300):
        resize(browser, width)
        assert beyond(browser) == 0
    # Words of a header are text, and nothing of them ran.
    assert browser.title.startswith("Chest imaging")
    assert browser.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []


def test_a_copy_that_is_gone_is_said_so(browser, results, tmp_path):
    page = tmp_path / "index.html"
    page.write_text((results / "index.html").read_text(encoding="utf-8"), encoding="utf-8")
    browser.get(page.as_uri())
    browser.find_element("css selector", "button.view").click()
    told = "return document.querySelector('.viewer').textContent"
    assert "is not there. Keep the folder" in wait(lambda: browser.execute_script(told))
    browser.get_log("browser")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A page of several studies with lesions of the right and the left lung."""
    folder = tmp_path_factory.mktemp("table")
    regions = tuple(
        Region(lung, third, 500.0, 25.0)
        for lung in ("right", "left")
        for third in ("upper", "middle", "lower")
    )
    with Results(folder) as results:
        results.start(an_info())
        for number in range(12):
            evidence = (*images(shape=(96 + number, 96)), LesionVolume(0.04, regions))
            results.add(AStudy(id=f"{number:012x}"), answer(f"{number:012x}", evidence=evidence))
    return folder / "index.html"


HEADS = """return [...document.querySelectorAll('.lesions thead th')].map((head) => {
  const box = head.getBoundingClientRect(), cells = head.closest('table').tBodies[0].rows[0].cells;
  const below = cells[head.cellIndex].getBoundingClientRect();
  return [head.textContent, box.width > 10 && box.height > 8, Math.abs(box.left - below.left) < 3,
    getComputedStyle(head.closest('thead')).clipPath];
})"""


@pytest.mark.parametrize("medium", ["screen", "print"])
def test_right_and_left_keep_their_heads_where_the_page_is_narrow(medium, browser, table):
    resize(browser, 390)
    browser.get(table.as_uri())
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium})
    heads = browser.execute_script(HEADS)
    assert heads == [["right", True, True, "none"], ["left", True, True, "none"]] * 12
    assert beyond(browser) == 0
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_page_prints_whole(browser, table):
    resize(browser, 1300)
    browser.get(table.as_uri())
    paper = browser.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    content = base64.b64decode(paper["data"])
    # Pictures that were never on the screen too: each study has one of its own.
    assert len(re.findall(rb"/Subtype /Image\b", content)) >= 12
    assert len(re.findall(rb"/Type /Page\b", content)) > 2
