import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covidctnet.stopping import Stopped, note_stops, stop_on_signals
from tests.io.series import write

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
# The program with a model that stops to think at the third study.
THINKING = """
import sys, time
from covidctnet.classes import CHEST_CT
from covidctnet.cli import main
from covidctnet.commands.common import Network
from covidctnet.contract import PredictorInfo
from covidctnet.results import Prediction

class Thinker:
    info = PredictorInfo("covidctnet", "thinker", "0123456789ab", CHEST_CT)
    asked = 0

    def prepare(self, volume):
        return volume

    def __call__(self, volume, *, keep="numbers"):
        self.asked += 1
        if self.asked == 3:
            print("thinking", flush=True)
            # As networks compute, in short calls. Python hears a signal that comes just before a
            # call when the call is over.
            for _ in range(600):
                time.sleep(0.1)
        return Prediction(volume.source.study, dict.fromkeys(CHEST_CT, 1 / 3))

Network.load = lambda self: Thinker()
sys.exit(main(["classify", sys.argv[1], "-o", sys.argv[2], "--workers", "1"]))
"""


@pytest.fixture(autouse=True)
def usual_handlers():
    """As a shell starts a program in the foreground, wherever the tests run and what ran before."""
    former = {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture
def inbox(tmp_path):
    for name in ("one", "two", "three", "four"):
        write(tmp_path / "inbox" / name, study=name, patient=name)
    return tmp_path / "inbox"


def is_group_gone(number):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.killpg(number, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("number", "to_all"),
    [*((number, False) for number in NUMBERS), (signal.SIGTERM, True)],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else f"all {value}",
)
def test_a_signal_ends_a_run_in_one_line_with_whole_tables_and_no_child_left(
    inbox, tmp_path, number, to_all
):
    run = subprocess.Popen(
        [sys.executable, "-c", THINKING, str(inbox), str(tmp_path / "out")],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert run.stdout.readline() == "thinking\n"
    (os.killpg if to_all else os.kill)(run.pid, number)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    lines = [line for line in err.splitlines() if not line.startswith("classifying: ")]
    assert lines == [f"covidctnet: stopped by {number.name}; what was finished is kept"]
    assert is_group_gone(run.pid)
    records = list((tmp_path / "out" / "studies").glob("*.json"))
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["study"] for row in rows} == {record.stem for record in records}
    assert [row["status"] for row in rows] == ["classified"] * 2


@pytest.mark.parametrize("number", NUMBERS)
def test_every_signal_that_asks_for_an_end_raises_once(number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught, stop_on_signals():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_what_is_written_on_the_way_out_is_not_cut_by_further_signals():
    written = []
    with pytest.raises(Stopped), stop_on_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            for number in NUMBERS:
                os.kill(os.getpid(), number)
                written.append(number)
    assert written == NUMBERS


def test_a_signal_that_was_ignored_before_stays_ignored():
    """Under nohup, a program outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_that_are_noted_stop_nothing():
    with stop_on_signals():
        with note_stops() as noted:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        assert noted == [signal.SIGTERM]


def can_have_a_first_process():
    unshare = shutil.which("unshare")
    if unshare is None:
        return False
    return (
        subprocess.run([unshare, "-pf", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not can_have_a_first_process(), reason="no rights to be a first process")
def test_the_first_process_of_a_container_ends_on_term(inbox, tmp_path):
    """The system delivers no signal to it that it has no handler for."""
    command = ["unshare", "-pf", "--kill-child", sys.executable, "-c", THINKING]
    run = subprocess.Popen(
        [*command, str(inbox), str(tmp_path / "out")],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout.readline() == "thinking\n"
    (first,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(first), signal.SIGTERM)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 143
    assert "stopped by SIGTERM" in err
