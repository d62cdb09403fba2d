"""What a cluster cannot do, in one line."""

from __future__ import annotations

from covidctnet.errors import CovidCTNetError

__all__ = ["ClusterError", "in_one_line"]


class ClusterError(CovidCTNetError):
    """The cluster, or a worker of it, cannot do the work; what is written stays."""


def in_one_line(error: BaseException | None) -> str:
    """An error in a line, without paths: those name people."""
    words = [word for word in str(error).split() if "/" not in word and "\\" not in word]
    return f"{type(error).__name__}: {' '.join(words)}"[:200]
