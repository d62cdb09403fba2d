import math
import statistics

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from covidctnet.systems.covidctnet.networks import BCDUNet, ConvLSTMPair


def keras_count(network):
    """Keras counts the moving mean and variance of a batch norm among its parameters."""
    moving = (b for name, b in network.named_buffers() if "running" in name)
    return sum(t.numel() for t in (*network.parameters(), *moving))


def smooth_images(count, seed, size=32):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=rng)
    return F.interpolate(coarse, size=(size, size), mode="bilinear")


def loss_after_training(network, seed):
    """Of 30 steps on one noisy batch, over the loss of the best constant answer."""
    clean = smooth_images(8, seed, size=16)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        loss = (network(noisy) - clean).abs().mean()
        loss.backward()
        optimizer.step()
    return (loss / (clean - clean.median()).abs().mean()).item()


def with_torch_defaults(network):
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.reset_parameters()
    return network


def difference_between_images(network):
    """Standard deviation over the images of a batch, mean over the pixels."""
    with torch.no_grad():
        return network.eval()(smooth_images(8, 0)).std(dim=0).mean().item()


@pytest.mark.parametrize(
    ("base", "depth", "count"),
    [(64, 3, 20_659_717), (64, 1, 8_861_189), (32, 3, 5_167_365)],
)
def test_it_has_as_many_parameters_as_published(base, depth, count):
    with torch.device("meta"):
        network = BCDUNet(base, depth, bidirectional=False)
    assert keras_count(network) == count


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_output_has_the_shape_of_the_input_and_lies_in_0_to_1(depth, bidirectional):
    torch.manual_seed(0)
    output = BCDUNet(2, depth, bidirectional).eval()(torch.rand(2, 1, 16, 24))
    assert output.shape == (2, 1, 16, 24)
    assert output.min() >= 0 and output.max() <= 1


def test_the_second_direction_doubles_what_the_next_convolution_sees():
    one, two = BCDUNet(4, bidirectional=False), BCDUNet(4, bidirectional=True)
    for name in ("decoder3", "decoder2", "decoder1"):
        narrow, wide = getattr(one, name), getattr(two, name)
        assert narrow.backward_lstm.hidden == wide.backward_lstm.hidden == wide.forward_lstm.hidden
        assert wide.convs[0].in_channels == 2 * narrow.convs[0].in_channels
        assert wide.convs[0].out_channels == narrow.convs[0].out_channels


@pytest.mark.parametrize("bidirectional", [False, True])
def test_backward_reads_the_upsampled_features_first_and_forward_the_skip(bidirectional):
    torch.manual_seed(0)
    decoder = BCDUNet(4, bidirectional=bidirectional).decoder1.eval()
    skip, below = torch.rand(1, 4, 8, 8), torch.rand(1, 8, 4, 4)
    with torch.no_grad():
        up = decoder.norm(decoder.up(below)).relu()
        states = [decoder.backward_lstm(up, skip)]
        if bidirectional:
            states.insert(0, decoder.forward_lstm(skip, up))
        assert torch.equal(decoder(skip, below), decoder.convs(torch.cat(states, dim=1)))


def test_dropout_of_the_third_level_reaches_the_skip_but_not_the_pool():
    torch.manual_seed(0)
    network = BCDUNet(2, 3)
    network.dropout.p = 1.0
    seen = {}
    network.dense1.register_forward_hook(lambda m, given, out: seen.update(pooled=given[0]))
    network.decoder3.register_forward_hook(lambda m, given, out: seen.update(skip=given[0]))
    network(torch.rand(1, 1, 16, 16))
    assert seen["pooled"].abs().max() > 0
    assert seen["skip"].abs().max() == 0


def test_batch_norms_have_the_constants_of_keras():
    norms = [m for m in BCDUNet(2, 1).modules() if isinstance(m, nn.BatchNorm2d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == [(1e-3, 0.01)] * 3


def test_dropout_touches_no_other_skip():
    torch.manual_seed(0)
    network = BCDUNet(2, 1)
    network.dropout.p = 1.0
    seen = []
    for decoder in (network.decoder2, network.decoder1):
        decoder.register_forward_hook(lambda m, given, out: seen.append(given[0]))
    x = torch.rand(1, 1, 16, 16)
    network(x)
    skip1 = network.encoder1(x)
    assert torch.equal(seen[0], network.encoder2(network.pool(skip1)))
    assert torch.equal(seen[1], skip1)


def test_dropout_makes_training_random_and_leaves_evaluation_alone():
    torch.manual_seed(0)
    network, images = BCDUNet(4, 3), smooth_images(2, 0)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_slices_of_a_batch_do_not_mix_in_evaluation():
    torch.manual_seed(0)
    network, images = BCDUNet(4, 3).eval(), smooth_images(3, 0)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(network(images), alone, atol=1e-6)


@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@hypothesis.given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.sampled_from([1, 3]))
def test_any_multiples_of_8_will_do(rows, columns, batch, depth):
    x = torch.rand(batch, 1, 8 * rows, 8 * columns)
    with torch.no_grad():
        assert BCDUNet(2, depth).eval()(x).shape == x.shape


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(st.integers(0, 40), st.integers(0, 40))
def test_no_other_size_will_do(rows, columns):
    hypothesis.assume(rows == 0 or columns == 0 or rows % 8 or columns % 8)
    with pytest.raises(ValueError, match="rows and columns multiples of 8, got"), torch.no_grad():
        BCDUNet(2, 1)(torch.zeros(1, 1, rows, columns))


def test_the_last_dense_block_reads_the_second_before_the_first():
    torch.manual_seed(0)
    network = BCDUNet(2, 3).eval()
    seen = {}
    network.dense1.register_forward_hook(lambda m, given, out: seen.update(d1=out))
    network.dense2.register_forward_hook(lambda m, given, out: seen.update(d2=out))
    network.dense3.register_forward_hook(lambda m, given, out: seen.update(given=given[0]))
    network(torch.rand(1, 1, 16, 16))
    assert torch.equal(seen["given"], torch.cat([seen["d2"], seen["d1"]], dim=1))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(bidirectional):
    torch.manual_seed(0)
    # In evaluation mode: in training the batch norms subtract the biases in front of them.
    network = BCDUNet(4, 3, bidirectional).eval()
    network(torch.rand(2, 1, 32, 32)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 1e-9, name


def test_convolutions_start_he_normal_without_bias_and_convlstms_with_forget_bias_1():
    torch.manual_seed(0)
    network = BCDUNet(16, 3)
    cells = [m for m in network.modules() if isinstance(m, ConvLSTMPair)]
    inside = {id(layer) for cell in cells for layer in cell.children()}
    seen = 0
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and id(layer) not in inside:
            seen += 1
            assert not layer.bias.any(), name
            if layer.weight.numel() > 2000:  # else the spread is too much left to chance
                wanted = math.sqrt(2 / layer.weight[0].numel())
                assert layer.weight.std().item() == pytest.approx(wanted, rel=0.08), name
    assert (seen, len(cells)) == (6 + 6 + 3 + 6 + 2, 6)
    for cell in cells:
        _, forget, _, _ = cell.input.bias.chunk(4)
        assert (forget == 1).all() and cell.input.bias.sum() == len(forget)


def test_a_fresh_network_answers_differently_to_different_images():
    for seed in range(5):
        torch.manual_seed(seed)
        assert difference_between_images(BCDUNet(4, 3)) > 1e-4


def test_with_the_defaults_of_torch_it_would_start_dead():
    for seed in range(5):
        torch.manual_seed(seed)
        assert difference_between_images(with_torch_defaults(BCDUNet(4, 3))) < 1e-4


def test_30_steps_of_training_leave_the_best_constant_behind_but_not_from_torch_defaults():
    # The head has two ReLU channels only, so a single narrow network may start badly by chance:
    # the claim is about the median.
    losses = {"ours": [], "torch": []}
    for seed in range(3):
        for start, prepare in (("ours", lambda n: n), ("torch", with_torch_defaults)):
            torch.manual_seed(seed)
            losses[start].append(loss_after_training(prepare(BCDUNet(4, 3)), seed))
    assert statistics.median(losses["ours"]) < 0.65
    assert statistics.median(losses["torch"]) > 0.85


def test_channels_last_memory_changes_nothing():
    torch.manual_seed(0)
    network = BCDUNet(4, 3).eval()
    images = smooth_images(2, 0)
    plain = network(images)
    network = network.to(memory_format=torch.channels_last)
    again = network(images.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(plain, again, atol=1e-5)


def test_bfloat16_autocast_stays_close():
    torch.manual_seed(0)
    network = BCDUNet(4, 3).eval()
    images = smooth_images(2, 0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = network(images).float()
    assert torch.allclose(network(images), rough, atol=0.02)


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 16, 16), (16, 16)])
def test_arrays_that_are_no_batch_of_slices_are_refused(shape):
    with pytest.raises(ValueError, match="rows and columns multiples of 8, got"):
        BCDUNet(2, 1)(torch.zeros(shape))


@pytest.mark.parametrize("base", [0, 1, 3])
def test_an_odd_or_empty_base_is_refused(base):
    with pytest.raises(ValueError, match="base must be even and at least 2, got"):
        BCDUNet(base)


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match=r"depth must be 1 \(D1\) or 3 \(D3\), got 2"):
        BCDUNet(4, 2)


@torch.inference_mode()
def test_on_blocks_the_mean_of_each_block_is_the_denoised_mean_and_pixels_keep_their_difference():
    torch.manual_seed(0)
    blocks = BCDUNet(4, 1, bidirectional=False, shrink=2).eval()
    whole = BCDUNet(4, 1, bidirectional=False).eval()
    whole.load_state_dict(blocks.state_dict())
    x = torch.rand(2, 1, 32, 48)
    means, out = F.avg_pool2d(x, 2), blocks(x)
    torch.testing.assert_close(F.avg_pool2d(out, 2), whole(means), rtol=0, atol=1e-6)
    taken = x - out
    assert taken.std() > 1e-3
    torch.testing.assert_close(
        taken, F.interpolate(F.avg_pool2d(taken, 2), scale_factor=2.0), rtol=0, atol=1e-6
    )


def test_on_blocks_rows_and_columns_must_be_multiples_of_16():
    network = BCDUNet(2, 1, bidirectional=False, shrink=2)
    with pytest.raises(ValueError, match=r"multiples of 16, got \(1, 1, 24, 32\)"):
        network(torch.zeros(1, 1, 24, 32))
    with pytest.raises(ValueError, match="shrink must be 1 or 2, got 3"):
        BCDUNet(2, shrink=3)
