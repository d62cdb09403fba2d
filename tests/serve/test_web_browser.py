"""The web page in a real browser: what a person does with it."""

import shutil

import pydicom
import pytest

from tests.browser import WHY_NOT, beyond, open_browser, resize, wait
from tests.serve.test_web_server import served
from tests.small import tiny_weights, write_chest

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

POISON = "<img src=x onerror=document.title='run'>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser with the page open, and a chest to upload as a zip archive."""
    folder = tmp_path_factory.mktemp("web")
    weights = str(tiny_weights(folder / "weights"))
    chest = write_chest(folder / "chest", "one", sick=True)
    for path in chest.rglob("*.dcm"):
        data = pydicom.dcmread(path)
        data.StudyDescription = data.SeriesDescription = POISON
        data.PatientName = "<script>document.title^run</script>"
        data.save_as(path)
        path.rename(path.with_name(f"{POISON} {path.name}"))
    archive = shutil.make_archive(str(folder / "chest"), "zip", chest)
    with served(folder / "state", weights) as (_, port), open_browser() as browser:
        browser.get(f"http://127.0.0.1:{port}/")
        yield browser, archive


def texts(browser, selector):
    return [part.text for part in browser.find_elements("css selector", selector)]


def test_a_scan_is_uploaded_answered_seen_and_removed(page):
    browser, archive = page
    wait(lambda: browser.find_element("id", "drop").is_displayed())
    assert "Not a medical device" in texts(browser, ".notice")[0]
    browser.find_element("id", "files").send_keys(archive)
    wait(lambda: texts(browser, "#jobs .state") == ["Answered"])
    # The results are asked for once the state is there.
    assert len(wait(lambda: texts(browser, "article"))) == 1
    values = [float(text) for text in texts(browser, ".bars .num")]
    assert sum(values) == pytest.approx(1, abs=0.002)
    assert texts(browser, ".bars dt") == ["Control", "Covid-19", "CAP"]
    width = "return document.querySelector('figure img').naturalWidth"
    wait(lambda: browser.execute_script(width) > 100)
    browser.find_element("css selector", "button.height").click()
    drawn = "return document.querySelector('.viewer').dataset.volumes"
    assert wait(lambda: browser.execute_script(drawn)) >= "3"  # the scan, lungs, residual
    assert " HU" in wait(lambda: texts(browser, ".viewer [role=status]")[0])
    before = texts(browser, ".viewer [role=status]")
    browser.find_element("css selector", "canvas").send_keys("\ue013")  # arrow up
    wait(lambda: texts(browser, ".viewer [role=status]") != before)
    browser.find_element("css selector", "canvas").send_keys("2")
    chosen = "return document.querySelector('[aria-label=Window]').value"
    assert browser.execute_script(chosen) == "2"
    resize(browser, 390)
    assert beyond(browser) == 0
    # What is hidden from the mouse is reached by the keyboard.
    focus = "document.getElementById('folder').focus(); return document.activeElement.id"
    assert browser.execute_script(focus) == "folder"
    browser.find_element("css selector", ".remove").click()
    wait(lambda: not texts(browser, "#jobs li"))
    # Words of headers and names of files are text, and nothing of them ran.
    assert browser.title.startswith("covidctnet")
    assert browser.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
