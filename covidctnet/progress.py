"""Progress bars on a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["bar", "track"]

T = TypeVar("T")


@contextmanager
def bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error that is moved by calls of (done, total).

    Args:
        description: What is being done, a word or two.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """The items, with a bar over them.

    Args:
        items: What is worked on.
        description: What is being done, a word or two.
    """
    with bar(description) as show:
        for done, item in enumerate(items):
            show(done, len(items))
            yield item
