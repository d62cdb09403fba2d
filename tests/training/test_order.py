from collections import Counter

import pytest
from torch.utils.data import DistributedSampler

from covidctnet.training import order as module
from covidctnet.training.order import EpochOrder, in_turn, ordered_loader


def test_every_epoch_has_an_order_of_its_own_that_a_resumed_run_repeats():
    order = EpochOrder(50, seed=3)
    first = list(order)
    assert sorted(place for place, _ in first) == list(range(50))
    assert list(order) == first
    order.set_epoch(1)
    second = list(order)
    assert [p for p, _ in second] != [p for p, _ in first]
    resumed = EpochOrder(50, seed=3)
    resumed.set_epoch(1)
    assert list(resumed) == second
    assert list(EpochOrder(50, seed=4)) != first
    assert len({seed for _, seed in first}) == 50


def test_weights_say_how_often_an_example_is_drawn():
    order = EpochOrder(2, seed=0, weights=[1, 3])
    counts = Counter()
    for epoch in range(2000):
        order.set_epoch(epoch)
        counts.update(place for place, _ in order)
    assert len(order) == 2
    assert 0.72 < counts[1] / 4000 < 0.78


def test_validation_goes_in_turn_without_seeds():
    assert in_turn(3) == [(0, -1), (1, -1), (2, -1)]


class Places:
    """A data set that gives what it is asked for."""

    def __len__(self):
        return 5

    def __getitem__(self, drawn):
        return drawn[0]


@pytest.mark.parametrize(("processes", "batches"), [(1, [5]), (2, [3, 2]), (7, [5] * 7)])
def test_a_slice_of_the_validation_counts_once_whatever_the_processes(
    monkeypatch, processes, batches
):
    shares = []
    for rank in range(processes):
        monkeypatch.setattr(module, "processes_of_run", lambda rank=rank: (processes, rank))
        loader = ordered_loader(Places(), in_turn(5), 1)
        # Lightning replaces every other sampler by one that repeats items.
        assert processes == 1 or isinstance(loader.sampler, DistributedSampler)
        shares.append([int(batch) for batch in loader])
    assert [len(share) for share in shares] == batches
    if processes < 5:
        assert sorted(place for share in shares for place in share) == list(range(5))
