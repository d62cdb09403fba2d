import numpy as np
import pytest
import torch

from covidctnet.systems.xray_vgg16.networks import RadiographNet, feature_sheets


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return RadiographNet("vgg16_block2", 96).eval()


PICTURE = np.random.default_rng(0).integers(0, 256, (96, 96)).astype(np.uint8)


def test_every_convolution_and_pooling_has_a_sheet_in_the_order_of_computation(network):
    sheets = list(feature_sheets(network, PICTURE))
    # Four convolutions and two poolings of the body, three and three of the head.
    assert len(sheets) == 12
    assert [s.maps for s in sheets] == [64, 64, 64, 128, 128, 128, 32, 32, 64, 64, 128, 128]
    assert sheets[0].pixels.shape == (4 * 96, 16 * 96)
    assert sheets[0].layer.startswith("bodies.0.") and sheets[-1].layer.startswith("heads.0.")
    assert not any(layer._forward_hooks for layer in network.modules())


@torch.inference_mode()
def test_maps_are_standardised_as_published(network):
    first = list(feature_sheets(network, PICTURE))[6]
    features = network.features(torch.from_numpy(PICTURE)[None, None].float() / 255)
    found = network.heads[0][0](features)[0]
    one = found[17].double()
    expected = ((one - one.mean()) / one.std(correction=0) * 64 + 128).clamp(0, 255).round()
    side = one.shape[0]
    tile = first.pixels[side : 2 * side, side : 2 * side]
    np.testing.assert_allclose(tile, expected.numpy(), atol=1)


def test_a_network_in_training_is_refused(network):
    with pytest.raises(ValueError, match="expected a network in evaluation mode"):
        list(feature_sheets(RadiographNet("vgg16_block2", 96), PICTURE))
