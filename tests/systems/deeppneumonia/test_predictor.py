import numpy as np
import pytest

from covidctnet.errors import StudyError, UsageError
from covidctnet.slice_systems.predictor import PreparedSlices
from covidctnet.systems.deeppneumonia.classes import CLASSES, TASKS
from covidctnet.systems.deeppneumonia.crop import Square
from covidctnet.systems.deeppneumonia.predictor import Scored, _boxes
from covidctnet.systems.deeppneumonia.settings import CropSettings
from covidctnet.volume import Source


def prepared(squares, affine, size=60, shape=(9, 100, 120)):
    count = len(squares)
    return PreparedSlices(
        np.zeros((count, size, size), np.uint8),
        np.stack([square.grid(size) for square in squares]),
        tuple(np.zeros(shape[1:], np.uint8) for _ in squares),
        tuple(range(2, 2 + count)),
        shape,
        affine,
        Source("s"),
        (),
        (),
        {},
    )


def scored(details, boxes):
    return Scored(np.full((len(details), 2), 0.5), np.array(details), np.array(boxes))


def test_a_detail_lies_where_its_crop_was_cut_from_the_scan():
    # A crop of 60 x 60 from a square of 30 x 30: its left upper quarter.
    scan = prepared([Square(10, 20, 30), Square(40, 50, 30)], np.eye(4))
    quarter = [0.0, 0.0, 0.5, 0.5]
    found = scored([[0.9], [0.95]], [[quarter], [[0.5, 0.0, 1.2, 0.5]]])
    (box,) = _boxes(scan, found, 0)
    assert (box.slice, box.score) == (2, pytest.approx(0.9))
    assert (box.top, box.left, box.bottom, box.right) == pytest.approx((10, 20, 25, 35))
    (box,) = _boxes(scan, found, 1)
    # What reaches beyond the crop is cut.
    assert (box.slice, box.bottom) == (3, pytest.approx(70))
    assert (box.top, box.left, box.right) == pytest.approx((55, 50, 65))


def test_no_detail_above_the_threshold_is_an_answer():
    scan = prepared([Square(10, 20, 30)], np.eye(4))
    found = scored([[0.8, 0.3]], [[[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]])
    assert _boxes(scan, found, 0) == []


def lungs_of(count, first, end, size=50):
    lungs = np.zeros((count, size, size), dtype=bool)
    lungs[first:end, 10:40, 8:22] = lungs[first:end, 10:40, 28:42] = True
    return lungs


def test_slices_are_spaced_over_the_lungs_and_those_without_whole_lungs_are_left_out():
    lungs = lungs_of(40, 5, 35)
    settings = CropSettings(slices=15)
    chosen = settings.choose(lungs)
    assert chosen.places == tuple(range(6, 35, 2)) and chosen.notes == ()
    lungs[8, :, 0] = True
    chosen = settings.choose(lungs)
    assert 8 not in chosen.places and len(chosen.places) == 14
    assert chosen.notes == ("slice 9 left out: lungs touch the border",)


def test_over_the_whole_scan_slices_without_lungs_are_left_out_by_name():
    chosen = CropSettings(slices=4, cover="whole").choose(lungs_of(40, 5, 35))
    assert chosen.places == (5, 15, 25)
    assert chosen.notes == ("slice 36 left out: lungs are 0.0% of the slice, expected 4% or more",)


def test_a_scan_without_whole_lungs_is_refused():
    lungs = np.zeros((20, 100, 100), dtype=bool)
    lungs[4:16, 40:50, 40:50] = True
    with pytest.raises(StudyError, match="expected whole lungs in some of 12 slices, got none"):
        CropSettings().choose(lungs)


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="got 16 and 15"):
        CropSettings(size=16)
    with pytest.raises(UsageError, match="got 'lungs' and 'white'"):
        CropSettings(fill="white")


def test_a_pair_of_classes_knows_the_names_of_its_own_classes_alone():
    assert TASKS["bacterial"].parse("Bacterial pneumonia").title == "CAP"
    assert TASKS["healthy"].parse("normal").title == "Control"
    assert TASKS["three"] is CLASSES
    for task in ("bacterial", "healthy"):
        assert TASKS[task].target.title == "Covid-19"
