"""Images beside a scan: those that may be its slices refuse it, those that cannot do no harm."""

import warnings

import numpy as np
import pytest

from covidctnet import StudyError, find_studies, read_volume
from tests.io import series
from tests.io.series import a_body

ELSEWHERE = series.uid("elsewhere")


def numbered(change=lambda ds, index: None):
    def both(ds, index):
        ds.InstanceNumber = index + 1
        change(ds, index)

    return both


@pytest.mark.parametrize("which", [0, 11])
@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImageOrientationPatient", "SOPClassUID"])
def test_an_outer_slice_that_lost_its_series_and_more_is_missed(tmp_path, which, keyword):
    def damage(ds, index):
        if index == which:
            ds.SeriesInstanceUID = ELSEWHERE
            if keyword == "SOPClassUID":
                ds.SOPClassUID = "1.2.840.10008.5.1.4.1.q.2"
            else:
                delattr(ds, keyword)

    with warnings.catch_warnings():
        # The damage is the point.
        warnings.simplefilter("ignore")
        series.write(tmp_path, change=numbered(damage))
    with pytest.raises(StudyError, match=r"1 images of another .* where the scan of 11 slices"):
        read_volume(tmp_path)


def test_a_slice_with_a_study_and_a_series_of_its_own_is_missed_by_its_place(tmp_path):
    def damage(ds, index):
        if index == 11:
            ds.SeriesInstanceUID, ds.StudyInstanceUID = ELSEWHERE, series.uid("another")

    series.write(tmp_path, change=numbered(damage))
    assert len(find_studies(tmp_path)) == 1
    with pytest.raises(StudyError, match="2 study UIDs"):
        read_volume(tmp_path)


def test_a_scan_that_lost_a_slice_is_read_when_its_series_is_chosen(tmp_path):
    def damage(ds, index):
        if index == 11:
            ds.SeriesInstanceUID, ds.AcquisitionNumber = ELSEWHERE, 2

    series.write(tmp_path, change=numbered(damage))
    with pytest.raises(StudyError, match='series="') as caught:
        read_volume(tmp_path)
    key = str(caught.value).partition('series="')[2][:8]
    assert len(read_volume(tmp_path, series=key).array) == 11


@pytest.mark.parametrize(("start", "is_read"), [(15.0, True), (41.5, False)])
def test_a_series_planned_by_itself_overlaps_and_one_that_goes_on_does_not(
    tmp_path, start, is_read
):
    series.write(tmp_path)
    series.write(
        tmp_path,
        series.a_scan((8, 20, 16)),
        series="other",
        name="b{:04d}.dcm",
        affine=series.an_affine((4.0, 0.9, 0.8), (-52.0, -61.0, start)),
    )
    if is_read:
        assert len(read_volume(tmp_path).array) == 12
    else:
        with pytest.raises(StudyError, match="SLICE_GAP"):
            read_volume(tmp_path)


def test_each_image_beside_a_scan_counts_once(tmp_path):
    def other_format(ds, index):
        if index >= 20:
            ds.PixelSpacing = [0.9, 0.8]

    series.write(tmp_path, series.a_scan((32, 20, 16)), change=numbered(other_format))
    with pytest.raises(StudyError, match=r"got 12 images .* where the scan of 20 slices"):
        read_volume(tmp_path)


def test_a_repeat_that_goes_on_for_some_slices_is_no_second_scan(tmp_path):
    # Twenty slices, then ten more from the fourteenth place on: four that the first scan lacks.
    one, again = a_body()[:20], a_body(seed=4)[14:24]
    series.write(tmp_path / "a", one, change=numbered())
    affine = series.an_affine()
    affine[:3, 3] += affine[:3, 0] * 14
    series.write(tmp_path / "b", again, series="again", affine=affine, change=numbered())
    with pytest.raises(StudyError, match=r"4 images of another .* where the scan of 20 slices"):
        read_volume(tmp_path)


def a_copy_beside(folder, place, change, *, scan=None):
    """A scan, and one of its slices once more as a series of its own."""
    whole = a_body() if scan is None else scan
    series.write(folder / "a", whole, change=numbered())
    others = [k for k in range(len(whole)) if k != place]
    series.write(folder / "b", whole, change=change, skip=others, series="single")
    return whole


@pytest.mark.parametrize("number", [0, 33])
@pytest.mark.parametrize("place", [3, 20, 31])
def test_a_copy_of_a_slice_that_is_numbered_next_is_a_bystander(tmp_path, place, number):
    def change(ds, index):
        ds.InstanceNumber, ds.ImageType = number, ["DERIVED", "SECONDARY", "AXIAL"]

    whole = a_copy_beside(tmp_path, place, change)
    np.testing.assert_array_equal(read_volume(tmp_path).array, whole)


def test_an_outer_slice_that_says_it_lies_within_is_missed(tmp_path):
    # Its series UID and its position were damaged; it shows what no slice at that place does.
    def change(ds, index):
        ds.InstanceNumber = index + 1
        if index == 31:
            ds.SeriesInstanceUID = ELSEWHERE
            ds.ImagePositionPatient = [-50.0, -60.0, 10.0 + 2.5 * 12]

    whole = a_body()
    whole[-1] = a_body(lungs=-300, seed=8)[-1]
    series.write(tmp_path, whole, change=change)
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)


def next_place(ds, index):
    ds.ImagePositionPatient = [-50.0, -60.0, 10.0 + 2.5 * 32]
    ds.InstanceNumber = 1


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("SliceThickness", 10.0), ("ConvolutionKernel", "B60f"), ("KVP", "80")],
)
def test_a_single_image_that_scanners_make_by_itself_is_left_out(tmp_path, keyword, value):
    def change(ds, index):
        next_place(ds, index)
        ds.SeriesNumber = 9
        setattr(ds, keyword, value)

    def first(ds, index):
        ds.SeriesNumber, ds.KVP = 2, "120"

    whole = a_body()
    series.write(tmp_path / "a", whole, change=numbered(first))
    both = lambda ds, index: (first(ds, index), change(ds, index))  # noqa: E731
    series.write(tmp_path / "b", whole, change=both, skip=range(1, 32), series="single")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, whole)
    assert any("1 single images of other series" in note for note in volume.source.notes)


def test_a_single_image_at_the_next_place_that_may_be_of_the_scan_is_missed(tmp_path):
    def change(ds, index):
        next_place(ds, index)
        ds.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]

    a_copy_beside(tmp_path, 0, change)
    with pytest.raises(StudyError, match="SLICE_GAP"):
        read_volume(tmp_path)
