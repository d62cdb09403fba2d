import platform

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from covidctnet.systems.covidctnet.perlin import fields
from tests.systems.covidctnet.perlin2 import perlin2

noise = pytest.importorskip("noise")


def by_the_package(shape, *, scale, offset=(0.0, 0.0), repeat=1024, **settings):
    """The field that the package ``noise`` gives, a point at a time."""
    return np.array(
        [
            [
                noise.pnoise2(
                    row / scale + offset[0],
                    column / scale + offset[1],
                    repeatx=repeat,
                    repeaty=repeat,
                    **settings,
                )
                for column in range(shape[1])
            ]
            for row in range(shape[0])
        ],
        np.float32,
    )


def assert_same_bits(ours, theirs):
    if platform.machine() in ("x86_64", "AMD64"):
        assert np.array_equal(ours, theirs)
    else:  # a compiler may fuse a product and a sum there, which rounds once less
        assert np.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize(
    "settings",
    [
        {"scale": 20.0, "octaves": 6, "persistence": 0.4, "lacunarity": 2.0},
        {"scale": 13.7, "octaves": 10, "persistence": -0.37, "lacunarity": 2.0},
        {"scale": 33.0, "octaves": 5, "persistence": 0.5, "lacunarity": 1.9},
        {"scale": 1.3, "octaves": 4, "persistence": 0.8, "lacunarity": 3.0},
        {"scale": 7.0, "octaves": 1, "persistence": 0.5, "lacunarity": 2.0},
        {"scale": 2.0, "octaves": 3, "persistence": 0.0, "lacunarity": 2.0, "repeat": 5},
    ],
)
def test_a_field_is_bit_for_bit_that_of_the_package_noise(settings, base):
    shape = (40, 53)
    theirs = by_the_package(shape, base=base, **settings)
    assert_same_bits(perlin2(shape, base=base, **settings), theirs)


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(
    scale=st.floats(0.5, 60),
    octaves=st.integers(1, 10),
    persistence=st.floats(-0.6, 1),
    lacunarity=st.sampled_from([1.0, 1.5, 1.9, 2.0, 3.0]),
    repeat=st.sampled_from([1, 7, 256, 1024]),
    base=st.sampled_from([0, 1]),
)
def test_any_settings_give_the_bits_of_the_package_noise(**settings):
    assert_same_bits(perlin2((9, 11), **settings), by_the_package((9, 11), **settings))


def test_the_noise_recipe_of_the_published_code_comes_out_bit_for_bit():
    rng = np.random.default_rng(0)
    for _ in range(5):
        settings = {
            "scale": float(rng.integers(10, 30)),
            "octaves": 10,
            "persistence": 0.01 * float(rng.integers(-50, 50)),
            "lacunarity": 2.0,
        }
        assert_same_bits(perlin2((24, 24), **settings), by_the_package((24, 24), **settings))


def test_an_offset_is_added_to_the_coordinates():
    settings = {"scale": 10.0, "octaves": 3, "persistence": 0.5}
    ours = perlin2((30, 30), offset=(3.25, -7.5), **settings)
    theirs = by_the_package((30, 30), offset=(3.25, -7.5), lacunarity=2.0, **settings)
    assert np.allclose(ours, theirs, atol=1e-5)


def test_whole_cells_of_offset_move_the_field_along_itself():
    settings = {"scale": 8.0, "octaves": 4, "persistence": 0.5}
    whole = perlin2((64, 64), **settings)
    moved = perlin2((48, 40), offset=(2.0, 3.0), **settings)
    assert np.allclose(moved, whole[16:64, 24:64], atol=1e-6)


def test_a_distant_field_is_as_precise_as_one_at_the_origin():
    settings = {"scale": 20.0, "octaves": 6, "persistence": 0.5}
    near = perlin2((32, 32), offset=(5.375, 9.625), **settings)
    far = perlin2((32, 32), offset=(5.375 + 256 * 4000, 9.625 + 256 * 4000), **settings)
    assert np.array_equal(near, far)


@pytest.mark.parametrize("cells", [(256, 0), (0, -256), (512, 256)])
def test_the_lattice_repeats_after_256_cells_and_not_before(cells):
    settings = {"scale": 5.0, "octaves": 3, "persistence": 0.5}
    field = perlin2((32, 32), offset=(0.25, 0.5), **settings)
    again = perlin2((32, 32), offset=(0.25 + cells[0], 0.5 + cells[1]), **settings)
    half = perlin2((32, 32), offset=(0.25 + cells[0] / 2, 0.5 + cells[1] / 4), **settings)
    assert np.array_equal(field, again)
    assert np.abs(field - half).max() > 0.1


def test_offsets_of_a_batch_give_fields_of_their_own():
    offsets = torch.from_numpy(np.random.default_rng(0).uniform(0, 256, (6, 2)))
    batch = fields(
        64,
        64,
        scale=torch.full((6,), 12.0),
        octaves=4,
        persistence=torch.ones(6) / 2,
        offsets=offsets,
    )
    correlation = np.corrcoef(batch.flatten(1).numpy()) - np.eye(6)
    assert np.abs(correlation).max() < 0.6


def test_another_offset_is_another_field():
    settings = {"scale": 20.0, "octaves": 4, "persistence": 0.5}
    first = perlin2((64, 64), offset=(0.3, 0.4), **settings)
    other = perlin2((64, 64), offset=(90.3, 17.4), **settings)
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.5


def test_noise_vanishes_on_the_lattice():
    field = perlin2((33, 33), scale=8.0)
    assert np.array_equal(field[::8, ::8], np.zeros((5, 5)))
    assert field.dtype == np.float32
    assert 0.2 < np.abs(field).max() <= 1


@pytest.mark.parametrize(("lacunarity", "octaves"), [(2.0, 10), (1.9, 5), (3.0, 5)])
def test_a_batch_equals_its_fields_one_by_one(lacunarity, octaves):
    rng = np.random.default_rng(1)
    scale = rng.uniform(3, 70, 5).astype(np.float32)
    persistence = rng.uniform(-0.5, 0.9, 5).astype(np.float32)
    offsets = rng.uniform(0, 256, (5, 2)).astype(np.float32)
    batch = fields(
        37,
        50,
        scale=torch.from_numpy(scale),
        octaves=octaves,
        persistence=torch.from_numpy(persistence),
        offsets=torch.from_numpy(offsets),
        lacunarity=lacunarity,
    )
    assert batch.shape == (5, 37, 50) and batch.dtype == torch.float32
    for k in range(5):
        alone = perlin2(
            (37, 50),
            scale=float(scale[k]),
            octaves=octaves,
            persistence=float(persistence[k]),
            offset=(float(offsets[k, 0]), float(offsets[k, 1])),
            lacunarity=lacunarity,
        )
        assert np.abs(batch[k].numpy() - alone).max() < 1e-6


def test_a_batch_is_right_where_a_field_spans_the_whole_hash():
    scale, persistence = torch.tensor([1.25, 40.0]), torch.tensor([0.5, 0.5])
    offsets = torch.tensor([[200.5, 0.0], [3.0, 250.75]])
    settings = {"scale": scale, "persistence": persistence, "offsets": offsets}
    batch = fields(300, 24, octaves=3, **settings)
    for k in range(2):
        place = (float(offsets[k, 0]), float(offsets[k, 1]))
        alone = perlin2((300, 24), scale=float(scale[k]), octaves=3, offset=place)
        assert np.abs(batch[k].numpy() - alone).max() < 1e-6


def test_autocast_makes_a_batch_no_coarser():
    settings = {
        "scale": torch.tensor([20.0]),
        "octaves": 3,
        "persistence": torch.tensor([0.5]),
        "offsets": torch.tensor([[1.5, 2.5]]),
    }
    with torch.autocast("cpu", torch.bfloat16):
        rough = fields(32, 32, **settings)
    assert torch.equal(rough, fields(32, 32, **settings))


@pytest.mark.parametrize(
    "wrong", [{"octaves": 0}, {"scale": 0.0}, {"scale": float("nan")}, {"base": 2}, {"repeat": 0}]
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        perlin2((8, 8), **{"scale": 10.0, **wrong})


def test_amplitudes_that_sum_to_nothing_are_refused():
    with pytest.raises(ValueError, match="sum to amplitude 0"):
        perlin2((8, 8), scale=10.0, octaves=2, persistence=-1.0)
    with pytest.raises(ValueError, match="sum to amplitude 0"):
        fields(
            8,
            8,
            scale=torch.tensor([10.0]),
            octaves=2,
            persistence=torch.tensor([-1.0]),
            offsets=torch.zeros(1, 2),
        )


def test_a_batch_whose_settings_disagree_is_refused():
    settings = {"octaves": 2, "persistence": torch.ones(3), "offsets": torch.zeros(2, 2)}
    with pytest.raises(ValueError, match=r"expected scale \(batch,\)"):
        fields(8, 8, scale=torch.ones(2), **settings)
    settings["persistence"] = torch.ones(2)
    with pytest.raises(ValueError, match="scale > 0"):
        fields(8, 8, scale=torch.tensor([0.0, 10.0]), **settings)


def by_pnoise3(shape, *, scale, offset, **settings):
    return np.array(
        [
            [
                noise.pnoise3(
                    row / scale + offset[0], column / scale + offset[1], offset[2], **settings
                )
                for column in range(shape[1])
            ]
            for row in range(shape[0])
        ],
        np.float32,
    )


@pytest.mark.parametrize("octaves", [1, 4])
def test_a_slice_of_a_field_of_three_dimensions_is_that_of_the_package_noise(octaves):
    places = [(3.25, 7.5, 0.0), (0.5, 10.25, 11.625), (15.0, 2.75, 14.875)]
    scales, persistences = (9.0, 13.0, 7.0), (0.5, 0.4, -0.3)
    ours = fields(
        30,
        37,
        scale=torch.tensor(scales),
        octaves=octaves,
        persistence=torch.tensor(persistences),
        offsets=torch.tensor(places),
    )
    each = zip(ours, places, scales, persistences, strict=True)
    for field, place, scale, persistence in each:
        theirs = by_pnoise3(
            (30, 37), scale=scale, offset=place, octaves=octaves, persistence=persistence
        )
        assert np.allclose(field, theirs, atol=1e-5)


def volume_slices(distance, scale=20.0, count=8):
    """Slices of one volume, so many voxels apart."""
    offsets = torch.tensor([[5.3, 9.1, 3.7 + n * distance / scale] for n in range(count)])
    full = torch.full((count,), 1.0)
    return fields(48, 48, scale=full * scale, octaves=4, persistence=full * 0.5, offsets=offsets)


def test_neighbouring_slices_of_a_volume_look_alike_and_distant_ones_do_not():
    def likeness(slices):
        return np.corrcoef(slices[0].flatten(), slices[1].flatten())[0, 1]

    assert likeness(volume_slices(1.0)) > 0.95
    assert abs(likeness(volume_slices(60.0))) < 0.5


def test_a_volume_is_as_smooth_along_the_slices_as_within_them():
    cube = volume_slices(1.0, count=48)
    along_slices, along_rows = (cube.diff(dim=axis).std() for axis in (0, 1))
    assert along_slices.item() == pytest.approx(along_rows.item(), rel=0.3)
