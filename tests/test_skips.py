import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

@pytest.mark.parametrize("n", range(2))
def test_one(n):
    pytest.skip("real scans are not here")

@pytest.mark.skipif(True, reason="no such signal")
def test_two():
    pass

def test_three():
    pass
"""


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (SKIPPING, "skipped tests: 3 (2 x real scans are not here, 1 x no such signal)"),
        ("def test_one():\n    pass\n", "skipped tests: 0"),
    ],
)
@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_run_says_how_many_tests_were_skipped_and_why(tmp_path, source, line, workers):
    file = tmp_path / "test_it.py"
    file.write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--rootdir", tmp_path]
    done = subprocess.run(
        [*command, *workers, file],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert line in done.stdout.splitlines()
