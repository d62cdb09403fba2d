import math

import pytest
import torch
from torch import nn

from covidctnet.systems.covidctnet.networks import CNN3D
from covidctnet.systems.covidctnet.networks.cnn3d import SMALLEST_SHARE, lung_shares


@pytest.mark.parametrize(
    ("size", "count", "grid"), [(128, 920_715, (1, 3, 3)), (240, 1_084_555, (1, 7, 7))]
)
def test_it_has_as_many_parameters_as_published(size, count, grid):
    with torch.device("meta"):
        network = CNN3D(size=size)
    assert sum(p.numel() for p in network.parameters()) == count
    assert network.grid == grid


@pytest.mark.parametrize("depth", [34, 50, 65, 66])
def test_the_grid_is_what_the_features_really_have(depth):
    network = CNN3D(depth, 40, base=1)
    assert network.features(torch.zeros(1, 1, depth, 40, 40)).shape[2:] == network.grid


def test_it_gives_logits_and_leaves_the_softmax_to_the_caller():
    torch.manual_seed(0)
    logits = CNN3D(34, 40, base=1).eval()(10 * torch.randn(2, 1, 34, 40, 40))
    assert logits.shape == (2, 3)
    assert not torch.allclose(logits.sum(1), torch.ones(2), atol=1e-3)


def test_every_parameter_gets_a_finite_gradient_that_is_not_zero():
    torch.manual_seed(0)
    network = CNN3D(34, 40, base=2, dropout=0.0)
    network(torch.randn(2, 1, 34, 40, 40)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 1e-9, name


def test_layers_start_he_uniform_without_bias():
    torch.manual_seed(0)
    network = CNN3D(34, 40)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv3d | nn.Linear)]
    assert len(layers) == 12
    for layer in layers:
        limit = math.sqrt(6 / layer.weight[0].numel())
        assert 0.9 * limit < layer.weight.abs().max() <= limit
        assert not layer.bias.any()


def test_dropout_makes_training_random_and_leaves_evaluation_alone():
    torch.manual_seed(0)
    network, residuals = CNN3D(34, 40, base=2), torch.randn(2, 1, 34, 40, 40)
    assert not torch.equal(network(residuals), network(residuals))
    network.eval()
    assert torch.equal(network(residuals), network(residuals))


def test_channels_last_memory_changes_nothing():
    torch.manual_seed(0)
    network, residuals = CNN3D(34, 70, base=2).eval(), torch.randn(2, 1, 34, 70, 70)
    plain = network(residuals)
    network = network.to(memory_format=torch.channels_last_3d)
    again = network(residuals.contiguous(memory_format=torch.channels_last_3d))
    assert torch.allclose(plain, again, atol=1e-5)


def test_a_fresh_network_answers_differently_to_different_residuals():
    torch.manual_seed(0)
    logits = CNN3D(34, 40, base=2).eval()(torch.randn(4, 1, 34, 40, 40))
    assert logits.std(dim=0).min() > 1e-3


@pytest.mark.parametrize("shape", [(1, 1, 40, 40), (1, 3, 34, 40, 40), (1, 1, 35, 40, 40)])
def test_residuals_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expects \(batch, 1, 34, 40, 40\), got \(1, "):
        CNN3D(34, 40, base=1)(torch.zeros(shape))


def test_two_channels_cost_one_more_kernel_for_every_filter_of_the_first_layer():
    torch.manual_seed(0)
    one, two = CNN3D(34, 40, base=2), CNN3D(34, 40, base=2, channels=2)
    counts = [sum(p.numel() for p in network.parameters()) for network in (one, two)]
    assert counts[1] - counts[0] == 2 * 27
    assert two(torch.zeros(1, 2, 34, 40, 40)).shape == (1, 3)
    with pytest.raises(ValueError, match=r"expects \(batch, 2, 34, 40, 40\), got \(1, 1, "):
        two(torch.zeros(1, 1, 34, 40, 40))


def test_a_network_without_input_is_refused():
    with pytest.raises(ValueError, match="channels must be 1 or more, got 0"):
        CNN3D(34, 40, channels=0)


def test_inputs_too_small_for_five_levels_are_refused():
    with pytest.raises(ValueError, match="depth and size must be at least 34, got 33 and 240"):
        CNN3D(depth=33)


def masked(*values):
    """A lung of 10 x 10 in the middle of every slice, each quarter of one value."""
    x = torch.zeros(1, 1, 34, 40, 40)
    for value, (row, column) in zip(values, [(0, 0), (0, 10), (10, 0), (10, 10)], strict=True):
        x[..., 10 + row : 20 + row, 10 + column : 20 + column] = value
    return x


def test_shares_are_those_of_the_lungs_without_their_rim():
    shares = torch.exp(lung_shares(masked(0.15, 0.15, 0.35, 0.65)) - 3) - SMALLEST_SHARE
    expected = [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0]
    assert torch.allclose(shares, torch.tensor([expected], dtype=torch.float32), atol=1e-6)


def test_what_lies_in_the_rim_changes_no_share():
    x = masked(0.15, 0.15, 0.15, 0.15)
    rim = x.clone()
    rim[..., 10, 10:30] = 0.9
    assert torch.equal(lung_shares(x), lung_shares(rim))


def test_shares_start_without_a_say_and_learn():
    torch.manual_seed(0)
    network, x = CNN3D(34, 40, base=2, shares=True).eval(), masked(0.15, 0.15, 0.35, 0.65)
    assert network.score_shares is not None
    before = network(x)
    network.score_shares.bias.data += 1
    assert torch.allclose(network(x), before + 1)
    network(x).square().sum().backward()
    assert network.score_shares.weight.grad.abs().min() > 0


def test_an_input_without_lungs_has_finite_shares():
    assert torch.isfinite(lung_shares(torch.zeros(1, 2, 34, 40, 40))).all()
