import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from covidctnet.errors import StudyError, UsageError
from covidctnet.preprocess import PreprocessSettings, preprocess
from covidctnet.preprocess.grid import antialias_matrix, grid_size, linear_matrix, linear_taps
from tests.volumes import a_volume

SMALL = PreprocessSettings(size=16)


def by_simpleitk(volume, settings):
    """The same chain with SimpleITK for the grid and torch for the antialiased resize."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.array).astype(np.float32))
    image.SetSpacing([float(s) for s in volume.spacing[::-1]])
    counts = [
        int(np.floor((n - 1) * s / settings.spacing_mm + 1e-6)) + 1
        for n, s in zip(volume.shape, volume.spacing, strict=True)
    ]
    # Nearest beyond the border by less than a rounding error, else the last voxel turns to zero.
    image = SimpleITK.Resample(
        image,
        counts[::-1],
        SimpleITK.Transform(),
        SimpleITK.sitkLinear,
        [0.0, 0.0, 0.0],
        [settings.spacing_mm] * 3,
        image.GetDirection(),
        0.0,
        SimpleITK.sitkFloat32,
        True,
    )
    iso = SimpleITK.GetArrayFromImage(image)
    unit = (np.clip(iso, settings.low_hu, settings.high_hu) - settings.low_hu) / (
        settings.high_hu - settings.low_hu
    )
    side = max(counts[1:]) if settings.pad_square else None
    if side:
        before = [(side - n) // 2 for n in counts[1:]]
        pads = [(0, 0)] + [(b, side - n - b) for b, n in zip(before, counts[1:], strict=True)]
        unit = np.pad(unit, pads)
    return torch.nn.functional.interpolate(
        torch.from_numpy(unit.astype(np.float32))[:, None],
        size=(settings.size, settings.size),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[:, 0].numpy()


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
@pytest.mark.parametrize("pad_square", [True, False])
@pytest.mark.parametrize("spacing", [(2.5, 0.8, 0.7), (0.6, 1.3, 0.9), (1.0, 1.0, 1.0)])
def test_the_chain_equals_simpleitk_and_torch(spacing, pad_square, device):
    volume = a_volume((11, 47, 61), spacing)
    ours = preprocess(volume, PreprocessSettings(size=32, pad_square=pad_square), device=device)
    theirs = by_simpleitk(volume, PreprocessSettings(size=32, pad_square=pad_square))
    assert ours.array.shape == theirs.shape
    np.testing.assert_allclose(ours.array, theirs, atol=2e-5)


def test_the_chain_equals_simpleitk_on_a_real_scan(real_scan):
    volume = real_scan("covid_ct_md/CAP/cap002")
    part = volume.then("lower part", volume.array[30:50])
    ours = preprocess(part)
    np.testing.assert_allclose(ours.array, by_simpleitk(part, PreprocessSettings()), atol=2e-4)


@pytest.mark.parametrize("count", [1, 2, 140])
@pytest.mark.parametrize("above_window", ["clip", "air"])
def test_the_way_of_the_device_is_the_plain_one(above_window, count):
    how = PreprocessSettings(size=24, above_window=above_window)
    volume = a_volume((count, 31, 40), (1.3, 0.8, 0.7))
    there = preprocess(volume, how, device=torch.device("cpu"))
    here = preprocess(volume, how)
    assert there.steps == here.steps
    # A voxel within rounding of the top of the window may fall on either side of it.
    off = np.abs(there.array - here.array) > 1e-5
    assert off.mean() < (1e-4 if above_window == "air" else 1e-9)


def test_the_isotropic_grid_equals_scipy():
    volume = a_volume((9, 24, 20), (2.5, 0.5, 0.5), seed=3)
    counts = [grid_size(n, s, 1.0) for n, s in zip(volume.shape, volume.spacing, strict=True)]
    positions = [np.arange(n) / s for n, s in zip(counts, volume.spacing, strict=True)]
    theirs = ndimage.map_coordinates(
        volume.array.astype(np.float32), np.meshgrid(*positions, indexing="ij"), order=1
    )
    ours = volume.array.astype(np.float32)
    for axis, (n, where) in enumerate(zip(volume.shape, positions, strict=True)):
        ours = np.moveaxis(np.tensordot(linear_matrix(n, where), ours, axes=([1], [axis])), 0, axis)
    np.testing.assert_allclose(ours, theirs, atol=1e-2)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_antialiased_resizing_equals_torch(count, target):
    signal = np.random.default_rng(count * 61 + target).random((1, 1, count, 8), np.float32)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(signal), size=(target, 8), mode="bilinear", antialias=True
    )
    ours = antialias_matrix(count, target) @ signal[0, 0]
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=1e-5)  # torch weighs in float32


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.lists(st.floats(-3, 60), min_size=1, max_size=20))
def test_linear_interpolation_equals_numpy(count, where):
    signal = np.random.default_rng(count).random(count)
    ours = linear_matrix(count, np.array(where)) @ signal
    np.testing.assert_allclose(ours, np.interp(where, np.arange(count), signal), atol=1e-5)


def test_a_constant_stays_constant():
    volume = a_volume(array=np.full((5, 12, 10), -300, np.int16))
    out = preprocess(volume, PreprocessSettings(size=16, pad_square=False))
    np.testing.assert_allclose(out.array, 0.5, atol=1e-6)


@pytest.mark.parametrize(("hu", "unit"), [(-1024, 0), (-1000, 0), (-300, 0.5), (400, 1), (3000, 1)])
def test_the_window_maps_air_to_0_and_400_hu_to_1(hu, unit):
    volume = a_volume(array=np.full((3, 8, 8), hu, np.int16), spacing=(1, 1, 1))
    assert preprocess(volume, SMALL).array == pytest.approx(unit, abs=1e-6)


def test_all_slices_stay():
    out = preprocess(a_volume((31, 20, 16), (2.0, 0.8, 0.7)), SMALL)
    assert out.shape == (61, 16, 16)


def test_three_hundred_slices_of_decimal_spacing_lose_none():
    assert grid_size(301, 0.7, 0.7) == 301
    assert grid_size(301, 0.1 + 0.2, 0.3) == 301


def test_a_point_keeps_its_place_in_the_patient():
    array = np.full((21, 64, 80), -1000, np.int16)
    array[10, 20, 60] = 400
    volume = a_volume(array=array, spacing=(2.0, 1.1, 0.9))
    out = preprocess(volume, PreprocessSettings(size=64))
    weights = out.array / out.array.sum()
    centre = [float((weights * axis).sum()) for axis in np.indices(out.shape)]
    np.testing.assert_allclose(
        (out.affine @ [*centre, 1])[:3], (volume.affine @ [10, 20, 60, 1])[:3], atol=0.25
    )


def test_padding_keeps_rows_and_columns_at_one_scale():
    out = preprocess(a_volume((4, 40, 80), (1, 1, 1)), SMALL)
    assert out.spacing[1] == pytest.approx(out.spacing[2])
    assert not out.array[:, 0].any()


def test_steps_tell_the_story():
    out = preprocess(a_volume(), SMALL)
    assert [step.split()[0] for step in out.steps] == ["resampled", "clipped", "resized"]
    assert out.units == "unit"


def test_oblique_geometry_stays_oblique():
    volume = a_volume((6, 20, 20), (2, 1, 1))
    turn = np.deg2rad(20)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    tilted = volume.then("turned", volume.array, affine=rotation @ volume.affine)
    np.testing.assert_allclose(
        preprocess(tilted, SMALL).affine, rotation @ preprocess(volume, SMALL).affine, atol=1e-9
    )


def test_a_volume_that_is_no_longer_in_hu_is_refused():
    with pytest.raises(StudyError, match="WRONG_UNITS"):
        preprocess(preprocess(a_volume(), SMALL), SMALL)


def test_metres_of_patient_are_refused():
    with pytest.raises(StudyError, match=r"ABSURD_EXTENT.*Check the spacing"):
        preprocess(a_volume(spacing=(900.0, 1, 1)), SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"spacing_mm": 0}, "spacing_mm"),
        ({"low_hu": 400.0}, "low_hu"),
        ({"size": 241}, "multiple of 8"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        PreprocessSettings(**wrong)


def test_the_digest_changes_with_any_setting():
    digests = {
        PreprocessSettings().digest,
        PreprocessSettings(size=128).digest,
        PreprocessSettings(pad_square=False).digest,
    }
    assert len(digests) == 3


def test_a_single_slice_has_no_upper_neighbour():
    lower, weight = linear_taps(1, np.array([0.0, 0.4]))
    assert lower.tolist() == [0, 0]
    assert weight.tolist() == [0, 0]
