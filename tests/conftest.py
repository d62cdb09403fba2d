import os
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def real_data() -> Path:
    """Real scans, beside the project or where COVIDCTNET_TEST_DATA says; they may be missing."""
    return Path(os.environ.get("COVIDCTNET_TEST_DATA", _SHARED / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real scans for development, beside the project or where COVIDCTNET_TEST_DATA says."""
    folder = real_data()
    if not folder.is_dir():
        pytest.skip("real scans are not here")
    return folder


@pytest.fixture(scope="session")
def real_scan(shared_data):
    """Reads a real scan by its path in the data; the last few are kept, as reading takes long."""
    from covidctnet.io import read_volume

    return lru_cache(maxsize=3)(lambda path: read_volume(shared_data / path))


@pytest.fixture(scope="session")
def oracles() -> Path:
    """Keras networks with random weights and the outputs that Keras gave."""
    return Path(__file__).with_name("oracles")


def pytest_terminal_summary(terminalreporter):
    """Say how many tests were skipped and why, also when none was."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(_reason(report.longrepr) for report in reports)
    counted = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    terminalreporter.write_line(
        f"skipped tests: {len(reports)}{f' ({counted})' if counted else ''}"
    )


def _reason(longrepr) -> str:
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")
