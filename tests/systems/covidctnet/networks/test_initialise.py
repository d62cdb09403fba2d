import math

import pytest
import torch
from torch import nn

from covidctnet.systems.covidctnet.networks.initialise import he_normal_, he_uniform_


@pytest.mark.parametrize("draw", [he_normal_, he_uniform_])
def test_weights_have_variance_two_over_fan_in(draw):
    torch.manual_seed(0)
    weight = torch.empty(128, 32, 3, 3)
    draw(weight)
    assert weight.var().item() == pytest.approx(2 / (32 * 9), rel=0.02)
    assert abs(weight.mean().item()) < 1e-3


def test_he_normal_is_cut_off_at_two_standard_deviations_as_in_keras():
    torch.manual_seed(0)
    weight = torch.empty(128, 32, 3, 3)
    he_normal_(weight)
    spread = math.sqrt(2 / (32 * 9)) / 0.87962566103423978
    assert 1.99 * spread < weight.abs().max().item() <= 2 * spread


def test_a_transposed_convolution_counts_its_fan_in_as_keras_does():
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(256, 64, 2)
    he_normal_(layer.weight)
    # Keras keeps (row, column, out, in) and multiplies all but the last: 2 x 2 x 64.
    assert layer.weight.var().item() == pytest.approx(2 / (2 * 2 * 64), rel=0.02)
