import numpy as np
import pytest

from covidctnet.chest.gate import Chest, check_chest, known_chest, look_for_chest, prepare_chest
from covidctnet.errors import StudyError, UsageError
from covidctnet.preprocess import PreprocessSettings, preprocess
from tests.volumes import a_chest, a_volume

SETTINGS = PreprocessSettings(spacing_mm=3.0, size=120)
PATIENTS = ("COVID-19/P002", "CAP/cap002", "Control/normal001")
SHAPE = (60, 100, 110)


def look(volume, settings=SETTINGS):
    chest, _ = look_for_chest(preprocess(volume, settings))
    return chest


def refused(volume, settings=SETTINGS):
    with pytest.raises(StudyError, match=r"NOT_CHEST.*whole chest") as caught:
        check_chest(look(volume, settings), study="0123456789ab")
    return str(caught.value)


def ellipsoid(centre, radii):
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) < 1


def scan(*parts):
    """A body part of 3 mm voxels: soft tissue in air, then whatever is painted on it."""
    array = np.full(SHAPE, -1000, dtype=np.int16)
    for where, hu in parts:
        array[where] = hu
    array += np.random.default_rng(0).integers(-15, 15, SHAPE, dtype=np.int16)
    return a_volume(array=array, spacing=(3.0, 3.0, 3.0))


BODY = (ellipsoid((0, 0, 0), (9, 0.8, 0.9)), 40)


def test_a_chest_passes_unflagged():
    chest = look(a_chest()[0])
    assert check_chest(chest, study="0123456789ab") == ()
    assert chest.other_lung > 0.9


@pytest.mark.parametrize("part", [slice(0, 32), slice(18, 50)])
def test_lungs_that_reach_the_end_of_the_scan_are_flagged(part):
    whole, _ = a_chest()
    half = whole.then("cut", whole.array[part])
    assert check_chest(look(half), study="0123456789ab") == ("lungs_cut",)


def test_a_few_slices_of_lung_are_no_chest():
    whole, _ = a_chest()
    assert "over 60 mm" in refused(whole.then("cut", whole.array[15:35]))


def test_a_head_is_no_chest():
    skull = ellipsoid((0, 0, 0), (0.9, 0.6, 0.5))
    brain = ellipsoid((0, 0, 0), (0.85, 0.55, 0.45))
    sinuses = ellipsoid((-0.4, -0.4, 0), (0.15, 0.1, 0.2))
    mouth = ellipsoid((-0.8, -0.3, 0), (0.1, 0.2, 0.1))
    assert refused(scan((skull, 900), (brain, 35), (sinuses, -1000), (mouth, -1000)))


def test_an_abdomen_full_of_gas_is_no_chest():
    """Two loops of bowel, as large as lungs, hold gas where lungs hold air and tissue."""
    left = ellipsoid((0, -0.2, -0.45), (0.8, 0.35, 0.25))
    right = ellipsoid((0, -0.2, 0.45), (0.8, 0.35, 0.25))
    assert "nothing but gas" in refused(scan(BODY, (left | right, -1000)))


def test_an_abdomen_with_little_gas_is_no_chest():
    loops = ellipsoid((0.2, -0.3, 0.2), (0.3, 0.2, 0.2)) | ellipsoid((-0.5, 0, 0), (0.2, 0.1, 0.2))
    assert refused(scan(BODY, (loops, -980)))


def test_a_pelvis_without_air_is_no_chest():
    assert refused(scan(BODY, (ellipsoid((0, 0.3, 0.4), (0.4, 0.2, 0.2)), 700)))


def test_one_lung_is_no_chest():
    lung = ellipsoid((0, 0, -0.45), (0.8, 0.6, 0.3))
    assert "found one" in refused(scan(BODY, (lung, -850)))


@pytest.mark.parametrize("axes", [(2, 1, 0), (0, 2, 1)])
def test_a_chest_whose_axes_are_exchanged_is_refused_as_that(axes):
    chest, _ = a_chest((60, 60, 60), 5.0)
    turned = a_volume(array=chest.array.transpose(axes).copy(), spacing=(5.0, 5.0, 5.0))
    assert "axes that the file names in another order" in refused(turned)


def test_two_legs_and_the_air_between_them_are_no_chest():
    legs = ellipsoid((0, 0, -0.45), (9, 0.4, 0.4)) | ellipsoid((0, 0, 0.45), (9, 0.4, 0.4))
    assert refused(scan((legs, 40)))


def test_a_bottle_of_air_is_no_chest():
    wall, room = ellipsoid((0, 0, 0), (9, 0.7, 0.7)), ellipsoid((0, 0, 0), (9, 0.6, 0.6))
    assert refused(scan((wall, 100), (room, -1000)))


def test_every_reason_has_words():
    good = {
        "lungs_ml": 4000,
        "length_mm": 250,
        "gas_share": 0.0,
        "other_lung": 0.9,
        "apart_mm": 150,
    }
    for bad, words in (
        ({"lungs_ml": 300}, "300 ml over 250 mm"),
        ({"lungs_ml": 20000}, "20000 ml"),
        ({"length_mm": 70}, "over 70 mm"),
        ({"gas_share": 0.9}, "90%"),
        ({"other_lung": 0.0}, "two lungs"),
        ({"apart_mm": 10}, "axes that the file names in another order"),
    ):
        assert words in (Chest(**{**good, **bad}, cut_share=0.0).fault or "")
    assert Chest(**good, cut_share=0.0).fault is None


@pytest.mark.parametrize("patient", PATIENTS)
def test_a_real_chest_passes_unflagged(real_scan, patient):
    volume = real_scan(f"covid_ct_md/{patient}")
    chest = look(volume, PreprocessSettings())
    assert check_chest(chest, study="0123456789ab") == ()
    assert volume.source.flags == ()


@pytest.mark.parametrize("patient", PATIENTS)
@pytest.mark.parametrize("share", [0.0, 0.8])
def test_the_belly_or_the_neck_of_a_real_scan_is_no_chest(real_scan, patient, share):
    volume = real_scan(f"covid_ct_md/{patient}")
    count = volume.shape[0]
    part = slice(int(share * count), int((share + 0.2) * count))
    assert refused(volume.then("cut", volume.array[part]), PreprocessSettings())


def test_a_crop_around_one_real_lung_is_no_chest(real_scan):
    volume = real_scan("elastix_3dct_lung/3DCT_lung.mha")
    assert "two lungs" in refused(volume, PreprocessSettings())


def test_two_lungs_that_touch_in_front_are_two():
    whole, _ = a_chest()
    array = whole.array.copy()
    array[15:35, 32:36, 45:75] = -850
    assert look(whole.then("joined", array)).other_lung > 0.8


LUNGS = PreprocessSettings(spacing_mm=3.0, size=96, field="lungs", margin_mm=12.0)


def test_a_crop_keeps_the_lungs_with_their_margin_and_nothing_else():
    volume, truth = a_chest()
    scan = prepare_chest(volume, LUNGS)
    assert scan.unit.shape[1:] == (96, 96)
    assert scan.lungs.shape == scan.unit.shape
    ml = scan.lungs.sum() * scan.unit.voxel_ml
    assert ml == pytest.approx(truth.sum() * volume.voxel_ml, rel=0.03)
    # Where the crop ends: the first and the last lung lie a margin inside.
    there = np.flatnonzero(scan.lungs.any(axis=(1, 2))) * scan.unit.spacing[0]
    assert there[0] == pytest.approx(12, abs=3.1)
    columns = np.flatnonzero(scan.lungs.any(axis=(0, 1)))
    assert columns[0] * scan.unit.spacing[2] == pytest.approx(12, abs=4)


def test_a_crop_leaves_every_voxel_at_its_place_in_the_patient():
    volume, truth = a_chest()
    scan = prepare_chest(volume, LUNGS)
    for mask, affine in ((truth, volume.affine), (scan.lungs, scan.unit.affine)):
        middle = np.array([*(axis.mean() for axis in np.nonzero(mask)), 1.0])
        place = (affine @ middle)[:3]
        if mask is truth:
            expected = place
    assert np.allclose(place, expected, atol=1.5)


def test_lungs_have_one_size_whatever_the_field_of_view():
    """A wide field of view is padded with air; what the networks see hardly changes."""
    volume, _ = a_chest()
    wide = np.pad(volume.array, ((6, 9), (40, 30), (25, 50)), constant_values=-1000)
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ [6, 40, 25]
    near, far = (
        prepare_chest(v, LUNGS) for v in (volume, volume.then("padded", wide, affine=affine))
    )
    assert near.unit.shape == far.unit.shape
    assert np.abs(near.unit.array - far.unit.array).max() < 1e-4
    assert np.array_equal(near.lungs, far.lungs)
    assert np.allclose(near.unit.affine, far.unit.affine)


def test_a_scan_without_lungs_is_refused_before_the_crop():
    with pytest.raises(StudyError, match="NOT_CHEST"):
        prepare_chest(scan(BODY), LUNGS)


def test_a_stored_crop_is_measured_with_its_mask_and_not_without():
    made = prepare_chest(a_chest()[0], LUNGS)
    again = known_chest(made.unit, made.lungs, LUNGS)
    assert again.chest.lungs_ml == pytest.approx(made.chest.lungs_ml, rel=0.03)
    assert check_chest(again.chest, study="0123456789ab") == ()
    with pytest.raises(ValueError, match="needs its lung mask, got none"):
        known_chest(made.unit, None, LUNGS)
    with pytest.raises(ValueError, match="the lung mask has shape"):
        known_chest(made.unit, made.lungs[1:], LUNGS)


def test_the_whole_scan_is_prepared_as_before():
    volume, _ = a_chest()
    prepared = prepare_chest(volume, SETTINGS)
    unit = preprocess(volume, SETTINGS)
    chest, lungs = look_for_chest(unit)
    assert np.array_equal(prepared.unit.array, unit.array)
    assert np.array_equal(prepared.lungs, lungs)
    assert prepared.chest == chest


def test_preprocessing_alone_refuses_to_crop_to_lungs_that_nobody_has_found():
    with pytest.raises(UsageError, match=r"call covidctnet\.chest\.gate\.prepare_chest"):
        preprocess(a_chest()[0], LUNGS)


@pytest.mark.parametrize(
    ("blood", "flags"), [(40, ()), (60, ()), (110, ("contrast",)), (250, ("contrast",))]
)
def test_blood_as_dense_as_with_contrast_medium_is_flagged(blood, flags):
    plain, _ = a_chest()
    array = plain.array.copy()
    rows, columns = array.shape[1:]
    array[5:-5, rows // 4 : rows // 2 + 5, columns // 2 - 12 : columns // 2 + 12] = blood
    noise = np.random.default_rng(0).normal(0, 12, array.shape)
    volume = a_volume(array=(array + noise).astype(np.int16), spacing=plain.spacing)
    assert look(volume).flags == flags
