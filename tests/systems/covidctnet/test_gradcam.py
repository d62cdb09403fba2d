import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from covidctnet.classes import CHEST_CT
from covidctnet.systems.covidctnet.gradcam import grad_cam
from covidctnet.systems.covidctnet.networks import CNN3D


@pytest.fixture
def network():
    torch.manual_seed(3)
    return CNN3D(34, 40, base=2).eval()


@pytest.fixture
def scan():
    return torch.randn(1, 1, 34, 40, 40, generator=torch.Generator().manual_seed(1))


def by_hand(network, scan, label, level):
    """The formula layer by layer, channel by channel; SciPy enlarges."""
    x, held = scan, None
    for index, layer in enumerate(network.features):
        x = layer(x)
        if index == 5 * level - 2:
            # The pooling comes next; a product keeps the rectifier's output from being written to.
            held = x = x * 1.0
            held.retain_grad()
    network.classify(x.flatten(1))[0, label].backward()
    coarse = np.zeros(held.shape[2:])
    for values, slopes in zip(held[0].detach().numpy(), held.grad[0].numpy(), strict=True):
        coarse += slopes * values
    coarse = np.maximum(coarse, 0)
    step = 2 ** (level - 1)
    middles = (np.indices(scan.shape[2:]) - 1 - (step - 1) / 2) / step
    fine = ndimage.map_coordinates(coarse, middles, order=1, mode="nearest")
    return fine / fine.max() if fine.max() > 0 else fine


@pytest.mark.parametrize("level", [5, 3])
def test_it_is_every_map_by_its_own_gradient_computed_by_hand(network, scan, level):
    found = [grad_cam(network, scan, label, level=level) for label in CHEST_CT]
    assert any(cam.max() > 0 for cam in found)
    for label, cam in zip(CHEST_CT, found, strict=True):
        network.zero_grad()
        np.testing.assert_allclose(cam, by_hand(network, scan, label, level), atol=2e-5)


def test_it_has_the_input_s_shape_and_lies_between_0_and_1(network, scan):
    cam = grad_cam(network, scan, CHEST_CT.CAP, level=4)
    assert cam.shape == (34, 40, 40)
    assert cam.dtype == np.float32
    assert cam.min() >= 0
    assert cam.max() in (0, 1)


def one_that_sees_a_bright_spot():
    """Every level hands the brightness on; the head adds it up for Covid-19 and against CAP."""
    network = CNN3D(66, 66, base=1, classes=3, dense=1).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for layer in network.features:
            if hasattr(layer, "weight"):
                layer.weight[0, 0, 1, 1, 1] = 1.0
        hidden, _, _, last = network.classify
        hidden.weight[0, : 2 * 2 * 2] = 1.0
        last.weight[CHEST_CT.COVID19, 0], last.weight[CHEST_CT.CAP, 0] = 1.0, -1.0
    return network


@pytest.mark.parametrize("level", [1, 3, 5])
@pytest.mark.parametrize("place", [(41, 9, 25), (9, 57, 41)])
def test_its_peak_lies_at_the_only_place_that_tells(level, place):
    scan = torch.zeros(1, 1, 66, 66, 66)
    scan[(0, 0, *place)] = 1.0
    cam = grad_cam(one_that_sees_a_bright_spot(), scan, CHEST_CT.COVID19, level=level)
    # Within the block of voxels that the map voxel comes from.
    peak = np.array(np.nonzero(cam == cam.max())).mean(axis=1)
    assert np.abs(peak - place).max() <= 2 ** (level - 1) / 2


def test_what_speaks_against_a_label_leaves_its_map_empty():
    scan = torch.zeros(1, 1, 66, 66, 66)
    scan[0, 0, 30, 30, 30] = 1.0
    network = one_that_sees_a_bright_spot()
    assert not grad_cam(network, scan, CHEST_CT.CAP).any()
    assert not grad_cam(network, torch.zeros_like(scan), CHEST_CT.COVID19).any()


def test_the_network_is_left_as_it_was(network, scan):
    network(scan)[0, 0].backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    before = scan.clone()
    grad_cam(network, scan, CHEST_CT.CONTROL)
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        assert parameter.requires_grad
        assert torch.equal(parameter.grad, gradient)
    assert torch.equal(scan, before)
    assert not scan.requires_grad
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks


def test_it_works_where_the_caller_records_nothing(network, scan):
    heatmap = grad_cam(network, scan, CHEST_CT.COVID19, level=3)
    with torch.no_grad():
        np.testing.assert_array_equal(grad_cam(network, scan, CHEST_CT.COVID19, level=3), heatmap)
    with torch.inference_mode():
        np.testing.assert_array_equal(
            grad_cam(network, scan * 1, CHEST_CT.COVID19, level=3), heatmap
        )
        assert torch.is_inference_mode_enabled()


def test_two_channels_have_one_map():
    torch.manual_seed(0)
    network = CNN3D(34, 40, base=1, channels=2).eval()
    assert grad_cam(network, torch.randn(1, 2, 34, 40, 40), CHEST_CT.CAP).shape == (34, 40, 40)


def test_a_network_in_training_is_refused(network, scan):
    with pytest.raises(ValueError, match="evaluation mode"):
        grad_cam(network.train(), scan, CHEST_CT.CAP)


def test_several_inputs_at_once_are_refused(network, scan):
    with pytest.raises(ValueError, match="one input of shape"):
        grad_cam(network, F.pad(scan, (0, 0) * 3 + (0, 0, 0, 1)), CHEST_CT.CAP)


@pytest.mark.parametrize("level", [0, 6])
def test_a_level_that_is_not_there_is_refused(network, scan, level):
    with pytest.raises(ValueError, match="from 1 to 5"):
        grad_cam(network, scan, CHEST_CT.CAP, level=level)
