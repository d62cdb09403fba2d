"""Helpers work ahead, results come in order, and nothing is held longer than it is needed."""

import gc
import threading
import weakref
from contextlib import closing

import pytest

from covidctnet.workers.turns import in_order


class AHelper:
    def __init__(self):
        self.is_closed = False
        self.busy = threading.Lock()

    def close(self):
        self.is_closed = True


class AResult:
    pass


def test_results_come_in_the_order_of_the_items_whoever_is_faster():
    first_may_end = threading.Event()

    def work(helper, item):
        if item == 0:
            assert first_may_end.wait(10)
        elif item == 1:
            first_may_end.set()
        return item * item

    results = list(in_order(range(20), [AHelper(), AHelper()], work, ahead=4))
    assert results == [(k, k * k) for k in range(20)]


def test_a_helper_works_on_one_item_at_a_time():
    def work(helper, item):
        assert helper.busy.acquire(blocking=False)
        helper.busy.release()
        return helper

    helpers = [AHelper() for _ in range(3)]
    used = [helper for _, helper in in_order(range(50), helpers, work, ahead=9)]
    assert set(used) <= set(helpers)


def test_items_are_taken_only_when_there_is_room():
    taken = []

    def items():
        for k in range(1000):
            taken.append(k)
            yield k

    with closing(in_order(items(), [AHelper()], lambda h, k: k, ahead=3)) as coming:
        assert next(coming) == (0, 0)
        assert len(taken) == 4


def test_a_result_goes_when_the_caller_lets_go_of_it():
    with closing(in_order(range(3), [AHelper()], lambda h, k: AResult(), ahead=1)) as coming:
        _, result = next(coming)
        held = weakref.ref(result)
        del result
        gc.collect()
        assert held() is None


@pytest.mark.parametrize("how", ["to the end", "left early", "with an error"])
def test_all_helpers_are_closed_whatever_ends_it(how):
    helpers = [AHelper(), AHelper()]

    def work(helper, item):
        if how == "with an error" and item == 3:
            raise ValueError("three")
        return item

    coming = in_order(range(10), helpers, work, ahead=4)
    if how == "with an error":
        with pytest.raises(ValueError, match="three"):
            list(coming)
    elif how == "to the end":
        list(coming)
    else:
        next(coming)
        coming.close()
    assert all(helper.is_closed for helper in helpers)
