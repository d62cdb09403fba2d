"""The published code's way, against scipy and scikit-image called directly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import ndimage
from skimage.transform import resize

from covidctnet.errors import StudyError, UsageError
from covidctnet.preprocess import PreprocessSettings, isotropic, preprocess
from covidctnet.preprocess.grid import gaussian_matrix
from tests.volumes import a_volume

UPSTREAM = PreprocessSettings(
    size=128, pad_square=False, interpolation="cubic", above_window="air", resize="gaussian"
)
SMALL = replace(UPSTREAM, size=24)


def as_published(volume, size):
    """Zoom to 1 mm, window with bone as air, resize a slice at a time, in double precision."""
    hu = ndimage.zoom(volume.array, volume.spacing, order=3, mode="nearest")
    hu[hu > 400] = -1000
    hu[hu < -1000] = -1000
    unit = (hu + 1000.0) / 1400
    return np.stack([resize(plane, (size, size), anti_aliasing=True) for plane in unit])


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((13, 61, 47), (2.5, 0.703125, 0.683)),  # 32.5 slices: halves go to even
        ((11, 40, 52), (0.6, 1.3, 0.9)),
        ((9, 20, 16), (1.0, 1.0, 1.0)),  # slices grow, nothing to blur
        ((1, 30, 30), (3.0, 1.1, 0.9)),
    ],
)
def test_the_upstream_preprocessing_equals_scipy_and_scikit_image_called_directly(shape, spacing):
    volume = a_volume(shape, spacing)
    theirs = as_published(volume, 24)
    ours = preprocess(volume, SMALL)
    assert ours.array.shape == theirs.shape
    np.testing.assert_allclose(ours.array, theirs, atol=1e-6)


def test_the_upstream_preprocessing_equals_scipy_and_scikit_image_on_a_real_scan(real_scan):
    volume = real_scan("covid_ct_md/CAP/cap002")
    part = volume.then("lower part", volume.array[30:50])
    np.testing.assert_allclose(preprocess(part, UPSTREAM).array, as_published(part, 128), atol=1e-6)


def test_the_cubic_grid_is_scipys_zoom_bit_for_bit():
    volume = a_volume((13, 31, 27), (2.5, 0.703125, 0.683))
    planes = np.stack([turned.T for turned in isotropic.cubic(volume, 1.0).turned])
    theirs = ndimage.zoom(volume.array, volume.spacing, order=3, mode="nearest")
    assert theirs.dtype == np.int16
    np.testing.assert_array_equal(planes, theirs)


def test_an_axis_thinner_than_a_voxel_keeps_one():
    # scipy alone would leave nothing of 0.4 mm.
    thin = a_volume((7, 30, 1), (1.7, 1.0, 0.4))
    out = preprocess(thin, SMALL)
    whole = preprocess(a_volume(array=np.array(thin.array), spacing=(1.7, 1.0, 1.0)), SMALL)
    np.testing.assert_array_equal(out.array, whole.array)
    assert out.spacing[2] == pytest.approx(1 / 24)


def test_float_hounsfield_units_are_rounded_as_if_they_had_come_whole():
    whole = a_volume((5, 20, 16))
    fractional = a_volume(array=np.array(whole.array) + np.float32(0.25))
    np.testing.assert_array_equal(
        preprocess(fractional, SMALL).array, preprocess(whole, SMALL).array
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_what_lies_at_a_millimetre_stays_there(axis, interpolation):
    # HU grow with the place along one axis, so each voxel says where it was. 13 slices of 2.5 mm
    # become 32: taken for 1 mm apart, the last would stand 1 mm off.
    volume = a_volume((13, 61, 47), (2.5, 0.703125, 0.883))
    millimetres = np.arange(volume.shape[axis]) * volume.spacing[axis]
    ramp = np.rint(-900 + 30 * millimetres).astype(np.int16)
    array = np.broadcast_to(np.expand_dims(ramp, [a for a in range(3) if a != axis]), volume.shape)
    out = preprocess(
        a_volume(array=array.copy(), spacing=volume.spacing),
        replace(SMALL, interpolation=interpolation),
    )
    index = np.indices(out.shape).reshape(3, -1)
    at = np.linalg.inv(volume.affine) @ out.affine @ np.vstack([index, np.ones(index.shape[1])])
    places = (out.array.ravel() * 1400 - 1000 + 900) / 30
    expected = at[axis] * volume.spacing[axis]
    # Splines and Gaussians bend a ramp at its ends, where it goes on as they assume.
    inside = (expected > 5) & (expected < millimetres[-1] - 5)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(places[inside], expected[inside], atol=0.05)


def test_a_sphere_keeps_its_place_and_its_volume():
    spacing = (2.5, 1.1, 0.9)
    z, y, x = (np.arange(n) * s for n, s in zip((22, 50, 60), spacing, strict=True))
    distance = np.sqrt(
        (z[:, None, None] - 25) ** 2 + (y[:, None] - 30) ** 2 + (x[None, None] - 22) ** 2
    )
    # Soft by a voxel, so that the sampling does not decide.
    array = np.rint(-1000 + 1300 * np.clip((12 - distance) / 3 + 0.5, 0, 1)).astype(np.int16)
    volume = a_volume(array=array, spacing=spacing)
    out = preprocess(volume, replace(SMALL, size=48))

    def middle(weights, affine):
        centre = [
            float((weights * axis).sum() / weights.sum()) for axis in np.indices(weights.shape)
        ]
        return (affine @ [*centre, 1])[:3]

    before = (array + 1000.0) / 1400
    was = middle(before, volume.affine)
    np.testing.assert_allclose(middle(out.array, out.affine), was, atol=0.05)
    assert out.array.sum() * out.voxel_ml == pytest.approx(before.sum() * volume.voxel_ml, rel=0.01)


@pytest.mark.parametrize(("hu", "clip", "air"), [(400, 1, 1), (401, 1, 0), (3000, 1, 0)])
def test_bone_becomes_1_or_air(hu, clip, air):
    volume = a_volume(array=np.full((3, 8, 8), hu, np.int16), spacing=(1, 1, 1))
    for above, unit in (("clip", clip), ("air", air)):
        out = preprocess(volume, PreprocessSettings(size=16, above_window=above))
        assert out.array == pytest.approx(unit, abs=1e-6)


@pytest.mark.parametrize(("count", "target"), [(358, 128), (100, 128), (128, 128), (1, 8), (9, 1)])
def test_the_gaussian_matrix_resizes_as_scikit_image(count, target):
    image = np.random.default_rng(count).random((count, 5))
    theirs = resize(image, (target, 5), anti_aliasing=True)
    np.testing.assert_allclose(gaussian_matrix(count, target) @ image, theirs, atol=1e-6)


def test_padding_goes_with_the_gaussian_too():
    volume = a_volume((3, 20, 40), (1, 1, 1))
    padded = np.full((3, 40, 40), -1000, np.int16)
    padded[:, 10:30] = volume.array
    settings = PreprocessSettings(size=16, resize="gaussian")
    np.testing.assert_allclose(
        preprocess(volume, settings).array,
        preprocess(a_volume(array=padded, spacing=(1, 1, 1)), settings).array,
        atol=1e-6,
    )


def test_metres_of_patient_are_refused_before_they_fill_the_memory():
    with pytest.raises(StudyError, match=r"ABSURD_EXTENT.*too many.*Check the spacing"):
        preprocess(a_volume((4, 40, 40), (600.0, 60.0, 60.0)), SMALL)


def test_steps_tell_the_published_story():
    resampled, windowed, resized = preprocess(a_volume((13, 20, 16), (2.5, 1, 1)), SMALL).steps
    assert resampled.endswith("to 1 mm isotropic, cubic (exactly 0.9677 x 1 x 1 mm)")
    assert "what lies above made air" in windowed
    assert resized == "resized 20 x 16 slices to 24 x 24, Gaussian, then linear"


@pytest.mark.parametrize("name", ["interpolation", "above_window", "resize"])
@pytest.mark.parametrize("value", ["nonesuch", None, ["linear"]])
def test_a_way_that_nobody_knows_is_refused(name, value):
    with pytest.raises(UsageError, match=f"{name} must be .* or "):
        PreprocessSettings(**{name: value})


def test_the_later_settings_count_only_where_they_are_not_the_papers():
    # Studies preprocessed and weights trained before there was a choice carry this digest.
    assert PreprocessSettings().digest == "fc56e5abafbe"
    later = {"interpolation": "cubic", "above_window": "air", "resize": "gaussian"}
    digests = {PreprocessSettings(**{name: value}).digest for name, value in later.items()}
    assert len(digests | {PreprocessSettings().digest}) == 4
    assert PreprocessSettings().deciding().keys() == {
        "spacing_mm",
        "low_hu",
        "high_hu",
        "size",
        "pad_square",
    }
    assert PreprocessSettings(**UPSTREAM.deciding()) == UPSTREAM


def test_the_upstream_preset_is_the_published_preprocessing():
    root = Path(__file__).resolve().parents[2] / "pipelines"
    upstream, paper = (
        yaml.safe_load((root / name / "preprocess.yaml").read_text())
        for name in ("upstream", "paper")
    )
    assert PreprocessSettings(**upstream["settings"]) == UPSTREAM
    assert upstream["split"] == paper["split"]
