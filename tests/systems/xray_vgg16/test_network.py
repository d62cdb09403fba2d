import pytest
import torch

from covidctnet.errors import UsageError, WeightsError
from covidctnet.networks.backbones import outline
from covidctnet.networks.grey import grey_normalised, take_grey
from covidctnet.systems.xray_vgg16.networks import NETWORKS, RadiographNet
from covidctnet.systems.xray_vgg16.networks.bodies import BODIES, make_radiograph_body
from tests.networks.test_fused import as_after_training, norms


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(*arguments, **how):
    with torch.device("meta"):
        return RadiographNet(*arguments, **how)


@pytest.mark.parametrize(
    ("name", "trained", "frozen"),
    [("vgg16_block3", 893_711, 1_735_488), ("vgg16_block2", 4_389_857, 260_160)],
)
def test_the_cut_vgg_has_the_published_parameters(name, trained, frozen):
    assert parameters(on_meta(name).heads) == trained
    with torch.device("meta"):
        assert parameters(make_radiograph_body(BODIES[name])) == frozen
    # One channel in place of three saves two thirds of the first kernels.
    assert parameters(on_meta(name).bodies) == frozen - 2 * 64 * 9


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vgg16_block2", (128, 81, 81)),
        ("vgg16_block3", (256, 40, 40)),
        ("resnet50", (512, 41, 41)),
    ],
)
def test_a_cut_body_gives_the_published_maps(name, shape):
    network = on_meta(name)
    maps = network.features(torch.zeros(1, 1, 324, 324, device="meta"))
    assert maps.shape[1:] == shape
    assert network.score(maps).shape == (1, 1)


@pytest.mark.parametrize(
    ("name", "whole"), [("inception_v3", 23_834_568), ("inception_resnet_v2", 55_843_464)]
)
def test_the_whole_bodies_are_those_of_the_named_networks(name, whole):
    body = outline(name)
    # The head tells 1000 classes apart.
    assert parameters(body) + (BODIES[name].channels + 1) * 1000 == whole


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("more", [0, 1, 33, 228])
def test_every_network_takes_any_size_from_the_smallest_on(name, more):
    size = BODIES[name].smallest + more
    found = on_meta(name, size)(torch.zeros(2, 1, size, size, device="meta"))
    assert found.shape == (2, 1)


@torch.inference_mode()
def test_one_grey_channel_is_the_same_function_as_three_equal_ones():
    torch.manual_seed(0)
    network = RadiographNet("vgg16_block2", 96)
    plain = make_radiograph_body(network.kind)
    network.bodies[0].load_state_dict(take_grey(make_copy(plain)).state_dict())
    pictures = torch.rand(2, 1, 96, 96)
    three = grey_normalised(pictures, network.backbone).expand(-1, 3, -1, -1)
    expected = plain(three)
    scale = float(expected.abs().max())
    torch.testing.assert_close(
        network.features(pictures) / scale, expected / scale, rtol=0, atol=1e-5
    )


def make_copy(body):
    copy = make_radiograph_body(BODIES["vgg16_block2"])
    copy.load_state_dict(body.state_dict())
    return copy


@torch.inference_mode()
def test_two_calls_on_one_picture_agree_bit_for_bit():
    torch.manual_seed(0)
    network = RadiographNet("vgg16_block3", 176).eval()
    pictures = torch.rand(2, 1, 176, 176)
    assert torch.equal(network(pictures), network(pictures))
    assert torch.equal(network(pictures), network.score(network.features(pictures)))


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
@torch.inference_mode()
def test_the_copy_for_inference_answers_alike_without_batch_norms(name):
    network = as_after_training(RadiographNet(name, 176))
    pictures = torch.rand(2, 1, 176, 176)
    fast = network.fast()
    assert norms(network) > 10 and norms(fast) == 0
    torch.testing.assert_close(fast(pictures), network(pictures), rtol=0, atol=1e-3)


@torch.inference_mode()
def test_votes_are_those_of_single_networks_with_one_body_or_several():
    torch.manual_seed(0)
    ones = [RadiographNet("vgg16_block2", 96).eval() for _ in range(3)]
    pictures = torch.rand(2, 1, 96, 96)
    votes = RadiographNet("vgg16_block2", 96, votes=3, bodies=3).eval()
    for place, one in enumerate(ones):
        votes.bodies[place].load_state_dict(one.bodies[0].state_dict())
        votes.heads[place].load_state_dict(one.heads[0].state_dict())
    expected = torch.cat([one(pictures) for one in ones], 1)
    torch.testing.assert_close(votes(pictures), expected)
    torch.testing.assert_close(votes.score(votes.features(pictures)), expected[:, -1:])
    shared = RadiographNet("vgg16_block2", 96, votes=3).eval()
    assert shared(pictures).shape == (2, 3)
    assert parameters(shared.bodies) == parameters(ones[0].bodies)


def test_imagenet_weights_of_a_whole_vgg_start_a_cut_one_with_summed_kernels(tmp_path):
    torch.manual_seed(0)
    body = make_radiograph_body(BODIES["vgg16_block3"])
    state = body.state_dict() | {
        "features.17.weight": torch.zeros(3),
        "head.fc.bias": torch.ones(2),
    }
    torch.save(state, tmp_path / "vgg16.pth")
    network = RadiographNet("vgg16_block2", 96)
    network.start(str(tmp_path / "vgg16.pth"))
    first = network.bodies[0].state_dict()["features.0.weight"]
    torch.testing.assert_close(first, state["features.0.weight"].sum(1, keepdim=True))
    del state["features.0.weight"]
    torch.save(state, tmp_path / "half.pth")
    with pytest.raises(WeightsError, match=r"got none for 1, such as features\.0\.weight"):
        network.start(str(tmp_path / "half.pth"))


def test_the_small_body_starts_from_the_weights_of_its_package():
    network = RadiographNet("efficientnet_lite0", 96)
    before = network.bodies[0].state_dict()["conv_stem.weight"].clone()
    network.start("imagenet")
    after = network.bodies[0].state_dict()["conv_stem.weight"]
    assert after.shape == before.shape == (32, 1, 3, 3)
    assert not torch.equal(after, before)


def test_networks_and_sizes_that_there_are_not_are_refused():
    with pytest.raises(UsageError, match="expected a network out of vgg16_block2, vgg16_block3"):
        RadiographNet("vgg19")
    with pytest.raises(
        UsageError, match="expected a size of 96 pixels or more for vgg16_block2, got 64"
    ):
        RadiographNet(size=64)
    with pytest.raises(UsageError, match="expected one body for all heads or one for each of 3"):
        RadiographNet(votes=3, bodies=2)
