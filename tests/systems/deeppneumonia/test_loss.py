import math

import pytest
import torch

from covidctnet.systems.deeppneumonia.networks import Details
from covidctnet.systems.deeppneumonia.training.loss import (
    detail_losses,
    drenet_loss,
    ranking_loss,
)


def test_the_ranking_of_three_details_costs_what_it_costs_by_hand():
    scores = torch.tensor([[2.0, 0.5, 1.0]])
    losses = torch.tensor([[0.3, 0.1, 0.2]])
    # Better, worse: (1, 0): 1 - 0.5 + 2; (2, 0): 1 - 1 + 2; (1, 2): 1 - 0.5 + 1.
    assert ranking_loss(scores, losses).item() == pytest.approx(2.5 + 2.0 + 1.5)
    assert ranking_loss(scores.repeat(2, 1), losses.repeat(2, 1)).item() == pytest.approx(6.0)


def test_scores_in_the_order_of_the_losses_and_one_apart_cost_nothing():
    losses = torch.tensor([[0.1, 0.2, 0.3]])
    assert ranking_loss(torch.tensor([[2.0, 1.0, 0.0]]), losses) == 0


def test_every_detail_carries_the_label_of_its_slice():
    parts = torch.zeros(2, 3, 2)
    parts[0, 1, 1] = math.log(3)
    losses = detail_losses(parts, torch.tensor([1, 0]))
    assert losses[0].tolist() == pytest.approx([math.log(2), math.log(4 / 3), math.log(2)])
    assert losses[1].tolist() == pytest.approx([math.log(2)] * 3)


def test_the_loss_is_the_sum_of_four_terms_and_the_ranking_teaches_the_proposals_alone():
    parts = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scores = torch.zeros(2, 3, requires_grad=True)
    said = Details(torch.zeros(2, 2), torch.zeros(2, 2), parts, scores, torch.zeros(2, 3, 4))
    terms = drenet_loss(said, torch.tensor([0, 1]))
    total = sum(v.item() for name, v in terms.items() if name != "loss")
    assert terms["loss"].item() == pytest.approx(total)
    # Three pairs a slice, all scores alike.
    assert terms["ranking"].item() == pytest.approx(3)
    terms["ranking"].backward()
    assert scores.grad.abs().sum() > 0 and parts.grad is None
