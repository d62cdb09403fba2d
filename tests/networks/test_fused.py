import copy

import pytest
import torch
from torch import nn

from covidctnet.networks.backbones import library, make_body
from covidctnet.networks.fused import fold_all, for_inference


def as_after_training(network):
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(std=0.1)
    return network.eval()


def norms(network):
    return sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
@torch.inference_mode()
def test_a_folded_body_has_no_batch_norm_and_the_same_features(name):
    plain = as_after_training(make_body(name))
    images = torch.rand(2, 3, 64, 64)
    expected = plain(images)
    fast = for_inference(plain, torch.rand(1, 3, 32, 32))
    assert norms(plain) > 40 and norms(fast) == 0
    atol = 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(fast(images), expected, rtol=0, atol=atol)


@torch.inference_mode()
def test_a_folded_u_net_with_xception_gives_the_same_mask():
    smp = library("segmentation_models_pytorch")
    plain = as_after_training(smp.Unet("xception", encoder_weights=None))
    images = torch.rand(1, 3, 64, 64)
    expected = plain(images)
    fast = for_inference(plain, torch.rand(1, 3, 32, 32))
    assert norms(fast) == 0
    atol = 1e-4 * float(expected.abs().max())
    torch.testing.assert_close(fast(images), expected, rtol=0, atol=atol)


@torch.inference_mode()
def test_eight_bits_stay_near_and_the_trained_network_stays_as_it_was():
    plain = as_after_training(make_body("efficientnet_lite0"))
    before = copy.deepcopy(plain.state_dict())
    images = torch.rand(1, 3, 64, 64)
    rounded = for_inference(plain, images, torch.bfloat16)(images)
    assert rounded.dtype == torch.float32
    expected = plain(images)
    assert 0 < (rounded - expected).abs().mean() < 0.05 * expected.abs().mean()
    assert all(torch.equal(v, before[k]) for k, v in plain.state_dict().items())


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 5, 2, 2)
        self.norm = nn.BatchNorm2d(5)

    def forward(self, x):
        return self.norm(self.up(x))


@torch.inference_mode()
def test_a_transposed_convolution_is_folded_by_its_outputs():
    plain = as_after_training(Transposed())
    images = torch.rand(2, 3, 8, 8)
    expected = plain(images)
    assert fold_all(plain, images) == 1
    torch.testing.assert_close(plain(images), expected, rtol=1e-5, atol=1e-6)


class UsedTwice(nn.Module):
    """The feature map is used before its batch norm as well."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.conv(x)
        return x + self.norm(x)


class RunTwice(UsedTwice):
    """One convolution runs twice, once without the batch norm."""

    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


@torch.inference_mode()
def test_a_network_whose_folding_would_change_the_result_is_refused():
    with pytest.raises(ValueError, match="cannot be folded"):
        fold_all(as_after_training(UsedTwice()), torch.rand(1, 3, 4, 4))


@torch.inference_mode()
def test_a_convolution_that_runs_twice_stays_as_it_is():
    network = as_after_training(RunTwice())
    assert fold_all(network, torch.rand(1, 3, 4, 4)) == 0
    assert norms(network) == 1
