import os
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
def oracles() -> Path:
    """Keras networks with random weights and the outputs that Keras gave."""
    return Path(__file__).with_name("oracles")
