"""Things joined into sets, one pair after another."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Unions"]


class Unions:
    """Things that are joined, and what stands for each set of them."""

    def __init__(self) -> None:
        self._above: dict[Hashable, Hashable] = {}

    def root(self, thing: Hashable) -> Hashable:
        """What stands for the set that a thing is in."""
        above = self._above
        while above.setdefault(thing, thing) != thing:
            # Half the way for the next one who asks.
            above[thing] = above[above[thing]]
            thing = above[thing]
        return thing

    def join(self, one: Hashable, other: Hashable) -> None:
        """Put two things into one set."""
        self._above[self.root(other)] = self.root(one)
