from dataclasses import replace

import pytest
import torch

from covidctnet.errors import UsageError
from covidctnet.training.augment import (
    MAX_SHIFT,
    VariationSettings,
    cut_patches,
    vary_residuals,
    vary_slices,
)

# No variation but mirroring.
STILL = VariationSettings(turn=0.0, zoom=0.0, shift=0.0, density=0.0, noise=0.0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def slices():
    """A body of 0.7 with one lung of 0.2 on a side of it."""
    clean = torch.zeros(64, 1, 32, 32)
    clean[:, :, 5:27, 4:28] = 0.7
    lungs = torch.zeros_like(clean)
    lungs[:, :, 10:22, 7:13] = 1
    clean[lungs > 0] = 0.2
    return clean, lungs


def test_what_a_network_trains_on_is_never_rounded(slices):
    """Eight bits of a sampling grid would move a voxel by up to one."""
    plain = vary_slices(*slices, generator=seeded())
    with torch.autocast("cpu", torch.bfloat16):
        within = vary_slices(*slices, generator=seeded())
    for one, other in zip(plain, within, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert torch.equal(one, other)


def test_varied_slices_stay_in_the_window_and_keep_their_shape(slices):
    clean, lungs = vary_slices(*slices, generator=seeded())
    assert clean.shape == lungs.shape == slices[0].shape
    for values in (clean, lungs):
        assert values.min() >= 0
        assert values.max() <= 1


def test_the_lungs_move_with_the_slice(slices):
    _, lungs = slices
    settings = VariationSettings(density=0.0, noise=0.0)
    clean, moved = vary_slices(0.4 * lungs, lungs, generator=seeded(), settings=settings)
    assert torch.allclose(clean, 0.4 * moved, atol=1e-6)
    assert not torch.allclose(moved, lungs)


def test_air_outside_the_body_stays_air(slices):
    clean, _ = vary_slices(*slices, generator=seeded())
    assert (clean[:, :, 0, 0] == 0).all()


def test_without_variation_a_slice_is_itself_or_its_mirror_image(slices):
    clean, lungs = vary_slices(*slices, generator=seeded(), settings=STILL)
    mirrored = 0
    for varied, mask, before, where in zip(clean, lungs, *slices, strict=True):
        same = torch.allclose(varied, before, atol=1e-5)
        flipped = torch.allclose(varied, before.flip(-1), atol=1e-5)
        assert same != flipped
        assert torch.allclose(mask, where.flip(-1) if flipped else where, atol=1e-5)
        mirrored += flipped
    assert 16 < mirrored < 48


def test_contrast_raises_dense_tissue_within_the_lungs_only():
    clean = torch.full((64, 1, 16, 16), 0.2)
    clean[:, :, 4:6, 8] = clean[:, :, 10:12, 8] = 0.74  # two vessels
    lungs = torch.zeros_like(clean)
    lungs[:, :, :8] = 1
    settings = replace(STILL, contrast=4.0)
    varied, moved = vary_slices(clean, lungs, generator=seeded(), settings=settings)
    vessel, inside = clean > 0.5, lungs > 0
    # The vessels lie on the middle column: mirrored slices show them one column further.
    rise = (varied - torch.where((varied > 0.5), 0.74, 0.2)).where(varied > 0.5, torch.zeros(()))
    assert rise[moved > 0.5].max() > 0.1
    assert rise[moved < 0.5].abs().max() < 1e-5
    assert torch.allclose(varied[varied < 0.5], torch.tensor(0.2), atol=1e-5)
    assert vessel.any() and inside.any()


def test_a_kernel_sharpens_some_edges_and_softens_others(slices):
    clean, lungs = slices
    settings = replace(STILL, kernel=0.8)
    varied, _ = vary_slices(clean, lungs, generator=seeded(), settings=settings)
    # The body's edge is a step from 0.7 to air: an overshoot above, or a ramp below 0.7.
    edge = varied[:, 0, 5, 16]
    assert (edge > 0.75).any()
    assert (edge < 0.65).any()
    assert torch.allclose(varied[:, 0, 24, 16], torch.tensor(0.7), atol=1e-5)


@pytest.mark.parametrize("grain", [0.0, 0.9])
def test_noise_keeps_its_spread_and_takes_the_grain_asked_for(grain):
    clean, lungs = torch.full((32, 1, 64, 64), 0.5), torch.ones(32, 1, 64, 64)
    settings = replace(STILL, noise=0.02, grain=grain)
    varied, _ = vary_slices(clean, lungs, generator=seeded(), settings=settings)
    inner = varied[:, 0, 2:-2, 2:-2] - 0.5
    assert 0.008 < inner.std() < 0.014  # evenly drawn between 0 and 0.02
    together = (inner[:, :, 1:] * inner[:, :, :-1]).mean() / inner.square().mean()
    assert together > 0.1 if grain else abs(together) < 0.02


def test_variations_without_a_meaning_are_refused():
    with pytest.raises(UsageError, match=r"variation noise must be a number from 0, got -0\.1"):
        VariationSettings(noise=-0.1)
    with pytest.raises(UsageError, match="variation zoom must be below 1, got 1"):
        VariationSettings(zoom=1.0)


def test_slices_of_a_batch_are_varied_each_in_its_own_way(slices):
    clean, _ = vary_slices(*slices, generator=seeded())
    assert len(torch.unique(clean.flatten(1), dim=0)) == len(clean)


def test_the_same_seed_varies_alike_and_another_otherwise(slices):
    first, again, other = (vary_slices(*slices, generator=seeded(s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.fixture
def residual():
    """A block of residual in the middle, nothing near the rim."""
    out = torch.zeros(32, 1, 20, 24, 24)
    out[:, :, 8:12, 9:14, 8:11] = torch.rand(4, 5, 3, generator=seeded(9)) + 0.1
    return out


def test_a_residual_is_moved_mirrored_and_scaled_but_never_bent(residual):
    varied = vary_residuals(residual, generator=seeded())
    before = residual[0][residual[0] > 0].sort().values
    for sample in varied:
        after = sample[sample > 0].sort().values
        factor = after / before
        assert torch.allclose(factor, factor[0].expand_as(factor), rtol=1e-5)
        assert 0.8 <= factor[0] <= 1.2


def test_residuals_move_by_a_few_voxels_only(residual):
    varied = vary_residuals(residual, generator=seeded())
    for sample in varied:
        for axis, size in enumerate((20, 24, 24), start=1):
            others = tuple(a for a in range(4) if a != axis)
            old = (residual[0].abs().sum(others) > 0).nonzero().float().mean()
            new = (sample.abs().sum(others) > 0).nonzero().float().mean()
            reach = max(1, round(MAX_SHIFT * size))
            mirror = size - 1 - old if axis == 3 else old
            assert min(abs(new - old), abs(new - mirror)) <= reach


def test_the_sign_of_a_residual_is_kept(residual):
    assert vary_residuals(residual, generator=seeded()).min() >= 0
    assert vary_residuals(-residual, generator=seeded()).max() <= 0


def test_the_same_seed_varies_residuals_alike(residual):
    first, again, other = (vary_residuals(residual, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_patch_shows_lung_and_stays_within_the_slice():
    lungs = torch.zeros((40, 1, 48, 64))
    lungs[:, :, 2:6, 50:60] = 1
    clean = torch.arange(48 * 64.0).reshape(1, 1, 48, 64).expand(40, -1, -1, -1)
    patches, cut = cut_patches(clean, lungs, 16, generator=torch.Generator().manual_seed(0))
    assert patches.shape == cut.shape == (40, 1, 16, 16)
    assert (cut.flatten(1).sum(1) > 0).all()
    # Every patch is a piece of the slice: rows 64 apart, columns 1.
    assert (patches.diff(dim=2) == 64).all()
    assert (patches.diff(dim=3) == 1).all()
    assert len(patches[:, 0, 0, 0].unique()) > 5


def test_slices_without_lungs_give_patches_of_anywhere_and_small_ones_stay_whole():
    clean = torch.rand((6, 1, 24, 40))
    patches, _ = cut_patches(clean, 0 * clean, 32, generator=torch.Generator().manual_seed(0))
    assert patches.shape == (6, 1, 24, 32)


def test_a_ct_beside_the_residual_moves_with_it(residual):
    both = torch.cat([residual, 0.5 * residual], dim=1)
    varied = vary_residuals(both, generator=seeded())
    assert torch.equal(varied[:, 1], 0.5 * varied[:, 0])
    assert torch.equal(varied[:, :1], vary_residuals(residual, generator=seeded()))
