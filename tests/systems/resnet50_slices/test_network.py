import pytest
import torch
from torch import nn

from covidctnet.errors import UsageError
from covidctnet.systems.resnet50_slices.networks import SliceClassifier
from tests.networks.test_fused import as_after_training, norms


def parameters(layers):
    return sum(p.numel() for layer in layers for p in layer.parameters())


@pytest.fixture(scope="module")
def outline():
    with torch.device("meta"):
        return SliceClassifier()


def test_the_network_has_the_parameters_of_the_published_one(outline):
    assert parameters([outline]) == 25_615_424
    assert parameters([outline.head]) == 2_107_392


def test_three_groups_hold_every_parameter_once_and_the_first_ends_with_layer2(outline):
    first, second, head = outline.groups()
    assert first[-1] is outline.body.layer2 and second[0] is outline.body.layer3
    assert head == (outline.head,)
    assert sum(map(parameters, (first, second, head))) == 25_615_424
    assert parameters(first) == 1_444_928


def test_the_groups_of_a_small_body_hold_every_parameter_once():
    with torch.device("meta"):
        network = SliceClassifier("efficientnet_lite0")
    groups = [{id(p) for m in layers for p in m.parameters()} for layers in network.groups()]
    everything = {id(p) for p in network.parameters()}
    assert set.union(*groups) == everything
    assert sum(map(len, groups)) == len(everything)
    assert all(groups)


def test_maxima_come_before_means_in_the_head():
    torch.manual_seed(0)
    network = SliceClassifier("efficientnet_lite0").eval()
    maps = torch.rand(2, 1280, 3, 4)
    pooled = torch.cat([maps.flatten(2).max(2).values, maps.flatten(2).mean(2)], 1)
    assert torch.allclose(network.score(maps), network.head(pooled), atol=1e-6)


def test_a_slice_gives_the_same_answer_twice_and_grey_is_three_equal_channels():
    torch.manual_seed(0)
    network = as_after_training(SliceClassifier("efficientnet_lite0"))
    slices = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        logits = network(slices)
        assert torch.equal(network(slices), logits)
        assert torch.equal(network(slices.repeat(1, 3, 1, 1)), logits)
    assert logits.shape == (2, 2)


@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_lite0"])
@torch.inference_mode()
def test_the_fast_copy_gives_the_same_logits_and_leaves_the_network_alone(backbone):
    plain = as_after_training(SliceClassifier(backbone))
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    slices = torch.rand(2, 1, 64, 64)
    expected = plain(slices)
    fast = plain.fast()
    assert norms(fast) == 0
    scale = float(expected.abs().max())
    torch.testing.assert_close(fast(slices), expected, rtol=0, atol=1e-4 * scale)
    rounded = plain.fast(torch.bfloat16)(slices)
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - expected).abs().max()) < 0.1 * scale
    assert all(torch.equal(t, before[name]) for name, t in plain.state_dict().items())


def test_the_head_starts_from_kaimings_normal_distribution():
    torch.manual_seed(0)
    network = SliceClassifier("efficientnet_lite0")
    weight = network.head[2].weight.detach()
    assert weight.shape == (512, 2560)
    assert float(weight.std()) == pytest.approx((2 / 2560) ** 0.5, rel=0.01)
    assert not any(m.bias is not None for m in network.head if isinstance(m, nn.Linear))


def test_a_backbone_that_there_is_not_is_refused():
    with pytest.raises(UsageError, match="expected a backbone out of"):
        SliceClassifier("vgg99")
