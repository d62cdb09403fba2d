"""How much of a lesion lies outside the lungs that the networks look at."""

import numpy as np
import pytest

from covidctnet.chest.gate import NO_CHEST, ChestScan
from covidctnet.volume import Source, Volume
from pipelines.strangers.outside import lesions_of, render


def box(shape, *slices):
    mask = np.zeros(shape, dtype=bool)
    mask[slices] = True
    return mask


@pytest.fixture
def lesions():
    """A lesion of 8 ml deep in the lung, half masked; one of 4 ml at its border, cut off."""
    shape = (30, 40, 40)
    volume = Volume(np.zeros(shape, np.int16), np.diag([2, 2, 2, 1.0]), "HU", Source("s"))
    lungs = box(shape, slice(0, 30), slice(5, 35), slice(5, 35))
    deep = box(shape, slice(15, 25), slice(15, 25), slice(15, 25))
    border = box(shape, slice(0, 5), slice(5, 15), slice(5, 15))
    affine = np.diag([2, 2, 2, 1.0])
    affine[:3, 3] = [20, 0, 0]  # the crop begins ten slices higher
    unit = Volume(np.zeros((20, 40, 40), np.float32), affine, "unit", Source("s"), (), (-1000, 400))
    half = box((20, 40, 40), slice(0, 10), slice(0, 40), slice(0, 40))
    scans = {
        "network": ChestScan(unit, np.ones(unit.shape, bool), NO_CHEST),
        "density alone": ChestScan(unit, half, NO_CHEST),
    }
    return list(lesions_of("s", "drawn", volume, deep | border, lungs, scans))


def test_what_the_mask_or_the_crop_leaves_out_is_outside(lesions):
    border, deep = sorted(lesions, key=lambda one: one.ml)
    assert (border.ml, deep.ml) == pytest.approx((4.0, 8.0))
    assert border.outside_ml == pytest.approx({"network": 4.0, "density alone": 4.0})
    assert deep.outside_ml == pytest.approx({"network": 0.0, "density alone": 4.0})


def test_only_lesions_near_the_border_of_the_lungs_are_pleural(lesions):
    assert [one.is_pleural for one in sorted(lesions, key=lambda one: one.ml)] == [True, False]


def test_the_page_gives_shares_by_size_and_by_the_pleura(lesions):
    page = render(lesions)
    assert "| all | 1 | 2 | 12 | 33.3% (33.3% to 33.3%) | 66.7% (66.7% to 66.7%) |" in page
    assert "| within 3 mm of the pleura | 1 | 1 | 4 | 100.0%" in page
    assert "below 1 ml" not in page
