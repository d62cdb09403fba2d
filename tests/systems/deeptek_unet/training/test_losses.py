import math

import pytest
import torch

from covidctnet.systems.deeptek_unet.training.losses import mask_loss, soft_dice
from covidctnet.systems.deeptek_unet.training.plateau import make_plateau


def test_the_loss_is_the_mean_binary_cross_entropy():
    scores = torch.tensor([[[[0.0, math.log(3)]]]])
    masks = torch.tensor([[[[1.0, 0.0]]]])
    expected = -(math.log(0.5) + math.log(1 - 0.75)) / 2
    assert mask_loss(scores, masks).item() == pytest.approx(expected)
    both = mask_loss(scores, masks, "bce_dice").item()
    dice = (2 * 0.5 + 1) / (0.5 + 0.75 + 1 + 1)
    assert both == pytest.approx(expected + 1 - dice)


def test_two_empty_masks_agree_and_each_kind_is_compared_with_itself():
    empty = torch.zeros(1, 2, 4, 4)
    assert soft_dice(empty, empty).tolist() == [[1.0, 1.0]]
    one = empty.clone()
    one[:, 0] = 1
    assert soft_dice(one, one.flip(1)).max().item() < 0.1


def test_the_rate_falls_to_a_tenth_after_four_epochs_without_a_better_loss():
    optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    scheduler = make_plateau(optimiser)
    rates = []
    for loss in [1.0, 0.5, 0.5, 0.49995, 0.6, 0.5, 0.4, 0.5, 0.5, 0.5, 0.5]:
        scheduler.step(loss)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-4] * 5 + [1e-5] * 5 + [1e-6])
