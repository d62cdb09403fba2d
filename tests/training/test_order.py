from collections import Counter

from covidctnet.training.order import EpochOrder, in_turn


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
