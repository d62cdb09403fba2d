"""A real browser without a window, for tests of pages."""

import shutil
import time
from contextlib import contextmanager

import pytest

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
WHY_NOT = None if DRIVER and BROWSER else "chromium and chromedriver are not installed"
WAIT_S = 120


@contextmanager
def open_browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    words = ("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--window-size=1300,1000")
    for word in (*words, "--enable-unsafe-swiftshader"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(DRIVER))
    try:
        yield browser
    finally:
        browser.quit()


def resize(browser, width, height=1000):
    """Give the page a size; windows have a least one of their own."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def beyond(browser):
    """Pixels by which the page is wider than what is seen of it."""
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return browser.execute_script(f"return {wide}")


def wait(read):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if found := read():
            return found
        time.sleep(0.1)
    raise AssertionError("it does not come")
