"""Several helpers work ahead of one who takes their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import Protocol, TypeVar

__all__ = ["Closing", "in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Closing(Protocol):
    """A helper with something to close, such as a child process."""

    def close(self) -> None:
        """End it; what it works on is lost."""


Helper = TypeVar("Helper", bound=Closing)


def in_order(
    items: Iterable[Item],
    helpers: Sequence[Helper],
    work: Callable[[Helper, Item], Result],
    *,
    ahead: int,
) -> Generator[tuple[Item, Result]]:
    """Let helpers work on items, and give the results in the items' order.

    Each helper works on one item at a time, in a thread of its own. Items are taken when there is
    room for them: an archive may hold a hundred thousand. A result is held by nobody else once it
    is given, so that its memory goes when the caller lets go of it.

    Args:
        items: In the order of the output.
        helpers: One or more; all are closed at the end, whatever ends it.
        work: What a helper does with an item; what it raises is raised here.
        ahead: Items that are worked on, or done and waiting, at most.

    Yields:
        Every item with its result.
    """
    idle: SimpleQueue[Helper] = SimpleQueue()
    for helper in helpers:
        idle.put(helper)

    def done(item: Item) -> Result:
        helper = idle.get()
        try:
            return work(helper, item)
        finally:
            idle.put(helper)

    pool = ThreadPoolExecutor(len(helpers), thread_name_prefix="helper")
    waiting = iter(items)
    coming: deque[tuple[Item, Future[Result]]] = deque()
    try:
        coming.extend((item, pool.submit(done, item)) for item in islice(waiting, ahead))
        while coming:
            item, future = coming.popleft()
            result = [future.result()]
            del future
            # The next one is begun before the caller works on this one.
            coming.extend((later, pool.submit(done, later)) for later in islice(waiting, 1))
            yield item, result.pop()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for helper in helpers:
            helper.close()
        pool.shutdown(wait=True)
