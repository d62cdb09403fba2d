import numpy as np
import pytest

from covidctnet.errors import UsageError
from covidctnet.slicewise.resize import grid_of, resize
from covidctnet.systems.xray_vgg16.classes import CLASSES, TASKS
from covidctnet.systems.xray_vgg16.published import PUBLISHED
from covidctnet.systems.xray_vgg16.settings import RadiographSettings


def test_a_radiograph_is_made_as_wide_as_high_or_keeps_its_shape():
    grey = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (40, 1))
    stretched = RadiographSettings(size=40).picture(grey)
    assert stretched.shape == (40, 40)
    assert stretched[0, 0] < 10 and stretched[0, -1] > 245 and (stretched == stretched[0]).all()
    padded = RadiographSettings(size=40, fit="pad").picture(grey)
    assert not padded[:10].any() and padded[20].any()


def test_pixels_of_a_stretched_picture_lie_where_they_come_from():
    grid = grid_of(80, 40, 20, fit="stretch")
    corners = np.array([[0, -0.5, -0.5, 1], [0, 19.5, 19.5, 1]])
    assert (corners @ grid.T)[:, 1:3].tolist() == [[-0.5, -0.5], [39.5, 79.5]]
    assert resize(np.zeros((40, 80), np.uint8), 20, fit="stretch").shape == (20, 20)


def test_the_control_has_no_lungs():
    grey = np.full((80, 80), 200, np.uint8)
    grey[20:60, 10:35] = grey[20:60, 45:70] = 40
    black = RadiographSettings(size=80, lungs_blacked_out=True).picture(grey)
    assert not black[25:55, 15:30].any() and black[2, 2] == 200


def test_impossible_settings_are_refused():
    for bad in ({"size": 8}, {"size": 10**6}, {"fit": "squash"}):
        with pytest.raises(UsageError, match="expected a size of 32 to 2048 and crop, pad"):
            RadiographSettings(**bad)
    with pytest.raises(UsageError, match="expected size, fit"):
        RadiographSettings.from_card({"colour": 1})


def test_the_classes_know_the_names_of_the_data_sets_and_of_other_systems():
    for name in ("bacterial_pneumonia", "viral_pneumonia", "Covid-19", "CAP", "PNEUMONIA"):
        assert CLASSES.parse(name).title == "Pneumonia"
    for name in ("NORMAL", "Control", "No finding"):
        assert CLASSES.parse(name).title == "Normal"
        assert TASKS["covid"].parse(name).title == "Non-Covid"
    assert TASKS["covid"].parse("COVID-19").title == "Covid-19"
    assert TASKS["covid"].parse("Other_pneumonia").title == "Non-Covid"


def test_the_published_figures_are_of_sixteen_pictures():
    shares = [one.counts["accuracy"].share for one in PUBLISHED]
    assert shares == [0.8125, 0.9375, 1.0]
    assert {one.counts["accuracy"].of for one in PUBLISHED} == {16}
