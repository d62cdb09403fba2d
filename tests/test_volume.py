import numpy as np
import pytest

from covidctnet.errors import StudyError
from covidctnet.volume import Source, Volume
from tests.volumes import a_volume


def test_spacing_follows_slice_row_column():
    assert a_volume(spacing=(2.5, 0.8, 0.7)).spacing == pytest.approx((2.5, 0.8, 0.7))


def test_voxels_and_affine_cannot_be_written():
    volume = a_volume()
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 1


def test_wrapping_an_array_does_not_lock_the_callers_array():
    array = np.zeros((2, 3, 4), np.int16)
    Volume(array, np.eye(4), "HU", Source("s"))
    array[0, 0, 0] = 5
    assert array.flags.writeable


def test_then_appends_a_step_and_keeps_the_rest():
    volume = a_volume()
    later = volume.then("doubled", volume.array * 2)
    assert later.steps == ("doubled",)
    assert later.source is volume.source
    assert volume.steps == ()


def test_wrong_units_are_refused_by_name():
    with pytest.raises(StudyError, match=r"WRONG_UNITS.*denoise expects.*unit, got HU") as caught:
        a_volume().expect("unit", by="denoise")
    assert caught.value.code == "WRONG_UNITS"


def test_a_volume_knows_what_its_numbers_are_in_hu():
    volume = a_volume()
    assert volume.scale_hu == (0.0, 1.0)
    unit = volume.then("windowed", volume.array, units="unit", window_hu=(-1000.0, 400.0))
    assert unit.scale_hu == (-1000.0, 400.0)
    residual = unit.then("less itself", unit.array, units="residual")
    assert residual.scale_hu == (0.0, 1400.0)


@pytest.mark.parametrize(("units", "window"), [("HU", (-1000, 400)), ("unit", None)])
def test_a_window_is_for_numbers_that_are_no_hu(units, window):
    with pytest.raises(ValueError, match="expected a window for a volume in unit or residual"):
        a_volume().then("x", a_volume().array, units=units, window_hu=window)


@pytest.mark.parametrize(
    ("array", "affine", "message"),
    [
        (np.zeros((3, 4)), np.eye(4), "slice, row, column"),
        (np.zeros((0, 4, 4)), np.eye(4), "slice, row, column"),
        (np.zeros((3, 4, 5)), np.zeros((4, 4)), "invertible"),
        (np.zeros((3, 4, 5)), np.full((4, 4), np.nan), "finite"),
    ],
)
def test_a_volume_without_voxels_or_geometry_cannot_be(array, affine, message):
    with pytest.raises(ValueError, match=message):
        Volume(array, affine, "HU", Source("s"))
