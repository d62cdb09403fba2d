import copy

import pytest
import torch

from covidctnet.systems.covidctnet.networks import CNN3D, BCDUNet
from covidctnet.systems.covidctnet.networks.fused import FusedBCDUNet, fused_cnn3d


def trained(base=4, depth=3, bidirectional=False, gates="sigmoid"):
    """A network whose batch norms and biases do something, as after a training."""
    torch.manual_seed(0)
    network = BCDUNet(base, depth, bidirectional, gates)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(std=0.3)
    return network.eval()


every_kind = pytest.mark.parametrize(
    ("depth", "bidirectional", "gates"),
    [
        (depth, bidirectional, gates)
        for depth in (1, 3)
        for bidirectional in (False, True)
        for gates in ("sigmoid", "hard_sigmoid")
    ],
)


@every_kind
@torch.inference_mode()
def test_the_rewritten_denoiser_equals_the_plain_one_to_float_rounding(depth, bidirectional, gates):
    plain = trained(4, depth, bidirectional, gates)
    seen = torch.rand(3, 1, 16, 24)
    expected = plain(seen)
    assert expected.std() > 1e-3
    torch.testing.assert_close(FusedBCDUNet(plain)(seen), expected, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_the_rewritten_denoiser_works_on_the_same_blocks():
    plain = trained(4)
    plain.shrink = 2
    seen = torch.rand(2, 1, 32, 48)
    torch.testing.assert_close(FusedBCDUNet(plain)(seen), plain(seen), rtol=0, atol=1e-6)


@every_kind
@torch.inference_mode()
def test_eight_bits_stay_near_the_plain_denoiser(depth, bidirectional, gates):
    plain = trained(8, depth, bidirectional, gates)
    seen = torch.rand(2, 1, 32, 32)
    rounded = FusedBCDUNet(plain, torch.bfloat16)(seen)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - plain(seen)).abs().max() < 0.02


def test_what_was_trained_is_left_as_it_was():
    plain, classifier = trained(), CNN3D(34, 34, base=2)
    before = copy.deepcopy([plain.state_dict(), classifier.state_dict()])
    FusedBCDUNet(plain, torch.bfloat16)(torch.rand(1, 1, 8, 8))
    fused_cnn3d(classifier, torch.bfloat16)
    for old, module in zip(before, (plain, classifier), strict=True):
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, old[name]) and tensor.dtype == old[name].dtype
    assert all(p.requires_grad for p in plain.parameters())


@torch.inference_mode()
def test_the_rewritten_classifier_equals_the_plain_one():
    torch.manual_seed(0)
    plain = CNN3D(34, 50, base=4).eval()
    seen = torch.randn(2, *plain.input_shape)
    exact, rounded = fused_cnn3d(plain), fused_cnn3d(plain, torch.bfloat16)
    torch.testing.assert_close(exact(seen), plain(seen), rtol=0, atol=1e-5)
    one, other = (net(seen).softmax(1) for net in (rounded, plain))
    assert one.dtype == torch.float32
    assert 0 < (one - other).abs().max() < 0.01
