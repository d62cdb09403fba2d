"""How far the colours of classes are apart for people who see no green or no red."""

import itertools
import re
from importlib.resources import files

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from covidctnet.report.colours import LIGHT

# What is seen of linear red, green and blue. Source: Machado, Oliveira and Fernandes (2009),
# severity 1.
SEEN = {
    "by most": np.eye(3),
    "without green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "without red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


def seen(colour, by):
    values = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(SEEN[by] @ linear, 0, 1)
    back = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(back[None, None])[0, 0]


def least_difference(colours, by):
    pairs = itertools.combinations([seen(colour, by) for colour in colours], 2)
    return min(float(deltaE_ciede2000(*pair)) for pair in pairs)


def sets_of(page):
    """The colours of classes of a page: light, dark, in print."""
    text = files("covidctnet").joinpath(page).read_text(encoding="utf-8")
    found = re.findall(r"--class-(\d): (#[0-9a-f]{6});", text)
    colours = [dict(found[k : k + 4]) for k in range(0, len(found), 4)]
    return [tuple(one[str(place)] for place in range(4)) for one in colours]


@pytest.mark.parametrize("by", list(SEEN))
def test_classes_of_figures_are_apart(by):
    assert least_difference(LIGHT, by) > 18


@pytest.mark.parametrize("by", list(SEEN))
@pytest.mark.parametrize("page", ["report/evaluation.html", "report/page.html"])
def test_classes_of_pages_are_apart_in_light_in_the_dark_and_in_print(page, by):
    sets = sets_of(page)
    assert len(sets) == 3
    assert sets[0] == sets[2] == LIGHT
    for colours in sets:
        assert least_difference(colours, by) > 18


@pytest.mark.parametrize("by", list(SEEN))
def test_classes_of_the_web_page_are_those_of_the_reports(by):
    assert sets_of("serve/web/static/page.css")[0] == LIGHT
    assert all(least_difference(c, by) > 18 for c in sets_of("serve/web/static/page.css"))


@pytest.mark.parametrize("by", list(SEEN))
def test_what_is_drawn_over_a_scan_is_apart(by):
    viewer = files("covidctnet").joinpath("report/viewer")
    script = viewer.joinpath("viewer.js").read_text(encoding="utf-8")
    library = viewer.joinpath("niivue.umd.js").read_text(encoding="utf-8")
    colours = []
    for layer in ("lesions", "lungs", "regions"):
        name = re.search(rf'{layer}: \{{ title: "\w+", colormap: "(\w+)"', script)[1]
        parts = re.search(rf"[{{,]{name}:\{{R:\[(.*?)\],G:\[(.*?)\],B:\[(.*?)\]", library).groups()
        # A marked voxel has the last colour.
        colours.append("#" + "".join(f"{int(part.split(',')[-1]):02x}" for part in parts))
    assert least_difference(colours, by) > 18


def test_the_measure_finds_the_purple_that_looks_blue():
    assert least_difference(("#00659f", "#7b3f9d"), "without green") < 3
