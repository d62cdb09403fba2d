"""How the commands of the pipelines end: a page, or one line that says why there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from covidctnet.errors import CovidCTNetError
from covidctnet.files import write_whole

__all__ = ["tell"]


def tell(make: Callable[[], str], output: Path | None = None) -> int:
    """Print what `make` gives and keep it in a file, if one is named; returns the exit code."""
    try:
        text = make()
        sys.stdout.write(text)
        if output:
            write_whole(output, text)
    except CovidCTNetError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0
