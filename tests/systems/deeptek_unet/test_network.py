import pytest
import torch
from torch import nn

from covidctnet.errors import UsageError
from covidctnet.systems.deeptek_unet.networks import ENCODERS, LesionUNet
from tests.networks.test_fused import as_after_training, norms


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(scope="module")
def outline():
    with torch.device("meta"):
        return LesionUNet()


def test_the_network_has_the_parameters_of_the_librarys_u_net_with_xception(outline):
    assert count(outline) == 28_769_401
    assert count(outline.network.encoder) == 20_806_952


def test_the_encoder_has_six_levels_of_the_stated_sizes(outline):
    with torch.device("meta"):
        features = outline.network.encoder(torch.zeros(1, 3, 512, 512))
    assert [tuple(f.shape[1:]) for f in features] == [
        (3, 512, 512),
        (64, 256, 256),
        (128, 128, 128),
        (256, 64, 64),
        (728, 32, 32),
        (2048, 16, 16),
    ]


def test_the_decoder_reads_what_lies_below_and_beside(outline):
    first = [block.conv1[0].in_channels for block in outline.network.decoder.blocks]
    assert first == [2776, 512, 256, 128, 32]
    head = outline.network.segmentation_head[0]
    assert (head.in_channels, head.out_channels) == (16, 1)


@pytest.mark.parametrize("upsample", ["nearest", "transposed"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_network_scores_every_pixel_of_every_kind(encoder, upsample):
    with torch.device("meta"):
        network = LesionUNet(encoder, upsample, kinds=2)
        scores = network(torch.zeros(2, 1, 64, 96))
    assert scores.shape == (2, 2, 64, 96)
    transposed = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert len(transposed) == (5 if upsample == "transposed" else 0)


def test_a_size_that_is_no_multiple_of_32_is_extended_and_cut_again():
    torch.manual_seed(0)
    network = as_after_training(LesionUNet("efficientnet_lite0"))
    picture = torch.rand(1, 1, 50, 70)
    extended = torch.nn.functional.pad(picture, (0, 26, 0, 14), mode="replicate")
    with torch.inference_mode():
        scores = network(picture)
        assert scores.shape == (1, 1, 50, 70)
        assert torch.equal(scores, network(extended)[..., :50, :70])
        assert torch.equal(scores, network(picture))


@pytest.mark.parametrize("upsample", ["nearest", "transposed"])
@torch.inference_mode()
def test_the_fast_copy_gives_the_same_mask_and_leaves_the_network_alone(upsample):
    plain = as_after_training(LesionUNet("efficientnet_lite0", upsample))
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    picture = torch.rand(1, 1, 64, 64)
    expected = plain(picture)
    fast = plain.fast()
    assert norms(fast) == 0
    scale = float(expected.abs().max())
    torch.testing.assert_close(fast(picture), expected, rtol=0, atol=1e-4 * scale)
    rounded = plain.fast(torch.bfloat16)(picture)
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - expected).abs().mean()) < 0.05 * scale
    assert all(torch.equal(t, before[name]) for name, t in plain.state_dict().items())


def test_an_encoder_that_there_is_not_is_refused():
    with pytest.raises(UsageError, match="expected an encoder out of xception, resnet50"):
        LesionUNet("vgg16")
    with pytest.raises(UsageError, match="expected nearest or transposed"):
        LesionUNet("xception", "cubic")


def test_imagenet_weights_of_xception_are_asked_for_as_a_file(outline):
    with pytest.raises(UsageError, match="expected the path of a file with weights of xception"):
        outline.start_from("imagenet")


def test_an_encoder_starts_from_a_file(tmp_path):
    torch.manual_seed(0)
    other = LesionUNet("efficientnet_lite0")
    state = {
        name.removeprefix("model."): tensor
        for name, tensor in other.network.encoder.state_dict().items()
    }
    torch.save({**state, "conv_head.weight": torch.zeros(1)}, tmp_path / "a.pth")
    network = LesionUNet("efficientnet_lite0")
    network.start_from(str(tmp_path / "a.pth"))
    for name, tensor in network.network.encoder.state_dict().items():
        assert torch.equal(tensor, other.network.encoder.state_dict()[name]), name
