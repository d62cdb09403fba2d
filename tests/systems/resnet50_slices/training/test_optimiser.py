import pytest
import torch
from torch import nn

from covidctnet.systems.resnet50_slices.networks import SliceClassifier
from covidctnet.systems.resnet50_slices.training.optimiser import apply_step, make_optimiser
from covidctnet.systems.resnet50_slices.training.schedule import FineTune, Step


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SliceClassifier("efficientnet_lite0")


def test_every_parameter_is_in_one_group_and_norms_and_biases_do_not_decay(network):
    optimiser = make_optimiser(network.groups())
    held = [p for group in optimiser.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in network.parameters()}
    assert len(held) == len({id(p) for p in held})
    for group in optimiser.param_groups:
        assert group["eps"] == 1e-5
        for parameter in group["params"]:
            assert (group["weight_decay"] == 0) == (parameter.ndim == 1)
            assert group["weight_decay"] in (0, 0.01)


def test_a_step_sets_rates_and_momentum_of_each_group_of_layers(network):
    optimiser = make_optimiser(network.groups())
    step = FineTune(10).at(40)
    apply_step(optimiser, step)
    rates = [group["lr"] for group in optimiser.param_groups]
    assert rates == [rate for rate in step.rates for _ in range(2)]
    assert {group["betas"] for group in optimiser.param_groups} == {(step.momentum, 0.99)}


def test_a_frozen_body_keeps_its_convolutions_and_moves_its_batch_norms_and_the_head(network):
    optimiser = make_optimiser(network.groups())
    apply_step(optimiser, Step((1e-2, 1e-2, 1e-2), 0.9, frozen=True))
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    network.train()(torch.rand(4, 1, 64, 64)).square().sum().backward()
    optimiser.step()
    moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    norms = {
        f"{name}.{part}"
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for part in ("weight", "bias")
    }
    assert moved == norms | {n for n in before if n.startswith("head.")}
    apply_step(optimiser, Step((1e-2, 1e-2, 1e-2), 0.9, frozen=False))
    assert all(p.requires_grad for p in network.parameters())


def test_a_weight_moves_as_adam_with_decoupled_decay():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 2.0)
    optimiser = make_optimiser([[layer]])
    expected, mean, square = 2.0, 0.0, 0.0
    for number, (gradient, momentum) in enumerate([(0.3, 0.95), (-0.1, 0.85)], 1):
        apply_step(optimiser, Step((0.01,), momentum, frozen=False))
        layer.weight.grad = torch.full((1, 1), gradient)
        optimiser.step()
        mean = momentum * mean + (1 - momentum) * gradient
        square = 0.99 * square + 0.01 * gradient**2
        expected *= 1 - 0.01 * 0.01
        unbiased = (square / (1 - 0.99**number)) ** 0.5 + 1e-5
        expected -= 0.01 * mean / (1 - momentum**number) / unbiased
        assert layer.weight.item() == pytest.approx(expected, rel=1e-5)
