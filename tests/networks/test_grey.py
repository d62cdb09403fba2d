import pytest
import torch
from torch import nn

from covidctnet.networks.backbones import BACKBONES, make_body
from covidctnet.networks.grey import grey_normalised, take_grey
from tests.networks.test_fused import as_after_training


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0", "inception_v3"])
@torch.inference_mode()
def test_one_grey_channel_gives_the_features_of_three_equal_ones(name):
    backbone = BACKBONES[name]
    body = as_after_training(make_body(name))
    grey = grey_normalised(torch.rand(2, 1, 96, 96), backbone)
    expected = body(grey.expand(-1, 3, -1, -1))
    found = take_grey(body)(grey)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-5)


def test_a_network_of_grey_pictures_is_not_changed_again():
    network = take_grey(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(ValueError, match="expected a first convolution of three channels, got 1"):
        take_grey(network)
    with pytest.raises(ValueError, match=r"expected \(batch, 1, row, column\), got \(1, 3, 8, 8\)"):
        grey_normalised(torch.zeros(1, 3, 8, 8), BACKBONES["resnet50"])
