import numpy as np
import pytest
import torch

from covidctnet.networks.gradcam import grad_cam
from covidctnet.systems.resnet50_slices.networks import SliceClassifier


class Corner(torch.nn.Module):
    """Feature maps of which only one place in each is not 0."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        maps = torch.zeros(len(x), self.channels, 4, 4)
        maps[:, 0, 0, 3] = 1  # speaks for class 1
        maps[:, 1, 3, 0] = 1  # speaks against it
        return maps


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = SliceClassifier("efficientnet_lite0").eval()
    made.body = Corner(1280)
    with torch.no_grad():
        for layer in (made.head[2], made.head[6]):
            layer.weight.zero_()
        first, last = made.head[2].weight, made.head[6].weight
        # Unit 0 reads the maximum and the mean of map 0, unit 1 of map 1.
        first[0, 0] = first[0, 1280] = first[1, 1] = first[1, 1281] = 1
        last[1, 0], last[0, 1] = 1, 1
    return made


PICTURES = np.zeros((2, 64, 64), np.uint8)


@pytest.mark.parametrize(("label", "corner"), [(1, (0, 63)), (0, (63, 0))])
def test_the_place_that_speaks_for_a_class_is_the_brightest(network, label, corner):
    heat = grad_cam(network, PICTURES, label)
    assert heat.shape == (2, 64, 64) and heat.dtype == np.float32
    assert heat.max() == 1 and heat.min() == 0
    for slice_ in heat:
        assert slice_[corner] == 1
        assert slice_[corner[::-1]] == 0


def test_nothing_speaks_where_the_maps_are_empty(network):
    network.body.forward = lambda x: torch.zeros(len(x), 1280, 4, 4)
    assert not grad_cam(network, PICTURES, 1).any()


def test_a_caller_without_gradients_gets_the_same_and_leaves_none(network):
    expected = grad_cam(network, PICTURES, 1)
    with torch.inference_mode():
        assert np.array_equal(grad_cam(network, PICTURES, 1), expected)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_fast_copy_shows_the_same_places():
    torch.manual_seed(0)
    network = SliceClassifier("efficientnet_lite0").eval()
    pictures = np.random.default_rng(0).integers(0, 256, (1, 64, 64), np.uint8)
    heat = grad_cam(network, pictures, 1)
    np.testing.assert_allclose(grad_cam(network.fast(), pictures, 1), heat, atol=1e-3)


def test_a_network_in_training_mode_is_refused(network):
    with pytest.raises(ValueError, match="in evaluation mode"):
        grad_cam(network.train(), PICTURES, 1)
