"""A region that holds the lungs of a picture, for the control without lungs."""

import numpy as np
import pytest

from covidctnet.slicewise.picture_lungs import lung_region, without_lungs
from covidctnet.slicewise.window import hu_to_8_bit
from tests.volumes import a_chest


def body(*, margin=6):
    """Two dark lungs with a bright lesion at the edge of one, in a bright body."""
    grey = np.full((120, 160), 220, np.uint8)
    lungs = np.zeros(grey.shape, bool)
    lungs[30:90, 25:65] = lungs[30:90, 95:135] = True
    grey[lungs] = 40
    grey[50:60, 55:65] = 200
    if margin:
        grey[:margin] = grey[-margin:] = grey[:, :margin] = grey[:, -margin:] = 0
    return grey, lungs


@pytest.mark.parametrize("margin", [0, 6])
def test_all_of_the_lungs_and_their_lesions_are_within(margin):
    grey, lungs = body(margin=margin)
    region = lung_region(grey)
    inner = np.zeros_like(lungs)
    inner[32:88, 27:63] = inner[32:88, 97:133] = True  # a pixel or two of the edge may be missed
    assert region[inner].all()
    assert region.mean() < 0.5 and not region[:25].any()


def test_lungs_that_touch_the_border_are_found_too():
    grey, lungs = body(margin=0)
    cut = grey[28:92, 30:130]
    region = lung_region(cut)
    assert region[lungs[28:92, 30:130]].mean() > 0.97


def test_a_lung_that_touches_the_border_is_blacked_out_with_the_other():
    grey, lungs = body(margin=0)
    cut, inner = grey[:, 25:], lungs[:, 25:]
    assert (without_lungs(cut)[inner] == 0).mean() > 0.97


def test_lungs_of_a_scan_are_blacked_out():
    volume, lungs = a_chest((9, 100, 120), 3.0)
    grey = hu_to_8_bit(volume.array[4])
    shown = without_lungs(grey)
    assert (shown[lungs[4]] == 0).mean() > 0.97
    changed = shown != grey
    assert changed.mean() < 0.6 and not changed[:8].any()


def test_where_no_lungs_are_found_the_middle_is_blacked_out():
    grey = np.random.default_rng(0).integers(100, 255, (60, 80)).astype(np.uint8)
    for one in (grey, np.full_like(grey, 90)):
        assert lung_region(one) is None or (without_lungs(one) == 0).mean() > 0.3
    flat = without_lungs(np.full_like(grey, 90))
    assert (flat[6:54, 8:72] == 0).all() and (flat[:6] == 90).all()
