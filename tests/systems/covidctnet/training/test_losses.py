import pytest
import torch
from skimage.metrics import structural_similarity as by_skimage

from covidctnet.systems.covidctnet.training.losses import slice_loss, structural_similarity


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand((2, 1, 40, 36), generator=generator)
    output = (clean + 0.1 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    lungs = torch.zeros_like(clean)
    lungs[:, :, 10:20, 5:30] = 1
    return output, clean, lungs


def test_structural_similarity_is_that_of_scikit_image(batch):
    output, clean, _ = batch
    ours = structural_similarity(output, clean)[0, 0].numpy()
    _, theirs = by_skimage(
        output[0, 0].numpy(),
        clean[0, 0].numpy(),
        win_size=11,
        data_range=1.0,
        use_sample_covariance=False,
        full=True,
    )
    inner = (slice(6, -6), slice(6, -6))
    assert abs(ours[inner] - theirs[inner]).max() < 1e-5


@pytest.mark.parametrize("kind", ["l1", "l1_ssim"])
def test_nothing_to_mend_costs_nothing(batch, kind):
    _, clean, lungs = batch
    assert slice_loss(clean, clean, lungs, kind=kind, lungs_weight=1.0).item() < 1e-6


@pytest.mark.parametrize("kind", ["l1", "l1_ssim", "bce"])
def test_the_healthy_slice_costs_least(batch, kind):
    output, clean, lungs = batch
    best = slice_loss(clean, clean, lungs, kind=kind, lungs_weight=1.0)
    assert slice_loss(output, clean, lungs, kind=kind, lungs_weight=1.0) > best


def test_l1_weighs_the_lungs_once_more(batch):
    output, clean, lungs = batch
    each = (output - clean).abs()
    plain = slice_loss(output, clean, lungs, kind="l1", lungs_weight=0.0)
    weighted = slice_loss(output, clean, lungs, kind="l1", lungs_weight=2.0)
    assert torch.isclose(plain, each.mean())
    assert torch.isclose(weighted, each.mean() + 2 * each[lungs > 0].mean())


def test_a_saturated_output_has_a_finite_cross_entropy(batch):
    _, clean, lungs = batch
    for value in (0.0, 1.0):
        loss = slice_loss(torch.full_like(clean, value), clean, lungs, kind="bce", lungs_weight=0)
        assert loss.isfinite()


def test_slices_without_lungs_have_a_finite_loss(batch):
    output, clean, lungs = batch
    assert slice_loss(output, clean, 0 * lungs, kind="l1", lungs_weight=1.0).isfinite()
