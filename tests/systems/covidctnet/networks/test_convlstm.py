import pytest
import torch
from torch.nn import functional as F

from covidctnet.systems.covidctnet.networks import ConvLSTMPair


def hard_sigmoid_of_keras_2(x):
    return torch.where(x < -2.5, 0.0, torch.where(x > 2.5, 1.0, x / 5 + 0.5))


def general_recurrence(cell, sequence):
    """A ConvLSTM over any sequence, step by step from a zero state, with nothing left out."""
    gate = {"sigmoid": torch.sigmoid, "hard_sigmoid": hard_sigmoid_of_keras_2}[cell.gates]
    batch, _, rows, columns = sequence[0].shape
    h = c = torch.zeros(batch, cell.hidden, rows, columns)
    for x in sequence:
        gates = []
        for k in range(4):
            own = slice(k * cell.hidden, (k + 1) * cell.hidden)
            gates.append(
                F.conv2d(x, cell.input.weight[own], cell.input.bias[own], padding=1)
                + F.conv2d(h, cell.recurrent.weight[own], padding=1)
            )
        i, f, g, o = gates
        c = gate(f) * c + gate(i) * torch.tanh(g)
        h = gate(o) * torch.tanh(c)
    return h


# Inputs of spread 10 drive hard gates beyond both of their ends.
@pytest.mark.parametrize("spread", [1, 10])
@pytest.mark.parametrize("gates", ["sigmoid", "hard_sigmoid"])
def test_two_written_out_steps_equal_the_general_recurrence(gates, spread):
    torch.manual_seed(0)
    cell = ConvLSTMPair(6, 3, gates)
    torch.nn.init.normal_(cell.input.bias)
    first, second = spread * torch.randn(2, 2, 6, 7, 9)
    expected = general_recurrence(cell, [first, second])
    assert torch.allclose(cell(first, second), expected, atol=1e-5)


def test_the_order_of_the_two_steps_matters():
    torch.manual_seed(0)
    cell = ConvLSTMPair(4, 2)
    first, second = torch.randn(2, 1, 4, 5, 5)
    assert not torch.allclose(cell(first, second), cell(second, first), atol=1e-3)


@pytest.mark.parametrize("gates", ["sigmoid", "hard_sigmoid"])
def test_every_parameter_gets_a_gradient_and_so_do_both_inputs(gates):
    torch.manual_seed(0)
    cell = ConvLSTMPair(4, 2, gates)
    pair = torch.randn(2, 1, 4, 5, 5, requires_grad=True)
    cell(pair[0], pair[1]).square().sum().backward()
    for gradient in (*(p.grad for p in cell.parameters()), *pair.grad):
        assert torch.isfinite(gradient).all() and gradient.abs().max() > 1e-6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, 4, 8, 8), (3, 4, 8, 8)),
        ((1, 4, 8, 8), (1, 4, 4, 4)),
        ((1, 3, 8, 8), (1, 3, 8, 8)),
        ((4, 8, 8), (4, 8, 8)),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(first, second):
    with pytest.raises(ValueError, match=r"expects two of \(batch, 4, rows, columns\), got"):
        ConvLSTMPair(4, 2)(torch.zeros(first), torch.zeros(second))


def test_it_starts_he_normal_with_orthogonal_recurrence_and_forget_bias_1():
    torch.manual_seed(0)
    cell = ConvLSTMPair(16, 8)
    assert cell.input.bias.tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    recurrent = cell.recurrent.weight.flatten(1)  # (32, 72): Keras' (72, 32), transposed
    assert torch.allclose(recurrent @ recurrent.T, torch.eye(32), atol=1e-5)
    assert cell.input.weight.std().item() == pytest.approx((2 / (9 * 16)) ** 0.5, rel=0.05)


def test_unknown_gates_are_refused():
    with pytest.raises(ValueError, match="one of sigmoid, hard_sigmoid, got 'relu'"):
        ConvLSTMPair(4, 2, "relu")
