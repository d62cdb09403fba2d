import math

import numpy as np
import pytest
from scipy import ndimage

from covidctnet.errors import CohortError, StudyError, UsageError
from covidctnet.systems.covidctnet.lesion_volume import (
    RIM_MM,
    inner_lungs,
    lesion_mask,
    lesion_threshold,
    lesion_volume,
    top_slices,
)
from covidctnet.volume import Source, Volume
from tests.volumes import a_chest

SPACING = (6.0, 2.0, 1.6)
THIRDS = ("upper", "middle", "lower")
# Right and left lung as boxes, in slices, rows and columns; the left one stands higher.
RIGHT = (slice(3, 33), slice(10, 50), slice(10, 45))
LEFT = (slice(6, 36), slice(10, 50), slice(65, 100))
RIM_VOXELS = (int(RIM_MM / 2.0), int(RIM_MM / 1.6))


def two_lungs(shape=(40, 60, 110)):
    lungs = np.zeros(shape, dtype=bool)
    lungs[RIGHT] = lungs[LEFT] = True
    return lungs


def a_residual(array, spacing=SPACING, units="residual"):
    slices, rows, columns = spacing
    affine = np.array(
        [[0, 0, columns, -90.0], [0, rows, 0, -60.0], [slices, 0, 0, -250.0], [0, 0, 0, 1.0]]
    )
    return Volume(
        np.asarray(array, np.float32),
        affine,
        units,
        Source(study="0123456789ab"),
        (),
        (-1000.0, 400.0),
    )


def by_name(lesions):
    return {(region.lung, region.third): region for region in lesions.regions}


def test_nothing_taken_away_is_no_lesion():
    lesions = lesion_volume(a_residual(np.zeros((40, 60, 110))), two_lungs(), threshold=0.0)
    assert lesions.share == 0
    assert lesions.lesion_ml == 0
    assert lesions.lung_ml > 0
    assert lesions.top_slices_mm == ()


def test_six_regions_from_above_the_right_lung_first():
    lesions = lesion_volume(a_residual(np.zeros((40, 60, 110))), two_lungs(), threshold=0.1)
    assert [(r.lung, r.third) for r in lesions.regions] == [
        (lung, third) for lung in ("right", "left") for third in THIRDS
    ]
    assert lesions.threshold == 0.1


def test_boxes_of_lesion_have_their_millilitres_in_their_regions():
    array = np.zeros((40, 60, 110))
    # 30 slices a lung: ten a third, the lowest first.
    array[4:9, 20:30, 20:30] = 0.3  # right, lower: 500 voxels
    array[17:19, 20:30, 20:40] = 0.3  # right, middle: 400
    array[30:34, 20:24, 70:75] = 0.3  # left, upper: 80
    notes_by_name = by_name(lesion_volume(a_residual(array), two_lungs(), threshold=0.2))
    voxel_ml = math.prod(SPACING) / 1000
    wanted = {("right", "lower"): 500, ("right", "middle"): 400, ("left", "upper"): 80}
    rows, columns = (n - 2 * rim for n, rim in zip((40, 35), RIM_VOXELS, strict=True))
    for name, region in notes_by_name.items():
        assert region.lesion_ml == pytest.approx(wanted.get(name, 0) * voxel_ml)
        assert region.lung_ml == pytest.approx(10 * rows * columns * voxel_ml)


def test_thirds_are_of_each_lung_s_own_height():
    array = np.zeros((40, 60, 110))
    # The same slices are in the right lung's upper third and in the left one's middle.
    array[23:26, 20:30] = 0.3
    notes_by_name = by_name(lesion_volume(a_residual(array), two_lungs(), threshold=0.2))
    assert [third for third in THIRDS if notes_by_name["right", third].lesion_ml] == ["upper"]
    assert [third for third in THIRDS if notes_by_name["left", third].lesion_ml] == ["middle"]


@pytest.mark.parametrize("touching", [False, True], ids=["apart", "touching"])
def test_a_mirrored_patient_swaps_right_and_left(touching):
    rng = np.random.default_rng(0)
    array, lungs = rng.normal(0, 0.1, (40, 60, 110)), two_lungs()
    if touching:
        lungs[15:25, 12:16, 40:70] = True
    one = by_name(lesion_volume(a_residual(array), lungs, threshold=0.1))
    mirrored, lungs = array[..., ::-1], lungs[..., ::-1]
    other = by_name(lesion_volume(a_residual(mirrored), lungs, threshold=0.1))
    for third in THIRDS:
        for lung, opposite in (("right", "left"), ("left", "right")):
            a, b = one[lung, third], other[opposite, third]
            # Where lungs touch, the coarse grid may put the border one block further on.
            assert a.lung_ml == pytest.approx(b.lung_ml, rel=0.01 if touching else 1e-9)
            assert a.lesion_ml == pytest.approx(b.lesion_ml, rel=0.03 if touching else 1e-9)


def test_one_connected_piece_is_split_in_its_middle():
    lungs = np.zeros((40, 60, 110), dtype=bool)
    lungs[5:35, 10:50, 20:80] = True
    notes_by_name = by_name(lesion_volume(a_residual(np.zeros(lungs.shape)), lungs, threshold=0.1))
    for third in THIRDS:
        assert notes_by_name["right", third].lung_ml == pytest.approx(
            notes_by_name["left", third].lung_ml
        )


def test_no_voxel_is_lost_between_the_regions():
    chest, lungs = a_chest((50, 100, 120), 3.0)
    rng = np.random.default_rng(1)
    residual = a_residual(rng.normal(0, 0.1, chest.shape), chest.spacing)
    inner = inner_lungs(lungs, residual.spacing)
    lesions = lesion_volume(residual, lungs, threshold=0.1)
    assert lesions.lung_ml == pytest.approx(inner.sum() * residual.voxel_ml)
    counted = (residual.array[inner] > np.float32(0.1)).sum()
    assert lesions.lesion_ml == pytest.approx(counted * residual.voxel_ml)


def test_a_higher_threshold_never_finds_more():
    rng = np.random.default_rng(2)
    residual = a_residual(rng.normal(0, 0.1, (40, 60, 110)))
    shares = [lesion_volume(residual, two_lungs(), threshold=t).share for t in (0, 0.05, 0.1, 0.3)]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 4


def test_what_is_less_dense_than_expected_or_no_number_does_not_count():
    array = np.full((40, 60, 110), -0.5)
    array[20] = np.nan
    assert lesion_volume(a_residual(array), two_lungs(), threshold=0.0).lesion_ml == 0


def test_no_lungs_are_six_empty_regions():
    lesions = lesion_volume(
        a_residual(np.ones((40, 60, 110))), np.zeros((40, 60, 110), bool), threshold=0.1
    )
    assert len(lesions.regions) == 6
    assert lesions.lung_ml == 0
    assert math.isnan(lesions.share)
    assert all(math.isnan(region.share) for region in lesions.regions)


@pytest.mark.parametrize("spacing", [(6.0, 2.0, 1.6), (2.0, 1.0, 4.0)])
def test_the_rim_has_the_same_millimetres_on_every_grid(spacing):
    lungs = np.zeros((5, 40, 40), dtype=bool)
    lungs[1:4, 10:30, 5:35] = True
    inner = inner_lungs(lungs, spacing)
    rows, columns = (int(RIM_MM / mm) for mm in spacing[1:])
    mask = np.zeros_like(lungs)
    mask[1:4, 10 + rows : 30 - rows, 5 + columns : 35 - columns] = True
    np.testing.assert_array_equal(inner, mask)


@pytest.mark.parametrize("spacing", [(6.0, 1.5, 1.5), (6.0, 0.7, 0.9), (6.0, 3.0, 1.2)])
def test_the_rim_is_what_lies_no_further_from_the_outside_than_its_width(spacing):
    some = np.random.default_rng(3).normal(size=(4, 60, 70))
    lungs = ndimage.gaussian_filter(some, (0, 4, 4)) > 0
    outside = [np.pad(plane, 1) for plane in lungs]
    far = [ndimage.distance_transform_edt(plane, sampling=spacing[1:]) for plane in outside]
    wanted = np.stack(far)[:, 1:-1, 1:-1] > RIM_MM
    assert 0.1 < wanted.sum() / lungs.sum() < 0.9
    np.testing.assert_array_equal(inner_lungs(lungs, spacing), wanted)


def test_lung_at_the_edge_of_the_image_has_a_rim_there_too():
    inner = inner_lungs(np.ones((1, 20, 20), dtype=bool), (5.0, 1.0, 1.0))
    np.testing.assert_array_equal(np.flatnonzero(inner[0, 10]), np.arange(3, 17))


def test_top_slices_are_the_largest_areas_20_mm_apart_at_their_heights():
    array = np.zeros((40, 60, 110))
    for index, columns in {10: 8, 11: 9, 13: 7, 15: 6, 22: 5, 30: 2}.items():
        array[index, 20:30, 20 : 20 + columns] = 0.5
    lesions = lesion_volume(a_residual(array), two_lungs(), threshold=0.2)
    # Four slices are 24 mm: 10 and 13 lie too near to 11.
    assert lesions.top_slices_mm == tuple(-250.0 + 6 * index for index in (11, 15, 22))


def test_top_slices_are_no_more_than_show_a_lesion():
    array = np.zeros((40, 60, 110))
    array[12, 20:30, 20:30] = 0.5
    residual, lungs = a_residual(array), two_lungs()
    lesions = lesion_mask(residual, inner_lungs(lungs, residual.spacing), threshold=0.2)
    assert top_slices(lesions, residual) == [12]


def test_the_threshold_leaves_1_percent_of_the_controls_lungs():
    rng = np.random.default_rng(3)
    controls = [rng.normal(0, s, 20000).astype(np.float32) for s in (0.02, 0.05, 0.08)]
    threshold = lesion_threshold(iter(controls))

    def mean(at):
        return np.mean([(values > at).mean() for values in controls])

    assert mean(threshold) <= 0.01 < mean(threshold - 1.001e-4)


def test_every_control_counts_the_same_however_large():
    rng = np.random.default_rng(4)
    small, large = rng.normal(0, 0.1, 5000), rng.normal(0, 0.02, 5000)
    wanted = lesion_threshold([small, large])
    assert lesion_threshold([small, np.tile(large, 10)]) == pytest.approx(wanted, abs=1.01e-4)
    assert lesion_threshold([small]) > wanted > lesion_threshold([large])


def test_a_smaller_share_needs_a_higher_threshold():
    values = np.random.default_rng(5).normal(0, 0.1, 20000)
    found = [lesion_threshold([values], share=share) for share in (0.1, 0.01, 0.001)]
    assert found == sorted(found)
    assert len(set(found)) == 3


def test_the_threshold_is_what_the_lesion_volume_of_those_controls_says():
    rng = np.random.default_rng(6)
    residual, lungs = a_residual(rng.normal(0, 0.05, (40, 60, 110))), two_lungs()
    inner = inner_lungs(lungs, residual.spacing)
    threshold = lesion_threshold([residual.array[inner]])
    assert lesion_volume(residual, lungs, threshold=threshold).share == pytest.approx(
        0.01, rel=0.02
    )


def test_without_controls_there_is_no_threshold():
    with pytest.raises(CohortError, match="fixed on Control patients, got none"):
        lesion_threshold([])


@pytest.mark.parametrize(
    "values", [[], [0.1, np.nan], [-np.inf, 0.1]], ids=["none", "nan", "infinite"]
)
def test_a_control_without_usable_voxels_is_refused(values):
    with pytest.raises(CohortError, match=r"Control 2 has"):
        lesion_threshold([np.zeros(5), np.array(values)])


def test_lungs_beyond_the_whole_window_are_no_residuals():
    with pytest.raises(CohortError, match="exceeds the whole HU window"):
        lesion_threshold([np.full(100, 700.0)])


@pytest.mark.parametrize("share", [0.0, 1.0, math.nan])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="between 0 and 1"):
        lesion_threshold([np.zeros(5)], share=share)


@pytest.mark.parametrize("threshold", [-0.1, math.nan, math.inf])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(UsageError, match="a number from 0"):
        lesion_volume(a_residual(np.zeros((40, 60, 110))), two_lungs(), threshold=threshold)


def test_a_scan_is_no_residual():
    with pytest.raises(StudyError, match="WRONG_UNITS"):
        lesion_volume(a_residual(np.zeros((40, 60, 110)), units="unit"), two_lungs(), threshold=0.1)


def test_lungs_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="lungs have shape"):
        lesion_volume(a_residual(np.zeros((41, 60, 110))), two_lungs(), threshold=0.1)
