import math
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from covidctnet.classes import CHEST_CT
from covidctnet.errors import CohortError
from covidctnet.evaluation.localise import Localisation, localise, mean_figures
from covidctnet.evidence import Mask
from covidctnet.io.lesions import lesion_truth
from covidctnet.io.nifti import ras_to_lps
from covidctnet.phantom import make_phantom
from covidctnet.phantom.series import write_truth
from covidctnet.preprocess import PreprocessSettings, preprocess
from covidctnet.systems.covidctnet.lesion_volume import inner_lungs
from covidctnet.volume import Source, Volume

SPACING = (5.0, 2.0, 2.0)
NOTHING = Localisation(*[math.nan] * 2, 0.0, 0.0, 0.0, *[math.nan] * 2)


def a_volume(array, spacing=SPACING, origin=(-20.0, -30.0, -100.0), units="residual"):
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = spacing
    affine[:3, 3], affine[3, 3] = origin, 1.0
    source = Source(study="0123456789ab")
    return Volume(np.asarray(array, np.float32), affine, units, source, (), (-1000.0, 400.0))


def a_mask(residual, threshold):
    """What a system finds that looks at the lungs without their rim."""
    inner = inner_lungs(some_lungs(residual.shape), SPACING)
    found = (residual.array > threshold) & inner
    slices = tuple(range(len(found)))
    where = {"slices": slices, "affine": residual.affine}
    return Mask(found=found, searched=inner, score=residual.array, **where)


def some_lungs(shape=(8, 30, 30)):
    lungs = np.zeros(shape, dtype=bool)
    lungs[1:7, 4:26, 4:26] = True
    return lungs


@pytest.fixture
def noisy():
    """A residual that is larger where the lesion is, not everywhere."""
    rng = np.random.default_rng(0)
    lesions = np.zeros((8, 30, 30), dtype=bool)
    lesions[2:5, 10:18, 10:20] = True
    return a_volume(rng.normal(0, 0.1, lesions.shape) + 0.15 * lesions), lesions


def test_figures_agree_with_scikit_learn_s(noisy):
    residual, lesions = noisy
    told = localise(a_mask(residual, 0.1), lesions)
    inner = inner_lungs(some_lungs(), SPACING)
    found = (residual.array > 0.1) & inner
    truth = lesions.ravel()
    assert told.dice == pytest.approx(f1_score(truth, found.ravel()))
    assert told.sensitivity == pytest.approx(recall_score(truth, found.ravel()))
    assert told.precision == pytest.approx(precision_score(truth, found.ravel()))
    assert told.voxel_auc == pytest.approx(roc_auc_score(lesions[inner], residual.array[inner]))


def test_dice_and_millilitres_of_two_boxes_by_hand():
    lesions, array = np.zeros((8, 30, 30), dtype=bool), np.zeros((8, 30, 30))
    lesions[3, 10:20, 10:20] = True  # 100 voxels of 0.02 ml
    array[3, 15:20, 10:22] = 0.5  # 60 voxels, 50 of them lesion
    told = localise(a_mask(a_volume(array), 0.2), lesions)
    assert told.dice == pytest.approx(2 * 50 / 160)
    assert (told.sensitivity, told.precision) == pytest.approx((0.5, 50 / 60))
    assert (told.lesion_ml, told.searched_ml, told.found_ml) == pytest.approx((2.0, 2.0, 1.2))


def test_lesions_beyond_the_lung_mask_count_as_missed():
    lesions, array = np.zeros((8, 30, 30), dtype=bool), np.zeros((8, 30, 30))
    lesions[3, 10:20, 10:20] = lesions[3, 27:29, 5:25] = True
    array[lesions] = 0.5
    told = localise(a_mask(a_volume(array), 0.2), lesions)
    assert told.sensitivity == pytest.approx(100 / 140)
    assert (told.precision, told.voxel_auc) == (1.0, 1.0)
    assert told.lesion_ml - told.searched_ml == pytest.approx(0.8)


def test_without_lesions_only_what_was_found_is_told():
    array = np.zeros((8, 30, 30))
    array[3, 15:20, 10:20] = 0.5
    told = localise(a_mask(a_volume(array), 0.2), np.zeros(array.shape, dtype=bool))
    assert all(math.isnan(x) for x in (told.dice, told.voxel_auc, told.sensitivity))
    assert told.precision == 0
    assert told.found_ml == pytest.approx(1.0)
    assert str(told).startswith("dice not estimable, voxel auc not estimable")


def test_nothing_found_has_no_precision_and_misses_all(noisy):
    residual, lesions = noisy
    told = localise(a_mask(residual, 5.0), lesions)
    assert (told.dice, told.sensitivity) == (0.0, 0.0)
    assert math.isnan(told.precision)


def test_means_leave_out_patients_for_whom_nothing_can_be_said(noisy):
    residual, lesions = noisy
    found = [localise(a_mask(residual, t), lesions) for t in (0.0, 0.1, 0.2)]
    means = mean_figures([*found, NOTHING], np.random.default_rng(0))
    assert means["dice"].value == pytest.approx(np.mean([one.dice for one in found]))
    assert means["dice"].n == 3
    assert means["dice"].low <= means["dice"].value <= means["dice"].high


def test_too_few_patients_have_no_interval_and_none_no_figure(noisy):
    residual, lesions = noisy
    one = localise(a_mask(residual, 0.1), lesions)
    means = mean_figures([one, NOTHING], np.random.default_rng(0))
    assert "interval not estimable, n=1" in str(means["dice"])
    assert str(mean_figures([NOTHING], np.random.default_rng(0))["dice"]) == "not estimable (n=0)"


def test_shapes_must_agree(noisy):
    residual, lesions = noisy
    with pytest.raises(ValueError, match="lesions have shape"):
        localise(a_mask(residual, 0.1), lesions[:-1])


def test_a_mask_without_a_score_has_no_auc_and_looks_everywhere(noisy):
    residual, lesions = noisy
    told = localise(replace(a_mask(residual, 0.1), score=None, searched=None), lesions)
    assert math.isnan(told.voxel_auc)
    assert told.searched_ml == told.lesion_ml > 0
    assert told.dice == localise(a_mask(residual, 0.1), lesions).dice


def test_an_answer_without_a_scale_is_compared_with_no_mask(codes, tmp_path):
    mask, like = codes
    path = write_mask(tmp_path / "lesions.nii", mask, like)
    with pytest.raises(CohortError, match="expected an answer with a scale"):
        lesion_truth(path, replace(a_mask(like, 0.1), affine=None))


def write_mask(path, mask, like, dtype=np.uint8):
    affine = ras_to_lps(like.affine)[:, [2, 1, 0, 3]]
    nib.save(nib.Nifti1Image(mask.astype(dtype).transpose(2, 1, 0), affine), path)
    return path


@pytest.fixture
def codes():
    mask = np.random.default_rng(1).integers(0, 4, (8, 30, 30))
    return mask, a_volume(np.zeros(mask.shape))


def test_a_mask_on_the_same_grid_comes_back_as_it_is(codes, tmp_path):
    mask, like = codes
    path = write_mask(tmp_path / "lesions.nii.gz", mask, like)
    np.testing.assert_array_equal(lesion_truth(path, like), (mask == 1) | (mask == 2))
    np.testing.assert_array_equal(lesion_truth(path, like, codes=(3,)), mask == 3)


def test_a_turned_mask_comes_back_in_the_volume_s_orientation(codes, tmp_path):
    mask, like = codes
    affine = like.affine.copy()
    affine[:3, 3] += affine[:3, 1] * 29
    affine[:3, 1] *= -1
    turned = replace(like, affine=affine)
    path = write_mask(tmp_path / "lesions.nii.gz", mask[:, ::-1], turned)
    np.testing.assert_array_equal(lesion_truth(path, like), (mask == 1) | (mask == 2))


def test_a_voxel_is_lesion_when_more_than_half_of_its_area_is(tmp_path):
    fine = np.zeros((8, 90, 90), dtype=bool)
    fine[4, 30:33, 30:33] = True  # one coarse voxel whole
    fine[4, 45:48, 45:47] = True  # two thirds of one
    fine[4, 60:63, 60] = fine[4, 60, 61] = True  # four ninths of one
    like = a_volume(np.zeros((8, 30, 30)), (5.0, 3.0, 3.0))
    grid = a_volume(fine, (5.0, 1.0, 1.0), (-21.0, -31.0, -100.0))
    found = lesion_truth(write_mask(tmp_path / "m.nii", fine, grid), like)
    np.testing.assert_array_equal(np.argwhere(found), [[4, 10, 10], [4, 15, 15]])


def test_a_phantom_s_truth_keeps_its_volume_on_the_classifier_s_grid(tmp_path):
    phantom = make_phantom(CHEST_CT.COVID19, 12, matrix=96, spacing_mm=6.0)
    write_truth(phantom, tmp_path)
    unit = preprocess(phantom.volume, PreprocessSettings(spacing_mm=5.0, size=96))
    found = lesion_truth(tmp_path / "lesions.nii.gz", unit)
    true_ml = np.isin(phantom.lesions, (1, 2)).sum() * phantom.volume.voxel_ml
    assert true_ml > 50
    assert found.sum() * unit.voxel_ml == pytest.approx(true_ml, rel=0.04)
    # Lesions are denser than the lung around them.
    lungs = lesion_truth(tmp_path / "lungs.nii.gz", unit)
    assert unit.array[found].mean() > unit.array[lungs & ~found].mean() + 0.1


def test_a_mask_that_lies_elsewhere_is_refused(codes, tmp_path):
    mask, like = codes
    elsewhere = a_volume(np.zeros(mask.shape), origin=(-20.0, -30.0, -60.0))
    path = write_mask(tmp_path / "lesions.nii.gz", mask, elsewhere)
    with pytest.raises(CohortError, match="with the geometry of its scan") as caught:
        lesion_truth(path, like)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"values": 255}, "whole numbers from 0 to 3"),
        ({"values": 0.5, "dtype": np.float32}, "whole numbers from 0 to 3"),
    ],
)
def test_a_file_that_is_no_lesion_mask_is_refused(codes, tmp_path, change, match):
    mask, like = codes
    mask = mask.astype(float)
    mask[4, 5, 6] = change.pop("values", 1)
    path = write_mask(tmp_path / "lesions.nii", mask, like, **change)
    with pytest.raises(CohortError, match=match):
        lesion_truth(path, like)


def test_a_mask_without_geometry_is_refused(codes, tmp_path):
    mask, like = codes
    path = write_mask(tmp_path / "lesions.nii", mask, like)
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # the codes of qform and sform
    path.write_bytes(content)
    with pytest.raises(CohortError, match="qform or an sform"):
        lesion_truth(path, like)


@pytest.mark.parametrize("content", [b"", b"no image at all", None], ids=["empty", "text", "gone"])
def test_a_file_that_cannot_be_read_is_refused_without_its_name(codes, tmp_path, content):
    path = tmp_path / "jane_doe.nii.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CohortError, match="lesion mask") as caught:
        lesion_truth(path, codes[1])
    assert "jane" not in str(caught.value)


def test_a_mask_that_breaks_off_is_refused(codes, tmp_path):
    mask, like = codes
    path = write_mask(tmp_path / "lesions.nii.gz", mask, like)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CohortError, match="that can be read, got EOFError"):
        lesion_truth(path, like)
