"""Series that are one scan are joined; phases, other reconstructions and other scans are not."""

import numpy as np
import pytest

from covidctnet import StudyError, read_volume
from tests.io import series
from tests.io.series import a_body

WHOLE = a_body()
COUNT = len(WHOLE)


def write_two(folder, first=20, second=20, *, change=None, one=None, hu=None):
    """Slices up to `first`, and from `second` on as a series of its own numbered from one."""

    def numbered(ds, index):
        ds.InstanceNumber = index + 1
        if one:
            one(ds, index)

    def other(ds, index):
        ds.InstanceNumber = index - second + 1
        if one:
            one(ds, index)
        if change:
            change(ds, index)

    scan = WHOLE if hu is None else hu
    series.write(folder / "a", WHOLE, change=numbered, skip=range(first, COUNT))
    series.write(folder / "b", scan, change=other, skip=range(second), series="abdomen")


def setting(**values):
    return lambda ds, index: [setattr(ds, name, value) for name, value in values.items()]


@pytest.mark.parametrize("second", [20, 19, 14, 8])
def test_two_series_of_one_scan_are_joined(tmp_path, second):
    write_two(tmp_path, 20, second)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, WHOLE)
    assert any("joined, which go on" in note for note in volume.source.notes)


def test_series_of_one_spiral_are_joined_by_their_times(tmp_path):
    def time(ds, index):
        ds.AcquisitionTime = f"1012{10 + index // 4:02d}.5"

    write_two(tmp_path, one=time)
    np.testing.assert_array_equal(read_volume(tmp_path).array, WHOLE)


def test_a_slice_that_an_archive_put_into_a_series_of_its_own_is_joined(tmp_path):
    write_two(tmp_path, 31, 31, change=setting(InstanceNumber=32))
    np.testing.assert_array_equal(read_volume(tmp_path).array, WHOLE)


CONTRAST = setting(ContrastBolusAgent="agent")


@pytest.mark.parametrize(
    ("one", "change"),
    [
        (None, setting(ContrastBolusAgent="agent")),
        (CONTRAST, None),
        (setting(AcquisitionTime="101210"), setting(AcquisitionTime="101225")),
        (setting(AcquisitionTime="101210"), setting(AcquisitionTime="")),
        (setting(AcquisitionNumber=1), setting(AcquisitionNumber=2)),
        (None, setting(TemporalPositionIdentifier=2)),
        (None, setting(KVP="80")),
        (None, setting(SliceThickness=5.0)),
        (None, setting(ConvolutionKernel="B60f")),
        (None, setting(ImageType=["DERIVED", "PRIMARY", "AXIAL"])),
        (None, setting(FrameOfReferenceUID=series.uid("elsewhere"))),
        (None, setting(ManufacturerModelName="another")),
    ],
    ids=lambda value: "",
)
def test_what_may_be_another_scan_is_never_joined(tmp_path, one, change):
    write_two(tmp_path, one=one, change=change)
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


@pytest.mark.parametrize("what", ["brighter", "breath", "patient"])
def test_pixels_that_do_not_go_on_are_never_joined(tmp_path, what):
    other = {
        "brighter": WHOLE + np.int16(15) * (WHOLE > -200),
        "breath": a_body(phase=-0.4),
        "patient": a_body(lungs=-600, seed=9),
    }[what]
    write_two(tmp_path, hu=other)
    with pytest.raises(StudyError, match=r"SLICE_GAP|OVERLAPPING"):
        read_volume(tmp_path)


def test_other_pixels_at_a_place_that_both_show_are_never_joined(tmp_path):
    write_two(tmp_path, 20, 17, hu=WHOLE + np.int16(3))
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


def test_two_series_that_both_go_on_are_never_joined(tmp_path):
    write_two(tmp_path)
    number = setting(InstanceNumber=1)
    series.write(tmp_path / "c", WHOLE, change=number, skip=range(20), series="again")
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


def a_trunk():
    """Lungs above, an abdomen below; the lungs end behind slice 24 from the top."""
    trunk = a_body(shape=(60, 40, 36))
    trunk[:36] = a_body(lungs=40.0, seed=5, shape=(60, 40, 36))[:36]
    return trunk


@pytest.mark.parametrize("border", [30, 20])
def test_a_chest_whose_lungs_end_before_another_series_goes_on_is_read(tmp_path, border):
    trunk = a_trunk()
    number = lambda ds, index: setattr(ds, "InstanceNumber", index + 1)  # noqa: E731
    series.write(tmp_path / "a", trunk, change=number, skip=range(border))
    kernel = lambda ds, index: (number(ds, index), setattr(ds, "ConvolutionKernel", "B60f"))  # noqa: E731
    series.write(tmp_path / "b", trunk, change=kernel, skip=range(border, 60), series="abdomen")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, trunk[border:])
    assert any("the lungs end before" in note for note in volume.source.notes)


def test_a_longer_abdomen_does_not_stand_for_a_chest(tmp_path):
    trunk = a_trunk()
    number = lambda ds, index: setattr(ds, "InstanceNumber", index + 1)  # noqa: E731
    series.write(tmp_path / "a", trunk, change=number, skip=range(30))
    abdomen = a_body(lungs=40.0, seed=5, shape=(48, 40, 36))
    away = series.an_affine(origin=(-50.0, -60.0, -300.0))
    series.write(tmp_path / "b", abdomen, affine=away, series="abdomen")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, trunk[30:])
    assert any("less lung than another" in note for note in volume.source.notes)


def test_a_chest_that_is_cut_where_lungs_go_on_is_refused(tmp_path):
    trunk = a_trunk()
    series.write(tmp_path / "a", trunk, skip=range(44))
    kernel = setting(ConvolutionKernel="B60f")
    series.write(tmp_path / "b", trunk, change=kernel, skip=range(44, 60), series="abdomen")
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


def test_a_chest_that_is_cut_within_a_zone_of_consolidation_is_refused(tmp_path):
    # Eight slices without air, and lung on both sides of them.
    trunk = a_body(shape=(60, 40, 36))
    solid = a_body(lungs=40.0, seed=5, shape=(60, 40, 36))
    trunk[16:24] = solid[16:24]
    series.write(tmp_path / "a", trunk, skip=range(20))
    kernel = setting(ConvolutionKernel="B60f")
    series.write(tmp_path / "b", trunk, change=kernel, skip=range(20, 60), series="lower")
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


@pytest.mark.parametrize("shared", [2, 6])
def test_halves_of_the_lungs_that_overlap_off_one_grid_are_no_whole_scan(tmp_path, shared):
    lungs = a_body(shape=(60, 40, 36))
    series.write(tmp_path / "a", lungs, skip=range(30 - shared))
    # Less than half a step above the grid of the others, and aside.
    off = series.an_affine(origin=(-46.0, -60.0, series.ORIGIN[2] + 0.4 * series.SPACING[0]))
    other = setting(AcquisitionNumber=2)
    series.write(
        tmp_path / "b", lungs, skip=range(30, 60), affine=off, change=other, series="lower"
    )
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


def test_a_longer_scan_with_the_lower_lungs_does_not_stand_for_the_chest(tmp_path):
    chest = a_body(shape=(40, 40, 36))
    series.write(tmp_path / "a", chest)
    low = a_body(lungs=40.0, seed=5, shape=(72, 40, 36))
    low[48:] = chest[:24]
    below = series.an_affine(origin=(-55.0, -60.0, series.ORIGIN[2] - 48 * series.SPACING[0]))
    series.write(tmp_path / "b", low, affine=below, change=setting(AcquisitionNumber=2), series="b")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, chest)
    assert any("less lung than another" in note for note in volume.source.notes)


def test_a_series_without_rescaling_elsewhere_does_no_harm(tmp_path):
    series.write(tmp_path / "a", WHOLE)

    def bare(ds, index):
        del ds.RescaleSlope

    away = series.an_affine(origin=(-50.0, -60.0, 700.0))
    series.write(tmp_path / "b", WHOLE[:12], affine=away, change=bare, series="bare")
    assert np.array_equal(read_volume(tmp_path).array, WHOLE)


def test_of_two_series_of_the_same_images_one_is_read(tmp_path):
    for name in ("a", "b", "c"):
        series.write(tmp_path / name, WHOLE, series=name)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, WHOLE)
    assert sum("(a copy)" in note for note in volume.source.notes) == 2
