"""Lungs by a network: what it adds, and what it never takes away."""

import numpy as np
import pytest
import torch

from covidctnet.systems.covidctnet.segment import add_consolidation, shrink_slices


class Dense(torch.nn.Module):
    """Calls everything denser than one half lung."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(0.5))
        self.asked = []

    def forward(self, slices):
        self.asked.append(tuple(slices.shape))
        return (slices > self.level).float()


@pytest.fixture
def chest():
    """A lung of 0.1 whose lower half is consolidated to 0.7."""
    slices = np.zeros((3, 40, 48), dtype=np.float32)
    slices[:, 8:32, 8:24] = 0.1
    slices[:, 20:32, 8:24] = 0.7
    lungs = np.zeros(slices.shape, dtype=bool)
    lungs[:, 8:20, 8:24] = True
    return slices, lungs


@pytest.mark.parametrize("shrink", [1, 2])
def test_consolidation_comes_back_and_nothing_is_lost(chest, shrink):
    slices, lungs = chest
    found = add_consolidation(lungs, slices, Dense(), shrink=shrink)
    assert (found & lungs).sum() == lungs.sum()
    consolidated = slices > 0.5
    assert (found & consolidated).sum() > 0.9 * consolidated.sum()
    assert not found[slices == 0].any() or shrink == 2
    assert found.shape == lungs.shape


def test_the_network_sees_shrunk_slices_in_multiples_of_8():
    network = Dense()
    slices = np.zeros((9, 40, 40), dtype=np.float32)
    found = add_consolidation(np.zeros(slices.shape, bool), slices, network, shrink=2)
    assert network.asked == [(8, 1, 24, 24), (1, 1, 24, 24)]
    assert not found.any()


def test_shrunk_slices_are_means_over_blocks():
    slices = torch.arange(2 * 16 * 32, dtype=torch.float32).view(1, 2, 16, 32)
    small = shrink_slices(slices, 2)
    assert small.shape == (1, 2, 8, 16)
    assert small[0, 1, 3, 5] == slices[0, 1, 6:8, 10:12].mean()
    assert torch.equal(shrink_slices(slices, 1), slices)


def test_the_mask_that_was_given_stays_as_it_was(chest):
    slices, lungs = chest
    before = lungs.copy()
    add_consolidation(lungs, slices, Dense(), shrink=1)
    assert np.array_equal(before, lungs)
