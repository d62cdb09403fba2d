"""Two recordings side by side: every value that differs, and by how much."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["Difference", "differences", "without_bits"]


class Difference(NamedTuple):
    """A value that two recordings do not share.

    Attributes:
        where: Keys on the way to it, joined by slashes.
        before: Of the first recording; None where it has no such value.
        now: Of the second.
    """

    where: str
    before: Any
    now: Any

    @property
    def size(self) -> float:
        """How far numbers differ, relative above 1; infinite for what is no number."""
        if not (_is_number(self.before) and _is_number(self.now)):
            return math.inf
        return abs(self.now - self.before) / max(1.0, abs(self.before))


def differences(before: Any, now: Any, where: str = "") -> Iterator[Difference]:
    """Every value that differs, in the order of the first recording."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            yield from differences(before.get(key), now.get(key), f"{where}/{key}".lstrip("/"))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, pair in enumerate(zip(before, now, strict=True)):
            yield from differences(*pair, f"{where}/{index}")
    elif before != now:
        yield Difference(where, before, now)


def without_bits(recording: Any) -> Any:
    """A recording without the digests of arrays, which tell bits and no distance."""
    if isinstance(recording, dict):
        return {key: without_bits(value) for key, value in recording.items() if key != "bits"}
    return recording


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
