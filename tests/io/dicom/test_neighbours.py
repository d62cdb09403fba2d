"""Images beside a scan: those that may be its slices refuse it, those that cannot do no harm."""

import warnings

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
            ds.SeriesInstanceUID = ELSEWHERE

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
